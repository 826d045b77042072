/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * The numbers are the bits of an endless row of 64-bit words, of which a ring
 * keeps the newest `count`: number n is bit n % 64 of word n / 64, and that word
 * lives at index (n / 64) % count. When the highest number moves on, the words
 * between the old and the new top are cleared before use, so nothing is ever
 * shifted: a mark costs one bit and, now and then, some cleared words (never
 * more than the whole ring).
 *
 * Half the ring is what we vouch for. The newest 32 * count numbers span at most
 * count / 2 + 1 words, which are all in the ring (count >= 2), so for them the
 * answer is exact. */
#include "window.h"

#include <string.h>

static uint64_t window_bits(const struct window *w)
{
	return (uint64_t)w->count * 32;
}

void window_init(struct window *w, uint64_t *words, uint32_t count)
{
	w->next = 0;
	w->words = words;
	w->count = count;
	memset(words, 0, count * sizeof(*words));
}

enum window_verdict window_check(const struct window *w, uint64_t n)
{
	uint64_t word;

	if (n == UINT64_MAX) /* `next` could not stand behind it */
		return WINDOW_OLD;
	if (n >= w->next)
		return WINDOW_NEW;
	if (w->next - n > window_bits(w))
		return WINDOW_OLD;
	word = w->words[(n / 64) & (w->count - 1)];
	return word >> (n % 64) & 1 ? WINDOW_SEEN : WINDOW_NEW;
}

/* Makes n the highest number. */
static void window_advance(struct window *w, uint64_t n)
{
	uint64_t top = w->next ? (w->next - 1) / 64 : 0;
	uint64_t fresh = n / 64 - top;

	if (fresh > w->count)
		fresh = w->count;
	for (uint64_t i = 0; i < fresh; i++)
		w->words[(n / 64 - i) & (w->count - 1)] = 0;
	w->next = n + 1;
}

enum window_verdict window_mark(struct window *w, uint64_t n)
{
	enum window_verdict v = window_check(w, n);

	if (v != WINDOW_NEW)
		return v;
	if (n >= w->next)
		window_advance(w, n);
	w->words[(n / 64) & (w->count - 1)] |= (uint64_t)1 << (n % 64);
	return v;
}
