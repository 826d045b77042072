/* SPDX-License-Identifier: BSD-2-Clause */
/* sources: the devices of the LAN, and whose turn it is to open a connection. See sources.c. */
#ifndef PLAIT_SOURCES_H
#define PLAIT_SOURCES_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "addr.h"

struct sources;
struct turn; /* a connection's place, from its arrival until it is over, relay and all */

/* most: connections that the house may have. NULL: no memory. */
struct sources *sources_new(struct event_base *base, unsigned most);
void sources_free(struct sources *s); /* after the last turn; NULL is fine */

/* What the VPS lets this house have: so many relays, and so many openings a second. 0: not known.
 */
void sources_allow(struct sources *s, uint32_t relays, uint32_t opens);

/* A connection of this device has arrived. NULL: the house is full, or this device has more than
 * its share of a house that is nearly so, or no memory. */
struct turn *turn_new(struct sources *s, const struct addr *who);
/* It wants to be opened. True: now. False: granted(arg) is called from the loop when it may. */
bool turn_ask(struct turn *t, void (*granted)(void *arg), void *arg);
void turn_free(struct turn *t); /* it is over; NULL is fine */

unsigned sources_connections(const struct sources *s);
unsigned sources_waiting(const struct sources *s); /* for their turn */

#endif
