/* SPDX-License-Identifier: BSD-2-Clause */
/* return_routes: the VPS's way back to the gateways. See return_routes.c for the theory. */
#ifndef PLAIT_RETURN_ROUTES_H
#define PLAIT_RETURN_ROUTES_H

#include <event2/event.h>
#include <jansson.h>

#include "config.h"
#include "sock_subflow.h"

#define RETURN_ROUTES_MARK 0x706c0002u /* SO_MARK of the listener for gateways; its connections inherit it */

struct return_routes;

/* Cleans what a crashed run left behind, sets up routes, rules, limits and announced addresses, and
 * follows the kernel's routes. NULL, and a sentence in err. */
struct return_routes *return_routes_new(struct event_base *base, const struct config *config, char *err, size_t err_len);

/* Takes out exactly what was put in. */
void return_routes_free(struct return_routes *r);

/* What TCP measured on the way down of a connection's path: the first window towards that address
 * follows it. True when that doubled or halved. */
bool return_routes_learn(struct return_routes *r, const struct sock_subflow *path);

/* {initcwnd ("auto" or a number), why, routes, learnt, endpoints}: why is "" while marked packets
 * have their own table, learnt counts the addresses whose window is known. */
json_t *return_routes_status(const struct return_routes *r);

#endif
