/* SPDX-License-Identifier: BSD-2-Clause */
/* plait-remote: the half of plait that stands on the VPS. This file is its biography: each step
 * needs those before it, and the way out is the same list backwards. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "acceptor.h"
#include "admin.h"
#include "config.h"
#include "daemon.h"
#include "demux.h"
#include "guard.h"
#include "identity.h"
#include "log.h"
#include "machine.h"
#include "options.h"
#include "own_addrs.h"
#include "policy.h"
#include "relay.h"
#include "reload.h"
#include "requests.h"
#include "return_routes.h"
#include "sessions.h"
#include "sock.h"
#include "sock_subflow.h"
#include "status.h"
#include "tarpit.h"
#include "tundev.h"
#include "tune.h"
#include "users.h"

#define HALF_IDLE_S 300

struct remote {
	struct config config;
	const char *conf; /* where it came from */
	struct sock_caps caps;
	struct identity *identity;
	struct daemon_base daemon;
	struct policy *policy;
	struct own_addrs *own_addrs;
	struct return_routes *return_routes;
	struct seal *seal;
	struct relay_loop *relays;
	struct users *users;
	struct tarpit *tarpit;
	struct demux *demux;
	struct fallback *fallback;
	struct sessions *sessions;
	struct requests *requests;
	struct acceptor *acceptor;
	struct admin *admin;
	struct tune *tune;
	struct guard *guard;
	struct tundev *tundev;
	char err[512];
};

static json_t *remote_status(void *arg)
{
	const struct remote *r = arg;

	return status_make(&(struct status_rooms){ .config = &r->config, .caps = &r->caps, .users = r->users,
						   .sessions = r->sessions, .demux = r->demux, .tundev = r->tundev, .tarpit = r->tarpit, .requests = r->requests,
						   .return_routes = r->return_routes });
}

/* What can be wrong with what the owner wrote is told before anything is touched. Asking for status
 * needs no key. */
static int remote_configure(struct remote *r, const char *conf, bool key)
{
	if (config_load(&r->config, conf, r->err, sizeof(r->err)))
		return -1;
	r->conf = conf;
	log_level = r->config.log;
	if (key)
		r->identity = identity_load(r->config.key_file, r->err, sizeof(r->err));
	return r->identity || !key ? 0 : -1;
}

/* The lock comes first: a second instance must not disturb the one that runs. */
static int remote_start_host(struct remote *r)
{
	sock_probe(&r->caps);
	machine_warn(&r->caps);
	if (daemon_init(&r->daemon, daemon_descriptors(r->config.max_relays), r->err, sizeof(r->err)) ||
	    daemon_alone(&r->daemon, "plait-remote", r->err, sizeof(r->err)))
		return -1;
	guard_succeed(r->guard, "plait-remote");
	r->admin = admin_new(r->daemon.base, r->config.control, remote_status, r, r->err, sizeof(r->err));
	if (!r->admin || !(r->tune = tune_new("plait-remote")) || !(r->policy = policy_new(&r->config)))
		return -1;
	r->own_addrs = own_addrs_new(r->daemon.base, r->policy);
	r->return_routes = r->own_addrs ? return_routes_new(r->daemon.base, &r->config) : NULL;
	return r->return_routes ? 0 : -1;
}

/* A relay has sent much: the way to each of the gateway's lines learns from it. */
static void on_observed(void *arg, int wan_fd)
{
	struct sock_subflow path[SOCK_SUBFLOWS];
	size_t n = sock_subflows(wan_fd, path, SOCK_SUBFLOWS);
	struct remote *r = arg;
	bool much = false;

	for (size_t i = 0; i < n; i++)
		much |= return_routes_learn(r->return_routes, &path[i]);
	for (size_t i = 0; much && i < n; i++) /* they have each other's subflows */
		requests_renew(r->requests, &path[i].peer);
}

static int remote_start_relays(struct remote *r)
{
	const struct relay_limits limits = { r->config.idle_s, HALF_IDLE_S, r->config.stall_s };

	r->users = users_new(&r->config);
	r->seal = seal_new();
	if (r->users && r->seal)
		r->relays = relay_loop_new(r->daemon.base, r->seal, &limits);
	if (!r->relays)
		return -1;
	relay_loop_congestion(r->relays, sock_congestion_choice(&r->caps, r->config.congestion));
	relay_loop_observe(r->relays, on_observed, r);
	return 0;
}

static int remote_start_rooms(struct remote *r)
{
	struct event_base *base = r->daemon.base;
	uint8_t pin[WIRE_PIN];

	identity_pin(r->identity, pin);
	if (!(r->fallback = fallback_new(sock_congestion_choice(&r->caps, r->config.congestion))) ||
	    !(r->tundev = tundev_new(base, &r->config, r->policy, r->seal, r->guard, r->fallback)))
		return -1;
	r->demux = demux_new(base, &r->config, r->seal, tundev_why(r->tundev) ? NULL : &tundev_ops, r->tundev);
	if (!r->demux || !(r->tarpit = tarpit_new(base)) ||
	    !(r->sessions = sessions_new(base, &r->config, r->identity, r->users, r->tarpit, r->demux, r->fallback)) ||
	    !(r->requests = requests_new(base, &r->config, r->policy, r->seal, r->relays)))
		return -1;
	sessions_on_welcome(r->sessions, tundev_welcome, r->tundev);
	r->acceptor = acceptor_new(base, pin, &(struct acceptor_rooms){ r->seal, r->sessions, r->requests, r->tarpit });
	return r->acceptor ? acceptor_listen(r->acceptor, &r->config, &r->caps) : -1;
}

static void remote_end(struct remote *r)
{
	guard_unwatch(r->guard);
	acceptor_free(r->acceptor);
	if (r->relays) /* what ends from now on teaches nobody */
		relay_loop_observe(r->relays, NULL, NULL);
	requests_free(r->requests);
	sessions_free(r->sessions);
	demux_free(r->demux);
	tundev_free(r->tundev);
	fallback_free(r->fallback);
	tarpit_free(r->tarpit);
	relay_loop_free(r->relays);
	seal_free(r->seal);
	users_free(r->users);
	return_routes_free(r->return_routes);
	own_addrs_free(r->own_addrs);
	policy_free(r->policy);
	tune_free(r->tune);
	admin_free(r->admin);
	daemon_free(&r->daemon);
	identity_free(r->identity);
	guard_dismiss(r->guard);
}

/* --- the config is read again --- */

static void drop_users(struct remote *r)
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
static int adopt(struct remote *r, struct config *now, const struct config *next, json_t *answer)
{
	bool busy[CONFIG_USERS] = { false };

	for (unsigned i = 0; i < r->config.n_users; i++)
		busy[i] = !user_idle(users_at(r->users, i));
	config_adopt(now, next, busy, reload_told, answer);
	if (tundev_renew(r->tundev, now))
		return -1;
	r->config = *now;
	log_level = r->config.log;
	users_reload(r->users);
	drop_users(r);
	tundev_reload(r->tundev);
	return 0;
}

static json_t *reload(void *arg, const char *rest)
{
	struct config *next = malloc(sizeof(*next)), *now = malloc(sizeof(*now));
	json_t *answer = reload_begin();
	char err[320] = "out of memory";
	struct remote *r = arg;
	bool fine = next && now && answer && !config_load(next, r->conf, err, sizeof(err));

	(void)rest;
	if (fine) {
		*now = r->config;
		fine = !adopt(r, now, next, answer);
		snprintf(err, sizeof(err), "inner = of a user is taken, or not of the pool");
	}
	if (!fine)
		json_decref(answer);
	free(next);
	free(now);
	return fine ? reload_done(answer) : reload_refused(err);
}

static void on_hangup(void *arg)
{
	json_decref(reload(arg, ""));
}

static void remote_listen(struct remote *r)
{
	r->daemon.reload = on_hangup;
	r->daemon.arg = r;
	admin_on(r->admin, "reload", reload, r);
	guard_watch(r->guard, r->daemon.base);
}

static int remote_run(struct remote *r)
{
	int failed = remote_start_host(r) || remote_start_relays(r) || remote_start_rooms(r);

	if (failed)
		log_error("%s", r->err[0] ? r->err : "could not start");
	else
		remote_listen(r);
	return failed || daemon_run(&r->daemon) ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int remote_verb(struct remote *r, const struct options *o)
{
	bool asks = o->verb == OPTIONS_STATUS || o->verb == OPTIONS_RELOAD;
	const char *socket = o->socket;

	if (!socket && remote_configure(r, o->conf, !asks)) {
		fprintf(stderr, "%s: %s\n", o->prog, r->err);
		return EX_CONFIG;
	}
	socket = socket ? socket : r->config.control;
	if (asks)
		return o->verb == OPTIONS_RELOAD ? reload_ask(socket, stdout) : admin_ask(socket, "status", o->json, stdout);
	if (o->verb == OPTIONS_RUN)
		return remote_run(r);
	puts("ok");
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct options o;
	struct remote *r;
	int code;

	guard_become(argv);
	code = options_parse(&o, argc, argv, "plait-remote", PLAIT_SYSCONFDIR "/plait/plait-remote.conf", false);
	if (code || (code = options_simple_verb(&o)) >= 0)
		return code;
	r = calloc(1, sizeof(*r));
	if (!r)
		return EXIT_FAILURE;
	if (o.verb == OPTIONS_RUN)
		r->guard = guard_start();
	code = remote_verb(r, &o);
	remote_end(r);
	free(r);
	return code;
}
