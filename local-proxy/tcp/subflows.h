/* SPDX-License-Identifier: BSD-2-Clause */
/* subflows: gives connections that have lost every link one again. See subflows.c. */
#ifndef PLAIT_SUBFLOWS_H
#define PLAIT_SUBFLOWS_H

#include <event2/event.h>

#include "lan.h"
#include "links.h"
#include "relay.h"

struct subflows;

/* NULL: out of memory. All must live longer. */
struct subflows *subflows_new(struct event_base *base, struct relay_loop *relays, struct lan *lan, struct links *links);
void subflows_links_changed(struct subflows *s);
void subflows_free(struct subflows *s);

#endif
