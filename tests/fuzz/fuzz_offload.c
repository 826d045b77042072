/* SPDX-License-Identifier: BSD-2-Clause */
/* Super-packets cut up: segments stay within their bytes and headers; runs put together are cut
 * into the same again. */
#include "fuzz.h"
#include "offload.h"

static void cut(const struct offload *how, const uint8_t *packet, size_t len)
{
	struct offload_split s;
	uint8_t *out = malloc(len ? len : 1);
	size_t n, payload = 0;

	if (!offload_split(&s, how, packet, len)) {
		while ((n = offload_split_next(&s, out, len)) > 0) {
			MUST(n <= len && n >= s.headers);
			payload += n - s.headers;
		}
		MUST(payload <= len);
	}
	free(out);
}

/* Packets, each with its length in front, as they come from the tunnel. */
static void join(uint8_t *data, size_t size)
{
	struct offload_run run;
	struct offload how;
	bool open = false;

	for (size_t at = 0; at + 17 < size;) {
		size_t len = data[at], left = size - at - 17;
		uint8_t *packet = data + at + 17;

		len = len < left ? len : left;
		if (offload_is_udp(packet, len)) {
			if (open && offload_same_flow(&run, packet, len) && !offload_run_add(&run, packet, len))
				open = false;
			else if (!open)
				open = offload_run_start(&run, packet, len);
		}
		at += 17 + len;
	}
	if (open) {
		MUST(run.n && run.n <= OFFLOAD_RUN && run.total <= size);
		offload_run_end(&run, &how);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct offload how;
	uint8_t *packet;

	if (size < OFFLOAD_HDR)
		return 0;
	packet = malloc(size);
	memcpy(packet, data, size);
	offload_get(&how, packet);
	memmove(packet, packet + OFFLOAD_HDR, size - OFFLOAD_HDR);
	packet = realloc(packet, size - OFFLOAD_HDR ? size - OFFLOAD_HDR : 1);
	size -= OFFLOAD_HDR;
	cut(&how, packet, size);
	offload_complete(&how, packet, size);
	join(packet, size);
	free(packet);
	return 0;
}
