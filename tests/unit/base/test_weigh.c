/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "weigh.h"

#define M 125000 /* bytes a second of 1 Mbit/s */

static struct weigh w;
static uint64_t now;
static uint32_t rtt[2] = { 20000, 20000 };

static int begin(void **state)
{
	(void)state;
	memset(&w, 0, sizeof(w));
	now = 5000000;
	rtt[1] = 20000;
	return 0;
}

/* One second of two links that carried so many Mbit/s down and up; true: a verdict changed. */
static bool carried(double a, double b, double a_up, double b_up)
{
	struct weigh_second s[2] = { { true, { (uint64_t)(a * M), (uint64_t)(a_up * M) }, rtt[0], 0 },
				     { true, { (uint64_t)(b * M), (uint64_t)(b_up * M) }, rtt[1], 0 } };

	now += 1000;
	return weigh_second(&w, s, 2, now);
}

/* So many seconds, the second link carrying nothing while aside; how many verdicts changed. */
static unsigned seconds(unsigned n, double a, double b)
{
	unsigned changes = 0;

	while (n--)
		changes += carried(a, w.link[1].aside ? 0 : b, 0, 0);
	return changes;
}

static void a_line_that_brings_little_is_put_aside(void **state)
{
	(void)state;
	assert_int_equal(seconds(3, 19, 0.9), 0);
	assert_int_equal(seconds(2, 19, 0.9), 1);
	assert_true(w.link[1].aside);
	assert_int_equal(w.link[1].share, 45);
	assert_false(w.link[0].aside);
}

static void one_that_brings_its_part_stays(void **state)
{
	(void)state;
	assert_int_equal(seconds(100, 19, 3.8), 0);
	assert_int_equal(seconds(100, 3.8, 19), 0);
	rtt[1] = 400000;
	assert_int_equal(seconds(100, 8, 9), 0);
}

static void a_far_line_must_bring_more(void **state)
{
	(void)state;
	assert_int_equal(seconds(20, 18, 2), 0);
	rtt[1] = 60000; /* three times: near */
	assert_int_equal(seconds(20, 18, 2), 0);
	rtt[1] = 400000;
	assert_int_equal(seconds(20, 18, 2), 1);
}

static void both_ways_count(void **state)
{
	(void)state;
	for (int i = 0; i < 50; i++)
		assert_false(carried(20, 0.5, 1.2, 1.2)); /* it is half of what goes up */
}

static void little_traffic_and_short_bursts_say_nothing(void **state)
{
	(void)state;
	assert_int_equal(seconds(100, 0.5, 0), 0);
	for (int i = 0; i < 50; i++) {
		assert_false(carried(19, 0, 0, 0)); /* the first second of a transfer */
		assert_false(carried(0, 0, 0, 0));
	}
	assert_int_equal(seconds(1, 19, 9), 0);
	for (int i = 0; i < 50; i++) /* what is little for the first link needs no second one */
		assert_false(carried(6, 0, 0, 0));
}

static void one_that_chokes_all_is_found_out(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++)
		carried(19, 0.9, 0, 0);
	memset(&w.link[1].against, 0, sizeof(w.link[1].against));
	for (int i = 0; i < 2; i++) /* it is as busy as ever, and the first link waits for it */
		assert_false(carried(3, 0.9, 0, 0));
	assert_true(carried(3, 0.9, 0, 0));
	for (int i = 0; i < 25; i++) /* and alone the first one is fast: that is no news */
		assert_false(carried(19, 0, 0, 0));
}

static void one_that_got_slow_is_found_out_by_its_queue(void **state)
{
	struct weigh_second s[2] = { { true, { 4 * M, 0 }, 20000, 1000 }, { true, { M / 2, 0 }, 20000, 400000 } };
	unsigned n = 0;

	(void)state;
	seconds(100, 19, 15);
	while (!weigh_second(&w, s, 2, now += 1000))
		assert_true(++n < 5);
	assert_true(w.link[1].aside);
}

static void rates_that_are_known_beforehand_count(void **state)
{
	(void)state;
	weigh_hint(&w, 0, 20 * M, 2 * M);
	weigh_hint(&w, 1, 20 * M, 2 * M);
	assert_int_equal(seconds(100, 5, 0), 0); /* a film, and nothing else since the start */
}

static void it_is_tried_again_with_longer_and_longer_rests(void **state)
{
	unsigned rest = 0, last = 0;

	(void)state;
	seconds(10, 19, 0.5);
	assert_true(w.link[1].aside);
	for (int trial = 0; trial < 8; trial++) {
		for (rest = 0; w.link[1].aside && rest < 2000; rest++)
			seconds(1, 19, 0.5);
		assert_true(w.link[1].trial);
		assert_true(rest >= last && rest <= 901);
		last = rest;
		assert_int_equal(seconds(4, 19, 0.5), 1); /* two to get up to speed, two against it */
		assert_true(w.link[1].aside);
	}
	assert_in_range(last, 890, 901);
}

static void one_that_got_better_is_taken_back(void **state)
{
	(void)state;
	seconds(10, 19, 0.5);
	assert_true(w.link[1].aside);
	assert_int_equal(seconds(90, 19, 10), 1);
	assert_false(w.link[1].aside || w.link[1].trial);
	assert_int_equal(seconds(600, 19, 10), 0);
}

static void more_to_carry_is_a_reason_to_try(void **state)
{
	(void)state;
	assert_int_equal(seconds(10, 3, 0), 1); /* a film: the first link was enough */
	assert_int_equal(seconds(6, 3, 0), 0);
	assert_int_equal(seconds(5, 19, 15), 1);
	assert_false(w.link[1].aside);
	assert_int_equal(seconds(20, 19, 15), 0);
	assert_false(w.link[1].trial);
}

static void speed_that_comes_with_the_transfer_is_no_reason(void **state)
{
	(void)state;
	assert_int_equal(seconds(5, 10, 0.8), 1); /* judged while the first link was still getting faster */
	assert_int_equal(seconds(5, 19, 0.8), 0);
	assert_int_equal(seconds(1, 0, 0), 0);
	assert_int_equal(seconds(40, 19, 0.8), 0);
}

static void a_verdict_holds_beside_its_betters_only(void **state)
{
	bool both[] = { true, true }, second[] = { false, true };

	(void)state;
	seconds(10, 19, 0.9);
	assert_true(w.link[1].aside);
	assert_false(weigh_present(&w, both, 2));
	assert_false(weigh_present(&w, second, 2)); /* alone it is used anyway */
	assert_true(w.link[1].aside);
	w.link[2].peak[0] = 2 * M; /* a third one, slow too */
	assert_false(weigh_present(&w, (bool[]){ true, true, true }, 3));
	assert_true(weigh_present(&w, (bool[]){ false, true, true }, 3));
	assert_false(w.link[1].aside);
}

/* Another line behind the device is judged as one that nothing is known of, with as many seconds. */
static void another_line_begins_anew(void **state)
{
	(void)state;
	seconds(10, 19, 0.9);
	assert_true(w.link[1].aside);
	weigh_forget(&w, 1);
	assert_false(w.link[1].aside);
	assert_int_equal(w.link[1].peak[0], 0);
	assert_true(w.link[0].peak[0] > 0);
	assert_int_equal(seconds(60, 19, 15), 0);
	assert_false(w.link[1].aside);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(another_line_begins_anew, begin),
		cmocka_unit_test_setup(a_line_that_brings_little_is_put_aside, begin),
		cmocka_unit_test_setup(one_that_brings_its_part_stays, begin),
		cmocka_unit_test_setup(a_far_line_must_bring_more, begin),
		cmocka_unit_test_setup(both_ways_count, begin),
		cmocka_unit_test_setup(little_traffic_and_short_bursts_say_nothing, begin),
		cmocka_unit_test_setup(one_that_chokes_all_is_found_out, begin),
		cmocka_unit_test_setup(one_that_got_slow_is_found_out_by_its_queue, begin),
		cmocka_unit_test_setup(rates_that_are_known_beforehand_count, begin),
		cmocka_unit_test_setup(it_is_tried_again_with_longer_and_longer_rests, begin),
		cmocka_unit_test_setup(one_that_got_better_is_taken_back, begin),
		cmocka_unit_test_setup(more_to_carry_is_a_reason_to_try, begin),
		cmocka_unit_test_setup(speed_that_comes_with_the_transfer_is_no_reason, begin),
		cmocka_unit_test_setup(a_verdict_holds_beside_its_betters_only, begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
