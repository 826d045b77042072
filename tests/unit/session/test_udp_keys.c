/* SPDX-License-Identifier: BSD-2-Clause */
/* Numbers and windows of one session's datagrams. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "session.h"

static struct seal *seal;
static struct session *session;
static struct udp_keys *up, *down;

static int setup(void **state)
{
	uint8_t sid[WIRE_SID] = "sid", exported[32] = "secret";

	(void)state;
	seal = seal_new();
	session = session_new(sid, SEAL_AES256_GCM, exported);
	up = session_udp_keys(session, seal, 0, 5);
	down = session_udp_keys(session, seal, 1, 5);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	session_put(session);
	seal_free(seal);
	return 0;
}

static uint64_t make(uint8_t *buf, enum wire_dgram_type type, uint8_t class)
{
	uint64_t seq;

	memcpy(buf + WIRE_DG_HDR, "text", 4);
	assert_int_equal(udp_keys_seal(up, type, class, buf, 4, &seq), 0);
	return seq;
}

static enum udp_keys_verdict take(const uint8_t *buf, uint64_t *seq)
{
	uint8_t copy[WIRE_DG_OVERHEAD + 4];
	struct wire_dgram hdr;
	enum udp_keys_verdict v;

	memcpy(copy, buf, sizeof(copy));
	assert_int_equal(wire_get_dgram(&hdr, copy, sizeof(copy)), WIRE_DG_HDR);
	v = udp_keys_open(down, &hdr, copy, sizeof(copy), seq);
	if (v == UDP_KEYS_NEW)
		assert_memory_equal(copy + WIRE_DG_HDR, "text", 4);
	return v;
}

static void each_kind_counts_for_itself(void **state)
{
	uint8_t buf[64];
	uint64_t seq;

	(void)state;
	for (uint64_t n = 0; n < 3; n++)
		for (int t = WIRE_DG_DATA; t <= WIRE_DG_FRAGMENT; t++)
			for (uint8_t c = 0; c < WIRE_CLASSES; c++) {
				assert_int_equal(make(buf, (enum wire_dgram_type)t, c), n);
				assert_int_equal(take(buf, &seq), UDP_KEYS_NEW);
				assert_int_equal(seq, n);
				for (int i = 0; i < 70; i++)
					assert_int_equal(take(buf, &seq), UDP_KEYS_COPY);
			}
}

/* A deep queue of bulk makes nothing else old; and what is older than its own window is dropped. */
static void windows(void **state)
{
	static const uint32_t bits[WIRE_CLASSES] = { 8192, 8192, 16384, 32768 };
	uint8_t first[64], second[64], buf[64];
	uint64_t seq;

	(void)state;
	for (uint8_t c = WIRE_CLASS_R; c < WIRE_CLASSES; c++) {
		make(first, WIRE_DG_DATA, c);
		make(second, WIRE_DG_DATA, c);
		for (uint32_t i = 2; i <= bits[c]; i++)
			make(buf, WIRE_DG_DATA, c);
		assert_int_equal(take(buf, &seq), UDP_KEYS_NEW);
		assert_int_equal(seq, bits[c]);
		assert_int_equal(take(first, &seq), UDP_KEYS_OLD);
		assert_int_equal(take(second, &seq), UDP_KEYS_NEW);
	}
}

static void no_bit_may_differ(void **state)
{
	uint8_t buf[64], bad[64];
	struct wire_dgram hdr;
	uint64_t seq;

	(void)state;
	make(buf, WIRE_DG_DATA, WIRE_CLASS_B);
	for (unsigned bit = 32; bit < (WIRE_DG_OVERHEAD + 4) * 8; bit++) {
		memcpy(bad, buf, sizeof(bad));
		bad[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(take(bad, &seq), UDP_KEYS_FORGED);
	}
	/* as another type, class or index it does not open, either */
	memcpy(bad, buf, sizeof(bad));
	bad[0] ^= 1;
	assert_int_equal(take(bad, &seq), UDP_KEYS_FORGED);
	bad[0] ^= 1 | 8;
	assert_int_equal(take(bad, &seq), UDP_KEYS_FORGED);
	/* our own, sent back to us */
	wire_get_dgram(&hdr, buf, WIRE_DG_OVERHEAD + 4);
	memcpy(bad, buf, sizeof(bad));
	assert_int_equal(udp_keys_open(up, &hdr, bad, WIRE_DG_OVERHEAD + 4, &seq), UDP_KEYS_FORGED);
	assert_int_equal(take(buf, &seq), UDP_KEYS_NEW);
}

static void recent(void **state)
{
	uint8_t buf[64];

	(void)state;
	assert_false(udp_keys_recent(up, 0));
	for (int i = 0; i < 100; i++)
		make(buf, WIRE_DG_CONTROL, 0);
	assert_true(udp_keys_recent(up, 99) && udp_keys_recent(up, 36));
	assert_false(udp_keys_recent(up, 35) || udp_keys_recent(up, 100) || udp_keys_recent(up, UINT32_MAX));
}

/* Whoever leaves a session for another and comes back goes on counting. */
static void there_is_one_set_of_keys_a_session(void **state)
{
	uint8_t buf[64];

	(void)state;
	for (uint64_t n = 0; n < 5; n++) {
		assert_int_equal(make(buf, WIRE_DG_DATA, WIRE_CLASS_R), n);
		up = session_udp_keys(session, seal, 0, 5);
	}
	assert_null(session_udp_keys(session, seal, 0, 6)); /* nor under another index */
	assert_ptr_not_equal(up, down);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = { T(each_kind_counts_for_itself), T(windows), T(no_bit_may_differ), T(recent),
					   T(there_is_one_set_of_keys_a_session) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
