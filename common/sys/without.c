/* SPDX-License-Identifier: BSD-2-Clause */
/* without: see without.h. */
#include <stdlib.h>
#include <string.h>

#include "without.h"

bool without(const char *word)
{
	const char *at = getenv("PLAIT_WITHOUT");
	size_t len = strlen(word);

	while (at && *at) {
		size_t n = strcspn(at, ",");

		if (n == len && !memcmp(at, word, n))
			return true;
		at += n + (at[n] == ',');
	}
	return false;
}
