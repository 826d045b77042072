/* SPDX-License-Identifier: BSD-2-Clause */
/* requests: attached connections wait here for their OPEN, and for the destination it names. See
 * requests.c. */
#ifndef PLAIT_REQUESTS_H
#define PLAIT_REQUESTS_H

#include <event2/event.h>
#include <jansson.h>
#include <stdint.h>

#include "config.h"
#include "policy.h"
#include "relay.h"
#include "return_routes.h"
#include "seal.h"
#include "session.h"
#include "users.h"

struct requests;

/* All that is passed stays the caller's. NULL: no memory. */
struct requests *requests_new(struct event_base *base, const struct config *config, const struct policy *policy,
			      struct seal *seal, struct relay_loop *relays, struct return_routes *routes);
void requests_free(struct requests *h); /* resets whoever is inside */

struct requests_arrival {
	int fd;
	struct session *session; /* `requests` takes its own reference */
	struct user *user;
	uint64_t ctr;		 /* of the ATTACH */
	struct seal_key up, down;
};

/* A connection whose ATTACH was admitted, and nothing read behind it. Owns the fd. */
void requests_enter(struct requests *h, const struct requests_arrival *g);

/* For relay_loop_observe(): a relay has sent much, and the way to each of the gateway's links learns
 * from it. Where the first window is another now, those that wait still have the old one and are
 * ended one by one; the gateway makes new ones. `requests` is a struct requests. */
void requests_observed(void *requests, int wan_fd);

void requests_drop(struct requests *h, const struct user *user); /* resets all of his that is inside */
unsigned requests_waiting(const struct requests *h, const struct user *user);
unsigned requests_dialling(const struct requests *h);

#endif
