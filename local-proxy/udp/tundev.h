/* SPDX-License-Identifier: BSD-2-Clause */
/* tundev: the gateway's TUN device, the tunnel behind it, and what is sent into it. See tundev.c
 * for the theory. */
#ifndef PLAIT_TUNDEV_H
#define PLAIT_TUNDEV_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "config.h"
#include "guard.h"
#include "seal.h"
#include "tunnel.h"
#include "vps_choice.h"

struct tundev;

/* The tunnel exists in any case, because its association is everybody's; without a device nothing
 * is sent into it. NULL: no memory. */
struct tundev *tundev_new(struct event_base *base, const struct config *config, struct seal *seal, struct guard *guard,
			  const struct vps_choice *vps);
void tundev_free(struct tundev *t); /* takes all out; NULL is fine */

void tundev_reload(struct tundev *t); /* the config may say other things of the tunnel now */

bool tundev_works(const struct tundev *t); /* there is a device */
struct tunnel *tundev_tunnel(const struct tundev *t); /* give its association keys, paths and input; watch it */

/* For vps_choice_watch() and paths_watch(), and when the tunnel's packets go another way; `tundev` is a
 * struct tundev. */
void tundev_vps_changed(void *tundev);
void tundev_paths_changed(void *tundev);

json_t *tundev_status(const struct tundev *t);

#endif
