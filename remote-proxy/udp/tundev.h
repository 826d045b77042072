/* SPDX-License-Identifier: BSD-2-Clause */
/* tundev: the VPS's TUN device, and the tunnels of all users that end in it. See tundev.c for the
 * theory. */
#ifndef PLAIT_TUNDEV_H
#define PLAIT_TUNDEV_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>

#include "config.h"
#include "demux.h"
#include "fallback.h"
#include "guard.h"
#include "policy.h"
#include "seal.h"
#include "settings.h"
#include "wire.h"

struct tundev;

/* Makes the device, routes and rules. Where that cannot be done, or is not wanted, there is no
 * tunnel, and tundev_why() says why. NULL, and a sentence in err: this machine cannot be used as
 * it is configured. */
struct tundev *tundev_new(struct event_base *base, const struct config *config,
			  struct policy *policy, struct seal *seal, struct guard *guard,
			  struct settings *settings, struct fallback *fallback, char *err,
			  size_t err_len);
/* Before the config becomes `next`: -1, and a sentence in err: it cannot. Behind it: makes the rest
 * true. */
int tundev_renew(struct tundev *t, const struct config *next, char *err, size_t err_len);
void tundev_reload(struct tundev *t);
void tundev_free(struct tundev *t); /* takes all out; after demux; NULL is fine */

const char *tundev_why(const struct tundev *t); /* NULL: it works */

/* For demux: a user's association is that of his tunnel. */
extern const struct demux_ops tundev_ops;

/* Fills in what a user's WELCOME says of the tunnel: nothing while there is none. */
void tundev_welcome(const void *tundev, const struct user *user, struct wire_welcome *w);

json_t *tundev_status(const struct tundev *t);

#endif
