/* SPDX-License-Identifier: BSD-2-Clause */
/* paths: a path of the association for each link, and what is learnt of the links by it. See
 * paths.c for the theory. */
#ifndef PLAIT_PATHS_H
#define PLAIT_PATHS_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "addr.h"
#include "config.h"
#include "links.h"
#include "relay.h"
#include "tunnel.h"
#include "vps_choice.h"

struct paths;

/* Gives the tunnel's association its paths and keys; all have to outlive this. NULL: no memory. */
struct paths *paths_new(struct event_base *base, const struct config *config, struct links *links, struct vps_choice *vps,
			const struct relay_loop *relays, struct tunnel *tunnel);
void paths_free(struct paths *p); /* NULL is fine */

/* Who is told when a path came or went, is in another state of health, or is used for other things. */
void paths_watch(struct paths *p, void (*told)(void *arg), void *arg);

/* For vps_choice_watch() and links_watch(); `paths` is a struct paths. */
void paths_vps_changed(void *paths);
void paths_links_changed(void *paths);

void paths_set_use(struct paths *p, size_t link, enum wire_use use);
void paths_busy(struct paths *p); /* a connection of the LAN came */

const struct health *paths_health(const struct paths *p, size_t link); /* NULL: it has no path now */

/* Adds {path: {...}, udp: "ok" | "filtered" | ...} to each of links_status(). */
void paths_status(const struct paths *p, json_t *links);

#endif
