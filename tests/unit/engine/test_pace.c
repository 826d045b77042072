#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "pace.h"

/* A line of some rate with a modem's queue in front, and reports of it that come late. */
struct line {
	uint64_t rate, queue; /* bytes a second; bytes waiting */
	uint64_t other;	      /* what somebody else sends, bytes a second */
	uint32_t told[256];   /* queues, by millisecond */
	uint64_t carried;
};

struct result {
	uint64_t carried; /* bytes a second */
	uint32_t queue_us; /* the mean */
};

#define DELAY_MS 60

/* `want` bytes a second are waiting to be sent for so many milliseconds, from `t` on. */
static struct result drive(struct pace *p, struct line *l, uint64_t want, unsigned t, unsigned ms)
{
	struct result r = { 0, 0 };
	uint64_t waiting = 0, sum = 0, begin = l->carried;

	for (unsigned end = t + ms; t < end; t++) {
		uint64_t now = 1000000 + t * 1000ull, out = l->rate / 1000;
		uint64_t ours = l->rate > l->other ? l->rate - l->other : l->rate / 2;
		struct pace_seen seen = { .queue_us = l->told[(t + 256 - DELAY_MS) % 256], .srtt_us = 30000, .delivered = 0 };

		waiting += want / 1000;
		seen.delivered = p->sent < ours ? p->sent : ours;
		pace_fill(p, now);
		for (; waiting >= 1250 && pace_may(p); waiting -= 1250) {
			pace_spend(p, 1250, false);
			l->queue += 1250;
			l->carried += 1250;
		}
		p->limited = p->limited || (waiting >= 1250 && !pace_may(p));
		if (waiting > want / 20) /* what waits for longer is dropped in front of it */
			waiting = want / 20;
		l->queue += l->other / 1000;
		l->queue -= l->queue < out ? l->queue : out;
		l->told[t % 256] = (uint32_t)(l->queue * 1000000 / l->rate);
		sum += l->told[t % 256];
		pace_judge(p, &seen, now);
	}
	r.carried = (l->carried - begin) * 1000 / ms;
	r.queue_us = (uint32_t)(sum / ms);
	return r;
}

static void it_finds_what_a_line_carries(void **st)
{
	static const unsigned mbits[] = { 1, 3, 10, 20, 100, 1000 };

	(void)st;
	for (unsigned i = 0; i < sizeof(mbits) / sizeof(*mbits); i++) {
		struct line l = { .rate = mbits[i] * 125000ull };
		struct result r;
		struct pace p;

		pace_init(&p, 1000000);
		drive(&p, &l, 2 * l.rate, 0, 3000);
		r = drive(&p, &l, 2 * l.rate, 3000, 5000);
		assert_in_range(r.carried, l.rate * 95 / 100, l.rate * 101 / 100);
		assert_in_range(r.queue_us, 0, 20000);
	}
}

static void it_follows_a_line_that_slows_down(void **st)
{
	struct line l = { .rate = 20 * 125000 };
	struct result r;
	struct pace p;

	(void)st;
	pace_init(&p, 1000000);
	drive(&p, &l, 40 * 125000, 0, 5000);
	l.rate = 5 * 125000;
	drive(&p, &l, 40 * 125000, 5000, 4000);
	r = drive(&p, &l, 40 * 125000, 9000, 4000);
	assert_in_range(r.carried, l.rate * 95 / 100, l.rate * 101 / 100);
	assert_in_range(r.queue_us, 0, 30000);
	l.rate = 20 * 125000;
	drive(&p, &l, 40 * 125000, 13000, 4000);
	r = drive(&p, &l, 40 * 125000, 17000, 2000);
	assert_in_range(r.carried, l.rate * 90 / 100, l.rate * 101 / 100);
}

/* What somebody else does to the queue while we send little teaches nothing wrong. */
static void a_queue_of_others_is_not_ours(void **st)
{
	struct line l = { .rate = 20 * 125000, .other = 21 * 125000 };
	struct pace p;
	uint64_t before;

	(void)st;
	pace_init(&p, 1000000);
	before = p.rate;
	drive(&p, &l, 125000 / 4, 0, 3000);
	assert_true(p.rate >= before / 2);
}

/* No more than nine tenths in sum, and nothing at all once the line is full. */
static void copies_are_paid_from_what_is_idle(void **st)
{
	struct pace p;
	uint64_t copied = 0, now = 1000000;

	(void)st;
	pace_init(&p, now);
	for (unsigned full = 0; full < 2; full++, copied = 0) {
		for (unsigned t = 0; t < 2000; t++) {
			now += 1000;
			pace_fill(&p, now);
			for (uint64_t n = 0; n < p.rate / 1000 * (full ? 100 : 40) / 100; n += 100)
				pace_spend(&p, 100, false);
			while (pace_may_copy(&p)) {
				pace_spend(&p, 100, true);
				copied += t >= 1000 ? 100 : 0;
			}
		}
		if (full)
			assert_true(copied <= p.rate / 100);
		else
			assert_in_range(copied, p.rate * 45 / 100, p.rate * 52 / 100);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_finds_what_a_line_carries),
		cmocka_unit_test(it_follows_a_line_that_slows_down),
		cmocka_unit_test(a_queue_of_others_is_not_ours),
		cmocka_unit_test(copies_are_paid_from_what_is_idle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
