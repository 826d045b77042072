/* SPDX-License-Identifier: BSD-2-Clause */
/* An inner packet from anywhere: parsed, classed, and its header changed, within its bytes. */
#include "classify.h"
#include "fuzz.h"

static uint32_t header_sum(const uint8_t *p, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* A new mark, and nothing else, and a checksum as right or wrong as before. */
static void change(uint8_t *p, size_t size, const struct inner *in, uint8_t tos)
{
	size_t head = p[0] >> 4 == 4 ? (size_t)(p[0] & 15) * 4 : 0;
	uint32_t before = head ? header_sum(p, head) : 0;
	struct inner again;

	inner_set_tos(p, tos);
	MUST(!inner_parse(&again, p, size) && again.tos == tos && again.flow == in->flow && again.proto == in->proto);
	MUST(!head || header_sum(p, head) == before || header_sum(p, head) % 0xffff == before % 0xffff);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct classify classes;
	struct classify_flow *flow = NULL;
	struct inner in;
	uint8_t *p;

	if (size < 2)
		return 0;
	size -= 2;
	p = malloc(size ? size : 1);
	if (size)
		memcpy(p, data + 2, size);
	if (!inner_parse(&in, p, size)) {
		enum wire_class class;

		MUST(size >= 20 && in.flow);
		class = classify_packet(&classes, &in, size, data[0], &flow);
		MUST(flow && class >= WIRE_CLASS_R && class <= WIRE_CLASS_B);
		change(p, size, &in, data[0]);
		inner_take_ecn(p, data[1]);
		MUST(!inner_parse(&in, p, size));
	}
	free(p);
	return 0;
}
