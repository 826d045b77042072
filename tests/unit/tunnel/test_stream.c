/* SPDX-License-Identifier: BSD-2-Clause */
/* Packets that wait for the stream: who leaves first, who is dropped, and for how long anything
 * waits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "stream.h"

struct world {
	struct slab slab;
	struct stream s;
	uint64_t now;
	uint32_t next;
};

static void world_init(struct world *w)
{
	*w = (struct world){ .now = 1000000000 };
	slab_init(&w->slab, 4096);
	stream_init(&w->s, &w->slab);
}

static void put(struct world *w, enum wire_class class)
{
	struct packet *p = slab_take(&w->slab);

	assert_non_null(p);
	p->class = (uint8_t)class;
	p->flow = w->next++;
	p->len = 100;
	stream_put(&w->s, p, w->now);
}

static int leaves(struct world *w)
{
	struct packet *p = stream_head(&w->s, w->now);
	int flow = p ? (int)p->flow : -1;

	assert_ptr_equal(stream_head(&w->s, w->now), p); /* asking changes nothing */
	if (p)
		stream_pop(&w->s);
	return flow;
}

static void world_end(struct world *w)
{
	assert_int_equal(w->s.packets, 0);
	assert_int_equal(w->slab.used, 0);
	slab_end(&w->slab);
}

static void urgent_ones_overtake(void **st)
{
	static const enum wire_class in[] = { WIRE_CLASS_B, WIRE_CLASS_F, WIRE_CLASS_R, WIRE_CLASS_B, WIRE_CLASS_R, WIRE_CLASS_F };
	static const int out[] = { 2, 4, 1, 5, 0, 3, -1 };
	struct world w;

	(void)st;
	world_init(&w);
	assert_int_equal(leaves(&w), -1);
	for (unsigned i = 0; i < 6; i++)
		put(&w, in[i]);
	for (unsigned i = 0; i < 7; i++)
		assert_int_equal(leaves(&w), out[i]);
	assert_int_equal(w.s.sent, 6);
	world_end(&w);
}

static void the_oldest_of_the_bulk_is_dropped(void **st)
{
	struct world w;

	(void)st;
	world_init(&w);
	put(&w, WIRE_CLASS_R); /* 0 */
	put(&w, WIRE_CLASS_F); /* 1 */
	for (unsigned i = 0; i < 3 * STREAM_PACKETS; i++)
		put(&w, WIRE_CLASS_B);
	assert_int_equal(w.s.packets, STREAM_PACKETS);
	assert_int_equal(w.slab.used, STREAM_PACKETS);
	assert_int_equal(w.s.dropped, 2 * STREAM_PACKETS + 2);
	assert_int_equal(leaves(&w), 0);
	assert_int_equal(leaves(&w), 1);
	for (unsigned i = 0; i < STREAM_PACKETS - 2; i++)
		assert_int_equal(leaves(&w), 2 + 2 * STREAM_PACKETS + 2 + (int)i);
	assert_int_equal(leaves(&w), -1);
	world_end(&w);
}

static void bulk_never_displaces_what_is_urgent(void **st)
{
	struct world w;

	(void)st;
	world_init(&w);
	for (unsigned i = 0; i < STREAM_PACKETS; i++)
		put(&w, WIRE_CLASS_R);
	put(&w, WIRE_CLASS_B);
	put(&w, WIRE_CLASS_F);
	assert_int_equal(w.s.dropped, 2);
	assert_int_equal(leaves(&w), 0);
	put(&w, WIRE_CLASS_B); /* there is a place now */
	put(&w, WIRE_CLASS_R); /* ... and now it is another's */
	assert_int_equal(w.s.dropped, 3);
	put(&w, WIRE_CLASS_R); /* the oldest of the only class there is */
	assert_int_equal(w.s.dropped, 4);
	assert_int_equal(leaves(&w), 2);
	while (leaves(&w) >= 0)
		;
	world_end(&w);
}

static void nothing_waits_long(void **st)
{
	struct world w;

	(void)st;
	world_init(&w);
	put(&w, WIRE_CLASS_R);
	put(&w, WIRE_CLASS_B);
	w.now += STREAM_US - 1;
	put(&w, WIRE_CLASS_B); /* 2 */
	assert_int_equal(leaves(&w), 0);
	w.now++;
	assert_int_equal(leaves(&w), 2);
	assert_int_equal(w.s.expired, 1);
	put(&w, WIRE_CLASS_F);
	w.now += STREAM_US;
	assert_int_equal(leaves(&w), -1);
	assert_int_equal(w.s.expired, 2);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(urgent_ones_overtake),
		cmocka_unit_test(the_oldest_of_the_bulk_is_dropped),
		cmocka_unit_test(bulk_never_displaces_what_is_urgent),
		cmocka_unit_test(nothing_waits_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
