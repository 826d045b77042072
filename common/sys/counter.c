/* SPDX-License-Identifier: BSD-2-Clause */
/* counter: the numbers, and the list as a table to walk. */
#include <stddef.h>

#include "counter.h"

struct counters counters;

static const struct {
	const char *name, *text;
	size_t offset;
} list[] = {
#define X(name, text) { #name, text, offsetof(struct counters, name) },
	COUNTERS(X)
#undef X
};

_Static_assert(sizeof(list) / sizeof(*list) == sizeof(struct counters) / sizeof(uint64_t), "one row a counter");

const char *counter_get(unsigned i, uint64_t *value, const char **text)
{
	if (i >= sizeof(list) / sizeof(*list))
		return NULL;
	*value = *(const uint64_t *)((const char *)&counters + list[i].offset);
	*text = list[i].text;
	return list[i].name;
}
