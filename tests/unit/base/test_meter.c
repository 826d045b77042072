/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "meter.h"

#define HOUR 3600000ull

static void periods_begin_on_their_day(void **state)
{
	int y, m, d;
	uint32_t nov = meter_period(2026, 11, 1, 1);

	(void)state;
	assert_int_equal(meter_period(2026, 11, 30, 1), nov);
	assert_int_equal(meter_period(2026, 12, 1, 1), nov + 1);
	assert_int_equal(meter_period(2027, 1, 1, 1), nov + 2);
	assert_int_equal(meter_period(2026, 11, 14, 15), nov - 1);
	assert_int_equal(meter_period(2026, 11, 15, 15), nov);
	assert_int_equal(meter_period(2027, 2, 27, 31), nov + 2); /* 31: the last day, 28 February */
	assert_int_equal(meter_period(2027, 2, 28, 31), nov + 3);
	assert_int_equal(meter_period(2028, 2, 28, 31), nov + 14);
	assert_int_equal(meter_period(2028, 2, 29, 31), nov + 15);
	assert_int_equal(meter_period(1970, 1, 1, 1), 0);
	assert_int_equal(meter_period(2026, 13, 1, 1), 0);
	meter_next(nov, 1, &y, &m, &d);
	assert_true(y == 2026 && m == 12 && d == 1);
	meter_next(meter_period(2027, 1, 31, 31), 31, &y, &m, &d);
	assert_true(y == 2027 && m == 2 && d == 28);
	meter_next(meter_period(2026, 12, 5, 1), 1, &y, &m, &d);
	assert_true(y == 2027 && m == 1 && d == 1);
}

static void counts_over_restarts_reboots_and_new_devices(void **state)
{
	struct meter m = { 0 };

	(void)state;
	meter_count(&m, 3, 5000); /* counting begins */
	assert_int_equal(m.used, 0);
	meter_count(&m, 3, 5100);
	assert_int_equal(m.used, 100);
	meter_count(&m, 3, 9000); /* a restart between: nothing to be told */
	assert_int_equal(m.used, 4000);
	meter_rebooted(&m);
	meter_count(&m, 3, 10000); /* more than was seen, and all of it new */
	assert_int_equal(m.used, 14000);
	meter_count(&m, 8, 50); /* made anew */
	assert_int_equal(m.used, 14050);
	meter_count(&m, 8, 20); /* its counter went back */
	assert_int_equal(m.used, 14070);
}

static void a_month_ends_once(void **state)
{
	struct meter m = { 0 };

	(void)state;
	assert_false(meter_turn(&m, 100, 0)); /* the first date names the month */
	m.used = 70;
	assert_false(meter_turn(&m, 100, 500 * HOUR));
	assert_true(meter_turn(&m, 101, HOUR));
	assert_int_equal(m.used, 0);
	m.used = 5;
	assert_false(meter_turn(&m, 101, HOUR));
	assert_int_equal(m.used, 5);
}

static void a_wrong_clock_loses_and_doubles_nothing(void **state)
{
	struct meter m = { 0 };

	(void)state;
	m.used = 10; /* counted before any date was known */
	assert_false(meter_turn(&m, 0, HOUR));
	assert_false(meter_turn(&m, 100, HOUR));
	assert_int_equal(m.used, 10);
	assert_false(meter_turn(&m, 0, HOUR)); /* 1970 again */
	m.used += 10;
	assert_false(meter_turn(&m, 100, HOUR));
	assert_int_equal(m.used, 20);

	assert_true(meter_turn(&m, 112, HOUR)); /* a year ahead, and back */
	m.used += 3;
	assert_false(meter_turn(&m, 100, HOUR));
	assert_int_equal(m.used, 23);

	assert_false(meter_turn(&m, 112, HOUR)); /* ahead again: that month goes on; further ahead, and back */
	assert_int_equal(m.used, 3);
	m.used += 4;
	assert_true(meter_turn(&m, 130, HOUR));
	m.used += 5;
	assert_false(meter_turn(&m, 100, HOUR));
	assert_int_equal(m.used, 32);

	assert_false(meter_turn(&m, 100, 30 * HOUR)); /* that was believed: 130 never was */
	assert_true(meter_turn(&m, 101, HOUR));
	assert_int_equal(m.used, 0);
}

static void a_clock_that_goes_back_and_returns(void **state)
{
	struct meter m = { .period = 100, .used = 50, .before = 99, .before_used = 7, .age_ms = 300 * HOUR };

	(void)state;
	assert_false(meter_turn(&m, 90, HOUR)); /* a year that is wrong and not absurd */
	m.used += 2;
	assert_false(meter_turn(&m, 95, HOUR));
	m.used += 3;
	assert_false(meter_turn(&m, 100, HOUR));
	assert_true(m.period == 100 && m.used == 55);
	m.used = 50;
	assert_false(meter_turn(&m, 99, HOUR)); /* ten minutes over the end of the month, twice */
	assert_int_equal(m.used, 57);
	m.used += 1;
	assert_false(meter_turn(&m, 100, HOUR));
	assert_int_equal(m.used, 51);
	assert_true(meter_turn(&m, 101, 600 * HOUR));
	assert_int_equal(m.used, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(periods_begin_on_their_day),
		cmocka_unit_test(counts_over_restarts_reboots_and_new_devices),
		cmocka_unit_test(a_month_ends_once),
		cmocka_unit_test(a_wrong_clock_loses_and_doubles_nothing),
		cmocka_unit_test(a_clock_that_goes_back_and_returns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
