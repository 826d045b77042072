/* egress: the VPS's way back to the gateways. See egress.c for the theory. */
#ifndef PLAIT_EGRESS_H
#define PLAIT_EGRESS_H

#include <event2/event.h>
#include <jansson.h>

#include "config.h"
#include "sock_subflow.h"

#define EGRESS_MARK 0x706c0002u /* SO_MARK of the listener for gateways; its connections inherit it */

struct egress;

/* Cleans what a crashed run left behind, sets up routes, rules, limits and announced addresses, and follows the kernel's routes.
 * NULL: a sentence was logged. */
struct egress *egress_new(struct event_base *base, const struct config *config);

/* Takes out exactly what was put in. */
void egress_free(struct egress *e);

/* What TCP measured on the way down of a connection's path: the first window towards that address follows it. True when that
 * doubled or halved. */
bool egress_learn(struct egress *e, const struct sock_subflow *path);

/* {initcwnd ("auto" or a number), why, routes, learnt, endpoints}: why is "" while marked packets have their own table, learnt
 * counts the addresses whose window is known. */
json_t *egress_status(const struct egress *e);

#endif
