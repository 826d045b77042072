/* SPDX-License-Identifier: BSD-2-Clause */
/* window: which of a stream of 64-bit numbers were seen, after RFC 6479.
 *
 * Exact for the newest `bits` numbers, and silent about older ones: those are
 * WINDOW_OLD and the caller decides. Number 0 is as good as any other
 * (2^64-1 alone counts as old). The
 * caller owns the storage, so a window costs no heap of its own. */
#ifndef PLAIT_WINDOW_H
#define PLAIT_WINDOW_H

#include <stddef.h>
#include <stdint.h>

enum window_verdict { WINDOW_NEW, WINDOW_SEEN, WINDOW_OLD };

struct window {
	uint64_t next;	 /* one past the highest number marked */
	uint64_t *words; /* ring of `count` words */
	uint32_t count;	 /* a power of two, >= 2 */
};

/* Words of storage for a window that is exact over `bits` numbers (bits a power of
 * two >= 64). One word more than bits/64 would do; the ring rounds up to a power
 * of two, so the cost is twice that. */
#define WINDOW_WORDS(bits) (2 * ((bits) / 64))

void window_init(struct window *w, uint64_t *words, uint32_t count);

/* Looks without marking: use before the (costly) authentication. */
enum window_verdict window_check(const struct window *w, uint64_t n);

/* Marks n if it is new; returns what it was. */
enum window_verdict window_mark(struct window *w, uint64_t n);

#endif
