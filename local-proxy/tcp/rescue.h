/* rescue: gives connections that have lost every line one again. See rescue.c. */
#ifndef PLAIT_RESCUE_H
#define PLAIT_RESCUE_H

#include <event2/event.h>

#include "lan.h"
#include "links.h"
#include "relay.h"

struct rescue;

/* NULL: out of memory. All must live longer. */
struct rescue *rescue_new(struct event_base *base, struct relay_loop *relays, struct lan *lan, struct links *links);
void rescue_links_changed(struct rescue *r);
void rescue_free(struct rescue *r);

#endif
