/* SPDX-License-Identifier: BSD-2-Clause */
/* pmtu: how large a datagram may be on each path of an association, found out on the path itself,
 * in this side's sending direction; the peer does the same for his. See pmtu.c for the theory.
 *
 * Sizes are those of a UDP payload, a whole datagram of ours with header and tag, so that IPv4 and
 * IPv6 outside are the same thing here. */
#ifndef PLAIT_PMTU_H
#define PLAIT_PMTU_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "assoc.h"

#define PMTU_BASE 1232	      /* 1280 over IPv6: works without having been tried */
#define PMTU_TOP 1472	      /* 1500 over IPv4 */
#define PMTU_INNER_FLOOR 1280 /* of the inner MTU; what does not fit goes in two pieces */

struct pmtu;

/* `inner` is new: the longest inner packet that every usable path takes whole, never below the
 * floor. Called at the end of a turn of the loop, and not when nothing changed. `reserve`: bytes
 * that a repair needs more than the packets it repairs (0, or WIRE_REPAIR_HDR). `base` NULL: no
 * timer, the caller calls pmtu_tick(). */
typedef void (*pmtu_cb)(void *arg, unsigned inner);
struct pmtu *pmtu_new(struct event_base *base, struct assoc *a, unsigned reserve, pmtu_cb changed, void *arg);
void pmtu_free(struct pmtu *p);
/* Asleep: nothing is asked, because nobody needs to know. Born awake. */
void pmtu_awake(struct pmtu *p, bool awake, uint64_t now_ms);

/* From the assoc's callbacks: path() for every change of state or use, frame() for MTU_PROBE and
 * MTU_ACK (others: false). */
void pmtu_path(struct pmtu *p, unsigned path, uint64_t now_ms);
bool pmtu_frame(struct pmtu *p, unsigned path, uint8_t type, const uint8_t *value, size_t len, uint64_t now_ms);

/* The largest datagram for this path now: the found size; PMTU_BASE while it is not found, or in
 * doubt. */
unsigned pmtu_size(const struct pmtu *p, unsigned path);
static inline unsigned pmtu_room(const struct pmtu *p, unsigned path) /* and of the plaintext in it */
{
	return pmtu_size(p, path) - WIRE_DG_OVERHEAD;
}
unsigned pmtu_inner(
	const struct pmtu *p); /* as the callback was told last; PMTU_INNER_FLOOR before */

/* Hints; `len` is the datagram's. sent: it went out on this path. lost, acked: what became of one
 * that went out on no other path. Three long ones lost in a row, none acknowledged between: the
 * path is asked again at once. */
void pmtu_sent(struct pmtu *p, unsigned path, size_t len, uint64_t now_ms);
void pmtu_lost(struct pmtu *p, unsigned path, size_t len, uint64_t now_ms);
void pmtu_acked(struct pmtu *p, unsigned path, size_t len);

/* What is due; when to call again, UINT64_MAX: nothing waits. */
uint64_t pmtu_tick(struct pmtu *p, uint64_t now_ms);

#endif
