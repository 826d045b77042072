/* SPDX-License-Identifier: BSD-2-Clause */
/* answers: what the VPS as a whole answers to its owner: how it is, and whether it has read its
 * config again. */
#include <stdlib.h>

#include "admin.h"
#include "demux.h"
#include "log.h"
#include "machine.h"
#include "relay.h"
#include "reload.h"
#include "remote.h"
#include "requests.h"
#include "return_routes.h"
#include "sessions.h"
#include "tarpit.h"
#include "tundev.h"
#include "users.h"

#define ERR 320

json_t *remote_status(void *remote)
{
	struct remote *r = remote;
	char at[ADDR_STRLEN];

	return json_pack("{s:s, s:s, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o}",
			 "version", PLAIT_VERSION, "listen", addr_print(&r->config.listen, at),
			 "kernel", machine_kernel(&r->program.caps), "memory", machine_memory(),
			 "sessions", (json_int_t)sessions_count(r->sessions), "relays",
			 (json_int_t)users_relays(r->users), "relays_max",
			 (json_int_t)r->config.max_relays, "strangers",
			 (json_int_t)places_taken(r->places), "dialling",
			 (json_int_t)requests_dialling(r->requests), "users",
			 users_status(r->users), "return_routes",
			 return_routes_status(r->return_routes), "gateways", demux_status(r->demux),
			 "tunnel", tundev_status(r->tundev), "counters", admin_counters());
}

static void answers_drop_users(struct remote *r)
{
	for (unsigned i = 0; i < r->config.n_users; i++) {
		struct user *user = users_at(r->users, i);

		if (!r->config.users[i].gone)
			continue;
		sessions_drop(r->sessions, user);
		requests_drop(r->requests, user);
		relay_loop_clear(r->relays, user);
	}
}

/* Everybody reads the config where it always was; who made something of it is told. Nobody is in
 * the middle of anything. `now`: a copy of what is. */
static int adopt(struct remote *r, struct config *now, const struct config *next, json_t *answer, char *err, size_t err_len)
{
	bool busy[CONFIG_USERS] = { false };

	for (unsigned i = 0; i < r->config.n_users; i++)
		busy[i] = !user_idle(users_at(r->users, i));
	config_adopt(now, next, busy, reload_told, answer);
	if (tundev_renew(r->tundev, now, err, err_len))
		return -1;
	r->config = *now;
	log_level = r->config.log;
	users_reload(r->users);
	answers_drop_users(r);
	tundev_reload(r->tundev);
	return 0;
}

json_t *remote_reload(void *remote, const char *rest)
{
	struct config *next = malloc(sizeof(*next)), *now = malloc(sizeof(*now));
	json_t *answer = reload_begin();
	char err[ERR] = "out of memory";
	struct remote *r = remote;
	bool fine = next && now && answer && !config_load(next, r->program.conf, err, sizeof(err));

	(void)rest;
	if (fine) {
		*now = r->config;
		fine = !adopt(r, now, next, answer, err, sizeof(err));
	}
	if (!fine)
		json_decref(answer);
	free(next);
	free(now);
	return fine ? reload_done(answer) : reload_refused(err);
}
