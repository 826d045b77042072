/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "fragment.h"

static struct slab slab;

static void cut(struct packet *piece[2], uint16_t id, const uint8_t *whole, size_t len, size_t room)
{
	piece[0] = slab_take(&slab);
	piece[1] = slab_take(&slab);
	assert_int_equal(fragment_cut(piece, id, whole, len, room), 0);
	assert_true(piece[0]->len <= room && piece[1]->len <= room);
}

static void put_back(struct packet *piece[2])
{
	packet_put(&slab, piece[0]);
	packet_put(&slab, piece[1]);
}

static struct packet *take(struct fragments *f, const struct packet *p, uint64_t now)
{
	return fragments_take(f, &slab, WIRE_CLASS_B, p->space + SLAB_FRONT, p->len, now);
}

static void two_pieces_in_either_order_make_a_whole(void **st)
{
	struct fragments *f = calloc(1, sizeof(*f));
	struct packet *piece[2], *out;
	uint8_t whole[1460];

	(void)st;
	slab_init(&slab, 4096);
	for (size_t i = 0; i < sizeof(whole); i++)
		whole[i] = (uint8_t)(i * 7);
	for (size_t len = 40; len <= sizeof(whole); len++) {
		cut(piece, (uint16_t)len, whole, len, 1208);
		assert_null(take(f, piece[len % 2], 0));
		out = take(f, piece[!(len % 2)], 50000);
		assert_non_null(out);
		assert_int_equal(out->len, len);
		assert_memory_equal(packet_inner(out), whole, len);
		packet_put(&slab, out);
		put_back(piece);
	}
	assert_int_equal(slab.used, 0);
	slab_end(&slab);
	free(f);
}

static void half_a_packet_is_given_up(void **st)
{
	struct fragments *f = calloc(1, sizeof(*f));
	struct packet *piece[2];
	uint8_t whole[1400] = { 0 };

	(void)st;
	slab_init(&slab, 4096);
	for (uint16_t id = 0; id < 1000; id++) {
		cut(piece, id, whole, 1400, 1208);
		assert_null(take(f, piece[id % 2], 0));
		assert_null(take(f, piece[id % 2], 0)); /* the same one twice is not two */
		put_back(piece);
		assert_true(slab.used <= FRAGMENT_SLOTS);
	}
	cut(piece, 999, whole, 1400, 1208);
	assert_null(take(f, piece[0], 200000)); /* the other half came too long ago */
	put_back(piece);
	fragments_expire(f, &slab, UINT64_MAX);
	assert_int_equal(slab.used, 0);
	slab_end(&slab);
	free(f);
}

static void nonsense_is_refused(void **st)
{
	struct fragments *f = calloc(1, sizeof(*f));
	static const struct wire_fragment bad[] = { { 1, 0, 0 }, { 1, 100, 1 }, { 1, 1400, 0 }, { 1, 32767, 0 } };
	uint8_t in[200] = { 0 };

	(void)st;
	slab_init(&slab, 4096);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		wire_put_fragment(in, &bad[i]);
		assert_null(fragments_take(f, &slab, WIRE_CLASS_R, in, sizeof(in), 0));
		for (size_t len = 0; len <= WIRE_FRAGMENT_HDR; len++)
			assert_null(fragments_take(f, &slab, WIRE_CLASS_R, in, len, 0));
	}
	assert_int_equal(slab.used, 0);
	slab_end(&slab);
	free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_pieces_in_either_order_make_a_whole),
		cmocka_unit_test(half_a_packet_is_given_up),
		cmocka_unit_test(nonsense_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
