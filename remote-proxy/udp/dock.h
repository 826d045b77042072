/* dock: the remote's UDP port: which datagram belongs to which gateway. See dock.c for the theory. */
#ifndef PLAIT_DOCK_H
#define PLAIT_DOCK_H

#include <event2/event.h>
#include <jansson.h>
#include <stdint.h>

#include "assoc.h"
#include "config.h"
#include "seal.h"
#include "session.h"
#include "users.h"

struct dock;

/* How a user comes by an association: the tunnel has its own. All NULL: the dock makes bare ones. */
struct dock_ops {
	struct assoc *(*raise)(void *arg, struct user *user); /* NULL: no memory */
	void (*raze)(void *arg, struct user *user, struct assoc *a);
};

/* NULL: no memory. That the port cannot be had is logged, and nobody is given an index then. */
struct dock *dock_new(struct event_base *base, const struct config *config, struct seal *seal, const struct dock_ops *ops, void *arg);
void dock_free(struct dock *d); /* NULL is fine */

/* A session of this user, whose gateway runs since it drew `boot`. The index of its datagrams; 0: no datagrams. */
uint32_t dock_admit(struct dock *d, struct user *user, const uint8_t boot[16], struct session *s);
void dock_leave(struct dock *d, uint32_t index); /* that session is over; 0 and unknown ones are fine */

json_t *dock_status(const struct dock *d); /* [{user, indexes, paths: [...]}] */

#endif
