/* carrier: which way the tunnel's packets travel: as datagrams, or as frames of the control connection. See carrier.c for the theory. */
#ifndef PLAIT_CARRIER_H
#define PLAIT_CARRIER_H

#include <event2/event.h>
#include <stdbool.h>

#include "remotes.h"
#include "tunnel.h"
#include "wire.h"

struct carrier;

/* `changed` is called from the loop when it is the other way now. `congestion`: how the control connection behaves while it carries packets. All
 * outlive this. NULL: no memory. */
struct carrier *carrier_new(struct event_base *base, struct tunnel *tunnel, struct remotes *remotes, const char *congestion,
			    void (*changed)(void *arg), void *arg);
void carrier_free(struct carrier *c); /* NULL is fine */

/* What happens. A session, or a new one; NULL: there is none, or no tunnel. */
void carrier_session(struct carrier *c, const struct wire_welcome *w);
void carrier_path(struct carrier *c); /* one came or went */
void carrier_packet(struct carrier *c, const uint8_t *packet, size_t len);
void carrier_room(struct carrier *c);

#endif
