/* SPDX-License-Identifier: BSD-2-Clause */
/* udp_keys: one session's keys for datagrams, with the numbers they were used for and the windows
 * that tell copies. Made by session_udp_keys() alone. See udp_keys.c. */
#ifndef PLAIT_UDP_KEYS_H
#define PLAIT_UDP_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "seal.h"
#include "wire_udp.h"

struct udp_keys;

/* index stands in each datagram. NULL: no memory. */
struct udp_keys *udp_keys_new(struct seal *seal, enum seal_alg alg, const uint8_t tx[SEAL_KEY],
			      const uint8_t rx[SEAL_KEY], uint32_t index);
void udp_keys_free(struct udp_keys *k); /* NULL is fine */

uint32_t udp_keys_index(const struct udp_keys *k);
uint64_t udp_keys_sealed(const struct udp_keys *k); /* datagrams so far */
/* Did we seal a control datagram with this low half lately? */
bool udp_keys_recent(const struct udp_keys *k, uint32_t low);

/* As assoc_seal(). */
int udp_keys_seal(struct udp_keys *k, enum wire_dgram_type type, uint8_t class, uint8_t *buf,
		  size_t len, uint64_t *seq);

/* Opens a datagram of `len` bytes in place: NEW leaves len - WIRE_DG_OVERHEAD bytes of plaintext at
 * data + WIRE_DG_HDR, and it is marked. *seq is the full number, of all verdicts. */
enum udp_keys_verdict { UDP_KEYS_NEW, UDP_KEYS_COPY, UDP_KEYS_OLD, UDP_KEYS_FORGED };
enum udp_keys_verdict udp_keys_open(struct udp_keys *k, const struct wire_dgram *hdr, uint8_t *data,
				    size_t len, uint64_t *seq);

#endif
