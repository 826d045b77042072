/* SPDX-License-Identifier: BSD-2-Clause */
/* Every reader of wire.h: never past the end; what was read writes back as the same bytes. */
#include "fuzz.h"
#include "wire.h"

#define BOTH_WAYS(noun, type)                                           \
	static void try_##noun(const uint8_t *in, size_t len)           \
	{                                                               \
		uint8_t out[128];                                       \
		type v;                                                 \
		ssize_t n = wire_get_##noun(&v, in, len);               \
		if (n > 0)                                              \
			MUST((size_t)n <= len && wire_put_##noun(out, &v) == (size_t)n && !memcmp(in, out, (size_t)n)); \
	}
BOTH_WAYS(knock, struct wire_knock)
BOTH_WAYS(attach, struct wire_attach)
BOTH_WAYS(reset, struct wire_reset)
BOTH_WAYS(open, struct wire_open)
BOTH_WAYS(resume, struct wire_resume)
BOTH_WAYS(answer, struct wire_answer)
BOTH_WAYS(hello, struct wire_hello)
BOTH_WAYS(welcome, struct wire_welcome)
BOTH_WAYS(revoke, struct wire_revoke)
BOTH_WAYS(revoked, struct wire_revoke)
BOTH_WAYS(carrier, enum wire_carrier)

static void (*const tries[])(const uint8_t *, size_t) = { try_knock, try_attach, try_reset, try_open, try_resume, try_answer, try_hello,
							   try_welcome, try_revoke, try_revoked, try_carrier };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *in = malloc(size ? size : 1), type;
	enum wire_kind kind;
	size_t len;

	if (size)
		memcpy(in, data, size);
	for (size_t i = 0; i < sizeof(tries) / sizeof(*tries); i++)
		tries[i](in, size);
	if (wire_get_record_hdr(&kind, &len, in, size) > 0)
		MUST(len >= WIRE_TAG && len <= WIRE_RECORD_MAX + WIRE_TAG);
	if (wire_get_frame_hdr(&type, &len, in, size) > 0)
		MUST(len <= (type == WIRE_PACKET ? WIRE_PACKET_MAX : WIRE_FRAME_MAX));
	wire_is_tls(in, size);
	free(in);
	return 0;
}
