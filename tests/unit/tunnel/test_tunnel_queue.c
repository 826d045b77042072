/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tunnel_queue.h"

static struct slab slab;
static struct queue q;

static void begin(bool aggregate)
{
	slab_init(&slab, 4096);
	queue_init(&q, &slab, aggregate);
}

static void end(void)
{
	queue_expire(&q, UINT64_MAX);
	assert_int_equal(q.packets + q.bytes, 0);
	assert_int_equal(slab.used, 0);
	slab_end(&slab);
}

static void put(unsigned band, uint32_t flow, uint8_t home, uint64_t seq, uint16_t len, uint64_t now)
{
	struct packet *p = slab_take(&slab);

	p->flow = flow;
	p->seq = seq;
	p->len = len;
	p->born_us = now;
	queue_bucket(&q, band, flow)->home = home;
	queue_put(&q, band, p, now);
}

/* Its flow, and its number in *seq; 0: none. */
static uint32_t take(unsigned path, uint8_t wide, uint64_t now, uint64_t *seq)
{
	struct packet *p = queue_take(&q, path, wide, now);
	uint32_t flow = p ? p->flow : 0;

	if (p && seq)
		*seq = p->seq;
	packet_put(&slab, p);
	return flow;
}

static void bands_are_strict_and_flows_take_turns(void **st)
{
	unsigned from[3] = { 0 };

	(void)st;
	begin(false);
	for (uint64_t i = 0; i < 100; i++)
		put(QUEUE_B, 1, 0, i, 1400, 0);
	for (uint64_t i = 0; i < 10; i++)
		put(QUEUE_B, 2, 0, i, 1400, 0);
	put(QUEUE_F, 3, 0, 0, 1400, 0);
	assert_int_equal(take(0, 1, 1000, NULL), 3);
	for (unsigned i = 0; i < 20; i++)
		from[take(0, 1, 1000, NULL)]++;
	assert_in_range(from[2], 9, 10); /* the small flow is through */
	end();
}

static void a_flow_stays_at_home_and_in_order(void **st)
{
	uint64_t seq;

	(void)st;
	begin(true);
	for (uint64_t i = 0; i < 5; i++)
		put(QUEUE_B, 1, 1, i, 1000, 0);
	assert_int_equal(take(0, 3, 500, NULL), 0);
	assert_false(queue_has(&q, 0, 3));
	assert_true(queue_has(&q, 1, 3));
	for (uint64_t i = 0; i < 5; i++) {
		assert_int_equal(take(1, 3, 1000, &seq), 1);
		assert_int_equal(seq, i);
	}
	end();
}

static void a_flow_too_fast_for_its_home_is_spread(void **st)
{
	(void)st;
	begin(true);
	for (uint64_t i = 0; i < 20; i++)
		put(QUEUE_B, 1, 1, i, 1000, 0);
	assert_int_equal(take(0, 3, 3000, NULL), 0);
	assert_int_equal(take(0, 3, 6000, NULL), 1); /* waited 6 ms */
	assert_int_equal(take(0, 2, 6000, NULL), 0); /* not where it may not go */
	end();
	begin(false); /* only when dropping has not helped */
	for (uint64_t t = 0; t < 600; t++) {
		put(QUEUE_B, 1, 1, t, 1000, t * 1000);
		if (t % 4 == 0)
			take(1, 3, t * 1000, NULL);
		if (t == 250)
			assert_int_equal(take(0, 3, t * 1000, NULL), 0);
	}
	assert_int_equal(take(0, 3, 600000, NULL), 1);
	end();
}

/* Twice what leaves comes in: what leaves has never waited for more than 50 ms, and the rest is
 * dropped. */
static void waiting_is_bounded(void **st)
{
	uint64_t seq = 0, longest = 0;

	(void)st;
	begin(false);
	for (uint64_t t = 0; t < 3000; t++) {
		put(QUEUE_B, 1, 0, t * 1000, 1000, t * 1000);
		if (t % 2 && take(0, 1, t * 1000, &seq))
			longest = t * 1000 - seq > longest ? t * 1000 - seq : longest;
	}
	assert_in_range(longest, 10000, 50000);
	assert_in_range(q.dropped[QUEUE_B], 1400, 1500);
	queue_expire(&q, 10000000);
	assert_int_equal(q.packets, 0);
	end();
}

/* A flow that does not stop at its share loses; the one that waits is not touched. */
static void the_longest_makes_room(void **st)
{
	(void)st;
	begin(false);
	put(QUEUE_B, 2, 0, 0, 1000, 0);
	for (uint64_t i = 0; i < 3000; i++)
		put(QUEUE_B, 1, 0, i, 1000, 0);
	assert_in_range(q.packets, 2000, 2100);
	assert_int_equal(slab.used, q.packets);
	assert_int_equal(take(0, 1, 100, NULL), 2);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bands_are_strict_and_flows_take_turns),
		cmocka_unit_test(a_flow_stays_at_home_and_in_order),
		cmocka_unit_test(a_flow_too_fast_for_its_home_is_spread),
		cmocka_unit_test(waiting_is_bounded),
		cmocka_unit_test(the_longest_makes_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
