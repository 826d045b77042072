/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "reorder.h"

#define HOLD 20000

static struct slab slab;
static uint64_t out[4096];
static unsigned n_out;

static void on_out(void *arg, struct packet *p)
{
	(void)arg;
	out[n_out++] = p->seq;
	packet_put(&slab, p);
}

struct both {
	struct gaps g;
	struct reorder r;
};

static void arrive(struct both *b, uint64_t seq, uint32_t flow, unsigned path, uint64_t now)
{
	struct packet *p;

	gaps_take(&b->g, seq, now);
	if (!reorder_must_hold(&b->r, &b->g, seq, flow, path, HOLD, now)) {
		out[n_out++] = seq;
		return;
	}
	p = slab_take(&slab);
	p->seq = seq;
	reorder_hold(&b->r, p, on_out, NULL);
	reorder_release(&b->r, &b->g, HOLD, now, on_out, NULL);
}

static struct both *begin(void)
{
	slab_init(&slab, 4096);
	n_out = 0;
	return calloc(1, sizeof(struct both));
}

static void end(struct both *b)
{
	assert_int_equal(slab.used, 0);
	slab_end(&slab);
	free(b);
}

static unsigned disorder(void)
{
	unsigned n = 0;
	uint64_t top = 0;

	for (unsigned i = 0; i < n_out; i++) {
		n += out[i] < top;
		top = out[i] > top ? out[i] : top;
	}
	return n;
}

/* Two paths, one 10 ms slower; every other packet goes there. */
static void a_spread_flow_comes_in_order(void **st)
{
	struct both *b = begin();

	(void)st;
	for (uint64_t t = 0; t < 1100; t++) {
		if (t < 1000 && t % 2 == 0)
			arrive(b, t, 7, 0, t * 1000);
		if (t >= 10 && t < 1010 && (t - 10) % 2)
			arrive(b, t - 10, 7, 1, t * 1000);
		reorder_release(&b->r, &b->g, HOLD, t * 1000, on_out, NULL);
	}
	assert_int_equal(n_out, 1000);
	assert_true(disorder() <= 6); /* until it is seen to be spread */
	end(b);
}

static void a_flow_on_one_path_never_waits(void **st)
{
	struct both *b = begin();

	(void)st;
	for (uint64_t s = 0; s < 100; s++)
		if (s % 3)
			arrive(b, s, 7, 0, s * 1000);
	assert_int_equal(n_out, 66);
	assert_int_equal(b->r.holds, 0);
	end(b);
}

static void what_is_lost_is_not_waited_for_longer_than_that(void **st)
{
	struct both *b = begin();

	(void)st;
	arrive(b, 0, 7, 0, 0);
	arrive(b, 1, 7, 1, 1000);
	arrive(b, 2, 7, 0, 2000);
	arrive(b, 4, 7, 1, 3000); /* 3 is missing */
	arrive(b, 5, 7, 0, 10000);
	arrive(b, 1000, 9, 0, 11000); /* another flow, on one path: at once */
	assert_int_equal(n_out, 4);
	reorder_release(&b->r, &b->g, HOLD, 22000, on_out, NULL);
	assert_int_equal(n_out, 4);
	reorder_release(&b->r, &b->g, HOLD, 23000, on_out, NULL);
	assert_int_equal(n_out, 6);
	assert_int_equal(out[4], 4);
	assert_int_equal(out[5], 5);
	arrive(b, 3, 7, 1, 24000); /* late: better than never */
	assert_int_equal(n_out, 7);
	end(b);
}

static void a_hold_of_nothing_lets_all_go(void **st)
{
	struct both *b = begin();

	(void)st;
	arrive(b, 0, 7, 0, 0);
	arrive(b, 1, 7, 1, 0);
	for (uint64_t s = 3; s < 3 + REORDER_HELD + 50; s++)
		arrive(b, s, 7, s % 2, 1000);
	assert_int_equal(b->r.n, REORDER_HELD);
	assert_int_equal(b->r.overflows, 50);
	reorder_release(&b->r, &b->g, 0, 1001, on_out, NULL);
	assert_int_equal(n_out, 2 + REORDER_HELD + 50);
	assert_int_equal(disorder(), 0);
	end(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_spread_flow_comes_in_order),
		cmocka_unit_test(a_flow_on_one_path_never_waits),
		cmocka_unit_test(what_is_lost_is_not_waited_for_longer_than_that),
		cmocka_unit_test(a_hold_of_nothing_lets_all_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
