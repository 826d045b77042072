/* SPDX-License-Identifier: BSD-2-Clause */
/* intercept: takes the LAN's connections while there is somebody to carry them.
 *
 * Theory of operation. The first session puts the rules in at once. When it is lost, and
 * on_vps_down is `direct`, they are drained in one step: new connections go out by the ordinary
 * default route, while those that were taken stay with us, for the VPS may only have been away for
 * a moment. When the last of them has ended, the rules go altogether. They come back when a session
 * has lasted HEALTHY_MS, so a VPS that comes and goes does not split the house's connections
 * between two ways over and over. While the rules are still in without a session, `lan` refuses:
 * whoever delays the one delays the other. With on_vps_down = reject the rules are in from the
 * beginning to the end, and `lan` refuses.
 *
 * What a script can do may change behind it: when somebody has the firewall look into bridges
 * (Docker does), TPROXY does not work on a LAN that is one, and new connections would hang. So this
 * is looked at every WATCH_MS, and a change has the scripts judge anew.
 *
 * A script that fails is tried again after RETRY_MIN_MS, doubling to RETRY_MAX_MS. A `drain` that
 * fails ends in `down`. */
#include <event2/event_struct.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "firewall.h"
#include "intercept.h"
#include "log.h"
#include "sock.h"
#include "timer.h"

#define HEALTHY_MS 10000
#define RETRY_MIN_MS 1000
#define RETRY_MAX_MS 60000
#define WATCH_MS 5000
#define DRAINED_MS 5000 /* how often it is looked whether all have ended */
#define ERR 640
#define SPARED 40 /* addresses of VPSs */

static const char *const ways[] = { "nftables", "tproxy", "redirect", NULL };
static const char *const by_nftables[] = { "nftables", NULL };
static const char *const by_tproxy[] = { "tproxy", NULL };
static const char *const by_redirect[] = { "redirect", NULL };

struct intercept {
	const struct config *config;
	const struct vps_choice *vps_choice;
	struct lan *lan;
	const struct relay_loop *relays;
	struct firewall *firewall;
	bool wanted, session, had_session;
	char bridges[2]; /* looked_into() when the rules were put in */
	unsigned retry_ms;
	struct event timer;
	struct addr vps[SPARED];
	size_t n_vps;
};

static int intercept_describe(void *arg, bool undo, struct script *out)
{
	const struct intercept *i = arg;
	const struct config *c = i->config;

	(void)undo;
	return script_set_devices(out, "PLAIT_LAN", c->lan_devices, c->n_lan_devices) ||
	       script_set_addrs(out, "PLAIT_VPS", i->vps, i->n_vps) ||
	       script_set_prefixes(out, "PLAIT_BYPASS", c->bypass, c->n_bypass) ||
	       script_setenv(out, "PLAIT_PORT", "%u", c->lan_port) ||
	       script_setenv(out, "PLAIT_SELF_MARK", "0x%x", (unsigned)SOCK_SELF_MARK) ||
	       script_setenv(out, "PLAIT_OWN", "%d", c->own) ? -1 : 0;
}

static const char *const *ways_of(const struct config *c)
{
	if (c->intercept == INTERCEPT_REDIRECT)
		return by_redirect;
	return c->rules == RULES_IPTABLES ? by_tproxy : c->rules == RULES_NFTABLES ? by_nftables : ways;
}

static void intercept_wake_in(struct intercept *i, unsigned ms)
{
	timer_in_ms(&i->timer, ms);
}

static bool intercept_is_in(const struct intercept *i)
{
	return firewall_state(i->firewall) == FIREWALL_IN;
}

/* Does the firewall see packets that are still inside a bridge? Of IPv4 and of IPv6, '1' or not. */
static void looked_into(char out[2])
{
	static const char *const files[2] = { "/proc/sys/net/bridge/bridge-nf-call-iptables", "/proc/sys/net/bridge/bridge-nf-call-ip6tables" };

	for (unsigned f = 0; f < 2; f++) {
		int fd = open(files[f], O_RDONLY | O_CLOEXEC);

		if (fd < 0 || read(fd, &out[f], 1) != 1)
			out[f] = '0';
		if (fd >= 0)
			close(fd);
	}
}

static bool is_blinded(const struct intercept *i)
{
	char now[2];

	looked_into(now);
	return memcmp(now, i->bridges, sizeof(now));
}

static void intercept_drain(struct intercept *i)
{
	char err[ERR];

	if (firewall_drain(i->firewall, err, sizeof(err))) {
		log_warn("%s", err);
		firewall_take_out(i->firewall);
	} else {
		intercept_wake_in(i, DRAINED_MS);
	}
	log_warn("new connections of the LAN go out directly");
}

static void put_in_failed(struct intercept *i, const char *why)
{
	log_error("the LAN is not intercepted (tried again in %u s): %s", i->retry_ms / 1000, why);
	intercept_wake_in(i, i->retry_ms);
	i->retry_ms = i->retry_ms * 2 < RETRY_MAX_MS ? i->retry_ms * 2 : RETRY_MAX_MS;
}

static void intercept_changed(void *arg, const char *why)
{
	struct intercept *i = arg;

	if (why) {
		i->retry_ms = RETRY_MAX_MS; /* nobody is fought */
		put_in_failed(i, why);
		return;
	}
	lan_redirected(i->lan, !strcmp(firewall_way(i->firewall), by_redirect[0]));
}

static void intercept_put_in(struct intercept *i)
{
	const char *was = firewall_way(i->firewall);
	char err[ERR];

	if (i->config->rules == RULES_NONE)
		return;
	looked_into(i->bridges);
	if (firewall_put_in(i->firewall, err, sizeof(err))) {
		put_in_failed(i, err);
		return;
	}
	if (strcmp(was, firewall_way(i->firewall)))
		log_info("connections of the LAN are taken, by %s", firewall_way(i->firewall));
	i->retry_ms = RETRY_MIN_MS;
	lan_redirected(i->lan, !strcmp(firewall_way(i->firewall), by_redirect[0])); /* before they arrive */
	intercept_wake_in(i, WATCH_MS);
}

static void intercept_timer_due(evutil_socket_t fd, short what, void *arg)
{
	struct intercept *i = arg;
	enum firewall_state state = firewall_state(i->firewall);

	(void)fd, (void)what;
	if (i->wanted && state == FIREWALL_IN && !is_blinded(i))
		intercept_wake_in(i, WATCH_MS);
	else if (i->wanted)
		intercept_put_in(i);
	else if (state == FIREWALL_DRAINED && !relay_loop_count(i->relays))
		firewall_take_out(i->firewall);
	else if (state == FIREWALL_DRAINED)
		intercept_wake_in(i, DRAINED_MS);
}

struct intercept *intercept_new(struct event_base *base, const struct config *config, struct guard *guard,
				const struct vps_choice *vps, struct lan *lan, const struct relay_loop *relays)
{
	struct intercept *i = calloc(1, sizeof(*i));

	if (!i)
		return NULL;
	i->config = config;
	i->vps_choice = vps;
	i->lan = lan;
	i->relays = relays;
	i->retry_ms = RETRY_MIN_MS;
	i->wanted = config->on_vps_down == DOWN_REJECT;
	event_assign(&i->timer, base, -1, 0, intercept_timer_due, i);
	i->firewall = firewall_new(&(struct firewall_setup){ .base = base,
							     .what = "interception",
							     .ways = ways_of(config),
							     .dir = config->rules_dir,
							     .guard = guard,
							     .describe = intercept_describe,
							     .changed = intercept_changed,
							     .arg = i });
	if (!i->firewall) {
		free(i);
		return NULL;
	}
	if (i->wanted)
		intercept_wake_in(i, 0);
	return i;
}

void intercept_free(struct intercept *i)
{
	if (!i)
		return;
	event_del(&i->timer);
	firewall_free(i->firewall);
	free(i);
}

void intercept_reload(struct intercept *i)
{
	bool wanted = i->session || i->config->on_vps_down == DOWN_REJECT, changed = wanted != i->wanted;

	i->wanted = wanted;
	if (wanted && (changed || firewall_is_stale(i->firewall)))
		intercept_put_in(i);
	else if (changed && intercept_is_in(i))
		intercept_drain(i);
}

static bool same_addresses(const struct intercept *i, const struct addr *addrs, size_t count)
{
	bool same = count == i->n_vps;

	for (size_t n = 0; same && n < count; n++)
		same = addr_equal(&addrs[n], &i->vps[n]);
	return same;
}

static void spare(struct intercept *i)
{
	struct addr addrs[SPARED];
	size_t count = vps_choice_targets(i->vps_choice, addrs, SPARED);

	if (same_addresses(i, addrs, count))
		return;
	memcpy(i->vps, addrs, count * sizeof(*addrs));
	i->n_vps = count;
	if (intercept_is_in(i))
		intercept_put_in(i);
}

static void follow_session(struct intercept *i, bool up)
{
	bool first = up && !i->had_session;

	i->session = up;
	i->had_session |= up;
	if (up == i->wanted || i->config->on_vps_down == DOWN_REJECT)
		return;
	i->wanted = up;
	event_del(&i->timer);
	if (first)
		intercept_put_in(i);
	else if (up)
		intercept_wake_in(i, HEALTHY_MS);
	else if (intercept_is_in(i))
		intercept_drain(i);
	else if (firewall_state(i->firewall) == FIREWALL_DRAINED)
		intercept_wake_in(i, DRAINED_MS);
}

void intercept_vps_changed(void *intercept)
{
	struct intercept *i = intercept;

	spare(i);
	follow_session(i, vps_choice_session(i->vps_choice) != NULL);
}

const char *intercept_mode(const struct intercept *i)
{
	return firewall_way(i->firewall);
}
