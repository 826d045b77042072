/* SPDX-License-Identifier: BSD-2-Clause */
/* fallback: which way the tunnel's packets travel: as datagrams, or as frames of the control
 * connection. See fallback.c for the theory. */
#ifndef PLAIT_FALLBACK_H
#define PLAIT_FALLBACK_H

#include <event2/event.h>
#include <stdbool.h>

#include "tunnel.h"
#include "vps_choice.h"
#include "wire.h"

struct fallback;

/* `changed` is called from the loop when it is the other way now. `congestion`: how the control
 * connection behaves while it carries packets. All outlive this. NULL: no memory. */
struct fallback *fallback_new(struct event_base *base, struct tunnel *tunnel, struct vps_choice *vps, const char *congestion,
			    void (*changed)(void *arg), void *arg);
void fallback_free(struct fallback *f); /* NULL is fine */

/* What happens. A session, or a new one; NULL: there is none, or no tunnel. */
void fallback_session(struct fallback *f, const struct wire_welcome *w);
void fallback_path(struct fallback *f); /* one came or went */
void fallback_packet(struct fallback *f, const uint8_t *packet, size_t len);
void fallback_room(struct fallback *f);

#endif
