/* SPDX-License-Identifier: BSD-2-Clause */
/* record: the nonce is the number of the record, which is never said and never goes back. */
#include "record.h"

size_t record_sealed_len(size_t len)
{
	size_t records = len ? (len + WIRE_RECORD_MAX - 1) / WIRE_RECORD_MAX : 1;

	return len + records * WIRE_RECORD_OVERHEAD;
}

static int record_seal_one(struct seal *s, enum seal_alg alg, struct seal_key *k, enum wire_kind kind, const void *in,
			   size_t len, uint8_t *out)
{
	wire_put_record_hdr(out, kind, len);
	return seal_seal(s, alg, k, out, WIRE_RECORD_HDR, in, len, out + WIRE_RECORD_HDR);
}

ssize_t record_seal(struct seal *s, enum seal_alg alg, struct seal_key *k, enum wire_kind kind, const void *in,
		    size_t len, uint8_t *out)
{
	const uint8_t *p = in;
	uint8_t *o = out;

	if (kind != WIRE_DATA && len > WIRE_RECORD_MAX)
		return -1;
	do {
		size_t n = len < WIRE_RECORD_MAX ? len : WIRE_RECORD_MAX;

		if (record_seal_one(s, alg, k, kind, p, n, o) < 0)
			return -1;
		o += n + WIRE_RECORD_OVERHEAD;
		if (n)
			p += n;
		len -= n;
	} while (len > 0);
	return o - out;
}

int record_open(struct seal *s, enum seal_alg alg, struct seal_key *k, uint8_t *buf, size_t len, struct record *r)
{
	size_t cipher_len;
	ssize_t hdr = wire_get_record_hdr(&r->kind, &cipher_len, buf, len);

	if (hdr <= 0)
		return (int)hdr;
	if (len < WIRE_RECORD_HDR + cipher_len)
		return 0;
	r->data = buf + WIRE_RECORD_HDR;
	r->len = cipher_len - WIRE_TAG;
	r->used = WIRE_RECORD_HDR + cipher_len;
	return seal_open(s, alg, k, buf, WIRE_RECORD_HDR, r->data, cipher_len, r->data) < 0 ? -1 : 1;
}
