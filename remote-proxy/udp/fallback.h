/* SPDX-License-Identifier: BSD-2-Clause */
/* fallback: the tunnels' packets as frames of their users' control connections, where datagrams do
 * not get through. See fallback.c. */
#ifndef PLAIT_FALLBACK_H
#define PLAIT_FALLBACK_H

#include <stddef.h>
#include <stdint.h>

#include "control.h"
#include "tunnel.h"
#include "users.h"

struct fallback;

/* `congestion`: how a control connection behaves while it carries packets; outlives this. NULL: no
 * memory. */
struct fallback *fallback_new(const char *congestion);
void fallback_free(struct fallback *f); /* NULL is fine */

/* A user's tunnel is there from now on, until it is told to be NULL. */
void fallback_tunnel(struct fallback *f, const struct user *user, struct tunnel *tunnel);

/* What happens on a control connection of his: a PACKET or a CARRIER came, what was offered will be
 * taken now, it is over. */
void fallback_frame(struct fallback *f, const struct user *user, struct control *control, uint8_t type, const uint8_t *value, size_t len);
void fallback_room(struct fallback *f, const struct user *user, const struct control *control);
void fallback_left(struct fallback *f, const struct user *user, const struct control *control);

#endif
