/* SPDX-License-Identifier: BSD-2-Clause */
/* lan: connections of the LAN arrive, and leave as relays. See lan.c. */
#ifndef PLAIT_LAN_H
#define PLAIT_LAN_H

#include <jansson.h>

#include "config.h"
#include "paths.h"
#include "pool.h"
#include "relay.h"
#include "vps_choice.h"

struct lan;

/* What a LAN connection needs on its way. */
struct lan_house {
	struct event_base *base;
	const struct config *config;
	const struct links *links;
	struct vps_choice *vps;
	struct paths *paths;
	struct pool *pool;
	struct relay_loop *relays;
	struct seal *seal;
};

/* Listens; NULL and errno. */
struct lan *lan_new(const struct lan_house *house);
void lan_free(struct lan *l);

/* How the rules bring connections here. */
void lan_redirected(struct lan *l, bool redirect);

/* A session began or ended: those who wait for one go on, or not. */
void lan_session(struct lan *l, bool up);

/* The process of this VPS is another one: what it was asked for is lost. */
void lan_restarted(struct lan *l, const struct vps *v);

/* How many client connections that wait for ACCEPT have been without any link for least_ms or more,
 * but less than most_ms. */
unsigned lan_severed(struct lan *l, unsigned least_ms, unsigned most_ms);

json_t *lan_status(const struct lan *l);

#endif
