/* SPDX-License-Identifier: BSD-2-Clause */
/* gateway: the living root of plait-local: everything that exists while it runs, in the order of
 * birth. Made in main.c; only main.c and answers.c see all of it. */
#ifndef PLAIT_GATEWAY_H
#define PLAIT_GATEWAY_H

#include <jansson.h>

#include "config.h"
#include "program.h"

struct gateway {
	struct program program;
	struct config config;
	struct tls_ctx *tls;
	struct seal *seal;
	struct relay_loop *relays;
	struct links *links;
	struct vps_choice *vps;
	struct tundev *tundev;
	struct fallback *fallback;
	struct paths *paths;
	struct wan *wan;
	struct pool *pool;
	struct lan *lan;
	struct subflows *subflows;
	struct intercept *intercept;
};

/* The answers to `status` and `reload`, for admin.h; `gateway` is a struct gateway. */
json_t *gateway_status(void *gateway);
json_t *gateway_reload(void *gateway, const char *rest);

#endif
