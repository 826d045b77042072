/* SPDX-License-Identifier: BSD-2-Clause */
/* A byte is the sum of its two halves, so a product by a constant is two looks into tables of 16,
 * made for each call: cheap beside a packet. Where the processor looks up 16 bytes at once (SSSE3),
 * it does. */
#include <string.h>

#include "gf256.h"

#define POLYNOMIAL 0x11d

uint8_t gf256_mul(uint8_t a, uint8_t b)
{
	unsigned product = 0, x = a;

	for (; b; b >>= 1) {
		if (b & 1)
			product ^= x;
		x <<= 1;
		if (x & 0x100)
			x ^= POLYNOMIAL;
	}
	return (uint8_t)product;
}

/* a^254: the group has 255 elements. */
uint8_t gf256_inv(uint8_t a)
{
	uint8_t power = a, product = 1;

	for (unsigned i = 1; i < 8; i++) {
		power = gf256_mul(power, power);
		product = gf256_mul(product, power);
	}
	return product;
}

struct halves {
	uint8_t low[16], high[16];
};

static void halves_make(struct halves *h, uint8_t factor)
{
	h->low[0] = h->high[0] = 0;
	for (unsigned bit = 1; bit < 16; bit <<= 1) {
		uint8_t low = gf256_mul(factor, (uint8_t)bit), high = gf256_mul(factor, (uint8_t)(bit << 4));

		for (unsigned i = 0; i < bit; i++) {
			h->low[bit + i] = h->low[i] ^ low;
			h->high[bit + i] = h->high[i] ^ high;
		}
	}
}

static void add_mul_plain(uint8_t *into, const uint8_t *from, const struct halves *h, size_t len)
{
	for (size_t i = 0; i < len; i++)
		into[i] ^= h->low[from[i] & 15] ^ h->high[from[i] >> 4];
}

void gf256_add_mul_plain(uint8_t *into, const uint8_t *from, uint8_t factor, size_t len)
{
	struct halves h;

	halves_make(&h, factor);
	add_mul_plain(into, from, &h, len);
}

#ifdef __x86_64__
#include <tmmintrin.h>

__attribute__((target("ssse3"))) static size_t add_mul_wide(uint8_t *into, const uint8_t *from, const struct halves *h, size_t len)
{
	const __m128i low = _mm_loadu_si128((const __m128i *)h->low), high = _mm_loadu_si128((const __m128i *)h->high);
	const __m128i mask = _mm_set1_epi8(15);
	size_t i;

	for (i = 0; i + 16 <= len; i += 16) {
		__m128i x = _mm_loadu_si128((const __m128i *)(from + i)), y = _mm_loadu_si128((const __m128i *)(into + i));

		y = _mm_xor_si128(y, _mm_shuffle_epi8(low, _mm_and_si128(x, mask)));
		y = _mm_xor_si128(y, _mm_shuffle_epi8(high, _mm_and_si128(_mm_srli_epi64(x, 4), mask)));
		_mm_storeu_si128((__m128i *)(into + i), y);
	}
	return i;
}

static size_t add_mul_fast(uint8_t *into, const uint8_t *from, const struct halves *h, size_t len)
{
	return __builtin_cpu_supports("ssse3") ? add_mul_wide(into, from, h, len) : 0;
}
#else
static size_t add_mul_fast(uint8_t *into, const uint8_t *from, const struct halves *h, size_t len)
{
	(void)into, (void)from, (void)h, (void)len;
	return 0;
}
#endif

void gf256_add_mul(uint8_t *into, const uint8_t *from, uint8_t factor, size_t len)
{
	struct halves h;
	size_t done;

	if (!factor)
		return;
	halves_make(&h, factor);
	done = add_mul_fast(into, from, &h, len);
	add_mul_plain(into + done, from + done, &h, len - done);
}

/* factor * x = x + (factor + 1) * x */
void gf256_scale(uint8_t *into, uint8_t factor, size_t len)
{
	gf256_add_mul(into, into, factor ^ 1, len);
}
