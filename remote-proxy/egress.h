/* egress: the VPS's way back to the gateways. See egress.c for the theory. */
#ifndef PLAIT_EGRESS_H
#define PLAIT_EGRESS_H

#include <event2/event.h>
#include <jansson.h>

#include "config.h"

#define EGRESS_MARK 0x706c0002u /* SO_MARK of the listener for gateways; its connections inherit it */

struct egress;

/* Cleans what a crashed run left behind, sets up routes, rules, limits and announced addresses, and follows the kernel's routes.
 * NULL: a sentence was logged. */
struct egress *egress_new(struct event_base *base, const struct config *config);

/* Takes out exactly what was put in. */
void egress_free(struct egress *e);

/* {initcwnd, why, routes, endpoints}: why is "" while marked packets have their own table. */
json_t *egress_status(const struct egress *e);

#endif
