/* SPDX-License-Identifier: BSD-2-Clause */
/* The ring against a naive model: a flag for each number. */
#include <stdbool.h>

#include "fuzz.h"
#include "window.h"

#define NUMBERS 65536
#define BITS 256

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool seen[NUMBERS];
	uint64_t words[WINDOW_WORDS(BITS)], next = 0;
	struct window w;

	memset(seen, 0, sizeof(seen));
	window_init(&w, words, WINDOW_WORDS(BITS));
	for (; size >= 2; data += 2, size -= 2) {
		uint64_t n = (uint64_t)(data[0] << 8 | data[1]);
		enum window_verdict want = n < next && next - n > BITS ? WINDOW_OLD : seen[n] ? WINDOW_SEEN : WINDOW_NEW;

		MUST(window_check(&w, n) == want && window_mark(&w, n) == want);
		if (want == WINDOW_NEW)
			seen[n] = true;
		if (want == WINDOW_NEW && n >= next)
			next = n + 1;
		MUST(w.next == next);
	}
	return 0;
}
