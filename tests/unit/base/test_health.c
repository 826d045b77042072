/* SPDX-License-Identifier: BSD-2-Clause */
/* Two ends of two paths, with a clock of our own: one of them starts just before its 32-bit
 * microseconds wrap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "health.h"

#define PATHS 2
#define STEP 1000
#define EVERY 25000
#define PENDING 4096

enum { LOCAL, REMOTE };

struct letter { /* one control datagram on its way */
	uint64_t at;
	int to;
	unsigned path;
	struct wire_probe probe;
	struct wire_report report[PATHS];
	bool has[PATHS];
};

struct world {
	uint64_t now, brisk_since;
	uint64_t offset[2]; /* of each end's clock */
	uint32_t delay[PATHS];
	uint32_t loss_every[2][PATHS]; /* by receiver: each so-manieth is lost; 1: all */
	unsigned count[2][PATHS];
	struct health h[2][PATHS];
	struct health_lead lead[2];
	uint64_t due[2];
	struct letter letters[PENDING];
	size_t n, first;
	unsigned changes;
	bool stalled[2];
};

static uint64_t clock_of(const struct world *w, int end)
{
	return w->now + w->offset[end];
}

static void speak(struct world *w, int end, unsigned path)
{
	struct letter *l = &w->letters[w->n++ % PENDING];
	uint64_t now = clock_of(w, end);

	assert_true(w->n - w->first < PENDING);
	memset(l, 0, sizeof(*l));
	l->to = !end;
	l->path = path;
	health_make_probe(&w->h[end][path], &l->probe, now);
	health_sent(&w->h[end][path], 100);
	for (unsigned i = 0; i < PATHS; i++) {
		l->has[i] = health_heard_us(&w->h[end][i]) != 0;
		if (l->has[i])
			health_make_report(&w->h[end][i], &l->report[i], now);
	}
	l->at = w->now + w->delay[path];
	if (w->loss_every[!end][path] && ++w->count[!end][path] % w->loss_every[!end][path] == 0)
		l->at = 0; /* lost */
}

static void hear(struct world *w, const struct letter *l)
{
	uint64_t now = clock_of(w, l->to);
	struct health *h = w->h[l->to];

	health_heard(&h[l->path], 100, now);
	health_got_probe(&h[l->path], &l->probe, now);
	health_lead(&h[l->path], &w->lead[l->to]);
	for (unsigned i = 0; i < PATHS; i++)
		if (l->has[i]) {
			health_got_report(&h[i], &l->report[i], i == l->path, now);
			health_lead(&h[i], &w->lead[l->to]);
		}
}

static void judge(struct world *w, int end)
{
	for (unsigned i = 0; i < PATHS; i++) {
		struct health_view v = { .lead = &w->lead[end], .interval_us = EVERY, .asks = end == LOCAL,
					 .brisk = w->now - w->brisk_since > 300000 };
		const struct health *other = &w->h[end][!i];

		v.alone = !health_usable(other->state);
		v.best_loss_ppm = other->side[HEALTH_TX].loss_ppm;
		w->changes += health_tick(&w->h[end][i], &v, clock_of(w, end));
	}
}

static void deliver(struct world *w)
{
	for (size_t i = w->first; i < w->n; i++) {
		struct letter *l = &w->letters[i % PENDING];

		if (l->at && l->at <= w->now && !w->stalled[l->to]) {
			hear(w, l);
			l->at = 0;
		}
	}
	while (w->first < w->n && !w->letters[w->first % PENDING].at)
		w->first++;
}

static void run(struct world *w, unsigned ms)
{
	for (uint64_t end = w->now + ms * 1000u; w->now < end; w->now += STEP) {
		deliver(w);
		for (int e = 0; e < 2; e++) {
			if (w->stalled[e])
				continue;
			if (w->now >= w->due[e]) {
				for (unsigned i = 0; i < PATHS; i++)
					speak(w, e, i);
				w->due[e] = w->now + EVERY;
			}
			judge(w, e);
		}
	}
}

/* Milliseconds until the local thinks so of path 0, at most `most`. */
static unsigned until(struct world *w, enum health_state s, unsigned most)
{
	unsigned ms = 0;

	for (; w->h[LOCAL][0].state != s && ms < most; ms++)
		run(w, 1);
	return ms;
}

static int setup(void **state)
{
	static struct world w;

	memset(&w, 0, sizeof(w));
	w.now = w.brisk_since = 1000000;
	w.offset[LOCAL] = ((uint64_t)3 << 32) - 4000000; /* wraps after three seconds */
	w.offset[REMOTE] = 77777777;
	w.delay[0] = 10000;
	w.delay[1] = 45000;
	for (int e = 0; e < 2; e++)
		for (unsigned i = 0; i < PATHS; i++)
			health_init(&w.h[e][i], clock_of(&w, e));
	*state = &w;
	return 0;
}

static void all_up(const struct world *w)
{
	for (int e = 0; e < 2; e++)
		for (unsigned i = 0; i < PATHS; i++)
			assert_int_equal(w->h[e][i].state, HEALTH_UP);
}

static void comes_up_and_stays(void **state)
{
	struct world *w = *state;

	assert_in_range(until(w, HEALTH_UP, 2000), 200, 260); /* three probes over 200 ms */
	run(w, 500);
	all_up(w);
	w->changes = 0;
	run(w, 10000);
	assert_int_equal(w->changes, 0);
	assert_in_range(w->h[LOCAL][0].srtt_us, 20000, 22000);
	assert_in_range(w->h[REMOTE][1].min_rtt_us, 90000, 92000);
	assert_int_equal(w->h[LOCAL][0].side[HEALTH_TX].loss_ppm, 0);
	assert_true(w->h[LOCAL][0].side[HEALTH_RX].queue_us < 1100);
}

static void a_line_full_from_the_start_is_as_near_as_it_is(void **state)
{
	struct world *w = *state;
	uint32_t idle = w->delay[0];

	run(w, idle / 1000 + 2); /* the first probes came through, no report yet */
	assert_int_equal(w->h[LOCAL][0].min_rtt_us, 0);
	w->delay[0] = 10 * idle;
	run(w, 1000);
	assert_true(w->h[LOCAL][0].srtt_us > 15 * idle);
	assert_in_range(w->h[LOCAL][0].min_rtt_us, 2 * idle, 2 * idle + 2 * STEP);
	assert_in_range(w->h[REMOTE][0].min_rtt_us, 2 * idle, 2 * idle + 2 * STEP);
}

/* phase: ms between the last probes and the death. */
static void one_way(struct world *w, int deaf, unsigned path, unsigned phase)
{
	enum health_dir dead = deaf == LOCAL ? HEALTH_RX : HEALTH_TX;
	unsigned ms = 0;

	run(w, 1500 + phase);
	all_up(w);
	w->loss_every[deaf][path] = 1;
	for (; w->h[LOCAL][path].side[dead].state != HEALTH_SUSPECT && ms < 1000; ms++)
		run(w, 1);
	assert_in_range(ms, 60, 130 + 4); /* what README promises, in steps of a millisecond */
	for (; w->h[LOCAL][path].side[dead].state != HEALTH_DOWN && ms < 1000; ms++)
		run(w, 1);
	assert_in_range(ms, 380, 490); /* silent for 400 ms, and the last word was under way when the line died */
	assert_int_equal(w->h[LOCAL][path].side[!dead].state, HEALTH_UP);
	assert_int_equal(w->h[LOCAL][!path].state, HEALTH_UP);
	run(w, 300);
	assert_int_equal(w->h[REMOTE][path].side[!dead].state, HEALTH_DOWN);
	w->loss_every[deaf][path] = 0;
	run(w, 1500);
	all_up(w);
}

static void each_way_of_each(void **state)
{
	for (int deaf = 0; deaf < 2; deaf++)
		for (unsigned path = 0; path < PATHS; path++)
			for (unsigned phase = 0; phase < EVERY / 1000; phase += 3) {
				setup(state);
				one_way(*state, deaf, path, phase);
			}
}

static void stalls_accuse_nobody(void **state)
{
	struct world *w = *state;

	run(w, 1500);
	w->changes = 0;
	for (int e = 0; e < 2; e++) {
		w->stalled[e] = true;
		run(w, 250);
		w->stalled[e] = false;
		run(w, 1000);
	}
	assert_int_equal(w->changes, 0);
	all_up(w);
}

static void loss_is_measured(void **state)
{
	struct world *w = *state;

	run(w, 1000);
	w->loss_every[LOCAL][0] = 5;
	run(w, 12000);
	assert_in_range(w->h[LOCAL][0].side[HEALTH_RX].loss_ppm, 180000, 220000);
	assert_in_range(w->h[REMOTE][0].side[HEALTH_TX].loss_ppm, 180000, 220000);
	assert_int_equal(w->h[LOCAL][0].side[HEALTH_TX].loss_ppm, 0);
	assert_int_equal(w->h[LOCAL][0].state, HEALTH_LOSSY);
	w->loss_every[LOCAL][0] = 0;
	run(w, 12000);
	all_up(w);
}

static void flapping_waits_longer(void **state)
{
	static const unsigned settle[] = { 400, 800, 1600, 3200, 3200, 3200 };
	struct world *w = *state;

	run(w, 1000);
	for (int i = 0; i < 6; i++) {
		w->loss_every[LOCAL][0] = 1;
		until(w, HEALTH_DOWN, 1000);
		w->loss_every[LOCAL][0] = 0;
		assert_in_range(until(w, HEALTH_UP, 10000), settle[i], settle[i] + 60); /* the first answer is as far as the line */
	}
	run(w, 6000); /* up for long: forgiven */
	w->loss_every[LOCAL][0] = 1;
	until(w, HEALTH_DOWN, 1000);
	w->loss_every[LOCAL][0] = 0;
	assert_in_range(until(w, HEALTH_UP, 10000), 200, 260);
}

static void the_kernel_knows(void **state)
{
	struct world *w = *state;

	run(w, 1000);
	health_dead(&w->h[LOCAL][0], "no carrier", clock_of(w, LOCAL));
	assert_int_equal(w->h[LOCAL][0].state, HEALTH_DOWN);
	assert_string_equal(w->h[LOCAL][0].why, "no carrier");
}

/* The local's line got another address: it knows nothing any more, the remote goes on. */
static void another_address_is_another_life(void **state)
{
	struct world *w = *state;

	until(w, HEALTH_UP, 2000);
	run(w, 5000);
	health_again(&w->h[LOCAL][0], clock_of(w, LOCAL));
	health_rebase(&w->h[REMOTE][0]);
	w->first = w->n; /* what was on its way does not reach the new address */
	w->changes = 0;
	assert_in_range(until(w, HEALTH_UP, 2000), 200, 300);
	assert_int_equal(w->changes, 0); /* it was never thought dead */
	run(w, 3000);
	all_up(w);
	assert_in_range(w->h[LOCAL][0].srtt_us, 20000, 22000);
	assert_int_equal(w->h[LOCAL][0].side[HEALTH_TX].loss_ppm, 0);
	one_way(w, LOCAL, 0, 0);
}

/* What came in before the death is told once more with the first that arrives after it: that is no
 * answer. */
static void a_heal_is_one_step(void **state)
{
	struct world *w = *state;

	until(w, HEALTH_UP, 2000);
	for (unsigned ms = 0; ms < 100; ms += 7) {
		run(w, 6000);
		w->loss_every[LOCAL][1] = w->loss_every[REMOTE][1] = 1;
		run(w, 2000 + ms);
		assert_int_equal(w->h[LOCAL][1].state, HEALTH_DOWN);
		w->loss_every[LOCAL][1] = w->loss_every[REMOTE][1] = 0;
		w->changes = 0;
		run(w, 1500);
		assert_int_equal(w->h[LOCAL][1].state, HEALTH_UP);
		assert_int_equal(w->changes, 0); /* never found dead again on the way */
	}
}

static void nonsense_changes_nothing(void **state)
{
	struct wire_report r = { .seq = 4000000000u, .time_us = 5, .hold_us = UINT32_MAX, .packets = UINT32_MAX, .rate = UINT32_MAX };
	struct wire_probe p = { .seq = 1 };
	struct world *w = *state;

	run(w, 1500);
	health_got_report(&w->h[LOCAL][0], &r, true, clock_of(w, LOCAL));
	r.seq = 0;
	health_got_report(&w->h[LOCAL][0], &r, true, clock_of(w, LOCAL));
	assert_false(health_got_probe(&w->h[LOCAL][0], &p, clock_of(w, LOCAL)));
	w->changes = 0;
	run(w, 1000);
	assert_int_equal(w->changes, 0);
	all_up(w);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, setup)
	const struct CMUnitTest tests[] = {
		T(comes_up_and_stays), T(a_line_full_from_the_start_is_as_near_as_it_is), T(each_way_of_each),
		T(stalls_accuse_nobody), T(loss_is_measured),
		T(flapping_waits_longer), T(the_kernel_knows), T(another_address_is_another_life), T(a_heal_is_one_step),
		T(nonsense_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
