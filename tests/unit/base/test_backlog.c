/* SPDX-License-Identifier: BSD-2-Clause */
/* backlog: what fills the lines and no more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backlog.h"

#define MBIT 125000u

static struct backlog_path path(uint32_t mbit, uint32_t rtt_ms, uint32_t least_ms)
{
	return (struct backlog_path){mbit * MBIT / 4 * 5, mbit * MBIT, rtt_ms * 1000, least_ms * 1000, false};
}

static void look(struct backlog *b, unsigned times, struct backlog_path p, struct backlog_path q)
{
	struct backlog_path both[2] = {p, q};

	while (times--)
		backlog_learn(b, both, 2);
}

static void assert_about(uint64_t is, uint64_t want)
{
	assert_in_range(is, want - want / 50, want + want / 50);
}

static void two_lines_hold_what_they_carry_in_the_longer_round_trip(void **state)
{
	struct backlog b = {0};

	(void)state;
	assert_true(backlog_limit(&b) == BACKLOG_NONE);
	look(&b, 100, path(20, 22, 20), path(20, 61, 60));
	assert_about(backlog_limit(&b), 40 * MBIT * (61 + 15 + 10) / 1000);
}

static void begins_with_four_times_that_and_shortens_slowly(void **state)
{
	struct backlog b = {0};
	uint64_t first, was;

	(void)state;
	look(&b, 1, path(20, 20, 20), path(20, 60, 60));
	first = was = backlog_limit(&b);
	assert_about(first, 4 * 40 * MBIT * 85 / 1000);
	for (int i = 0; i < 30; i++) { /* never faster than half of what the lines carry meanwhile */
		look(&b, 1, path(20, 20, 20), path(20, 60, 60));
		assert_true(was - backlog_limit(&b) <= 40 * MBIT * BACKLOG_LOOK_MS / 1000 / 2);
		was = backlog_limit(&b);
	}
	assert_about(was, first / 4);
}

static void one_line_has_no_limit_and_a_second_begins_anew(void **state)
{
	struct backlog b = {0};
	struct backlog_path one = path(20, 20, 20);
	uint64_t was;

	(void)state;
	look(&b, 100, one, path(20, 60, 60));
	was = backlog_limit(&b);
	backlog_learn(&b, &one, 1);
	assert_true(backlog_limit(&b) == BACKLOG_NONE);
	look(&b, 1, one, path(20, 60, 60));
	assert_true(backlog_limit(&b) > 3 * was);
}

static void our_own_queue_is_not_a_round_trip(void **state)
{
	struct backlog b = {0};

	(void)state;
	look(&b, 20, path(20, 20, 20), path(20, 60, 60));
	look(&b, 80, path(20, 110, 20), path(20, 160, 60));
	assert_about(backlog_limit(&b), 40 * MBIT * 85 / 1000);
	look(&b, 200, path(20, 110, 20), path(20, 160, 60)); /* for ten seconds: then it is somebody else's, or the line's */
	assert_about(backlog_limit(&b), 40 * MBIT * 210 / 1000);
}

static void a_congestion_control_that_fills_queues_may(void **state)
{
	struct backlog b = {.fills = true};

	(void)state;
	look(&b, 20, path(20, 20, 20), path(20, 60, 60));
	look(&b, 80, path(20, 110, 20), path(20, 160, 60));
	assert_about(backlog_limit(&b), 40 * MBIT * 210 / 1000);
}

static void the_others_go_on_while_a_slow_line_works_off_a_burst(void **state)
{
	struct backlog b = {0};

	(void)state;
	look(&b, 200, path(20, 20, 20), path(1, 20, 20));
	assert_about(backlog_limit(&b), 21 * MBIT * (20 + 524 + 10) / 1000);
	look(&b, 200, path(20, 20, 20), (struct backlog_path){1000, 800, 20000, 20000, false}); /* hardly anything: not for ever */
	assert_about(backlog_limit(&b), 20 * MBIT * (20 + 600 + 10) / 1000);
}

/* Its delivery is what it was, its pace falls: nothing more is written because of that. */
static void a_line_that_dies_is_no_slow_line(void **state)
{
	struct backlog_path dead = path(20, 60, 60);
	struct backlog b = {0};
	uint64_t before;

	(void)state;
	look(&b, 200, path(20, 20, 20), dead);
	before = backlog_limit(&b);
	dead.pacing = 1000;
	look(&b, 10, path(20, 20, 20), dead);
	assert_true(backlog_limit(&b) <= before);
}

static void lines_that_lose_hold_one_round_trip_more(void **state)
{
	struct backlog_path lossy = path(20, 102, 100);
	struct backlog b = {0};
	uint64_t before;

	(void)state;
	look(&b, 200, path(20, 60, 60), lossy);
	before = backlog_limit(&b);
	lossy.repairs = true;
	look(&b, 1, path(20, 60, 60), lossy); /* once: hardly */
	assert_about(backlog_limit(&b), before + 40 * MBIT * 125 / 16 / 1000);
	look(&b, 100, path(20, 60, 60), lossy);
	assert_about(backlog_limit(&b), before + 40 * MBIT * 125 / 1000);
	lossy.repairs = false;
	look(&b, 100, path(20, 60, 60), lossy);
	assert_about(backlog_limit(&b), before);
}

static void a_full_queue_that_loses_is_given_no_more(void **state)
{
	struct backlog_path full = path(20, 160, 60);
	struct backlog b = {0};
	uint64_t before;

	(void)state;
	look(&b, 20, path(20, 20, 20), path(20, 60, 60));
	look(&b, 80, path(20, 20, 20), full);
	before = backlog_limit(&b);
	full.repairs = true;
	look(&b, 40, path(20, 20, 20), full);
	assert_true(backlog_limit(&b) <= before);
}

static void a_near_line_is_repaired_sooner(void **state)
{
	struct backlog_path lossy = path(20, 20, 20);
	struct backlog b = {0};

	(void)state;
	lossy.repairs = true;
	look(&b, 200, lossy, path(20, 60, 60));
	assert_about(backlog_limit(&b), 40 * MBIT * (60 + 15 + 10 + 25) / 1000);
}

static void the_rate_is_what_arrives_though_the_pace_swings(void **state)
{
	struct backlog_path slow = path(20, 20, 20);
	struct backlog b = {0};

	(void)state;
	slow.pacing = 20 * MBIT;
	look(&b, 200, slow, slow);
	assert_about(backlog_limit(&b), 40 * MBIT * (20 + 26 + 10) / 1000);
}

static void guesses_before_the_first_measurement_count_little(void **state)
{
	struct backlog b = {0};
	struct backlog_path fresh = {UINT64_MAX, 0, 60000, 60000, false};

	(void)state;
	look(&b, 100, path(20, 20, 20), fresh);
	assert_about(backlog_limit(&b), 20 * MBIT * 85 / 1000);
	look(&b, 100, fresh, fresh);
	assert_int_equal(backlog_limit(&b), 65536);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_lines_hold_what_they_carry_in_the_longer_round_trip),
		cmocka_unit_test(begins_with_four_times_that_and_shortens_slowly),
		cmocka_unit_test(one_line_has_no_limit_and_a_second_begins_anew),
		cmocka_unit_test(our_own_queue_is_not_a_round_trip),
		cmocka_unit_test(a_congestion_control_that_fills_queues_may),
		cmocka_unit_test(the_others_go_on_while_a_slow_line_works_off_a_burst),
		cmocka_unit_test(a_line_that_dies_is_no_slow_line),
		cmocka_unit_test(lines_that_lose_hold_one_round_trip_more),
		cmocka_unit_test(a_full_queue_that_loses_is_given_no_more),
		cmocka_unit_test(a_near_line_is_repaired_sooner),
		cmocka_unit_test(the_rate_is_what_arrives_though_the_pace_swings),
		cmocka_unit_test(guesses_before_the_first_measurement_count_little),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
