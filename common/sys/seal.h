/* SPDX-License-Identifier: BSD-2-Clause */
/* seal: authenticated encryption, key derivation and randomness, over OpenSSL's
 * EVP. The only file that knows what a cipher is.
 *
 * A key is a plain 40-byte value so that thousands of idle relays cost nothing;
 * the expensive cipher contexts live in one `struct seal` per loop and take
 * whatever key comes. A key's counter is its nonce (4 zero bytes, then the
 * counter, big-endian): it only goes up, and sealing refuses when it would wrap. */
#ifndef PLAIT_SEAL_H
#define PLAIT_SEAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEAL_KEY 32
#define SEAL_TAG 16

enum seal_alg { SEAL_AES256_GCM = 1, SEAL_CHACHA20_POLY1305 = 2 }; /* the numbers are on the wire */

struct seal_key {
	uint8_t key[SEAL_KEY];
	uint64_t ctr; /* of the next message */
};

struct seal;

struct seal *seal_new(void); /* NULL without memory or without the ciphers */
void seal_free(struct seal *s);

/* Seals len bytes of `in` to len + SEAL_TAG bytes of `out` (in == out is fine) under k->ctr and
 * counts it up. 0, or -1 when the counter is spent. */
int seal_seal(struct seal *s, enum seal_alg alg, struct seal_key *k, const void *aad, size_t aad_len, const void *in,
	      size_t len, void *out);

/* Opens len bytes (tag included) of `in` to len - SEAL_TAG bytes of `out` (in == out is fine). The
 * counter goes up only when the tag is right. 0, or -1: forged, damaged, or out of step. */
int seal_open(struct seal *s, enum seal_alg alg, struct seal_key *k, const void *aad, size_t aad_len, const void *in,
	      size_t len, void *out);

/* One key in one direction, scheduled once, for messages that carry their number: datagrams. The
 * caller answers for each nonce being used for one message only. */
#define SEAL_NONCE 12
struct seal_ctx;
struct seal_ctx *seal_ctx_new(struct seal *s, enum seal_alg alg, const uint8_t key[SEAL_KEY], bool seals); /* NULL: no memory */
void seal_ctx_free(struct seal_ctx *c); /* NULL is fine */
int seal_ctx_seal(struct seal_ctx *c, const uint8_t nonce[SEAL_NONCE], const void *aad, size_t aad_len, const void *in,
		  size_t len, void *out);
int seal_ctx_open(struct seal_ctx *c, const uint8_t nonce[SEAL_NONCE], const void *aad, size_t aad_len, const void *in,
		  size_t len, void *out);

/* HKDF-SHA256, extract and expand (RFC 5869). */
void seal_hkdf(void *out, size_t out_len, const void *ikm, size_t ikm_len, const void *salt, size_t salt_len,
	       const void *info, size_t info_len);
void seal_hmac(uint8_t out[32], const void *key, size_t key_len, const void *data, size_t len);
void seal_sha256(uint8_t out[32], const void *data, size_t len);

void seal_random(void *out, size_t len); /* never fails: aborts if the kernel has no randomness */
bool seal_equal(const void *a, const void *b, size_t len); /* constant time */
void seal_wipe(void *p, size_t len);

bool seal_has_aes(void); /* this CPU has AES instructions */

/* base64 of 32 bytes: 44 characters and NUL. Decode: 0 or -1. */
#define SEAL_B64_LEN 45
void seal_b64(char out[SEAL_B64_LEN], const uint8_t in[32]);
int seal_unb64(uint8_t out[32], const char *text);

#endif
