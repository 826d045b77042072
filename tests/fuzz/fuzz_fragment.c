/* SPDX-License-Identifier: BSD-2-Clause */
/* Pieces of inner packets: two that fit give one packet of their bytes; all else gives nothing, and
 * takes no more room than there is. */
#include "fragment.h"
#include "fuzz.h"

static void cut_and_join(struct fragments *f, struct slab *slab, const uint8_t *data, size_t size)
{
	size_t len = size < PACKET_INNER_MAX ? size : PACKET_INNER_MAX;
	struct packet *two[2] = { slab_take(slab), slab_take(slab) }, *whole;

	if (len > 1 && two[0] && two[1] && !fragment_cut(two, data[0], data, len, 700 + data[1])) {
		fragments_expire(f, slab, UINT64_MAX);
		MUST(!fragments_take(f, slab, 1, packet_inner(two[1]), two[1]->len, 1000000));
		whole = fragments_take(f, slab, 1, packet_inner(two[0]), two[0]->len, 1000000);
		MUST(whole && whole->len == len && !memcmp(packet_inner(whole), data, len));
		packet_put(slab, whole);
	}
	packet_put(slab, two[0]);
	packet_put(slab, two[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fragments *f = calloc(1, sizeof(*f));
	struct slab slab;
	uint64_t now = 0;

	slab_init(&slab, 96);
	for (size_t i = 0; i + 3 <= size;) {
		size_t len = (size_t)data[i + 1] << 4, left = size - i - 3;
		uint8_t *exact;
		struct packet *p;

		len = len < left ? len : left;
		exact = malloc(len ? len : 1);
		memcpy(exact, data + i + 3, len);
		now += data[i] * 1000u;
		p = fragments_take(f, &slab, data[i + 2] & 3, exact, len, now);
		MUST(!p || (p->len && p->len <= PACKET_INNER_MAX));
		packet_put(&slab, p);
		if (data[i + 2] & 4)
			fragments_expire(f, &slab, now);
		free(exact);
		MUST(slab.used <= FRAGMENT_SLOTS);
		i += 3 + (len ? len : 1);
	}
	if (size)
		cut_and_join(f, &slab, data, size);
	fragments_expire(f, &slab, UINT64_MAX);
	MUST(!slab.used);
	slab_end(&slab);
	free(f);
	return 0;
}
