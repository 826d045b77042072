/* SPDX-License-Identifier: BSD-2-Clause */
/* A receiver of repairs: packets and repairs in any order, right ones and others. Nothing is
 * delivered twice, nor outside its bytes. */
#include "fec.h"
#include "fuzz.h"

#define NUMBERS 4096

struct sink {
	uint8_t delivered[NUMBERS];
	uint64_t base;
};

static void on_mended(void *arg, uint64_t seq, uint8_t *packet, size_t len)
{
	struct sink *s = arg;

	MUST(len && len <= FEC_PACKET);
	memset(packet - 16, 0xee, 16 + len);
	if (seq - s->base < NUMBERS)
		MUST(!s->delivered[seq - s->base]++);
}

static void source(struct fec_decoder *d, struct sink *s, uint64_t offset, const uint8_t *packet, size_t len)
{
	if (offset >= NUMBERS || s->delivered[offset]) /* the window of the association sees to that */
		return;
	if (fec_source(d, s->base + offset, packet, len))
		s->delivered[offset] = 1;
}

/* One step: what it is, how far from `base`, how long. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t zero[FEC_REPAIR_MAX + 2];
	struct sink s = { .base = size && data[0] & 1 ? 0 : 1ull << 33 };
	struct fec_decoder *d = fec_decoder_new(on_mended, &s);
	struct fec_encoder *e = fec_encoder_new();

	for (size_t i = 1; i + 5 <= size; i += 5) {
		uint64_t offset = (uint64_t)data[i + 1] << 8 | data[i + 2];
		size_t len = ((size_t)data[i + 3] << 8 | data[i + 4]) % (FEC_REPAIR_MAX + 2);
		struct wire_repair r = { .base = s.base + offset, .window = data[i + 3], .seed = data[i + 4] };
		uint8_t out[FEC_REPAIR_MAX];

		memcpy(zero, data, size < 64 ? size : 64);
		if (data[i] < 100) {
			source(d, &s, offset, zero, len ? len % FEC_PACKET + 1 : 1);
		} else if (data[i] < 150) {
			fec_encode(e, s.base + offset, zero, len);
		} else if (data[i] < 200) {
			fec_repair_in(d, out, fec_repair(e, out, data[i + 3]));
		} else {
			wire_put_repair(zero, &r);
			fec_repair_in(d, zero, len);
		}
	}
	fec_encoder_free(e);
	fec_decoder_free(d);
	return 0;
}
