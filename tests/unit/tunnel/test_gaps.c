/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "gaps.h"

static const struct gaps_pace pace = { .gap_us = 10000, .young_us = 150000, .calm_us = 20000, .eager = true };

/* What the frames say of a number: 1 arrived, 0 missing, -1 nothing. */
static int told(const struct wire_ack *a, unsigned n, uint64_t seq)
{
	for (unsigned i = 0; i < n; i++) {
		if (seq == a[i].top)
			return 1;
		if (seq < a[i].top && a[i].top - 1 - seq < a[i].n * 8u)
			return a[i].map[(a[i].top - 1 - seq) / 8] >> ((a[i].top - 1 - seq) % 8) & 1;
	}
	return -1;
}

/* Random arrivals: whatever the frames say is true, and each change is told of twice. */
static void what_is_told_is_true(void **st)
{
	struct gaps *g = calloc(1, sizeof(*g));
	bool *came = calloc(20000, 1);
	unsigned *times = calloc(20000, sizeof(*times));
	struct wire_ack a[GAPS_FRAMES];
	uint64_t now = 1000000, top = 0;
	unsigned n, untold = 0;

	(void)st;
	srand(1);
	for (unsigned i = 0; i < 19000; i++) {
		uint64_t seq = i < 300 || rand() % 3 ? i : i - (unsigned)rand() % 300;

		now += 700;
		if (rand() % 50 == 0 || came[seq])
			continue;
		came[seq] = true;
		top = seq > top ? seq : top;
		assert_true(gaps_take(g, seq, now));
		assert_true(gaps_has(g, seq));
		if (!gaps_due(g, &pace, now))
			continue;
		n = gaps_ack(g, &pace, WIRE_CLASS_B, a, now);
		assert_in_range(n, 1, GAPS_FRAMES);
		assert_int_equal(a[0].top, top);
		for (uint64_t s = top > 1000 ? top - 1000 : 0; s <= top; s++) {
			if (told(a, n, s) >= 0)
				assert_int_equal(told(a, n, s), came[s]);
			times[s] += told(a, n, s) == 1;
		}
	}
	for (unsigned s = 0; s + 600 < top; s++)
		untold += came[s] && times[s] < 2;
	assert_int_equal(untold, 0);
	assert_true(g->filled > 0 && g->lost > 0);
	assert_int_equal(g->late, 0);
	free(g);
	free(came);
	free(times);
}

static void a_gap_is_told_of_at_once_and_again(void **st)
{
	struct gaps *g = calloc(1, sizeof(*g));
	struct wire_ack a[GAPS_FRAMES];

	(void)st;
	for (uint64_t s = 0; s < 10; s++)
		gaps_take(g, s, 1000000);
	assert_true(gaps_due(g, &pace, 1000000));
	gaps_ack(g, &pace, 1, a, 1000000);
	assert_false(gaps_due(g, &pace, 1100000)); /* nothing new */
	gaps_take(g, 11, 1100000);
	gaps_ack(g, &pace, 1, a, 1100000);
	assert_int_equal(told(a, 1, 10), 0);
	gaps_take(g, 12, 1103000);
	assert_true(gaps_due(g, &pace, 1103000)); /* two later numbers */
	gaps_ack(g, &pace, 1, a, 1103000);
	assert_false(gaps_due(g, &pace, 1108000));
	assert_true(gaps_due(g, &pace, 1113000)); /* and again while it is young */
	assert_false(gaps_due(g, &pace, 1260000));
	assert_true(gaps_take(g, 10, 1261000)); /* it came after all */
	assert_int_equal(g->missing, 0);
	assert_int_equal(g->filled, 1);
	free(g);
}

static void a_leap_or_a_new_start_begins_anew(void **st)
{
	struct gaps *g = calloc(1, sizeof(*g));

	(void)st;
	gaps_take(g, 3, 0); /* the first of all, and three before it are still to come */
	assert_int_equal(g->missing, 3);
	assert_false(gaps_has(g, 1));
	assert_true(gaps_take(g, 1, 0));
	gaps_take(g, 1000000, 0);
	assert_int_equal(g->missing, 0);
	assert_int_equal(g->lost, 0);
	assert_false(gaps_take(g, 1000000 - GAPS_NUMBERS, 0));
	assert_int_equal(g->late, 1);
	gaps_restart(g);
	assert_true(gaps_take(g, 0, 0));
	assert_int_equal(g->top, 0);
	gaps_take(g, UINT64_MAX - 5, 0);
	assert_true(gaps_has(g, UINT64_MAX - 5));
	free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_told_is_true),
		cmocka_unit_test(a_gap_is_told_of_at_once_and_again),
		cmocka_unit_test(a_leap_or_a_new_start_begins_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
