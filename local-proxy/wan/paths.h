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
#include "assoc.h"
#include "config.h"
#include "links.h"
#include "session.h"

struct paths;

struct paths_ops {
	void (*unknown)(void *arg);   /* the VPS does not seem to know us: time to talk to it */
	uint64_t (*moved)(void *arg); /* grows while TCP moves bytes */
};

/* The association is the caller's, and has to outlive this; it must be told of its paths by
 * paths_on_path(). NULL: no memory. */
struct paths *paths_new(struct event_base *base, const struct config *config, struct links *links, struct assoc *assoc,
			const struct paths_ops *ops, void *arg);
void paths_free(struct paths *p); /* NULL is fine */

/* What the association's callbacks pass on; `paths` is a struct paths. */
void paths_on_path(void *paths, unsigned path, enum health_state was);
void paths_on_unknown(void *paths);

/* A session with the VPS that has these addresses; s NULL: there is none. index 0: it hears no
 * datagrams. restarted: it is another process. */
void paths_session(struct paths *p, struct session *s, uint32_t index, bool restarted);
void paths_targets(struct paths *p, const struct addr *to, size_t n);
void paths_links_changed(struct paths *p); /* their addresses */
void paths_set_use(struct paths *p, size_t link, enum wire_use use);
void paths_busy(struct paths *p); /* a connection of the LAN came */

const struct health *paths_health(const struct paths *p, size_t link); /* NULL: it has no path now */

/* Adds {path: {...}, udp: "ok" | "filtered" | ...} to each of links_status(). */
void paths_status(const struct paths *p, json_t *links);

#endif
