/* SPDX-License-Identifier: BSD-2-Clause */
/* remote: the living root of plait-remote: everything that exists while it runs, in the order of
 * birth. Made in main.c; only main.c and answers.c see all of it. */
#ifndef PLAIT_REMOTE_H
#define PLAIT_REMOTE_H

#include <jansson.h>

#include "config.h"
#include "program.h"

struct remote {
	struct program program;
	struct config config;
	struct policy *policy;
	struct own_addrs *own_addrs;
	struct return_routes *return_routes;
	struct users *users;
	struct seal *seal;
	struct relay_loop *relays;
	struct fallback *fallback;
	struct tundev *tundev;
	struct demux *demux;
	struct places *places;
	struct tarpit *tarpit;
	struct sessions *sessions;
	struct requests *requests;
	struct acceptor *acceptor;
};

/* The answers to `status` and `reload`, for admin.h; `remote` is a struct remote. */
json_t *remote_status(void *remote);
json_t *remote_reload(void *remote, const char *rest);

#endif
