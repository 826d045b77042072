/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "seal.h"

static const enum seal_alg algs[] = { SEAL_AES256_GCM, SEAL_CHACHA20_POLY1305 };

static size_t unhex(uint8_t *out, const char *hex)
{
	size_t n = 0;

	for (; hex[0]; hex += 2) {
		unsigned v;

		assert_int_equal(sscanf(hex, "%2x", &v), 1);
		out[n++] = (uint8_t)v;
	}
	return n;
}

/* RFC 5869, cases 1 and 3. */
static void hkdf_of_the_rfc(void **st)
{
	uint8_t ikm[22], salt[13], info[10], want[42], got[42];

	(void)st;
	memset(ikm, 0x0b, sizeof(ikm));
	unhex(salt, "000102030405060708090a0b0c");
	unhex(info, "f0f1f2f3f4f5f6f7f8f9");
	unhex(want, "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
	seal_hkdf(got, 42, ikm, 22, salt, 13, info, 10);
	assert_memory_equal(got, want, 42);
	unhex(want, "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8");
	seal_hkdf(got, 42, ikm, 22, NULL, 0, "", 0);
	assert_memory_equal(got, want, 42);
}

/* RFC 4231 case 2 and FIPS 180 "abc". */
static void hmac_and_sha256(void **st)
{
	uint8_t want[32], got[32];

	(void)st;
	unhex(want, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	seal_hmac(got, "Jefe", 4, "what do ya want for nothing?", 28);
	assert_memory_equal(got, want, 32);
	unhex(want, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	seal_sha256(got, "abc", 3);
	assert_memory_equal(got, want, 32);
}

/* AES-256-GCM of the GCM specification, test case 13 (no text, zero key and nonce): our first nonce
 * is zero too. */
static void aes_gcm_known_answer(void **st)
{
	struct seal_key k = { .ctr = 0 };
	struct seal *s = seal_new();
	uint8_t want[16], got[16];

	(void)st;
	unhex(want, "530f8afbc74536b9a963b4f1c4cb738b");
	assert_int_equal(seal_seal(s, SEAL_AES256_GCM, &k, NULL, 0, NULL, 0, got), 0);
	assert_memory_equal(got, want, 16);
	seal_free(s);
}

static void lengths_both_ways(void **st)
{
	static const size_t lens[] = { 0, 1, 15, 16, 17, 255, 4096, 16000 };
	struct seal *s = seal_new();

	(void)st;
	for (size_t i = 0; i < 16; i++) {
		size_t len = lens[i % 8];
		enum seal_alg alg = algs[i / 8];
		struct seal_key up, down;
		uint8_t *buf = malloc(len + SEAL_TAG), *plain = malloc(len + 1);

		seal_random(&up, SEAL_KEY);
		up.ctr = 41;
		down = up;
		seal_random(plain, len + 1);
		memcpy(buf, plain, len);
		assert_int_equal(seal_seal(s, alg, &up, "aad", 3, buf, len, buf), 0);
		assert_int_equal(up.ctr, 42);
		assert_int_equal(seal_open(s, alg, &down, "aad", 3, buf, len + SEAL_TAG, buf), 0);
		assert_int_equal(down.ctr, 42);
		assert_memory_equal(buf, plain, len);
		free(buf);
		free(plain);
	}
	seal_free(s);
}

/* Keys that take turns must give what they give alone: the kept key schedule is never the wrong
 * one. */
static void keys_take_turns(void **st)
{
	struct seal *s = seal_new(), *fresh;
	struct seal_key keys[3];
	uint8_t a[20], b[20];

	(void)st;
	seal_random(keys, sizeof(keys));
	for (int i = 0; i < 60; i++) {
		struct seal_key *k = &keys[(i * i / 3) % 3], copy;

		k->ctr = (uint64_t)i;
		copy = *k;
		fresh = seal_new();
		assert_int_equal(seal_seal(s, algs[i / 2 % 2], k, "x", 1, "four", 4, a), 0);
		assert_int_equal(seal_seal(fresh, algs[i / 2 % 2], &copy, "x", 1, "four", 4, b), 0);
		assert_memory_equal(a, b, 20);
		seal_free(fresh);
	}
	seal_free(s);
}

static void any_bit_flipped_is_refused(void **st)
{
	struct seal *s = seal_new();

	(void)st;
	for (int alg = 0; alg < 2; alg++) {
		struct seal_key k = { .ctr = 5 }, other = k;
		uint8_t box[2 + 24 + SEAL_TAG] = { 1, 2 }, copy[sizeof(box)], out[24];

		assert_int_equal(seal_seal(s, algs[alg], &k, box, 2, "twenty-four bytes of text", 24, box + 2), 0);
		for (size_t bit = 0; bit < sizeof(box) * 8; bit++) {
			memcpy(copy, box, sizeof(box));
			copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
			memset(out, 0xff, sizeof(out));
			assert_int_equal(seal_open(s, algs[alg], &other, copy, 2, copy + 2, 24 + SEAL_TAG, out), -1);
			assert_int_equal(other.ctr, 5);
			assert_int_equal(out[0] | out[23], 0); /* nothing unproven is left */
		}
		assert_int_equal(seal_open(s, algs[alg], &other, box, 2, box + 2, 24 + SEAL_TAG, out), 0);
		assert_int_equal(seal_open(s, algs[alg], &other, box, 2, box + 2, 24 + SEAL_TAG, out), -1);
		assert_int_equal(seal_open(s, algs[alg], &other, box, 2, box + 2, SEAL_TAG - 1, out), -1);
	}
	seal_free(s);
}

static void a_spent_counter_seals_nothing(void **st)
{
	struct seal_key k = { .ctr = ((uint64_t)1 << 60) - 1 };
	struct seal *s = seal_new();
	uint8_t out[17];

	(void)st;
	assert_int_equal(seal_seal(s, SEAL_AES256_GCM, &k, NULL, 0, "x", 1, out), 0);
	assert_int_equal(seal_seal(s, SEAL_AES256_GCM, &k, NULL, 0, "x", 1, out), -1);
	assert_int_equal(k.ctr, (uint64_t)1 << 60);
	k.ctr = UINT64_MAX;
	assert_int_equal(seal_seal(s, SEAL_AES256_GCM, &k, NULL, 0, "x", 1, out), -1);
	assert_int_equal(seal_open(s, SEAL_AES256_GCM, &k, NULL, 0, out, 17, out), -1);
	seal_free(s);
}

static void base64_of_keys(void **st)
{
	uint8_t key[32], back[32];
	char text[SEAL_B64_LEN];

	(void)st;
	for (int i = 0; i < 200; i++) {
		seal_random(key, 32);
		seal_b64(text, key);
		assert_int_equal(strlen(text), 44);
		assert_int_equal(seal_unb64(back, text), 0);
		assert_memory_equal(key, back, 32);
	}
	memset(key, 0, 32);
	seal_b64(text, key);
	assert_string_equal(text, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
	assert_int_equal(seal_unb64(back, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB="), -1);
	assert_int_equal(seal_unb64(back, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), -1);
	assert_int_equal(seal_unb64(back, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="), -1);
	assert_int_equal(seal_unb64(back, "AAAAAAAAAAAAAAAAAAAA AAAAAAAAAAAAAAAAAAAAAA="), -1);
	assert_int_equal(seal_unb64(back, "AAAA"), -1);
	assert_int_equal(seal_unb64(back, ""), -1);
}

static void equal_and_wipe(void **st)
{
	uint8_t a[4] = { 1, 2, 3, 4 }, b[4] = { 1, 2, 3, 5 };

	(void)st;
	assert_false(seal_equal(a, b, 4));
	assert_true(seal_equal(a, b, 3));
	seal_wipe(a, 4);
	assert_memory_equal(a, "\0\0\0\0", 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hkdf_of_the_rfc),
		cmocka_unit_test(hmac_and_sha256),
		cmocka_unit_test(aes_gcm_known_answer),
		cmocka_unit_test(lengths_both_ways),
		cmocka_unit_test(keys_take_turns),
		cmocka_unit_test(any_bit_flipped_is_refused),
		cmocka_unit_test(a_spent_counter_seals_nothing),
		cmocka_unit_test(base64_of_keys),
		cmocka_unit_test(equal_and_wipe),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
