/* SPDX-License-Identifier: BSD-2-Clause */
/* plait-remote: the half of plait that stands on the VPS. This file is its biography: build all,
 * wire all, then start; the way out is the order of birth backwards. When each of them is called
 * says program.c. */
#include "acceptor.h"
#include "demux.h"
#include "fallback.h"
#include "identity.h"
#include "own_addrs.h"
#include "places.h"
#include "policy.h"
#include "relay.h"
#include "remote.h"
#include "requests.h"
#include "return_routes.h"
#include "sessions.h"
#include "tarpit.h"
#include "tundev.h"
#include "users.h"

#define HALF_IDLE_S 300

static int remote_configure(void *remote, const char *conf, struct program_wants *wants, char *err,
			    size_t err_len)
{
	struct config *c = &((struct remote *)remote)->config;

	if (config_load(c, conf, err, err_len))
		return -1;
	*wants = (struct program_wants){ c->key_file, c->control, c->log, c->max_relays };
	return 0;
}

static int remote_build(void *remote, char *err, size_t err_len)
{
	struct remote *r = remote;
	const struct program *p = &r->program;
	const struct config *c = &r->config;
	struct event_base *base = p->loop.base;
	const char *congestion = sock_congestion_choice(&p->caps, c->congestion);
	const struct relay_limits limits = { c->idle_s, HALF_IDLE_S, c->stall_s };
	uint8_t pin[WIRE_PIN];

	identity_pin(p->identity, pin);
	if (!(r->policy = policy_new(c)) ||
	    !(r->own_addrs = own_addrs_new(base, r->policy, err, err_len)) ||
	    !(r->return_routes = return_routes_new(base, c, err, err_len)) ||
	    !(r->users = users_new(c)) || !(r->seal = seal_new()) ||
	    !(r->relays = relay_loop_new(base, r->seal, &limits)) ||
	    !(r->fallback = fallback_new(congestion)) ||
	    !(r->tundev = tundev_new(base, c, r->policy, r->seal, p->guard, p->settings,
				     r->fallback, err, err_len)) ||
	    !(r->demux = demux_new(base, c, r->seal, tundev_why(r->tundev) ? NULL : &tundev_ops,
				   r->tundev)) ||
	    !(r->places = places_new()) || !(r->tarpit = tarpit_new(base)) ||
	    !(r->sessions = sessions_new(base, c, p->identity, r->users, r->tarpit, r->demux,
					 r->fallback)) ||
	    !(r->requests = requests_new(base, c, r->policy, r->seal, r->relays,
					 r->return_routes)) ||
	    !(r->acceptor = acceptor_new(base, pin,
					 &(struct acceptor_rooms){ r->seal, r->sessions,
								   r->requests, r->places,
								   r->tarpit })))
		return -1;
	relay_loop_congestion(r->relays, congestion);
	return 0;
}

/* Who is told of what. */
static void remote_wire(void *remote)
{
	struct remote *r = remote;

	sessions_on_welcome(r->sessions, tundev_welcome, r->tundev);
	relay_loop_observe(r->relays, requests_observed, r->requests);
}

static int remote_start(void *remote, char *err, size_t err_len)
{
	struct remote *r = remote;

	return acceptor_listen(r->acceptor, &r->config, &r->program.caps, err, err_len);
}

static void remote_end(void *remote)
{
	struct remote *r = remote;

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
}

int main(int argc, char **argv)
{
	static const struct program_ops ops = {
		.name = "plait-remote",
		.conf = PLAIT_SYSCONFDIR "/plait/plait-remote.conf",
		.root_size = sizeof(struct remote),
		.configure = remote_configure,
		.build = remote_build,
		.wire = remote_wire,
		.start = remote_start,
		.end = remote_end,
		.status = remote_status,
		.reload = remote_reload,
	};

	return program_main(&ops, argc, argv);
}
