/* SPDX-License-Identifier: BSD-2-Clause */
/* demux: the remote's UDP port: which datagram belongs to which gateway. See demux.c for the
 * theory. */
#ifndef PLAIT_DEMUX_H
#define PLAIT_DEMUX_H

#include <event2/event.h>
#include <jansson.h>
#include <stdint.h>

#include "assoc.h"
#include "config.h"
#include "seal.h"
#include "session.h"
#include "users.h"

struct demux;

/* How a user comes by an association: the tunnel has its own. All NULL: `demux` makes bare ones. */
struct demux_ops {
	struct assoc *(*raise)(void *arg, struct user *user); /* NULL: no memory */
	void (*raze)(void *arg, struct user *user, struct assoc *a);
};

/* NULL: no memory. That the port cannot be had is logged, and nobody is given an index then. */
struct demux *demux_new(struct event_base *base, const struct config *config, struct seal *seal, const struct demux_ops *ops, void *arg);
void demux_free(struct demux *d); /* NULL is fine */

/* A session of this user, whose gateway runs since it drew `boot`. The index of its datagrams; 0:
 * no datagrams. */
uint32_t demux_admit(struct demux *d, struct user *user, const uint8_t boot[16], struct session *s);
void demux_leave(struct demux *d, uint32_t index); /* that session is over; 0 and unknown ones are fine */

json_t *demux_status(const struct demux *d); /* [{user, indexes, paths: [...]}] */

#endif
