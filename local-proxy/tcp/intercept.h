/* SPDX-License-Identifier: BSD-2-Clause */
/* intercept: whether the LAN's connections are taken, now. See intercept.c. */
#ifndef PLAIT_INTERCEPT_H
#define PLAIT_INTERCEPT_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>

#include "addr.h"
#include "config.h"
#include "guard.h"

#define INTERCEPT_SPARED 40 /* addresses that are spared */

struct intercept;

struct intercept_ops {
	void (*redirected)(void *arg, bool redirect); /* how connections will arrive, before they do */
	unsigned (*taken)(void *arg);		      /* connections that were taken and live */
};

struct intercept *intercept_new(struct event_base *base, const struct config *config, struct guard *guard,
				      const struct intercept_ops *ops, void *arg);
void intercept_free(struct intercept *i); /* takes all out; NULL is fine */

/* There is a session with a VPS, or there is none any more. */
void intercept_session(struct intercept *i, bool up);

/* The config may say other things of the rules now. */
void intercept_reload(struct intercept *i);

/* Addresses that are never taken: of every VPS. */
void intercept_spare(struct intercept *i, const struct addr *addrs, size_t count);

const char *intercept_mode(const struct intercept *i); /* rules_name(), or "out" */

#endif
