/* SPDX-License-Identifier: BSD-2-Clause */
/* intercept: whether the LAN's connections are taken, now. See intercept.c. */
#ifndef PLAIT_INTERCEPT_H
#define PLAIT_INTERCEPT_H

#include <event2/event.h>

#include "config.h"
#include "guard.h"
#include "lan.h"
#include "relay.h"
#include "vps_choice.h"

struct intercept;

/* At rest until somebody tells it of the VPS. All outlive it. NULL: no memory. */
struct intercept *intercept_new(struct event_base *base, const struct config *config, struct guard *guard,
				const struct vps_choice *vps, struct lan *lan, const struct relay_loop *relays);
void intercept_free(struct intercept *i); /* takes all out; NULL is fine */

/* For vps_choice_watch(): there is a session with a VPS, or none any more, or its addresses, which
 * are never taken, are others. `intercept` is a struct intercept. */
void intercept_vps_changed(void *intercept);

/* The config may say other things of the rules now. */
void intercept_reload(struct intercept *i);

const char *intercept_mode(const struct intercept *i); /* firewall_way() */

#endif
