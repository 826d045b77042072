/* lan: connections of the LAN arrive, and leave as relays. See lan.c. */
#ifndef PLAIT_LAN_H
#define PLAIT_LAN_H

#include <jansson.h>

#include "config.h"
#include "paths.h"
#include "pool.h"
#include "relay.h"
#include "remote.h"

struct lan;

/* What a LAN connection needs on its way. */
struct lan_house {
	struct event_base *base;
	const struct config *config;
	struct remote *remote;
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

/* A session began, ended, or (restarted) is with another process: those who wait for one go on. */
void lan_session(struct lan *l, bool up, bool restarted);

json_t *lan_status(const struct lan *l);

#endif
