/* carrier: the tunnels' packets as frames of their users' control connections, where datagrams do not get through. See carrier.c. */
#ifndef PLAIT_CARRIER_H
#define PLAIT_CARRIER_H

#include <stddef.h>
#include <stdint.h>

#include "control.h"
#include "tunnel.h"
#include "users.h"

struct carrier;

/* `congestion`: how a control connection behaves while it carries packets; outlives this. NULL: no memory. */
struct carrier *carrier_new(const char *congestion);
void carrier_free(struct carrier *c); /* NULL is fine */

/* A user's tunnel is there from now on, until it is told to be NULL. */
void carrier_tunnel(struct carrier *c, const struct user *user, struct tunnel *tunnel);

/* What happens on a control connection of his: a PACKET or a CARRIER came, what was offered will be taken now, it is over. */
void carrier_frame(struct carrier *c, const struct user *user, struct control *control, uint8_t type, const uint8_t *value, size_t len);
void carrier_room(struct carrier *c, const struct user *user, const struct control *control);
void carrier_left(struct carrier *c, const struct user *user, const struct control *control);

#endif
