/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * The device is there from the beginning to the end. Whether anything is sent into it is a matter
 * of routes (tun_routes.c). Beside the routes the firewall does its part (tunnel.sh): the LAN gets
 * our inner address, and nothing begins from out there.
 *
 * The routes go in with the first session that names inner addresses and has a usable path, or
 * another way (fallback.c). They go out when the session is lost, or no path was usable for
 * LOST_MS, and come back when both have lasted HEALTHY_MS. With on_vps_down = reject they are in
 * from the beginning, and what is sent while nobody carries it is lost. When the process is killed
 * the device vanishes by itself, and the guard takes out the rest.
 *
 * QUIC is refused by the firewall, according to `quic`; auto (quic.c) is decided anew every few
 * seconds.
 *
 * What comes out of the tunnel must be for the inner address (or, with nat = no, for anything
 * behind us): the VPS has no business with other addresses of the house. */
#include "tundev.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "classify.h"
#include "clock.h"
#include "counter.h"
#include "firewall.h"
#include "log.h"
#include "quic.h"
#include "rtnl.h"
#include "rtnl_own.h"
#include "timer.h"
#include "tun.h"
#include "tun_routes.h"

#define ROUNDS 64
#define LOST_MS 5000
#define HEALTHY_MS 10000
#define RETRY_MS 60000
#define RULES_MS 100 /* from a change of the policy rules to a look at ours */
#define QUIC_MS 5000
#define ERR 640
#define SPARED 40 /* addresses of VPSs, which are never sent into the tunnel */

struct tundev {
	struct event_base *base;
	const struct config *config;
	struct firewall *firewall;
	struct rtnl_monitor *monitor;
	const struct vps_choice *vps_choice;
	struct tunnel *tunnel;
	struct tun *tun;
	struct netlink *nl;
	char why[ERR]; /* there is no device */

	bool session, usable, in, was_in, reject_quic;
	uint64_t since_ms; /* of want() being what it is */
	bool wanted;
	const char *trouble; /* why it is not in though wanted */
	bool has[2];	     /* [v6] */
	struct addr inner[2];
	struct addr vps[SPARED];
	size_t n_vps;

	struct event readable, timer, quic;
	struct tun_packet packet[TUN_PACKETS];
};

/* --- packets --- */

static bool tundev_is_ours(const struct tundev *t, const uint8_t *packet, size_t len)
{
	struct inner in;

	if (inner_parse(&in, packet, len)) {
		counters.nat_malformed++;
		return false;
	}
	if (!t->config->nat)
		return true;
	for (int v6 = 0; v6 < 2; v6++)
		if (t->has[v6] && addr_same_ip(&t->inner[v6], &in.dst))
			return true;
	counters.nat_nobody++;
	return false;
}

static void tundev_deliver(void *arg, uint8_t *packet, size_t len)
{
	struct tundev *t = arg;

	if (t->tun && tundev_is_ours(t, packet, len))
		tun_write(t->tun, packet, len);
}

static void tundev_flush(void *arg)
{
	struct tundev *t = arg;

	if (t->tun)
		tun_flush(t->tun);
}

static void tundev_mtu_found(void *arg, unsigned mtu)
{
	struct tundev *t = arg;
	int err = t->tun ? tun_set_mtu(t->tun, mtu) : 0;

	if (err)
		log_warn("%s: MTU %u: %s", t->config->tunnel_device, mtu, strerror(-err));
}

/* The kernel reports its groups to whatever device there is. */
static bool is_multicast(const struct tun_packet *p)
{
	return p->data[0] >> 4 == 6 ? p->len > 24 && p->data[24] == 0xff : p->len > 16 && p->data[16] >> 4 == 14;
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
			if (!is_multicast(&t->packet[i]))
				tunnel_send(t->tunnel, t->packet[i].data, t->packet[i].len);
	} while (n == TUN_PACKETS || (n && ++round < ROUNDS));
	tunnel_send_end(t->tunnel);
}

static int sync_routes(struct tundev *t, bool in)
{
	struct tun_routes want = { .config = t->config, .index = t->tun ? tun_index(t->tun) : 0, .vps = t->vps, .n_vps = t->n_vps };

	for (int v6 = 0; v6 < 2; v6++) {
		want.in[v6] = in && (t->has[v6] || t->config->on_vps_down == DOWN_REJECT);
		want.source[v6] = t->has[v6] ? &t->inner[v6] : NULL;
	}
	return tun_routes_sync(t->nl, &want);
}

/* --- the firewall's part --- */

static int tundev_describe(void *arg, bool undo, struct script *out)
{
	const struct tundev *t = arg;
	const struct config *c = t->config;

	if (undo && script_set_range(out, &rtnl_range_tunnel))
		return -1;
	return script_setenv(out, "PLAIT_TUN", "%s", c->tunnel_device) ||
	       script_set_devices(out, "PLAIT_LAN", c->lan_devices, c->n_lan_devices) ||
	       script_setenv(out, "PLAIT_MASQUERADE", "%s", c->nat ? "out" : "") ||
	       script_setenv(out, "PLAIT_QUIC", "%d", t->reject_quic) ||
	       script_set_prefixes(out, "PLAIT_QUIC_ALLOW", c->quic_allow, c->n_quic_allow) ||
	       script_setenv(out, "PLAIT_CLOSED", "%s", c->nat ? "new" : "") ? -1 : 0;
}

static int rules_put_in(struct tundev *t)
{
	char err[ERR];

	if (t->config->rules == RULES_NONE || firewall_put_in(t->firewall, err, sizeof(err)) == 0)
		return 0;
	log_error("the tunnel is not used: %s", err);
	return -1;
}

/* --- in and out --- */

static void tundev_wake_in(struct tundev *t, uint64_t ms)
{
	timer_in_ms(&t->timer, ms);
}

static void tundev_put_in(struct tundev *t)
{
	if (t->in)
		return;
	t->trouble = NULL;
	if (rules_put_in(t) || sync_routes(t, true)) {
		sync_routes(t, false);
		t->trouble = "rules or routes were refused, see the log";
		tundev_wake_in(t, RETRY_MS);
		return;
	}
	log_info("UDP, ICMP and the like go through the tunnel");
	t->in = t->was_in = true;
}

static void take_out(struct tundev *t, const char *why)
{
	if (!t->in)
		return;
	sync_routes(t, false);
	log_warn("UDP, ICMP and the like go out directly: %s", why);
	t->in = false;
}

/* Somebody took out rules, perhaps ours too. */
static void tundev_rules_changed(void *arg)
{
	struct tundev *t = arg;

	sync_routes(t, t->in);
}

static void tundev_firewall_changed(void *arg, const char *why)
{
	struct tundev *t = arg;

	if (!why)
		return;
	log_error("the tunnel is not used: %s", why);
	take_out(t, "its rules are out");
	t->trouble = "another program takes out its rules, see the log";
	tundev_wake_in(t, RETRY_MS);
}

static bool wants(const struct tundev *t)
{
	return t->config->on_vps_down == DOWN_REJECT || (t->session && t->usable && (t->has[0] || t->has[1]));
}

/* Acts on what is wanted, now or when it has lasted long enough. */
static void tundev_decide(struct tundev *t)
{
	uint64_t now = clock_ms(), lasted, needed;

	if (!t->tun)
		return;
	if (wants(t) != t->wanted) {
		t->wanted = !t->wanted;
		t->since_ms = now;
	}
	if (t->wanted == t->in)
		return;
	needed = t->wanted ? (t->was_in ? HEALTHY_MS : 0) : t->session ? LOST_MS : 0;
	lasted = now - t->since_ms;
	if (lasted < needed)
		tundev_wake_in(t, needed - lasted);
	else if (t->wanted)
		tundev_put_in(t);
	else
		take_out(t, t->session ? "no link carries the tunnel" : "there is no session with the VPS");
}

static void tundev_timer_due(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	tundev_decide(arg);
}

/* Scripts run outside of the callbacks that ask for them. */
static void tundev_judge_soon(struct tundev *t)
{
	tundev_wake_in(t, 0);
}

void tundev_paths_changed(void *tundev)
{
	struct tundev *t = tundev;
	struct assoc *a = tunnel_assoc(t->tunnel);

	t->usable = tunnel_by_stream(t->tunnel);
	for (unsigned i = 0; i < ASSOC_PATHS; i++)
		if (assoc_has_path(a, i) && assoc_use(a, i) != WIRE_USE_NOT)
			t->usable |= health_usable(assoc_health(a, i)->state);
	if (t->wanted != wants(t))
		tundev_judge_soon(t);
}

/* The inner address of one family, or NULL. */
static void set_inner(struct tundev *t, int v6, const struct addr *now)
{
	struct prefix host = { .bits = 128 };
	int err = 0;

	if (now ? t->has[v6] && addr_same_ip(&t->inner[v6], now) : !t->has[v6])
		return;
	if (t->has[v6]) {
		memcpy(host.ip, t->inner[v6].ip, sizeof(host.ip));
		tun_del_address(t->tun, &host);
	}
	t->has[v6] = now != NULL;
	if (now) {
		t->inner[v6] = *now;
		memcpy(host.ip, now->ip, sizeof(host.ip));
		err = tun_add_address(t->tun, &host);
	}
	if (err) {
		log_warn("%s: no IPv%d: %s", t->config->tunnel_device, v6 ? 6 : 4, strerror(-err));
		t->has[v6] = false;
	}
}

static bool all_zero(const uint8_t *p, size_t len)
{
	return !p[0] && !memcmp(p, p + 1, len - 1);
}

static void take_addresses(struct tundev *t, const struct wire_welcome *w)
{
	struct addr four, six;
	bool has4 = !all_zero(w->inner4, sizeof(w->inner4)) && !addr_from_bytes(&four, w->inner4, sizeof(w->inner4), 0);
	bool has6 = !all_zero(w->inner6, sizeof(w->inner6)) && !addr_from_bytes(&six, w->inner6, sizeof(w->inner6), 0);

	set_inner(t, 0, has4 ? &four : NULL);
	set_inner(t, 1, has6 && !addr_is_v4(&six) ? &six : NULL);
}

void tundev_vps_changed(void *tundev)
{
	struct tundev *t = tundev;
	const struct wire_welcome *w = vps_choice_welcome(t->vps_choice);

	t->n_vps = vps_choice_targets(t->vps_choice, t->vps, SPARED);
	t->session = w != NULL;
	if (!t->tun)
		return;
	if (w)
		take_addresses(t, w);
	if (t->in)
		sync_routes(t, true);
	tundev_judge_soon(t);
}

/* --- QUIC --- */

static void tundev_quic_due(evutil_socket_t fd, short what, void *arg)
{
	struct tundev *t = arg;
	bool reject = quic_is_refused(t->config, t->tunnel);

	(void)fd, (void)what;
	if (reject == t->reject_quic)
		return;
	t->reject_quic = reject;
	if (t->in && rules_put_in(t) == 0)
		log_info("QUIC %s", reject ? "is refused: TCP uses all links" : "goes through the tunnel");
}

/* --- birth and end --- */

static int start_device(struct tundev *t)
{
	t->nl = netlink_open(NETLINK_ROUTE);
	if (!t->nl)
		return -1;
	sync_routes(t, false); /* what a crashed run left */
	if (t->config->tunnel == TUNNEL_OFF) {
		snprintf(t->why, sizeof(t->why), "switched off (enable = no)");
		return -1;
	}
	t->tun = tun_open(t->config->tunnel_device, tunnel_mtu(t->tunnel));
	if (!t->tun) {
		snprintf(t->why, sizeof(t->why), "%s: %s", t->config->tunnel_device,
			 errno == ENOENT ? "this kernel has no TUN device (/dev/net/tun)" : strerror(errno));
		return -1;
	}
	event_assign(&t->readable, t->base, tun_fd(t->tun), EV_READ | EV_PERSIST, tundev_readable, t);
	if (event_add(&t->readable, NULL) || timer_in_ms(&t->quic, QUIC_MS))
		return -1;
	t->reject_quic = t->config->quic == QUIC_REJECT;
	t->monitor = rtnl_monitor_new(t->base, RTNL_RULES, RULES_MS, tundev_rules_changed, t);
	tundev_judge_soon(t);
	return t->monitor ? 0 : -1;
}

void tundev_reload(struct tundev *t)
{
	tunnel_set_redundancy(t->tunnel, t->config->tunnel_how.redundancy);
	if (!t->tun)
		return;
	tundev_decide(t);
	t->reject_quic = quic_is_refused(t->config, t->tunnel);
	if (t->in && firewall_is_stale(t->firewall) && rules_put_in(t)) {
		take_out(t, "its rules were refused");
		tundev_wake_in(t, RETRY_MS);
	}
	sync_routes(t, t->in);
}

struct tundev *tundev_new(struct event_base *base, const struct config *config, struct seal *seal, struct guard *guard,
			  const struct vps_choice *vps)
{
	static const struct tunnel_ops ops = { tundev_deliver, tundev_flush, tundev_mtu_found };
	struct tundev *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->base = base;
	t->config = config;
	t->vps_choice = vps;
	t->tunnel = tunnel_new(base, seal, ASSOC_LOCAL, &config->tunnel_how, &ops, t);
	t->firewall = tun_firewall_new(config->rules == RULES_IPTABLES,
				       config->rules == RULES_NFTABLES,
				       &(struct firewall_setup){ .base = base,
								 .dir = config->rules_dir,
								 .guard = guard,
								 .describe = tundev_describe,
								 .changed = tundev_firewall_changed,
								 .arg = t });
	if (!t->tunnel || !t->firewall) {
		tunnel_free(t->tunnel);
		free(t);
		return NULL;
	}
	event_assign(&t->timer, base, -1, 0, tundev_timer_due, t);
	event_assign(&t->quic, base, -1, EV_PERSIST, tundev_quic_due, t);
	if (start_device(t)) {
		if (!t->why[0])
			snprintf(t->why, sizeof(t->why), "%s", strerror(errno));
		log_warn("no tunnel, UDP and ICMP go out directly: %s", t->why);
		tunnel_unused(t->tunnel);
	}
	return t;
}

void tundev_free(struct tundev *t)
{
	if (!t)
		return;
	event_del(&t->timer);
	event_del(&t->quic);
	rtnl_monitor_free(t->monitor);
	if (t->tun)
		event_del(&t->readable);
	if (t->nl)
		sync_routes(t, false);
	firewall_free(t->firewall);
	tunnel_free(t->tunnel);
	tun_close(t->tun);
	if (t->nl)
		netlink_close(t->nl);
	free(t);
}

bool tundev_works(const struct tundev *t)
{
	return t->tun != NULL;
}

struct tunnel *tundev_tunnel(const struct tundev *t)
{
	return t->tunnel;
}

static const char *state(const struct tundev *t)
{
	if (t->why[0])
		return t->why;
	if (t->in)
		return "up";
	if (t->trouble)
		return t->trouble;
	if (!t->session)
		return "no session";
	return !t->has[0] && !t->has[1] ? "the VPS has no tunnel" : t->usable ? "waiting for the links to last" : "no link carries it";
}

json_t *tundev_status(const struct tundev *t)
{
	const struct tun_caps *caps = t->tun ? tun_caps(t->tun) : NULL;
	char four[ADDR_STRLEN] = "", six[ADDR_STRLEN] = "";

	if (t->has[0])
		addr_print_ip(&t->inner[0], four);
	if (t->has[1])
		addr_print_ip(&t->inner[1], six);
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:o}", "state", state(t), "carrier",
			 tunnel_carrier(t->tunnel), "device", t->config->tunnel_device, "inner4", four,
			 "inner6", six, "rules", firewall_way(t->firewall), "quic",
			 t->reject_quic ? "reject" : "tunnel", "uso", caps && caps->uso, "tso", caps && caps->tso, "traffic",
			 tunnel_status(t->tunnel));
}
