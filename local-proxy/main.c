/* SPDX-License-Identifier: BSD-2-Clause */
/* plait-local: the home gateway's end. main() is its biography. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "admin.h"
#include "ask.h"
#include "config.h"
#include "daemon.h"
#include "fallback.h"
#include "guard.h"
#include "intercept.h"
#include "lan.h"
#include "links.h"
#include "log.h"
#include "machine.h"
#include "options.h"
#include "paths.h"
#include "pool.h"
#include "relay.h"
#include "reload.h"
#include "rules.h"
#include "sock.h"
#include "sock_subflow.h"
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

/* The living root: everything that exists while the daemon runs, in the order of birth. */
struct gateway {
	struct config config;
	const char *conf; /* where it came from */
	struct sock_caps caps;
	struct guard *guard;
	struct identity *identity;
	struct tls_ctx *tls;
	struct daemon_base loop;
	struct seal *seal;
	struct relay_loop *relays;
	struct links *links;
	struct subflows *subflows;
	struct tundev *tundev;
	struct paths *paths;
	struct wan *wan;
	struct vps_choice *vps;
	struct fallback *fallback;
	struct pool *pool;
	struct lan *lan;
	struct admin *admin;
	struct tune *tune;
	struct intercept *intercept;
};

static int complain(const char *what)
{
	log_error("%s", what);
	return -1;
}

/* --- what happens --- */

static void on_session(void *arg, enum vps_choice_news news)
{
	bool up = news != VPS_CHOICE_AWAY, switched = news == VPS_CHOICE_SWITCHED;
	struct gateway *g = arg;
	struct addr targets[INTERCEPT_SPARED];

	if (switched)
		paths_targets(g->paths, targets, vps_choice_active_targets(g->vps, targets, INTERCEPT_SPARED));
	paths_session(g->paths, vps_choice_session(g->vps), up ? vps_choice_welcome(g->vps)->index : 0, switched);
	if (!up) /* first of all: who is reset below may come again at once */
		intercept_session(g->intercept, false);
	pool_session(g->pool, up, switched);
	lan_session(g->lan, up);
	if (up)
		intercept_session(g->intercept, true);
	wan_session(g->wan, up, targets, up ? vps_choice_active_targets(g->vps, targets, INTERCEPT_SPARED) :
						      vps_choice_targets(g->vps, targets, INTERCEPT_SPARED));
	tundev_session(g->tundev, up ? vps_choice_welcome(g->vps) : NULL);
	fallback_session(g->fallback, up && tundev_works(g->tundev) ? vps_choice_welcome(g->vps) : NULL);
}

/* The other end of all these relays is gone, and MPTCP without subflows would not say so. */
static void on_restarted(void *arg, const struct vps *r)
{
	struct gateway *g = arg;

	relay_loop_clear(g->relays, r);
	lan_restarted(g->lan, r);
}

static void on_addresses(void *arg)
{
	struct addr targets[INTERCEPT_SPARED];
	struct gateway *g = arg;
	size_t n;

	if (!g->intercept)
		return;
	n = vps_choice_targets(g->vps, targets, INTERCEPT_SPARED);

	intercept_spare(g->intercept, targets, n);
	tundev_spare(g->tundev, targets, n);
	n = vps_choice_active_targets(g->vps, targets, INTERCEPT_SPARED);
	paths_targets(g->paths, targets, n);
	if (!vps_choice_session(g->vps))
		n = vps_choice_targets(g->vps, targets, INTERCEPT_SPARED);
	wan_session(g->wan, vps_choice_session(g->vps) != NULL, targets, n);
}

static void on_redirected(void *arg, bool redirect)
{
	struct gateway *g = arg;

	lan_redirected(g->lan, redirect);
}

static unsigned count_relays(void *arg)
{
	struct gateway *g = arg;

	return (unsigned)relay_loop_count(g->relays);
}

/* Plain TCP whose address the house has no more: its client shall not wait for the stall limit. */
static bool is_stranded(void *arg, int wan_fd)
{
	struct gateway *g = arg;
	struct addr src;

	return !sock_is_mptcp(wan_fd) && sock_local(wan_fd, &src) == 0 && links_has_lost(g->links, &src);
}

static void on_links(void *arg)
{
	struct gateway *g = arg;

	if (!g->subflows) /* not all of the house is there yet */
		return;
	wan_links_changed(g->wan);
	paths_links_changed(g->paths);
	vps_choice_links_changed(g->vps);
	pool_refresh(g->pool);
	relay_loop_prune(g->relays, is_stranded, g);
	subflows_links_changed(g->subflows);
}

static void on_path(void *arg, unsigned path, enum health_state was)
{
	struct gateway *g = arg;

	paths_on_path(g->paths, path, was);
	tundev_path(g->tundev);
	fallback_path(g->fallback);
}

static void on_carrier(void *arg)
{
	struct gateway *g = arg;

	tundev_path(g->tundev);
}

static void on_packet(void *arg, const uint8_t *packet, size_t len)
{
	struct gateway *g = arg;

	fallback_packet(g->fallback, packet, len);
}

static void on_room(void *arg)
{
	struct gateway *g = arg;

	fallback_room(g->fallback);
}

static void on_unknown(void *arg)
{
	struct gateway *g = arg;

	vps_choice_suspect(g->vps);
}

static void on_use(void *arg, size_t link)
{
	struct gateway *g = arg;

	paths_set_use(g->paths, link, roles_use(wan_roles(g->wan), link));
}

static const struct health *link_health(void *arg, size_t link)
{
	struct gateway *g = arg;

	return paths_health(g->paths, link);
}

static json_t *link_datagrams(void *arg, size_t link)
{
	struct gateway *g = arg;

	return tunnel_path_status(tundev_tunnel(g->tundev), (unsigned)link);
}

static uint64_t bytes_moved(void *arg)
{
	struct gateway *g = arg;

	return relay_loop_moved(g->relays);
}

/* A relay has sent much: each link learns from it. */
static void on_observed(void *arg, int wan_fd)
{
	struct sock_subflow path[SOCK_SUBFLOWS];
	size_t n = sock_subflows(wan_fd, path, SOCK_SUBFLOWS);
	struct gateway *g = arg;
	bool much = false;

	for (size_t i = 0; i < n; i++)
		much |= links_learn(g->links, &path[i]);
	if (much)
		pool_renew(g->pool);
	wan_observed(g->wan, wan_fd);
}

static json_t *status(void *arg)
{
	struct gateway *g = arg;
	json_t *links = links_status(g->links);
	char b64[SEAL_B64_LEN];
	uint8_t pin[TLS_PIN];

	paths_status(g->paths, links);
	identity_pin(g->identity, pin);
	seal_b64(b64, pin);
	return json_pack("{s:s, s:b, s:s, s:o, s:o, s:b, s:o, s:o, s:o, s:s, s:i, s:o, s:o, s:o}", "version", PLAIT_VERSION, "connected",
			 vps_choice_session(g->vps) != NULL, "key", b64, "vps", vps_choice_status(g->vps), "links", links,
			 "uneasy", links_uneasy(g->links), "pool",
			 pool_status(g->pool), "tunnel", tundev_status(g->tundev), "lan", lan_status(g->lan), "rules",
			 intercept_mode(g->intercept), "relays", (int)relay_loop_count(g->relays),
			 "kernel", machine_kernel(&g->caps), "memory", machine_memory(), "counters", admin_counters());
}

/* --- the config is read again --- */

/* Everybody reads the config where it always was; who made something of it is told. Nobody is in
 * the middle of anything. */
static void adopt(struct gateway *g, const struct config *next, json_t *answer)
{
	config_adopt(&g->config, next, reload_told, answer);
	log_level = g->config.log;
	wan_reload(g->wan);
	on_links(g);
	tundev_reload(g->tundev);
	intercept_reload(g->intercept);
}

static json_t *reload(void *arg, const char *rest)
{
	struct config *next = malloc(sizeof(*next));
	json_t *answer = reload_begin();
	struct gateway *g = arg;
	char err[ERR] = "out of memory";

	(void)rest;
	if (!next || !answer || config_load(next, g->conf, err, sizeof(err))) {
		json_decref(answer);
		answer = reload_refused(err);
	} else {
		adopt(g, next, answer);
		reload_done(answer);
	}
	free(next);
	return answer;
}

static void on_hangup(void *arg)
{
	json_decref(reload(arg, ""));
}

/* --- birth, in order --- */

static int raise_paths(struct gateway *g)
{
	static const struct paths_ops paths_ops = { on_unknown, bytes_moved };

	g->tundev = tundev_new(g->loop.base, &g->config, g->seal, g->guard);
	if (!g->tundev)
		return -1;
	tunnel_watch(tundev_tunnel(g->tundev), on_path, on_unknown, g);
	g->paths = paths_new(g->loop.base, &g->config, g->links, tunnel_assoc(tundev_tunnel(g->tundev)), &paths_ops, g);
	for (size_t i = 0; g->paths && i < links_count(g->links); i++)
		on_use(g, i);
	return g->paths ? 0 : -1;
}

static int raise_house(struct gateway *g)
{
	const struct config *c = &g->config;
	struct relay_limits limits = { c->idle_s, HALF_IDLE_S, c->stall_s };
	struct vps_choice_ops ops = { on_session, on_restarted, on_addresses, on_packet, on_room };
	struct sock_wan wan = { .mark = RULES_SELF_MARK, .notsent_lowat = c->notsent_lowat, .keepalive = WAN_KEEPALIVE_S,
				.congestion = SOCK_WAITING };
	struct lan_house house = { .base = g->loop.base, .config = c };

	g->seal = seal_new();
	g->relays = g->seal ? relay_loop_new(g->loop.base, g->seal, &limits) : NULL;
	if (!g->relays)
		return complain("out of memory");
	relay_loop_congestion(g->relays, sock_congestion_choice(&g->caps, c->congestion));
	g->links = links_new(g->loop.base, c, on_links, g);
	g->wan = g->links ? wan_new(g->loop.base, c, g->links, &(struct wan_ops){ RULES_SELF_MARK, on_use, bytes_moved, link_health,
												link_datagrams }, g) : NULL;
	if (!g->wan)
		return -1;
	wan_serve(g->wan, g->admin);
	if (raise_paths(g))
		return complain("out of memory");
	g->vps = vps_choice_new(g->loop.base, c, g->links, g->relays, g->tls, &wan, &ops, g);
	g->fallback = g->vps ? fallback_new(g->loop.base, tundev_tunnel(g->tundev), g->vps,
					      sock_congestion_choice(&g->caps, c->congestion), on_carrier, g) : NULL;
	g->pool = g->fallback ? pool_new(g->loop.base, c, g->links, g->vps, g->seal) : NULL;
	if (!g->pool)
		return complain("out of memory");
	relay_loop_observe(g->relays, on_observed, g);
	house.links = g->links;
	house.vps = g->vps;
	house.paths = g->paths;
	house.pool = g->pool;
	house.relays = g->relays;
	house.seal = g->seal;
	g->lan = lan_new(&house);
	if (!g->lan) {
		log_error("cannot listen on port %u for the LAN: %m", c->lan_port);
		return -1;
	}
	g->subflows = subflows_new(g->loop.base, g->relays, g->lan, g->links);
	if (!g->subflows)
		return complain("out of memory");
	g->intercept = intercept_new(g->loop.base, c, g->guard, &(struct intercept_ops){ on_redirected, count_relays }, g);
	return g->intercept ? 0 : complain("out of memory");
}

static void raze_house(struct gateway *g)
{
	admin_free(g->admin);
	if (g->relays) /* what ends from now on teaches nobody */
		relay_loop_observe(g->relays, NULL, NULL);
	intercept_free(g->intercept);
	subflows_free(g->subflows);
	relay_loop_free(g->relays); /* its relays report to lan */
	lan_free(g->lan);
	pool_free(g->pool);
	fallback_free(g->fallback);
	vps_choice_free(g->vps);
	paths_free(g->paths);
	tundev_free(g->tundev);
	wan_free(g->wan);
	links_free(g->links);
	seal_free(g->seal);
}

static int load(struct gateway *g, const struct options *o)
{
	char err[ERR];

	if (config_load(&g->config, o->conf, err, sizeof(err)))
		return complain(err);
	g->conf = o->conf;
	log_level = g->config.log;
	g->identity = identity_load(g->config.key_file, err, sizeof(err));
	return g->identity ? 0 : complain(err);
}

static int serve(struct gateway *g)
{
	g->loop.reload = on_hangup;
	g->loop.arg = g;
	admin_on(g->admin, "reload", reload, g);
	if (g->guard)
		guard_watch(g->guard, g->loop.base);
	return daemon_run(&g->loop);
}

static int live(struct gateway *g)
{
	char err[ERR];
	int rc = -1;

	if (daemon_init(&g->loop, daemon_descriptors(g->config.max_relays), err, sizeof(err)) ||
	    daemon_alone(&g->loop, PROG, err, sizeof(err))) {
		daemon_free(&g->loop);
		return complain(err);
	}
	if (g->guard)
		guard_succeed(g->guard, PROG);
	sock_probe(&g->caps);
	machine_warn(&g->caps);
	g->tls = tls_ctx_new(g->identity, false);
	g->admin = admin_new(g->loop.base, g->config.control, status, g, err, sizeof(err));
	if (!g->tls || !g->admin)
		complain(g->admin ? "out of memory" : err);
	else if ((g->tune = tune_new(PROG)) && raise_house(g) == 0)
		rc = serve(g);
	guard_unwatch(g->guard);
	raze_house(g);
	tune_free(g->tune);
	tls_ctx_free(g->tls);
	daemon_free(&g->loop);
	return rc;
}

static int run(const struct options *o, bool check_only)
{
	struct gateway *g = calloc(1, sizeof(*g));
	int rc = EX_CONFIG;

	if (!g)
		return EXIT_FAILURE;
	if (!check_only)
		g->guard = guard_start();
	if (load(g, o) == 0)
		rc = check_only ? EXIT_SUCCESS : live(g) ? EXIT_FAILURE : EXIT_SUCCESS;
	if (check_only && rc == EXIT_SUCCESS)
		puts("ok");
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
	if (rc)
		return rc;
	rc = options_simple_verb(&o);
	if (rc >= 0)
		return rc;
	return o.verb == OPTIONS_RUN || o.verb == OPTIONS_CHECK ? run(&o, o.verb == OPTIONS_CHECK) : ask(&o);
}
