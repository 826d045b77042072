/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * One TUN device serves all users. What comes out of a user's tunnel is checked (inner_addrs.h) and
 * written to the device; what the kernel sends into the device is read, its destination tells whose
 * it is, and that user's tunnel takes it. Nothing waits here: reading goes on for a number of
 * rounds while there is something, each tunnel that was given packets is told when the batch is
 * over, and a user who is away loses what is sent to him.
 *
 * The device has an MTU that fits every line, and users have lines of their own: each user's
 * address is a route of its own whose metric is the MTU of his tunnel, so the kernel answers "too
 * big" with the right size. A route for the whole pool leads what belongs to nobody into the device
 * too, and not out to the Internet.
 *
 * Around it: forwarding is switched on while the daemon runs (and where IPv6 addresses of this
 * machine come from router advertisements, these are kept, though a forwarding machine would ignore
 * them), the firewall's part is done by a script, and the guard takes both out should the daemon be
 * killed. The device itself goes with the process.
 *
 * Without TUN, or when one of these steps fails, TCP is served alone: WELCOME then names no inner
 * addresses. */
#include "tundev.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "counter.h"
#include "fallback.h"
#include "firewall.h"
#include "forwarding.h"
#include "inner_addrs.h"
#include "log.h"
#include "rtnl_own.h"
#include "settings.h"
#include "timer.h"
#include "tun.h"
#include "tunnel.h"

#define DEVICE_MTU 1500
#define ROUNDS 64
#define RULES_AGAIN_S 60 /* who takes them out is not fought */
#define ERR 640

struct user_tunnel { /* where one user's tunnel ends */
	struct tundev *dev;
	unsigned user;
	struct tunnel *tunnel;
	unsigned mtu;
	bool fed; /* in this batch */
};

struct tundev {
	struct event_base *base;
	const struct config *config;
	struct seal *seal;
	struct firewall *firewall;
	struct fallback *fallback;
	struct inner_addrs *inner_addrs;
	struct tun *tun;
	struct netlink *nl;
	struct settings *settings;
	size_t settings_before; /* those that others hold */
	struct event readable, routes_due, rules_due;
	char why[ERR];
	struct tun_packet packet[TUN_PACKETS];
	struct user_tunnel *tunnels; /* by user */
};

/* --- out of the tunnels --- */

static void tundev_deliver(void *arg, uint8_t *packet, size_t len)
{
	struct user_tunnel *p = arg;

	if (inner_addrs_may_pass(p->dev->inner_addrs, p->user, packet, len))
		tun_write(p->dev->tun, packet, len);
}

static void tundev_flush(void *arg)
{
	struct user_tunnel *p = arg;

	tun_flush(p->dev->tun);
}

static void tundev_mtu_found(void *arg, unsigned mtu)
{
	struct user_tunnel *p = arg;

	if (p->mtu != mtu)
		event_active(&p->dev->routes_due, 0, 0);
	p->mtu = mtu;
}

/* --- into them --- */

static void send_one(struct tundev *t, const struct tun_packet *packet)
{
	int user = inner_addrs_owner(t->inner_addrs, packet->data, packet->len);
	struct user_tunnel *p = user < 0 ? NULL : &t->tunnels[user];

	if (p && p->tunnel) {
		tunnel_send(p->tunnel, packet->data, packet->len);
		p->fed = true;
	} else if (p) {
		counters.nat_nobody++;
	}
}

static void end_batch(struct tundev *t)
{
	for (size_t u = 0; u < t->config->n_users; u++) {
		if (t->tunnels[u].fed)
			tunnel_send_end(t->tunnels[u].tunnel);
		t->tunnels[u].fed = false;
	}
}

/* A read that filled the array may have left more of a super-packet, which no event would tell
 * of. */
static void tundev_readable(evutil_socket_t fd, short what, void *arg)
{
	struct tundev *t = arg;
	unsigned n, round = 0;

	(void)fd, (void)what;
	do {
		n = tun_read(t->tun, t->packet, TUN_PACKETS);
		for (unsigned i = 0; i < n; i++)
			send_one(t, &t->packet[i]);
	} while (n == TUN_PACKETS || (n && ++round < ROUNDS));
	end_batch(t);
}

/* --- routes --- */

static int add_route(const struct tundev *t, struct rtnl_set *s, const struct prefix *dst, unsigned mtu)
{
	struct rtnl_new_route r = { .table = rtnl_range_nat.table, .dst = *dst, .index = tun_index(t->tun), .metrics = { .mtu = mtu } };
	struct addr a = { .port = 0 };

	memcpy(a.ip, dst->ip, sizeof(a.ip));
	r.v6 = !addr_is_v4(&a);
	return rtnl_set_route(s, &r);
}

static int tundev_add_user(const struct tundev *t, struct rtnl_set *s, const struct user_tunnel *p)
{
	static const int families[] = { AF_INET, AF_INET6 };
	const struct config_user *user = &t->config->users[p->user];
	struct addr a;
	int err = 0;

	for (int i = 0; i < 2; i++) {
		struct prefix host = { .bits = 128 };

		if (!p->tunnel || !inner_addrs_inner(t->inner_addrs, p->user, families[i], &a))
			continue;
		memcpy(host.ip, a.ip, sizeof(host.ip));
		err |= add_route(t, s, &host, p->mtu);
	}
	for (size_t i = 0; i < user->n_routes && !user->gone; i++) /* also while he is away: they are nobody else's */
		err |= add_route(t, s, &user->routes[i], p->tunnel ? p->mtu : 0);
	return err;
}

static int sync_routes(struct tundev *t, bool in)
{
	struct rtnl_set want = { 0 };
	struct addr a;
	int err = 0;

	for (size_t i = 0; in && i < t->config->n_pools; i++)
		err |= add_route(t, &want, &t->config->pools[i], 0);
	for (size_t u = 0; in && u < t->config->n_users; u++)
		err |= tundev_add_user(t, &want, &t->tunnels[u]);
	for (int v6 = 0; in && v6 < 2; v6++) {
		struct rtnl_new_rule rule = { .v6 = v6, .priority = rtnl_range_nat.priority, .table = rtnl_range_nat.table };

		if (inner_addrs_own(t->inner_addrs, v6 ? AF_INET6 : AF_INET, &a))
			err |= rtnl_set_rule(&want, &rule);
	}
	if (!err)
		err = rtnl_sync(t->nl, &want, &rtnl_range_nat);
	rtnl_set_clear(&want);
	return err;
}

static void tundev_routes_due(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	sync_routes(arg, true);
}

/* --- users come and go --- */

static struct assoc *raise(void *arg, struct user *user)
{
	static const struct tunnel_ops ops = { tundev_deliver, tundev_flush, tundev_mtu_found };
	struct tundev *t = arg;
	struct user_tunnel *p = &t->tunnels[user_index(user)];

	p->tunnel = tunnel_new(t->base, t->seal, ASSOC_REMOTE, &t->config->tunnel_how, &ops, p);
	if (!p->tunnel)
		return NULL;
	p->mtu = tunnel_mtu(p->tunnel);
	fallback_tunnel(t->fallback, user, p->tunnel);
	event_active(&t->routes_due, 0, 0);
	return tunnel_assoc(p->tunnel);
}

static void raze(void *arg, struct user *user, struct assoc *a)
{
	struct tundev *t = arg;
	struct user_tunnel *p = &t->tunnels[user_index(user)];

	(void)a;
	fallback_tunnel(t->fallback, user, NULL);
	tunnel_free(p->tunnel);
	p->tunnel = NULL;
	event_active(&t->routes_due, 0, 0);
}

const struct demux_ops tundev_ops = { raise, raze };

void tundev_welcome(const void *tundev, const struct user *user, struct wire_welcome *w)
{
	const struct tundev *t = tundev;
	struct addr a;
	size_t len;

	if (t->why[0])
		return;
	if (inner_addrs_inner(t->inner_addrs, user_index(user), AF_INET, &a))
		memcpy(w->inner4, addr_bytes(&a, &len), sizeof(w->inner4));
	if (inner_addrs_inner(t->inner_addrs, user_index(user), AF_INET6, &a))
		memcpy(w->inner6, a.ip, sizeof(w->inner6));
	w->mtu = DEVICE_MTU;
	if (t->tunnels[user_index(user)].tunnel)
		w->flags |= WIRE_F_STREAM;
}

/* --- birth and end --- */

static void forward(struct tundev *t)
{
	struct addr a;

	forwarding_on(t->settings, inner_addrs_own(t->inner_addrs, AF_INET, &a),
		      inner_addrs_own(t->inner_addrs, AF_INET6, &a));
}

static size_t own_hosts(const struct config *c, struct prefix *out)
{
	size_t n = 0;

	for (size_t i = 0; i < c->n_allow; i++)
		if (c->allow[i].bits == 128)
			out[n++] = c->allow[i];
	return n;
}

static int tundev_describe(void *arg, bool undo, struct script *out)
{
	const struct tundev *t = arg;
	const struct config *c = t->config;
	struct prefix open[CONFIG_PREFIXES];
	char held[SETTINGS_TEXT];

	if (undo && (script_set_range(out, &rtnl_range_nat) ||
		     script_setenv(out, "PLAIT_HELD", "%s",
				   settings_print(t->settings, t->settings_before, held))))
		return -1;
	return script_setenv(out, "PLAIT_TUN", "%s", c->tunnel_device) ||
	       script_set_prefixes(out, "PLAIT_MASQUERADE", c->pools, c->nat ? c->n_pools : 0) ||
	       script_setenv(out, "PLAIT_CLOSED", "all") ||
	       script_set_prefixes(out, "PLAIT_OPEN", open, own_hosts(c, open)) ? -1 : 0;
}

static void tundev_firewall_changed(void *arg, const char *why)
{
	struct tundev *t = arg;

	if (!why)
		return;
	log_error("the tunnel's rules are out (tried again in %d s): %s", RULES_AGAIN_S, why);
	timer_in_s(&t->rules_due, RULES_AGAIN_S);
}

static void tundev_rules_due(evutil_socket_t fd, short what, void *arg)
{
	struct tundev *t = arg;
	char err[ERR];

	(void)fd, (void)what;
	if (firewall_put_in(t->firewall, err, sizeof(err)))
		tundev_firewall_changed(t, err);
	else
		log_info("the tunnel's rules are in again");
}

static int open_device(struct tundev *t)
{
	static const int families[] = { AF_INET, AF_INET6 };
	struct addr a;

	t->tun = tun_open(t->config->tunnel_device, DEVICE_MTU);
	if (!t->tun) {
		snprintf(t->why, sizeof(t->why), "%s: %s", t->config->tunnel_device,
			 errno == ENOENT ? "this kernel has no TUN device (/dev/net/tun)" : strerror(errno));
		return -1;
	}
	for (int i = 0; i < 2; i++) {
		struct prefix host = { .bits = 128 };
		int err;

		if (!inner_addrs_own(t->inner_addrs, families[i], &a))
			continue;
		memcpy(host.ip, a.ip, sizeof(host.ip));
		err = tun_add_address(t->tun, &host);
		if (err && families[i] == AF_INET) {
			snprintf(t->why, sizeof(t->why), "%s has no address: %s", t->config->tunnel_device, strerror(-err));
			return -1;
		}
	}
	return 0;
}

/* 0, or -1 and t->why. */
static int tundev_start(struct tundev *t)
{
	t->nl = netlink_open(NETLINK_ROUTE);
	if (!t->nl) {
		snprintf(t->why, sizeof(t->why), "%s", strerror(errno));
		return -1;
	}
	if (sync_routes(t, false) < 0 || open_device(t))
		return -1;
	if (t->config->rules != RULES_NONE && firewall_put_in(t->firewall, t->why, sizeof(t->why)))
		return -1;
	forward(t);
	firewall_tell_guard(t->firewall); /* forwarding is to be put back, too */
	if (sync_routes(t, true) < 0) {
		snprintf(t->why, sizeof(t->why), "no routes to the inner addresses");
		return -1;
	}
	event_assign(&t->readable, t->base, tun_fd(t->tun), EV_READ | EV_PERSIST, tundev_readable, t);
	return event_add(&t->readable, NULL);
}

static void tundev_stop(struct tundev *t)
{
	if (event_initialized(&t->readable))
		event_del(&t->readable);
	if (t->nl)
		sync_routes(t, false);
	firewall_take_out(t->firewall);
	tun_close(t->tun);
	t->tun = NULL;
	settings_back_to(t->settings, t->settings_before);
	if (t->nl)
		netlink_close(t->nl);
	t->nl = NULL;
}

struct tundev *tundev_new(struct event_base *base, const struct config *config,
			  struct policy *policy, struct seal *seal, struct guard *guard,
			  struct settings *settings, struct fallback *fallback, char *err,
			  size_t err_len)
{
	struct tundev *t = calloc(1, sizeof(*t));

	if (t)
		t->tunnels = calloc(CONFIG_USERS, sizeof(*t->tunnels));
	if (t)
		t->firewall = tun_firewall_new(
			config->rules == RULES_IPTABLES, config->rules == RULES_NFTABLES,
			&(struct firewall_setup){ .base = base,
						  .dir = config->rules_dir,
						  .guard = guard,
						  .describe = tundev_describe,
						  .changed = tundev_firewall_changed,
						  .arg = t });
	if (!t || !t->tunnels || !t->firewall || !(t->inner_addrs = inner_addrs_new(config, policy, err, err_len))) {
		tundev_free(t);
		return NULL;
	}
	t->base = base;
	t->config = config;
	t->seal = seal;
	t->fallback = fallback;
	t->settings = settings;
	t->settings_before = settings_count(settings);
	event_assign(&t->routes_due, base, -1, 0, tundev_routes_due, t);
	event_assign(&t->rules_due, base, -1, 0, tundev_rules_due, t);
	for (unsigned u = 0; u < CONFIG_USERS; u++)
		t->tunnels[u] = (struct user_tunnel){ .dev = t, .user = u };
	if (!config->tunnel) {
		snprintf(t->why, sizeof(t->why), "switched off (enable = no)");
	} else if (tundev_start(t)) {
		if (!t->why[0])
			snprintf(t->why, sizeof(t->why), "out of memory, or netlink refused");
		log_warn("no tunnel, TCP only: %s", t->why);
		tundev_stop(t);
	} else {
		log_info("the tunnel ends in %s%s", config->tunnel_device, config->nat ? ", and what comes out gets this machine's address" : "");
	}
	return t;
}

int tundev_renew(struct tundev *t, const struct config *next, char *err, size_t err_len)
{
	return inner_addrs_renew(t->inner_addrs, next, err, err_len);
}

void tundev_reload(struct tundev *t)
{
	char err[ERR];

	if (t->why[0])
		return;
	for (size_t u = 0; u < t->config->n_users; u++)
		if (t->tunnels[u].tunnel)
			tunnel_set_redundancy(t->tunnels[u].tunnel, t->config->tunnel_how.redundancy);
	if (firewall_is_stale(t->firewall) && firewall_put_in(t->firewall, err, sizeof(err))) /* it lets in what `allow` names */
		log_error("the tunnel's rules are out: %s", err);
	sync_routes(t, true);
}

void tundev_free(struct tundev *t)
{
	if (!t)
		return;
	if (t->base) {
		event_del(&t->routes_due);
		event_del(&t->rules_due);
		tundev_stop(t);
	}
	firewall_free(t->firewall);
	inner_addrs_free(t->inner_addrs);
	free(t->tunnels);
	free(t);
}

const char *tundev_why(const struct tundev *t)
{
	return t->why[0] ? t->why : NULL;
}

static json_t *user_tunnel_status(const struct tundev *t, const struct user_tunnel *p)
{
	char four[ADDR_STRLEN] = "", six[ADDR_STRLEN] = "";
	struct addr a;

	if (inner_addrs_inner(t->inner_addrs, p->user, AF_INET, &a))
		addr_print_ip(&a, four);
	if (inner_addrs_inner(t->inner_addrs, p->user, AF_INET6, &a))
		addr_print_ip(&a, six);
	return json_pack("{s:s, s:s, s:s, s:s, s:o}", "user", t->config->users[p->user].name, "inner4", four, "inner6", six, "carrier",
			 p->tunnel ? tunnel_carrier(p->tunnel) : "none", "tunnel", p->tunnel ? tunnel_status(p->tunnel) : json_null());
}

json_t *tundev_status(const struct tundev *t)
{
	json_t *users = json_array();
	const struct tun_caps *caps = t->tun ? tun_caps(t->tun) : NULL;

	for (size_t u = 0; !t->why[0] && u < t->config->n_users; u++)
		if (!t->config->users[u].gone)
			json_array_append_new(users, user_tunnel_status(t, &t->tunnels[u]));
	return json_pack("{s:s, s:s, s:s, s:b, s:b, s:o}", "state", t->why[0] ? t->why : "up", "device", t->config->tunnel_device, "rules",
			 firewall_way(t->firewall), "uso", caps && caps->uso, "tso", caps && caps->tso, "users",
			 users);
}
