/* SPDX-License-Identifier: BSD-2-Clause */
/* knocks: what was heard is not new, for long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "knocks.h"

static struct knocks knocks;

static void make(uint32_t n, uint8_t nonce[WIRE_NONCE])
{
	uint64_t x = (n + 1) * 0x9e3779b97f4a7c15;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	for (unsigned i = 0; i < WIRE_NONCE; i++)
		nonce[i] = (uint8_t)(x >> i % 8 * 8 ^ i);
}

static void none_is_new_twice(void **state)
{
	uint8_t nonce[WIRE_NONCE];

	(void)state;
	for (uint32_t i = 0; i < 1000; i++) {
		make(i, nonce);
		assert_true(knocks_is_new(&knocks, nonce));
		assert_false(knocks_is_new(&knocks, nonce));
		nonce[WIRE_NONCE - 1] ^= 1;
		assert_true(knocks_is_new(&knocks, nonce));
	}
}

static void they_are_known_behind_thirty_thousand_others(void **state)
{
	uint8_t nonce[WIRE_NONCE];
	unsigned known = 0;

	(void)state;
	memset(&knocks, 0, sizeof(knocks));
	for (uint32_t i = 0; i < 31000; i++) {
		make(i, nonce);
		assert_true(knocks_is_new(&knocks, nonce));
	}
	for (uint32_t i = 0; i < 1000; i++) {
		make(i, nonce);
		known += !knocks_is_new(&knocks, nonce);
	}
	assert_in_range(known, 990, 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(none_is_new_twice),
		cmocka_unit_test(they_are_known_behind_thirty_thousand_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
