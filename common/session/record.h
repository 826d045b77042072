/* SPDX-License-Identifier: BSD-2-Clause */
/* record: one direction of a sealed stream, cut into records. */
#ifndef PLAIT_RECORD_H
#define PLAIT_RECORD_H

#include "seal.h"
#include "wire.h"

/* Bytes that `len` bytes of plaintext become: full records, then the rest. */
size_t record_sealed_len(size_t len);

/* Seals `len` bytes as records of `kind` (DATA is cut at WIRE_RECORD_MAX; other kinds must fit in
 * one) to `out`, which must have room for record_sealed_len(len). len 0 makes one empty record.
 * Returns the bytes made, or -1 when the key is spent. `in` and `out` must not overlap. */
ssize_t record_seal(struct seal *s, enum seal_alg alg, struct seal_key *k, enum wire_kind kind, const void *in,
		    size_t len, uint8_t *out);

struct record {
	enum wire_kind kind;
	uint8_t *data; /* plaintext, inside the caller's buffer */
	size_t len;
	size_t used; /* bytes of the buffer this record took */
};

/* Opens, in place, the record at the head of buf: 1 and *r is set; 0 when it is not complete yet;
 * -1 when it is forged, out of order or malformed (the stream is over). */
int record_open(struct seal *s, enum seal_alg alg, struct seal_key *k, uint8_t *buf, size_t len, struct record *r);

#endif
