/* SPDX-License-Identifier: BSD-2-Clause */
/* Every reader of wire_udp.h: never past the end; what was read writes back as the same bytes.
 * Frames are stepped through as the association does. */
#include "fuzz.h"
#include "wire_udp.h"

#define BOTH_WAYS(noun, type)                                           \
	static void try_##noun(const uint8_t *in, size_t len)           \
	{                                                               \
		uint8_t out[128];                                       \
		type v;                                                 \
		ssize_t n = wire_get_##noun(&v, in, len);               \
		if (n > 0)                                              \
			MUST((size_t)n <= len && wire_put_##noun(out, &v) == (size_t)n && !memcmp(in, out, (size_t)n)); \
	}
BOTH_WAYS(dgram, struct wire_dgram)
BOTH_WAYS(probe, struct wire_probe)
BOTH_WAYS(report, struct wire_report)
BOTH_WAYS(ack, struct wire_ack)
BOTH_WAYS(fragment, struct wire_fragment)
BOTH_WAYS(repair, struct wire_repair)

static void try_all(const uint8_t *in, size_t len)
{
	static void (*const tries[])(const uint8_t *, size_t) = { try_dgram, try_probe, try_report, try_ack, try_fragment, try_repair };
	uint8_t *exact = malloc(len ? len : 1);

	if (len)
		memcpy(exact, in, len);
	for (size_t i = 0; i < sizeof(tries) / sizeof(*tries); i++)
		tries[i](exact, len);
	free(exact);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *value, *in = data;
	size_t left = size, len;
	uint8_t type;
	ssize_t n;

	try_all(data, size);
	while ((n = wire_get_ctl(&type, &value, &len, in, left)) > 0) {
		MUST((size_t)n <= left && value == in + WIRE_CTL_HDR && len + WIRE_CTL_HDR == (size_t)n);
		try_all(value, len);
		in += n;
		left -= (size_t)n;
	}
	MUST(n < 0 || !left);
	return 0;
}
