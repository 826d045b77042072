/* plait-local: the home gateway's end. main() is its biography. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "admin.h"
#include "ask.h"
#include "carrier.h"
#include "config.h"
#include "daemon.h"
#include "guard.h"
#include "interception.h"
#include "lan.h"
#include "links.h"
#include "log.h"
#include "options.h"
#include "paths.h"
#include "pool.h"
#include "relay.h"
#include "reload.h"
#include "remotes.h"
#include "rescue.h"
#include "rules.h"
#include "sock.h"
#include "sock_subflow.h"
#include "steward.h"
#include "tls.h"
#include "tundev.h"
#include "tune.h"
#include "vitals.h"

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
	struct rescue *rescue;
	struct tundev *tundev;
	struct paths *paths;
	struct steward *steward;
	struct remotes *remotes;
	struct carrier *carrier;
	struct pool *pool;
	struct lan *lan;
	struct admin *admin;
	struct tune *tune;
	struct interception *interception;
};

static int complain(const char *what)
{
	log_error("%s", what);
	return -1;
}

/* --- what happens --- */

static void on_session(void *arg, enum remotes_news news)
{
	bool up = news != REMOTES_AWAY, switched = news == REMOTES_SWITCHED;
	struct gateway *g = arg;
	struct addr targets[INTERCEPTION_REMOTES];

	if (switched)
		paths_targets(g->paths, targets, remotes_active_targets(g->remotes, targets, INTERCEPTION_REMOTES));
	paths_session(g->paths, remotes_session(g->remotes), up ? remotes_welcome(g->remotes)->index : 0, switched);
	if (!up) /* first of all: who is reset below may come again at once */
		interception_session(g->interception, false);
	pool_session(g->pool, up, switched);
	lan_session(g->lan, up);
	if (up)
		interception_session(g->interception, true);
	steward_session(g->steward, up, targets, up ? remotes_active_targets(g->remotes, targets, INTERCEPTION_REMOTES) :
						      remotes_targets(g->remotes, targets, INTERCEPTION_REMOTES));
	tundev_session(g->tundev, up ? remotes_welcome(g->remotes) : NULL);
	carrier_session(g->carrier, up && tundev_works(g->tundev) ? remotes_welcome(g->remotes) : NULL);
}

/* The other end of all these relays is gone, and MPTCP without subflows would not say so. */
static void on_restarted(void *arg, const struct remote *r)
{
	struct gateway *g = arg;

	relay_loop_clear(g->relays, r);
	lan_restarted(g->lan, r);
}

static void on_addresses(void *arg)
{
	struct addr targets[INTERCEPTION_REMOTES];
	struct gateway *g = arg;
	size_t n;

	if (!g->interception)
		return;
	n = remotes_targets(g->remotes, targets, INTERCEPTION_REMOTES);

	interception_remotes(g->interception, targets, n);
	tundev_remotes(g->tundev, targets, n);
	n = remotes_active_targets(g->remotes, targets, INTERCEPTION_REMOTES);
	paths_targets(g->paths, targets, n);
	if (!remotes_session(g->remotes))
		n = remotes_targets(g->remotes, targets, INTERCEPTION_REMOTES);
	steward_session(g->steward, remotes_session(g->remotes) != NULL, targets, n);
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

	if (!g->rescue) /* not all of the house is there yet */
		return;
	steward_links_changed(g->steward);
	paths_links_changed(g->paths);
	remotes_links_changed(g->remotes);
	pool_refresh(g->pool);
	relay_loop_prune(g->relays, is_stranded, g);
	rescue_links_changed(g->rescue);
}

static void on_path(void *arg, unsigned path, enum health_state was)
{
	struct gateway *g = arg;

	paths_on_path(g->paths, path, was);
	tundev_path(g->tundev);
	carrier_path(g->carrier);
}

static void on_carrier(void *arg)
{
	struct gateway *g = arg;

	tundev_path(g->tundev);
}

static void on_packet(void *arg, const uint8_t *packet, size_t len)
{
	struct gateway *g = arg;

	carrier_packet(g->carrier, packet, len);
}

static void on_room(void *arg)
{
	struct gateway *g = arg;

	carrier_room(g->carrier);
}

static void on_unknown(void *arg)
{
	struct gateway *g = arg;

	remotes_suspect(g->remotes);
}

static void on_use(void *arg, size_t line)
{
	struct gateway *g = arg;

	paths_set_use(g->paths, line, roles_use(steward_roles(g->steward), line));
}

static const struct health *line_health(void *arg, size_t line)
{
	struct gateway *g = arg;

	return paths_health(g->paths, line);
}

static json_t *line_datagrams(void *arg, size_t line)
{
	struct gateway *g = arg;

	return tunnel_path_status(tundev_tunnel(g->tundev), (unsigned)line);
}

static uint64_t bytes_moved(void *arg)
{
	struct gateway *g = arg;

	return relay_loop_moved(g->relays);
}

/* A relay has sent much: each line learns from it. */
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
	steward_observed(g->steward, wan_fd);
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
			 remotes_session(g->remotes) != NULL, "key", b64, "remote", remotes_status(g->remotes), "links", links,
			 "uneasy", links_uneasy(g->links), "pool",
			 pool_status(g->pool), "tunnel", tundev_status(g->tundev), "lan", lan_status(g->lan), "rules",
			 interception_mode(g->interception), "relays", (int)relay_loop_count(g->relays),
			 "kernel", vitals_kernel(&g->caps), "memory", vitals_memory(), "counters", admin_counters());
}

/* --- the config is read again --- */

/* Everybody reads the config where it always was; who made something of it is told. Nobody is in the middle of anything. */
static void adopt(struct gateway *g, const struct config *next, json_t *answer)
{
	config_adopt(&g->config, next, reload_told, answer);
	log_level = g->config.log;
	steward_reload(g->steward);
	on_links(g);
	tundev_reload(g->tundev);
	interception_reload(g->interception);
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
	struct remotes_ops ops = { on_session, on_restarted, on_addresses, on_packet, on_room };
	struct sock_wan wan = { .mark = RULES_SELF_MARK, .notsent_lowat = c->notsent_lowat, .keepalive = WAN_KEEPALIVE_S,
				.congestion = SOCK_WAITING };
	struct lan_house house = { .base = g->loop.base, .config = c };

	g->seal = seal_new();
	g->relays = g->seal ? relay_loop_new(g->loop.base, g->seal, &limits) : NULL;
	if (!g->relays)
		return complain("out of memory");
	relay_loop_congestion(g->relays, sock_congestion_choice(&g->caps, c->congestion));
	g->links = links_new(g->loop.base, c, on_links, g);
	g->steward = g->links ? steward_new(g->loop.base, c, g->links, &(struct steward_ops){ RULES_SELF_MARK, on_use, bytes_moved, line_health,
												line_datagrams }, g) : NULL;
	if (!g->steward)
		return -1;
	steward_serve(g->steward, g->admin);
	if (raise_paths(g))
		return complain("out of memory");
	g->remotes = remotes_new(g->loop.base, c, g->links, g->relays, g->tls, &wan, &ops, g);
	g->carrier = g->remotes ? carrier_new(g->loop.base, tundev_tunnel(g->tundev), g->remotes,
					      sock_congestion_choice(&g->caps, c->congestion), on_carrier, g) : NULL;
	g->pool = g->carrier ? pool_new(g->loop.base, c, g->links, g->remotes, g->seal) : NULL;
	if (!g->pool)
		return complain("out of memory");
	relay_loop_observe(g->relays, on_observed, g);
	house.links = g->links;
	house.remotes = g->remotes;
	house.paths = g->paths;
	house.pool = g->pool;
	house.relays = g->relays;
	house.seal = g->seal;
	g->lan = lan_new(&house);
	if (!g->lan) {
		log_error("cannot listen on port %u for the LAN: %m", c->lan_port);
		return -1;
	}
	g->rescue = rescue_new(g->loop.base, g->relays, g->lan, g->links);
	if (!g->rescue)
		return complain("out of memory");
	g->interception = interception_new(g->loop.base, c, g->guard, &(struct interception_ops){ on_redirected, count_relays }, g);
	return g->interception ? 0 : complain("out of memory");
}

static void raze_house(struct gateway *g)
{
	admin_free(g->admin);
	if (g->relays) /* what ends from now on teaches nobody */
		relay_loop_observe(g->relays, NULL, NULL);
	interception_free(g->interception);
	rescue_free(g->rescue);
	relay_loop_free(g->relays); /* its relays report to lan */
	lan_free(g->lan);
	pool_free(g->pool);
	carrier_free(g->carrier);
	remotes_free(g->remotes);
	paths_free(g->paths);
	tundev_free(g->tundev);
	steward_free(g->steward);
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
	vitals_warn(&g->caps);
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
