/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "gf256.h"

static void test_field(void **st)
{
	(void)st;
	assert_int_equal(gf256_mul(2, 0x80), 0x1d); /* x^8 = x^4 + x^3 + x^2 + 1 */
	for (unsigned a = 0; a < 256; a++) {
		assert_int_equal(gf256_mul((uint8_t)a, 1), a);
		assert_int_equal(gf256_mul((uint8_t)a, 0), 0);
		assert_int_equal(gf256_mul((uint8_t)a, gf256_inv((uint8_t)a)), a != 0);
		for (unsigned b = 0; b < 256; b++) {
			uint8_t c = (uint8_t)(a * 7 + b), ab = gf256_mul((uint8_t)a, (uint8_t)b);

			assert_int_equal(ab, gf256_mul((uint8_t)b, (uint8_t)a));
			assert_int_equal(gf256_mul(ab, c), gf256_mul((uint8_t)a, gf256_mul((uint8_t)b, c)));
			assert_int_equal(gf256_mul((uint8_t)a, (uint8_t)(b ^ c)), ab ^ gf256_mul((uint8_t)a, c));
		}
	}
}

/* Every factor, lengths around those that are done at once, places that are not aligned. */
static void test_buffers(void **st)
{
	(void)st;
	for (unsigned factor = 0; factor < 256; factor++)
		for (size_t len = 0; len < 70; len += 1 + factor % 3) {
			uint8_t *from = malloc(len + 1), *into = malloc(len + 1), *plain = malloc(len + 1), *was = malloc(len + 1);

			for (size_t i = 0; i <= len; i++) {
				from[i] = (uint8_t)random();
				into[i] = plain[i] = was[i] = (uint8_t)random();
			}
			gf256_add_mul(into + 1, from + 1, (uint8_t)factor, len);
			gf256_add_mul_plain(plain + 1, from + 1, (uint8_t)factor, len);
			for (size_t i = 1; i <= len; i++)
				assert_int_equal(into[i], was[i] ^ gf256_mul((uint8_t)factor, from[i]));
			assert_memory_equal(into, plain, len + 1);
			gf256_scale(plain + 1, (uint8_t)factor, len);
			for (size_t i = 1; i <= len; i++)
				assert_int_equal(plain[i], gf256_mul((uint8_t)factor, into[i]));
			assert_int_equal(plain[0], was[0]);
			free(from), free(into), free(plain), free(was);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_field),
		cmocka_unit_test(test_buffers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
