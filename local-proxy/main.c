/* SPDX-License-Identifier: BSD-2-Clause */
/* plait-local: the home gateway's end. This file is its biography: build all, wire all, then start;
 * the way out is the order of birth backwards. When each of them is called says program.c. */
#include "ask.h"
#include "fallback.h"
#include "gateway.h"
#include "intercept.h"
#include "lan.h"
#include "links.h"
#include "paths.h"
#include "pool.h"
#include "relay.h"
#include "subflows.h"
#include "tls.h"
#include "tundev.h"
#include "vps_choice.h"
#include "wan.h"

#define HALF_IDLE_S 300
#define WAN_KEEPALIVE_S 60

static int gateway_configure(void *gateway, const char *conf, struct program_wants *wants,
			     char *err, size_t err_len)
{
	struct config *c = &((struct gateway *)gateway)->config;

	if (config_load(c, conf, err, err_len))
		return -1;
	*wants = (struct program_wants){ c->key_file, c->control, c->log, c->max_relays };
	return 0;
}

static int gateway_build(void *gateway, char *err, size_t err_len)
{
	struct gateway *g = gateway;
	const struct program *p = &g->program;
	const struct config *c = &g->config;
	struct event_base *base = p->loop.base;
	const char *congestion = sock_congestion_choice(&p->caps, c->congestion);
	const struct relay_limits limits = { c->idle_s, HALF_IDLE_S, c->stall_s };
	const struct sock_wan wan = { .mark = SOCK_SELF_MARK, .notsent_lowat = c->notsent_lowat,
				      .keepalive = WAN_KEEPALIVE_S, .congestion = SOCK_WAITING };

	if (!(g->tls = tls_ctx_new(p->identity, false)) || !(g->seal = seal_new()) ||
	    !(g->relays = relay_loop_new(base, g->seal, &limits)) ||
	    !(g->links = links_new(base, c, p->settings, err, err_len)) ||
	    !(g->vps = vps_choice_new(base, c, g->links, g->relays, g->tls, &wan)) ||
	    !(g->tundev = tundev_new(base, c, g->seal, p->guard, g->vps)) ||
	    !(g->fallback = fallback_new(base, g->tundev, g->vps, congestion)) ||
	    !(g->paths = paths_new(base, c, g->links, g->vps, g->relays,
				   tundev_tunnel(g->tundev))) ||
	    !(g->wan = wan_new(&(struct wan_house){ base, c, g->links, g->vps, g->paths,
						    tundev_tunnel(g->tundev), g->relays })) ||
	    !(g->pool = pool_new(base, c, g->links, g->vps, g->seal)) ||
	    !(g->lan = lan_new(&(struct lan_house){ base, c, g->links, g->vps, g->paths, g->pool,
						    g->relays, g->seal },
			       err, err_len)) ||
	    !(g->subflows = subflows_new(base, g->relays, g->lan, g->pool, g->links, g->wan)) ||
	    !(g->intercept = intercept_new(base, c, p->guard, g->vps, g->lan, g->relays)))
		return -1;
	relay_loop_congestion(g->relays, congestion);
	return 0;
}

/* Who is told of what; who stands first is told first. */
static void gateway_wire(void *gateway)
{
	struct gateway *g = gateway;

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
	wan_serve(g->wan, g->program.admin);
}

static int gateway_start(void *gateway, char *err, size_t err_len)
{
	struct gateway *g = gateway;

	(void)err, (void)err_len; /* "out of memory": nothing else can be wrong */
	return vps_choice_start(g->vps);
}

static void gateway_end(void *gateway)
{
	struct gateway *g = gateway;

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
	tls_ctx_free(g->tls);
}

int main(int argc, char **argv)
{
	static const struct program_ops ops = {
		.name = "plait-local",
		.conf = PLAIT_SYSCONFDIR "/plait/plait-local.conf",
		.links = true,
		.root_size = sizeof(struct gateway),
		.configure = gateway_configure,
		.build = gateway_build,
		.wire = gateway_wire,
		.start = gateway_start,
		.end = gateway_end,
		.status = gateway_status,
		.reload = gateway_reload,
		.ask = ask,
	};

	return program_main(&ops, argc, argv);
}
