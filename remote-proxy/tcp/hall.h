/* hall: attached connections wait here for their OPEN, and for the destination it names. See hall.c. */
#ifndef PLAIT_HALL_H
#define PLAIT_HALL_H

#include <event2/event.h>
#include <jansson.h>
#include <stdint.h>

#include "config.h"
#include "policy.h"
#include "relay.h"
#include "seal.h"
#include "session.h"
#include "users.h"

struct hall;

/* All that is passed stays the caller's. NULL: no memory. */
struct hall *hall_new(struct event_base *base, const struct config *config, const struct policy *policy,
		      struct seal *seal, struct relay_loop *relays);
void hall_free(struct hall *h); /* resets whoever is inside */

struct hall_guest {
	int fd;
	struct session *session; /* the hall takes its own reference */
	struct user *user;
	uint64_t ctr;		 /* of the ATTACH */
	struct seal_key up, down;
};

/* A connection whose ATTACH was admitted, and nothing read behind it. Owns the fd. */
void hall_enter(struct hall *h, const struct hall_guest *g);

/* The first window towards this address is another now: those from there that wait still have the old one, and are ended one by one. The
 * gateway makes new ones. */
void hall_renew(struct hall *h, const struct addr *peer);

void hall_drop(struct hall *h, const struct user *user); /* resets all of his that is inside */
unsigned hall_waiting(const struct hall *h, const struct user *user);
unsigned hall_dialling(const struct hall *h);

#endif
