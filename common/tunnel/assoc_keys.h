/* SPDX-License-Identifier: BSD-2-Clause */
/* assoc_keys: one session's keys for datagrams: sealing, the numbers, and the windows that tell
 * copies. See assoc_keys.c. */
#ifndef PLAIT_ASSOC_KEYS_H
#define PLAIT_ASSOC_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "seal.h"
#include "session.h"
#include "wire_udp.h"

struct assoc_keys;

/* dir: which of the session's two keys is ours to seal with (0 up, 1 down). Takes a reference.
 * NULL: no memory. */
struct assoc_keys *assoc_keys_new(struct seal *seal, struct session *s, int dir, uint32_t index);
void assoc_keys_free(struct assoc_keys *k); /* NULL is fine */

uint32_t assoc_keys_index(const struct assoc_keys *k);
uint64_t assoc_keys_sealed(const struct assoc_keys *k); /* datagrams so far */
/* Did we seal a control datagram with this low half lately? */
bool assoc_keys_recent(const struct assoc_keys *k, uint32_t low);

/* As assoc_seal(). */
int assoc_keys_seal(struct assoc_keys *k, enum wire_dgram_type type, uint8_t class, uint8_t *buf, size_t len, uint64_t *seq);

/* Opens a datagram of `len` bytes in place: NEW leaves len - WIRE_DG_OVERHEAD bytes of plaintext at
 * data + WIRE_DG_HDR, and it is marked. *seq is the full number, of all verdicts. */
enum assoc_keys_verdict { ASSOC_KEYS_NEW, ASSOC_KEYS_COPY, ASSOC_KEYS_OLD, ASSOC_KEYS_FORGED };
enum assoc_keys_verdict assoc_keys_open(struct assoc_keys *k, const struct wire_dgram *hdr, uint8_t *data, size_t len, uint64_t *seq);

#endif
