/* SPDX-License-Identifier: BSD-2-Clause */
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
	uint32_t jitter_us;   /* each packet is late by up to that, and those behind it, which do not overtake it */
	uint32_t late_us;
	uint32_t told[256];   /* queues, by millisecond */
	uint64_t carried;
};

struct result {
	uint64_t carried; /* bytes a second */
	uint32_t queue_us; /* the mean */
};

#define DELAY_MS 60

/* How late the packet of this millisecond is; `dense`: there was one in the last. */
static uint32_t late(struct line *l, bool dense)
{
	uint32_t us = l->jitter_us ? (uint32_t)rand() % l->jitter_us : 0, before = l->late_us > 1000 ? l->late_us - 1000 : 0;

	return l->late_us = dense && before > us ? before : us;
}

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
		seen.delivered = seen.arrives = p->sent < ours ? p->sent : ours;
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
		l->told[t % 256] += late(l, want > 125000);
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

/* LTE delays packets by what its cell is doing: that is not a queue, and no reason to send less. */
static void a_line_that_jitters_is_not_a_slow_one(void **st)
{
	static const uint32_t jitters[] = { 5000, 16000, 25000 };

	(void)st;
	for (unsigned i = 0; i < sizeof(jitters) / sizeof(*jitters); i++) {
		struct line l = { .rate = 20 * 125000, .jitter_us = jitters[i] };
		struct result r;
		struct pace p;

		pace_init(&p, 1000000);
		drive(&p, &l, 2000, 0, 1000); /* probes */
		drive(&p, &l, 2 * l.rate, 1000, 3000);
		r = drive(&p, &l, 2 * l.rate, 4000, 5000);
		assert_in_range(r.carried, l.rate * 90 / 100, l.rate * 101 / 100);
		assert_in_range(r.queue_us, 0, 20000);
	}
}

/* The same when it was sound as long as it was idle, or never was idle. */
static void a_line_may_begin_to_jitter_under_load(void **st)
{
	(void)st;
	for (unsigned sound_ms = 0; sound_ms <= 3000; sound_ms += 3000) {
		struct line l = { .rate = 20 * 125000 };
		struct result r;
		struct pace p;

		pace_init(&p, 1000000);
		if (sound_ms)
			drive(&p, &l, 2 * l.rate, 0, sound_ms);
		l.jitter_us = 20000;
		drive(&p, &l, 2 * l.rate, sound_ms, 6000);
		r = drive(&p, &l, 2 * l.rate, sound_ms + 6000, 20000);
		assert_in_range(r.carried, l.rate * 95 / 100, l.rate * 101 / 100);
		assert_in_range(r.queue_us, 0, 20000);
	}
}

/* A queue that others keep is taken for the line's own to some degree only, and forgotten when they
 * are gone. */
static void a_queue_of_others_is_no_jitter_for_long(void **st)
{
	struct line l = { .rate = 20 * 125000, .jitter_us = 200000 };
	struct result r;
	struct pace p;

	(void)st;
	pace_init(&p, 1000000);
	drive(&p, &l, 2000, 0, 1000);
	assert_in_range(jitter_queue_us(&p.jitter, 100000), 60000, 80000);
	l.jitter_us = 0;
	drive(&p, &l, 2000, 1000, 12000);
	assert_int_equal(jitter_queue_us(&p.jitter, 100000), 100000);
	drive(&p, &l, 2 * l.rate, 13000, 3000);
	r = drive(&p, &l, 2 * l.rate, 16000, 3000);
	assert_in_range(r.carried, l.rate * 95 / 100, l.rate * 101 / 100);
	assert_in_range(r.queue_us, 0, 20000);
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
		cmocka_unit_test(a_line_that_jitters_is_not_a_slow_one),
		cmocka_unit_test(a_line_may_begin_to_jitter_under_load),
		cmocka_unit_test(a_queue_of_others_is_no_jitter_for_long),
		cmocka_unit_test(copies_are_paid_from_what_is_idle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
