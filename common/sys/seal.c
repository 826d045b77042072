/* SPDX-License-Identifier: BSD-2-Clause */
/* seal: see seal.h. */
#include "seal.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#define NONCE 12
#define CTR_MAX ((uint64_t)1 << 60)

/* One cipher in one direction, keyed with whatever came last. A key schedule costs more than a
 * small message, and a busy relay comes back with the same key for thousands of records. */
struct cipher {
	EVP_CIPHER_CTX *ctx;
	uint8_t key[SEAL_KEY];
	bool keyed;
};

struct seal {
	struct cipher ciphers[2][2]; /* [algorithm][0 = open, 1 = seal] */
};

static bool cipher_init(struct cipher *c, const EVP_CIPHER *type, int enc)
{
	c->ctx = EVP_CIPHER_CTX_new();
	return c->ctx && EVP_CipherInit_ex(c->ctx, type, NULL, NULL, NULL, enc) == 1;
}

static bool seal_add(struct cipher pair[2], const char *name)
{
	EVP_CIPHER *type = EVP_CIPHER_fetch(NULL, name, NULL);
	bool ok = type && cipher_init(&pair[0], type, 0) && cipher_init(&pair[1], type, 1);

	EVP_CIPHER_free(type);
	return ok;
}

struct seal *seal_new(void)
{
	struct seal *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	if (!seal_add(s->ciphers[0], "AES-256-GCM") || !seal_add(s->ciphers[1], "ChaCha20-Poly1305")) {
		seal_free(s);
		return NULL;
	}
	return s;
}

void seal_free(struct seal *s)
{
	if (!s)
		return;
	for (int i = 0; i < 4; i++)
		EVP_CIPHER_CTX_free(s->ciphers[i / 2][i % 2].ctx);
	seal_wipe(s, sizeof(*s));
	free(s);
}

/* The context for this algorithm and direction, set to k's key and nonce; NULL when OpenSSL
 * fails. */
static EVP_CIPHER_CTX *seal_start(struct seal *s, enum seal_alg alg, const struct seal_key *k, int enc)
{
	struct cipher *c = &s->ciphers[alg == SEAL_AES256_GCM ? 0 : 1][enc];
	bool same = c->keyed && seal_equal(c->key, k->key, SEAL_KEY);
	uint8_t nonce[NONCE] = { 0 };

	for (int i = 0; i < 8; i++)
		nonce[4 + i] = (uint8_t)(k->ctr >> (56 - 8 * i));
	c->keyed = false;
	if (EVP_CipherInit_ex(c->ctx, NULL, NULL, same ? NULL : k->key, nonce, -1) != 1)
		return NULL;
	if (!same)
		memcpy(c->key, k->key, SEAL_KEY);
	c->keyed = true;
	return c->ctx;
}

static bool feed(EVP_CIPHER_CTX *ctx, void *out, const void *in, size_t len)
{
	int n;

	return len == 0 || EVP_CipherUpdate(ctx, out, &n, in, (int)len) == 1;
}

/* The context has key and nonce. */
static int run_seal(EVP_CIPHER_CTX *ctx, const void *aad, size_t aad_len, const void *in, size_t len, void *out)
{
	uint8_t *tag = (uint8_t *)out + len;
	int n;

	return feed(ctx, NULL, aad, aad_len) && feed(ctx, out, in, len) && EVP_CipherFinal_ex(ctx, tag, &n) == 1 &&
			       EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, SEAL_TAG, tag) == 1
		       ? 0
		       : -1;
}

/* len is without the tag. */
static int run_open(EVP_CIPHER_CTX *ctx, const void *aad, size_t aad_len, const void *in, size_t len, void *out)
{
	uint8_t tag[SEAL_TAG], end[SEAL_TAG];
	int n;

	memcpy(tag, (const uint8_t *)in + len, SEAL_TAG);
	if (EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, SEAL_TAG, tag) == 1 && feed(ctx, NULL, aad, aad_len) &&
	    feed(ctx, out, in, len) && EVP_CipherFinal_ex(ctx, end, &n) == 1)
		return 0;
	/* Nobody above may see bytes that nobody vouched for. */
	seal_wipe(out, len);
	return -1;
}

int seal_seal(struct seal *s, enum seal_alg alg, struct seal_key *k, const void *aad, size_t aad_len, const void *in,
	      size_t len, void *out)
{
	EVP_CIPHER_CTX *ctx;

	if (k->ctr >= CTR_MAX)
		return -1;
	ctx = seal_start(s, alg, k, 1);
	if (!ctx || run_seal(ctx, aad, aad_len, in, len, out))
		return -1;
	k->ctr++;
	return 0;
}

int seal_open(struct seal *s, enum seal_alg alg, struct seal_key *k, const void *aad, size_t aad_len, const void *in,
	      size_t len, void *out)
{
	EVP_CIPHER_CTX *ctx;

	if (len < SEAL_TAG || k->ctr >= CTR_MAX)
		return -1;
	len -= SEAL_TAG;
	ctx = seal_start(s, alg, k, 0);
	if (!ctx || run_open(ctx, aad, aad_len, in, len, out)) {
		seal_wipe(out, len);
		return -1;
	}
	k->ctr++;
	return 0;
}

struct seal_ctx {
	EVP_CIPHER_CTX *evp;
};

struct seal_ctx *seal_ctx_new(struct seal *s, enum seal_alg alg, const uint8_t key[SEAL_KEY], bool seals)
{
	const EVP_CIPHER *type = EVP_CIPHER_CTX_get0_cipher(s->ciphers[alg == SEAL_AES256_GCM ? 0 : 1][0].ctx);
	struct seal_ctx *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->evp = EVP_CIPHER_CTX_new();
	if (!c->evp || EVP_CipherInit_ex(c->evp, type, NULL, key, NULL, seals ? 1 : 0) != 1) {
		seal_ctx_free(c);
		return NULL;
	}
	return c;
}

void seal_ctx_free(struct seal_ctx *c)
{
	if (!c)
		return;
	EVP_CIPHER_CTX_free(c->evp); /* and wipes the key */
	free(c);
}

int seal_ctx_seal(struct seal_ctx *c, const uint8_t nonce[SEAL_NONCE], const void *aad, size_t aad_len, const void *in,
		  size_t len, void *out)
{
	if (EVP_CipherInit_ex(c->evp, NULL, NULL, NULL, nonce, -1) != 1)
		return -1;
	return run_seal(c->evp, aad, aad_len, in, len, out);
}

int seal_ctx_open(struct seal_ctx *c, const uint8_t nonce[SEAL_NONCE], const void *aad, size_t aad_len, const void *in,
		  size_t len, void *out)
{
	if (len < SEAL_TAG || EVP_CipherInit_ex(c->evp, NULL, NULL, NULL, nonce, -1) != 1)
		return -1;
	return run_open(c->evp, aad, aad_len, in, len - SEAL_TAG, out);
}

void seal_hmac(uint8_t out[32], const void *key, size_t key_len, const void *data, size_t len)
{
	unsigned n = 32;

	if (!HMAC(EVP_sha256(), key, (int)key_len, data, len, out, &n))
		abort();
}

void seal_sha256(uint8_t out[32], const void *data, size_t len)
{
	if (EVP_Digest(data, len, out, NULL, EVP_sha256(), NULL) != 1)
		abort();
}

/* T(i) = HMAC(prk, T(i-1) || info || i); info is short everywhere in plait. */
static void hkdf_expand(uint8_t *out, size_t out_len, const uint8_t prk[32], const void *info, size_t info_len)
{
	uint8_t block[32 + 256 + 1], t[32];
	size_t have = 0;

	if (info_len > 256 || out_len > 255 * sizeof(t))
		abort();
	for (uint8_t i = 1; out_len > 0; i++) {
		size_t n = out_len < sizeof(t) ? out_len : sizeof(t);

		memcpy(block, t, have);
		memcpy(block + have, info, info_len);
		block[have + info_len] = i;
		seal_hmac(t, prk, 32, block, have + info_len + 1);
		have = sizeof(t);
		memcpy(out, t, n);
		out += n;
		out_len -= n;
	}
	seal_wipe(block, sizeof(block));
	seal_wipe(t, sizeof(t));
}

void seal_hkdf(void *out, size_t out_len, const void *ikm, size_t ikm_len, const void *salt, size_t salt_len,
	       const void *info, size_t info_len)
{
	static const uint8_t no_salt[32];
	uint8_t prk[32];

	seal_hmac(prk, salt_len ? salt : no_salt, salt_len ? salt_len : sizeof(no_salt), ikm, ikm_len);
	hkdf_expand(out, out_len, prk, info, info_len);
	seal_wipe(prk, sizeof(prk));
}

/* The kernel's own generator each time: it is reseeded when a virtual machine is cloned or
 * restored, a generator of ours would repeat itself. */
void seal_random(void *out, size_t len)
{
	uint8_t *p = out;

	while (len > 0) {
		ssize_t n = getrandom(p, len, 0);

		if (n < 0 && errno != EINTR)
			abort();
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
}

bool seal_equal(const void *a, const void *b, size_t len)
{
	return CRYPTO_memcmp(a, b, len) == 0;
}

void seal_wipe(void *p, size_t len)
{
	OPENSSL_cleanse(p, len);
}

bool seal_has_aes(void)
{
#if defined(__x86_64__) || defined(__i386__)
	return __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul");
#elif defined(__aarch64__)
	return (getauxval(AT_HWCAP) & HWCAP_AES) && (getauxval(AT_HWCAP) & HWCAP_PMULL);
#else
	return false;
#endif
}

void seal_b64(char out[SEAL_B64_LEN], const uint8_t in[32])
{
	EVP_EncodeBlock((unsigned char *)out, in, 32);
}

int seal_unb64(uint8_t out[32], const char *text)
{
	uint8_t bytes[33];
	char again[SEAL_B64_LEN];

	if (strlen(text) != SEAL_B64_LEN - 1 ||
	    EVP_DecodeBlock(bytes, (const unsigned char *)text, SEAL_B64_LEN - 1) != (int)sizeof(bytes))
		return -1;
	/* One key has one text: stray bits at the end and odd padding are typing errors. */
	seal_b64(again, bytes);
	if (strcmp(again, text) != 0)
		return -1;
	memcpy(out, bytes, 32);
	return 0;
}
