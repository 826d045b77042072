/* SPDX-License-Identifier: BSD-2-Clause */
/* wan: keeps the house's links: their roles, quotas and findings, what is told of them, and the
 * answers to their owner. See wan.c. */
#ifndef PLAIT_WAN_H
#define PLAIT_WAN_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>

#include "addr.h"
#include "admin.h"
#include "config.h"
#include "health.h"
#include "links.h"
#include "roles.h"

struct wan;

struct wan_ops {
	uint32_t mark; /* SO_MARK of our own connections */
	void (*use)(void *arg, size_t link);			      /* roles_use() of this link is another now (not from inside wan_new) */
	uint64_t (*moved)(void *arg);				      /* grows by the bytes that TCP's relays move */
	const struct health *(*health)(void *arg, size_t link);	      /* what probes know of it, or NULL */
	json_t *(*datagrams)(void *arg, size_t link);		      /* tunnel_path_status() of it, or NULL; may be NULL itself */
};

struct wan *wan_new(struct event_base *base, const struct config *config, struct links *links, const struct wan_ops *ops,
			    void *arg); /* NULL: a sentence was logged */
void wan_free(struct wan *w);	/* before its links */

struct roles *wan_roles(const struct wan *w);

/* What happens. */
void wan_reload(struct wan *w); /* the config says other things of the links now */
void wan_links_changed(struct wan *w);
/* The VPS is (up) or ought to be at these addresses. Again whenever that changes. */
void wan_session(struct wan *w, bool up, const struct addr *remote, size_t n);
/* A connection to the VPS that carries much. */
void wan_observed(struct wan *w, int wan_fd);

/* The requests "links" and "link NAME ROLE". */
void wan_serve(struct wan *w, struct admin *admin);

#endif
