/* SPDX-License-Identifier: BSD-2-Clause */
/* plait-remote: the half of plait that stands on the VPS. This file is its biography: build all,
 * wire all, then start; the way out is the order of birth backwards. */
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include "acceptor.h"
#include "admin.h"
#include "demux.h"
#include "fallback.h"
#include "guard.h"
#include "identity.h"
#include "log.h"
#include "machine.h"
#include "options.h"
#include "own_addrs.h"
#include "places.h"
#include "policy.h"
#include "relay.h"
#include "reload.h"
#include "remote.h"
#include "requests.h"
#include "return_routes.h"
#include "sessions.h"
#include "tarpit.h"
#include "tundev.h"
#include "tune.h"
#include "users.h"

#define PROG "plait-remote"
#define DEFAULT_CONF PLAIT_SYSCONFDIR "/plait/plait-remote.conf"
#define HALF_IDLE_S 300
#define ERR 320

static void remote_hangup(void *arg)
{
	json_decref(remote_reload(arg, ""));
}

/* What can be wrong with what the owner wrote is told before anything is touched. */
static int remote_configure(struct remote *r, const char *conf, char *err, size_t err_len)
{
	if (config_load(&r->config, conf, err, err_len))
		return -1;
	r->conf = conf;
	log_level = r->config.log;
	r->identity = identity_load(r->config.key_file, err, err_len);
	return r->identity ? 0 : -1;
}

/* The lock comes first: a second instance must not disturb the one that runs. */
static int remote_build_host(struct remote *r, char *err, size_t err_len)
{
	if (daemon_init(&r->loop, daemon_descriptors(r->config.max_relays), err, err_len) ||
	    daemon_alone(&r->loop, PROG, err, err_len))
		return -1;
	guard_succeed(r->guard, PROG);
	sock_probe(&r->caps);
	machine_warn(&r->caps);
	return (r->admin = admin_new(r->loop.base, r->config.control, remote_status, r, err, err_len)) &&
	       (r->tune = tune_new(PROG)) ? 0 : -1;
}

static int remote_build(struct remote *r, char *err, size_t err_len)
{
	const struct config *c = &r->config;
	struct event_base *base = r->loop.base;
	const char *congestion = sock_congestion_choice(&r->caps, c->congestion);
	const struct relay_limits limits = { c->idle_s, HALF_IDLE_S, c->stall_s };
	uint8_t pin[WIRE_PIN];

	identity_pin(r->identity, pin);
	if (!(r->policy = policy_new(c)) || !(r->own_addrs = own_addrs_new(base, r->policy, err, err_len)) ||
	    !(r->return_routes = return_routes_new(base, c, err, err_len)) || !(r->users = users_new(c)) ||
	    !(r->seal = seal_new()) || !(r->relays = relay_loop_new(base, r->seal, &limits)) ||
	    !(r->fallback = fallback_new(congestion)) ||
	    !(r->tundev = tundev_new(base, c, r->policy, r->seal, r->guard, r->fallback, err, err_len)) ||
	    !(r->demux = demux_new(base, c, r->seal, tundev_why(r->tundev) ? NULL : &tundev_ops, r->tundev)) ||
	    !(r->places = places_new()) || !(r->tarpit = tarpit_new(base)) ||
	    !(r->sessions = sessions_new(base, c, r->identity, r->users, r->tarpit, r->demux, r->fallback)) ||
	    !(r->requests = requests_new(base, c, r->policy, r->seal, r->relays, r->return_routes)) ||
	    !(r->acceptor = acceptor_new(base, pin, &(struct acceptor_rooms){ r->seal, r->sessions, r->requests, r->places, r->tarpit })))
		return -1;
	relay_loop_congestion(r->relays, congestion);
	return 0;
}

/* Who is told of what. */
static void remote_wire(struct remote *r)
{
	sessions_on_welcome(r->sessions, tundev_welcome, r->tundev);
	relay_loop_observe(r->relays, requests_observed, r->requests);
	admin_on(r->admin, "reload", remote_reload, r);
	r->loop.reload = remote_hangup;
	r->loop.arg = r;
}

static int remote_start(struct remote *r, char *err, size_t err_len)
{
	guard_watch(r->guard, r->loop.base);
	return acceptor_listen(r->acceptor, &r->config, &r->caps, err, err_len);
}

static void remote_end(struct remote *r)
{
	guard_unwatch(r->guard);
	acceptor_free(r->acceptor);
	if (r->relays) /* what ends from now on teaches nobody */
		relay_loop_observe(r->relays, NULL, NULL);
	requests_free(r->requests);
	sessions_free(r->sessions);
	tarpit_free(r->tarpit);
	places_free(r->places);
	demux_free(r->demux);
	tundev_free(r->tundev);
	fallback_free(r->fallback);
	relay_loop_free(r->relays);
	seal_free(r->seal);
	users_free(r->users);
	return_routes_free(r->return_routes);
	own_addrs_free(r->own_addrs);
	policy_free(r->policy);
	tune_free(r->tune);
	admin_free(r->admin);
	daemon_free(&r->loop);
}

static int remote_live(struct remote *r)
{
	char err[ERR] = "out of memory";
	int rc = -1;

	if (remote_build_host(r, err, sizeof(err)) || remote_build(r, err, sizeof(err))) {
		log_error("%s", err);
	} else {
		remote_wire(r);
		if (remote_start(r, err, sizeof(err)))
			log_error("%s", err);
		else
			rc = daemon_run(&r->loop);
	}
	remote_end(r);
	return rc;
}

static int remote_run(const struct options *o, bool check_only)
{
	struct remote *r = calloc(1, sizeof(*r));
	char err[ERR] = "out of memory";
	int rc = EX_CONFIG;

	if (!r)
		return EXIT_FAILURE;
	if (!check_only)
		r->guard = guard_start();
	if (remote_configure(r, o->conf, err, sizeof(err)))
		log_error("%s", err);
	else if (check_only)
		rc = puts("ok") < 0;
	else
		rc = remote_live(r) ? EXIT_FAILURE : EXIT_SUCCESS;
	identity_free(r->identity);
	guard_dismiss(r->guard);
	free(r);
	return rc;
}

/* Needs no key, and no config where the socket is named. */
static int remote_ask(const struct options *o)
{
	static struct config config;
	char err[ERR];

	if (!o->socket && config_load(&config, o->conf, err, sizeof(err))) {
		fprintf(stderr, "%s: %s\n", o->prog, err);
		return EX_CONFIG;
	}
	if (o->verb == OPTIONS_RELOAD)
		return reload_ask(o->socket ? o->socket : config.control, stdout);
	return admin_ask(o->socket ? o->socket : config.control, "status", o->json, stdout);
}

int main(int argc, char **argv)
{
	struct options o;
	int rc;

	guard_become(argv);
	rc = options_parse(&o, argc, argv, PROG, DEFAULT_CONF, false);
	if (rc || (rc = options_simple_verb(&o)) >= 0)
		return rc;
	return o.verb == OPTIONS_RUN || o.verb == OPTIONS_CHECK ? remote_run(&o, o.verb == OPTIONS_CHECK) : remote_ask(&o);
}
