/* SPDX-License-Identifier: BSD-2-Clause */
/* plait-local: the home gateway's end. This file is its biography: build all, wire all, then start;
 * the way out is the order of birth backwards. */
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include "admin.h"
#include "ask.h"
#include "fallback.h"
#include "gateway.h"
#include "guard.h"
#include "identity.h"
#include "intercept.h"
#include "lan.h"
#include "links.h"
#include "log.h"
#include "machine.h"
#include "options.h"
#include "paths.h"
#include "pool.h"
#include "relay.h"
#include "subflows.h"
#include "tls.h"
#include "tundev.h"
#include "tune.h"
#include "vps_choice.h"
#include "wan.h"

#define PROG "plait-local"
#define DEFAULT_CONF PLAIT_SYSCONFDIR "/plait/plait-local.conf"
#define HALF_IDLE_S 300
#define WAN_KEEPALIVE_S 60
#define ERR 320

static void gateway_hangup(void *arg)
{
	json_decref(gateway_reload(arg, ""));
}

/* What can be wrong with what the owner wrote is told before anything is touched. */
static int gateway_configure(struct gateway *g, const char *conf, char *err, size_t err_len)
{
	if (config_load(&g->config, conf, err, err_len))
		return -1;
	g->conf = conf;
	log_level = g->config.log;
	g->identity = identity_load(g->config.key_file, err, err_len);
	return g->identity ? 0 : -1;
}

/* The lock comes first: a second instance must not disturb the one that runs. */
static int gateway_build_host(struct gateway *g, char *err, size_t err_len)
{
	if (daemon_init(&g->loop, daemon_descriptors(g->config.max_relays), err, err_len) ||
	    daemon_alone(&g->loop, PROG, err, err_len))
		return -1;
	guard_succeed(g->guard, PROG);
	sock_probe(&g->caps);
	machine_warn(&g->caps);
	return (g->tls = tls_ctx_new(g->identity, false)) &&
	       (g->admin = admin_new(g->loop.base, g->config.control, gateway_status, g, err, err_len)) &&
	       (g->tune = tune_new(PROG)) ? 0 : -1;
}

static int gateway_build(struct gateway *g, char *err, size_t err_len)
{
	const struct config *c = &g->config;
	struct event_base *base = g->loop.base;
	const char *congestion = sock_congestion_choice(&g->caps, c->congestion);
	const struct relay_limits limits = { c->idle_s, HALF_IDLE_S, c->stall_s };
	const struct sock_wan wan = { .mark = SOCK_SELF_MARK, .notsent_lowat = c->notsent_lowat,
				      .keepalive = WAN_KEEPALIVE_S, .congestion = SOCK_WAITING };

	if (!(g->seal = seal_new()) || !(g->relays = relay_loop_new(base, g->seal, &limits)) ||
	    !(g->links = links_new(base, c, err, err_len)) ||
	    !(g->vps = vps_choice_new(base, c, g->links, g->relays, g->tls, &wan)) ||
	    !(g->tundev = tundev_new(base, c, g->seal, g->guard, g->vps)) ||
	    !(g->fallback = fallback_new(base, g->tundev, g->vps, congestion)) ||
	    !(g->paths = paths_new(base, c, g->links, g->vps, g->relays, tundev_tunnel(g->tundev))) ||
	    !(g->wan = wan_new(&(struct wan_house){ base, c, g->links, g->vps, g->paths, tundev_tunnel(g->tundev), g->relays })) ||
	    !(g->pool = pool_new(base, c, g->links, g->vps, g->seal)) ||
	    !(g->lan = lan_new(&(struct lan_house){ base, c, g->links, g->vps, g->paths, g->pool, g->relays, g->seal }, err, err_len)) ||
	    !(g->subflows = subflows_new(base, g->relays, g->lan, g->pool, g->links, g->wan)) ||
	    !(g->intercept = intercept_new(base, c, g->guard, g->vps, g->lan, g->relays)))
		return -1;
	relay_loop_congestion(g->relays, congestion);
	return 0;
}

/* Who is told of what; who stands first is told first. */
static void gateway_wire(struct gateway *g)
{
	vps_choice_on_restart(g->vps, lan_vps_restarted, g->lan);
	vps_choice_on_packets(g->vps, fallback_packet, fallback_room, g->fallback);
	vps_choice_watch(g->vps, paths_vps_changed, g->paths);
	vps_choice_watch(g->vps, intercept_vps_changed, g->intercept); /* before clients are reset, who may come again at once */
	vps_choice_watch(g->vps, pool_vps_changed, g->pool);
	vps_choice_watch(g->vps, lan_vps_changed, g->lan);
	vps_choice_watch(g->vps, wan_vps_changed, g->wan);
	vps_choice_watch(g->vps, tundev_vps_changed, g->tundev);
	vps_choice_watch(g->vps, fallback_vps_changed, g->fallback);

	links_watch(g->links, wan_links_changed, g->wan);
	links_watch(g->links, paths_links_changed, g->paths);
	links_watch(g->links, vps_choice_links_changed, g->vps);
	links_watch(g->links, pool_links_changed, g->pool);
	links_watch(g->links, subflows_links_changed, g->subflows);

	paths_watch(g->paths, tundev_paths_changed, g->tundev);
	paths_watch(g->paths, fallback_paths_changed, g->fallback);

	relay_loop_observe(g->relays, subflows_observed, g->subflows);
	wan_serve(g->wan, g->admin);
	admin_on(g->admin, "reload", gateway_reload, g);
	g->loop.reload = gateway_hangup;
	g->loop.arg = g;
}

static int gateway_start(struct gateway *g)
{
	guard_watch(g->guard, g->loop.base);
	return vps_choice_start(g->vps);
}

static void gateway_end(struct gateway *g)
{
	guard_unwatch(g->guard);
	admin_free(g->admin);
	if (g->relays) /* what ends from now on teaches nobody */
		relay_loop_observe(g->relays, NULL, NULL);
	intercept_free(g->intercept);
	subflows_free(g->subflows);
	relay_loop_free(g->relays); /* its relays report to lan */
	lan_free(g->lan);
	pool_free(g->pool);
	wan_free(g->wan);
	paths_free(g->paths);
	fallback_free(g->fallback);
	tundev_free(g->tundev);
	vps_choice_free(g->vps);
	links_free(g->links);
	seal_free(g->seal);
	tune_free(g->tune);
	tls_ctx_free(g->tls);
	daemon_free(&g->loop);
}

static int gateway_live(struct gateway *g)
{
	char err[ERR] = "out of memory";
	int rc = -1;

	if (gateway_build_host(g, err, sizeof(err)) || gateway_build(g, err, sizeof(err)))
		log_error("%s", err);
	else {
		gateway_wire(g);
		rc = gateway_start(g) || daemon_run(&g->loop);
	}
	gateway_end(g);
	return rc;
}

static int gateway_run(const struct options *o, bool check_only)
{
	struct gateway *g = calloc(1, sizeof(*g));
	char err[ERR] = "out of memory";
	int rc = EX_CONFIG;

	if (!g)
		return EXIT_FAILURE;
	if (!check_only)
		g->guard = guard_start();
	if (gateway_configure(g, o->conf, err, sizeof(err)))
		log_error("%s", err);
	else if (check_only)
		rc = puts("ok") < 0;
	else
		rc = gateway_live(g) ? EXIT_FAILURE : EXIT_SUCCESS;
	identity_free(g->identity);
	guard_dismiss(g->guard);
	free(g);
	return rc;
}

int main(int argc, char **argv)
{
	struct options o;
	int rc;

	guard_become(argv);
	rc = options_parse(&o, argc, argv, PROG, DEFAULT_CONF, true);
	if (rc || (rc = options_simple_verb(&o)) >= 0)
		return rc;
	return o.verb == OPTIONS_RUN || o.verb == OPTIONS_CHECK ? gateway_run(&o, o.verb == OPTIONS_CHECK) : ask(&o);
}
