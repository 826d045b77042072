/* SPDX-License-Identifier: BSD-2-Clause */
/* numbers: no number twice under a key.
 *
 * The header of a sealed datagram has the session's index, type, class and the low half of the
 * number, and that is what the nonce is made of. Two datagrams of one host with the same header are
 * one that was sent twice, and then they are equal; or their nonce was used twice, which gives the
 * key away. All that were ever sent in this household are remembered, by their sums. */
#include "numbers.h"

#include <stdlib.h>
#include <string.h>

#include "sim.h"
#include "wire_udp.h"

#define FIRST_SIZE 4096 /* a power of two */

struct entry {
	uint64_t header, sum; /* sum 0: empty */
};

static struct entry *table;
static size_t size, used;

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 31) * 0x9e3779b97f4a7c15;
	return x ^ x >> 29;
}

static uint64_t sum_of(const uint8_t *data, size_t len)
{
	uint64_t sum = len + 1, word;

	for (; len >= sizeof(word); data += sizeof(word), len -= sizeof(word)) {
		memcpy(&word, data, sizeof(word));
		sum = mix(sum ^ word);
	}
	for (; len; len--)
		sum = mix(sum ^ *data++);
	return sum ? sum : 1;
}

static struct entry *find(uint64_t header)
{
	size_t i = mix(header) & (size - 1);

	while (table[i].sum && table[i].header != header)
		i = (i + 1) & (size - 1);
	return &table[i];
}

static void grow(void)
{
	struct entry *old = table;
	size_t n = size;

	size = size ? size * 2 : FIRST_SIZE;
	table = sim_alloc(size * sizeof(*table));
	for (size_t i = 0; i < n; i++)
		if (old[i].sum)
			*find(old[i].header) = old[i];
	free(old);
}

void numbers_begin(void)
{
	free(table);
	table = NULL;
	size = used = 0;
	grow();
}

static uint64_t header_of(enum host from, const struct wire_dgram *hdr)
{
	return (uint64_t)hdr->low << 32 | hdr->index << 8 | (uint64_t)hdr->type << 4 |
	       (uint64_t)hdr->class << 1 | (from == GATEWAY);
}

void numbers_seen(enum host from, const uint8_t *dgram, size_t len)
{
	struct wire_dgram hdr;
	struct entry *e;
	uint64_t sum;

	if (wire_get_dgram(&hdr, dgram, len) < 0 || hdr.type == WIRE_DG_UNKNOWN)
		return;
	e = find(header_of(from, &hdr));
	sum = sum_of(dgram, len);
	if (e->sum && e->sum != sum)
		sim_fail("a number is used twice: index %u, type %u, class %u, number %u",
			 hdr.index, hdr.type, hdr.class, hdr.low);
	if (e->sum)
		return;
	*e = (struct entry){ .header = header_of(from, &hdr), .sum = sum };
	if (++used > size / 2)
		grow();
}
