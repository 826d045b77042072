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

/* Listens. NULL, and a sentence in err. */
struct lan *lan_new(const struct lan_house *house, char *err, size_t err_len);
void lan_free(struct lan *l);

/* How the rules bring connections here. */
void lan_redirected(struct lan *l, bool redirect);

/* For vps_choice_watch(): those who wait for a session go on, or have waited for nothing. `lan` is
 * a struct lan. */
void lan_vps_changed(void *lan);

/* For vps_choice_on_restart(): what it was asked for is lost, and its relays are. */
void lan_vps_restarted(void *lan, const struct vps *v);

/* How many client connections that wait for ACCEPT have been without any link for least_ms or more,
 * but less than most_ms. */
unsigned lan_severed(struct lan *l, unsigned least_ms, unsigned most_ms);

json_t *lan_status(const struct lan *l);

#endif
