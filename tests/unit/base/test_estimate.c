/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "estimate.h"

/* A line of so many packets of 1448 bytes in 60 ms. */
static struct estimate_sample full(uint32_t packets)
{
	return (struct estimate_sample){ .rate = (uint64_t)packets * 1448 * 1000 / 60 + 1000, .rtt_us = 60000, .mss = 1448 };
}

static void observe(struct estimate *e, uint32_t packets, bool app_limited)
{
	struct estimate_sample s = full(packets);

	s.app_limited = app_limited;
	estimate_observe(e, &s);
}

static void a_line_of_20_mbit_and_60_ms(void **state)
{
	struct estimate e = { 0 };
	struct estimate_sample s = { .rate = 2500000, .rtt_us = 60000, .mss = 1448 };

	(void)state;
	assert_int_equal(estimate_packets(&e), 0);
	assert_false(estimate_changed(&e));
	estimate_observe(&e, &s);
	assert_int_equal(estimate_packets(&e), 103);
	assert_true(estimate_changed(&e));
}

static void rises_at_once_and_falls_slowly(void **state)
{
	struct estimate e = { 0 };
	unsigned n = 0;

	(void)state;
	observe(&e, 40, false);
	observe(&e, 120, false);
	assert_int_equal(estimate_packets(&e), 120);
	observe(&e, 40, false);
	assert_int_equal(estimate_packets(&e), 110);
	for (; estimate_packets(&e) > 40; n++)
		observe(&e, 40, false);
	assert_in_range(n, 15, 40);
	observe(&e, 40, false);
	assert_int_equal(estimate_packets(&e), 40);
}

static void too_little_to_send_is_no_news(void **state)
{
	struct estimate e = { 0 };

	(void)state;
	observe(&e, 80, false);
	observe(&e, 20, true);
	assert_int_equal(estimate_packets(&e), 80);
	observe(&e, 100, true); /* but what was delivered was possible */
	assert_int_equal(estimate_packets(&e), 100);
}

static void nonsense_changes_nothing(void **state)
{
	const struct estimate_sample bad[] = { { 0, 60000, 1448, false }, { 2500000, 0, 1448, false }, { 2500000, 60000, 0, false } };
	struct estimate e = { 80, 80, 80 };

	(void)state;
	for (int i = 0; i < 3; i++)
		estimate_observe(&e, &bad[i]);
	assert_int_equal(estimate_packets(&e), 80);
}

static void stays_between_its_bounds(void **state)
{
	struct estimate_sample all = { UINT64_MAX, UINT32_MAX, 1, false };
	struct estimate e = { 0 };

	(void)state;
	observe(&e, 3, false);
	assert_int_equal(estimate_packets(&e), ESTIMATE_MIN);
	assert_false(estimate_changed(&e)); /* the kernel does that by itself */
	estimate_observe(&e, &all);
	assert_int_equal(estimate_packets(&e), ESTIMATE_MAX);
}

static bool installs(struct estimate *e, uint32_t packets)
{
	e->packets = packets;
	return estimate_install(e);
}

static void small_changes_are_not_installed(void **state)
{
	struct estimate e = { 12, 10, 10 };

	(void)state;
	assert_false(estimate_changed(&e)); /* two packets */
	e = (struct estimate){ 35, 28, 28 };
	assert_false(estimate_changed(&e)); /* a quarter, not more */
	e.packets = 36;
	assert_true(estimate_changed(&e));
	e.packets = 20;
	assert_true(estimate_changed(&e));
	assert_false(estimate_install(&e));
	assert_false(estimate_changed(&e));
	assert_true(installs(&e, 10));
	assert_true(installs(&e, 20));
	assert_false(installs(&e, 19));
}

static void small_steps_add_up(void **state)
{
	struct estimate e = { 0 };

	(void)state;
	assert_false(installs(&e, 16));
	assert_true(installs(&e, 24)); /* 10 to 16 to 24 */
	assert_false(installs(&e, 36));
	assert_false(installs(&e, 20));
	assert_true(installs(&e, 12));
}

static void no_more_is_installed_than_a_nat_lets_pass(void **state)
{
	struct estimate e = { 103, 0, 0 };

	(void)state;
	assert_true(estimate_install(&e));
	assert_int_equal(e.installed, ESTIMATE_MOST);
	e.packets = 150;
	assert_false(estimate_changed(&e));
	e.packets = 43;
	assert_false(estimate_changed(&e));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_of_20_mbit_and_60_ms),
		cmocka_unit_test(rises_at_once_and_falls_slowly),
		cmocka_unit_test(too_little_to_send_is_no_news),
		cmocka_unit_test(nonsense_changes_nothing),
		cmocka_unit_test(stays_between_its_bounds),
		cmocka_unit_test(small_changes_are_not_installed), cmocka_unit_test(small_steps_add_up),
		cmocka_unit_test(no_more_is_installed_than_a_nat_lets_pass),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
