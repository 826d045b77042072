/* SPDX-License-Identifier: BSD-2-Clause */
/* Fear: what a household does all day is taken for a download, and a line that was not needed for a
 * bad one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "bulk.h"

#define MB 1000000u

enum { UP, DOWN };

static struct bulk b;

static int fresh(void **state)
{
	(void)state;
	memset(&b, 0, sizeof(b));
	return 0;
}

/* How many bytes of it are bulk. */
static size_t moves(int way, size_t bytes)
{
	size_t found = 0;

	while (bytes) {
		size_t piece = bytes < 64000 ? bytes : 64000;

		found += bulk_moved(&b, way, piece);
		bytes -= piece;
	}
	return found;
}

static void a_download_is_bulk_but_for_its_first_megabyte(void **state)
{
	(void)state;
	moves(UP, 300);
	assert_int_equal(moves(DOWN, 20 * MB), 20 * MB - (1 << 20));
	fresh(NULL);
	assert_int_equal(moves(UP, 20 * MB), 20 * MB - (1 << 20));
}

static void pages_are_not_on_a_kept_connection_all_day(void **state)
{
	(void)state;
	for (int i = 0; i < 10000; i++) { /* 3 to 33 KB, as a short question asks for them */
		assert_int_equal(moves(UP, 90), 0);
		assert_int_equal(moves(DOWN, 3000 + (size_t)i % 31 * 1000), 0);
	}
}

static void single_objects_are_not(void **state)
{
	(void)state;
	moves(UP, 90);
	assert_int_equal(moves(DOWN, MB), 0);
}

static void a_call_and_a_shell_are_not(void **state)
{
	(void)state;
	for (int i = 0; i < 100000; i++)
		assert_int_equal(moves(UP, 160) + moves(DOWN, 160), 0);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(moves(UP, 36) + moves(DOWN, 4000), 0);
}

/* SSH and HTTP/2 say in some dozen bytes that more may come. */
static void a_transfer_that_is_kept_going_is_one(void **state)
{
	size_t found = 0;

	(void)state;
	for (int i = 0; i < 200; i++)
		found += moves(DOWN, 100000) + moves(UP, 52);
	assert_true(found > 15 * MB);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup(name, fresh)
	const struct CMUnitTest tests[] = {
		T(a_download_is_bulk_but_for_its_first_megabyte),
		T(pages_are_not_on_a_kept_connection_all_day),
		T(single_objects_are_not),
		T(a_call_and_a_shell_are_not),
		T(a_transfer_that_is_kept_going_is_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
