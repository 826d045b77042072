/* SPDX-License-Identifier: BSD-2-Clause */
/* tundev: the gateway's TUN device, the tunnel behind it, and what is sent into it. See tundev.c
 * for the theory. */
#ifndef PLAIT_TUNDEV_H
#define PLAIT_TUNDEV_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "addr.h"
#include "assoc.h"
#include "config.h"
#include "guard.h"
#include "seal.h"
#include "tunnel.h"
#include "wire.h"

#define TUNDEV_SPARED 40 /* addresses that are spared */

struct tundev;

/* The tunnel exists in any case, because its association is everybody's; without a device nothing
 * is sent into it. NULL: no memory. */
struct tundev *tundev_new(struct event_base *base, const struct config *config, struct seal *seal, struct guard *guard);
void tundev_free(struct tundev *t); /* takes all out; NULL is fine */

void tundev_reload(struct tundev *t); /* the config may say other things of the tunnel now */

bool tundev_works(const struct tundev *t); /* there is a device */
struct tunnel *tundev_tunnel(const struct tundev *t); /* give its association keys, paths and input; watch it */

/* What happens. A session with a VPS, or NULL: none any more. */
void tundev_session(struct tundev *t, const struct wire_welcome *w);
void tundev_spare(struct tundev *t, const struct addr *addrs, size_t n); /* never sent into the tunnel: all VPSs */
void tundev_path(struct tundev *t);					    /* one came or went, or the tunnel's other way did */

json_t *tundev_status(const struct tundev *t);

#endif
