/* interception: whether the LAN's connections are taken, now. See interception.c. */
#ifndef PLAIT_INTERCEPTION_H
#define PLAIT_INTERCEPTION_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>

#include "addr.h"
#include "config.h"
#include "guard.h"

#define INTERCEPTION_REMOTES 40 /* addresses that are spared */

struct interception;

struct interception_ops {
	void (*redirected)(void *arg, bool redirect); /* how connections will arrive, before they do */
	unsigned (*taken)(void *arg);		      /* connections that were taken and live */
};

struct interception *interception_new(struct event_base *base, const struct config *config, struct guard *guard,
				      const struct interception_ops *ops, void *arg);
void interception_free(struct interception *i); /* takes all out; NULL is fine */

/* There is a session with a remote, or there is none any more. */
void interception_session(struct interception *i, bool up);

/* The config may say other things of the rules now. */
void interception_reload(struct interception *i);

/* Addresses that are never taken: of every remote. */
void interception_remotes(struct interception *i, const struct addr *addrs, size_t count);

const char *interception_mode(const struct interception *i); /* rules_name(), or "out" */

#endif
