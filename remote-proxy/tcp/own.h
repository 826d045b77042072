/* own: this host's addresses, followed, so that policy can deny them all. */
#ifndef PLAIT_OWN_H
#define PLAIT_OWN_H

#include <event2/event.h>

#include "policy.h"

struct own;

/* Tells policy what is there now, and from then on what comes and goes. NULL: a sentence was logged. */
struct own *own_new(struct event_base *base, struct policy *policy);
void own_free(struct own *o);

#endif
