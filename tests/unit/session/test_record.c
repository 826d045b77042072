/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "record.h"

static struct seal *seal;

static int setup(void **st)
{
	(void)st;
	seal = seal_new();
	return seal ? 0 : -1;
}

static int teardown(void **st)
{
	(void)st;
	seal_free(seal);
	return 0;
}

static void stream_of(size_t len)
{
	struct seal_key up = { .key = { 3 } }, at = up;
	uint8_t *in = malloc(len + 1), *out = malloc(record_sealed_len(len));
	size_t off = 0, got = 0;
	struct record r;
	ssize_t n;

	for (size_t i = 0; i < len; i++)
		in[i] = (uint8_t)(i * 7 + i / 251);
	n = record_seal(seal, SEAL_AES256_GCM, &up, WIRE_DATA, in, len, out);
	assert_int_equal(n, record_sealed_len(len));
	while (off < (size_t)n) {
		assert_int_equal(record_open(seal, SEAL_AES256_GCM, &at, out + off, (size_t)n - off, &r), 1);
		assert_int_equal(r.kind, WIRE_DATA);
		assert_memory_equal(r.data, in + got, r.len);
		got += r.len;
		off += r.used;
	}
	assert_int_equal(got, len);
	assert_int_equal(at.ctr, up.ctr);
	free(in);
	free(out);
}

static void streams_of_all_sizes(void **st)
{
	static const size_t lens[] = { 0, 1, 15999, 16000, 16001, 31999, 32000, 32001, 1 << 20 };

	(void)st;
	for (size_t i = 0; i < sizeof(lens) / sizeof(*lens); i++)
		stream_of(lens[i]);
}

static void waits_for_the_whole_record(void **st)
{
	struct seal_key k = { .key = { 1 } }, at = k;
	uint8_t out[5 + WIRE_RECORD_OVERHEAD];
	struct record r;

	(void)st;
	record_seal(seal, SEAL_CHACHA20_POLY1305, &k, WIRE_OPEN, "hello", 5, out);
	for (size_t n = 0; n < sizeof(out); n++)
		assert_int_equal(record_open(seal, SEAL_CHACHA20_POLY1305, &at, out, n, &r), 0);
	assert_int_equal(record_open(seal, SEAL_CHACHA20_POLY1305, &at, out, sizeof(out), &r), 1);
	assert_int_equal(r.kind, WIRE_OPEN);
	assert_int_equal(r.used, sizeof(out));
	assert_memory_equal(r.data, "hello", 5);
}

static void any_bit_flipped_ends_the_stream(void **st)
{
	struct seal_key k = { .key = { 1 } }, at = k;
	uint8_t out[5 + WIRE_RECORD_OVERHEAD], copy[20000] = { 0 };
	struct record r;

	(void)st;
	record_seal(seal, SEAL_AES256_GCM, &k, WIRE_DATA, "hello", 5, out);
	for (size_t bit = 0; bit < sizeof(out) * 8; bit++) {
		memcpy(copy, out, sizeof(out));
		copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(record_open(seal, SEAL_AES256_GCM, &at, copy, sizeof(copy), &r), -1);
		assert_int_equal(at.ctr, 0);
	}
}

/* Lengths that no record has are refused before anything is decrypted. */
static void impossible_lengths(void **st)
{
	static const size_t lens[] = { 0, 15, 16017, 0x3fff };
	struct seal_key k = { .key = { 1 } };
	uint8_t buf[20000] = { 0 };
	struct record r;

	(void)st;
	for (size_t i = 0; i < 4; i++) {
		wire_put16(buf, (uint16_t)lens[i]);
		assert_int_equal(record_open(seal, SEAL_AES256_GCM, &k, buf, sizeof(buf), &r), -1);
		assert_int_equal(record_open(seal, SEAL_AES256_GCM, &k, buf, 2, &r), -1);
	}
	assert_int_equal(record_seal(seal, SEAL_AES256_GCM, &k, WIRE_OPEN, buf, 16001, NULL), -1);
}

/* Records that were reflected, dropped, swapped or repeated. */
static void out_of_place(void **st)
{
	struct seal_key up = { .key = { 1 } }, down = { .key = { 2 } }, at = up;
	uint8_t a[1 + WIRE_RECORD_OVERHEAD], b[sizeof(a)], copy[sizeof(a)];
	struct record r;

	(void)st;
	record_seal(seal, SEAL_AES256_GCM, &up, WIRE_DATA, "a", 1, a);
	record_seal(seal, SEAL_AES256_GCM, &up, WIRE_DATA, "b", 1, b);
	memcpy(copy, a, sizeof(a));
	assert_int_equal(record_open(seal, SEAL_AES256_GCM, &down, copy, sizeof(copy), &r), -1); /* reflected */
	memcpy(copy, b, sizeof(b));
	assert_int_equal(record_open(seal, SEAL_AES256_GCM, &at, copy, sizeof(copy), &r), -1); /* a was dropped */
	memcpy(copy, a, sizeof(a));
	assert_int_equal(record_open(seal, SEAL_AES256_GCM, &at, copy, sizeof(copy), &r), 1);
	memcpy(copy, a, sizeof(a));
	assert_int_equal(record_open(seal, SEAL_AES256_GCM, &at, copy, sizeof(copy), &r), -1); /* repeated */
}

static void a_spent_key_refuses(void **st)
{
	struct seal_key k = { .ctr = ((uint64_t)1 << 60) - 1 };
	uint8_t in[16001] = { 0 }, out[16001 + 2 * WIRE_RECORD_OVERHEAD];

	(void)st;
	assert_int_equal(record_seal(seal, SEAL_AES256_GCM, &k, WIRE_DATA, in, sizeof(in), out), -1);
	assert_int_equal(record_seal(seal, SEAL_AES256_GCM, &k, WIRE_FIN, NULL, 0, out), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(streams_of_all_sizes),
		cmocka_unit_test(waits_for_the_whole_record),
		cmocka_unit_test(any_bit_flipped_ends_the_stream),
		cmocka_unit_test(impossible_lengths),
		cmocka_unit_test(out_of_place),
		cmocka_unit_test(a_spent_key_refuses),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
