/* SPDX-License-Identifier: BSD-2-Clause */
/* Targets of a service are tried as RFC 2782 says: the smallest priority first, heavier ones more
 * often first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "srv.h"

static uint32_t count_up(void *arg)
{
	uint32_t *n = arg;

	return (*n)++ * 2654435761u >> 8;
}

static struct srv target(uint16_t priority, uint16_t weight, const char *host)
{
	struct srv s = { .priority = priority, .weight = weight, .port = 7200 };

	memcpy(s.host, host, strlen(host) + 1);
	return s;
}

static void test_priority(void **state)
{
	struct srv list[] = { target(30, 9, "c"), target(10, 0, "a"), target(20, 1, "b"), target(40, 0, "d") };
	uint32_t n = 0;

	(void)state;
	srv_order(list, 4, count_up, &n);
	for (int i = 0; i < 4; i++)
		assert_int_equal(list[i].host[0], "abcd"[i]);
	assert_int_equal(n, 0); /* nobody drew */
	srv_order(list, 0, count_up, &n);
}

/* 1 : 3, and one that weighs nothing among them: first about never. */
static void test_weight(void **state)
{
	unsigned first[3] = { 0 }, last[3] = { 0 };
	uint32_t n = 0;

	(void)state;
	for (int i = 0; i < 4000; i++) {
		struct srv list[] = { target(5, 100, "a"), target(9, 1, "z"), target(5, 300, "b"), target(5, 0, "c") };

		srv_order(list, 4, count_up, &n);
		assert_int_equal(list[3].host[0], 'z');
		first[list[0].host[0] - 'a']++;
		last[list[2].host[0] - 'a']++;
	}
	assert_in_range(first[0], 850, 1150);
	assert_in_range(first[1], 2850, 3150);
	assert_in_range(first[2], 0, 40);
	assert_in_range(last[2], 3900, 4000);
}

/* All weigh nothing: any order, nobody is lost. */
static void test_nothing_weighs(void **state)
{
	struct srv list[] = { target(1, 0, "a"), target(1, 0, "b"), target(1, 0, "c") };
	uint32_t n = 0;
	unsigned seen = 0;

	(void)state;
	srv_order(list, 3, count_up, &n);
	for (int i = 0; i < 3; i++)
		seen |= 1u << (list[i].host[0] - 'a');
	assert_int_equal(seen, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_priority),
		cmocka_unit_test(test_weight),
		cmocka_unit_test(test_nothing_weighs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
