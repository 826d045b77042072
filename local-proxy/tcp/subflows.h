/* SPDX-License-Identifier: BSD-2-Clause */
/* subflows: what becomes of the links inside connections. See subflows.c. */
#ifndef PLAIT_SUBFLOWS_H
#define PLAIT_SUBFLOWS_H

#include <event2/event.h>

#include "lan.h"
#include "links.h"
#include "pool.h"
#include "relay.h"
#include "wan.h"

struct subflows;

/* NULL: out of memory. All must live longer. */
struct subflows *subflows_new(struct event_base *base, struct relay_loop *relays, struct lan *lan, struct pool *pool,
			      struct links *links, struct wan *wan);
void subflows_free(struct subflows *s);

/* For links_watch() and relay_loop_observe(); `subflows` is a struct subflows. */
void subflows_links_changed(void *subflows);
void subflows_observed(void *subflows, int wan_fd);

#endif
