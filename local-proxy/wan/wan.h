/* SPDX-License-Identifier: BSD-2-Clause */
/* wan: keeps the house's links: their roles, quotas and findings, what is told of them, and the
 * answers to their owner. See wan.c. */
#ifndef PLAIT_WAN_H
#define PLAIT_WAN_H

#include <event2/event.h>
#include <jansson.h>

#include "admin.h"
#include "config.h"
#include "links.h"
#include "paths.h"
#include "relay.h"
#include "tunnel.h"
#include "vps_choice.h"

struct wan;

/* Who is asked and told; all outlive it. */
struct wan_house {
	struct event_base *base;
	const struct config *config;
	struct links *links;
	struct vps_choice *vps;
	struct paths *paths;
	const struct tunnel *tunnel;
	const struct relay_loop *relays;
};

struct wan *wan_new(const struct wan_house *house); /* NULL: no memory */
void wan_free(struct wan *w);

void wan_reload(struct wan *w); /* the config says other things of the links now */

/* For vps_choice_watch() and links_watch(); `wan` is a struct wan. */
void wan_vps_changed(void *wan);
void wan_links_changed(void *wan);
/* A connection to the VPS that carries much. */
void wan_observed(struct wan *w, int wan_fd);

/* The requests "links" and "link NAME ROLE". */
void wan_serve(struct wan *w, struct admin *admin);

#endif
