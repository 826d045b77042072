/* SPDX-License-Identifier: BSD-2-Clause */
/* intercept: takes the LAN's connections while there is somebody to carry them.
 *
 * Theory of operation. The first session puts the rules in at once. When it is lost, and
 * on_vps_down is `direct`, they are drained in one step: new connections go out by the ordinary
 * default route, while those that were taken stay with us, for the VPS may only have been away for
 * a moment. When the last of them has ended, the rules go altogether. They come back when a session
 * has lasted HEALTHY_MS, so a VPS that comes and goes does not split the house's connections
 * between two ways over and over. With on_vps_down = reject the rules are in from the beginning
 * to the end, and `lan` refuses.
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

#include "intercept.h"
#include "log.h"
#include "rules.h"
#include "timer.h"

#define HEALTHY_MS 10000
#define RETRY_MIN_MS 1000
#define RETRY_MAX_MS 60000
#define WATCH_MS 5000
#define DRAINED_MS 5000 /* how often it is looked whether all have ended */
#define ERR 640
#define SPARED 40 /* addresses of VPSs */

enum state { OUT, IN, DRAINING };

struct intercept {
	const struct config *config;
	struct guard *guard;
	const struct vps_choice *vps_choice;
	struct lan *lan;
	const struct relay_loop *relays;
	enum state state;
	enum rules_mode used;
	bool wanted, session, had_session;
	char bridges[2]; /* looked_into() when the rules were put in */
	struct script in; /* what was run last to put the rules in */
	unsigned retry_ms;
	struct event timer;
	struct addr vps[SPARED];
	size_t n_vps;
};

static void plan_rules(const struct intercept *i, struct rules_plan *plan)
{
	static const enum rules_mode modes[] = {
		[RULES_AUTO] = RULES_BY_CHOICE,
		[RULES_IPTABLES] = RULES_BY_TPROXY,
		[RULES_NFTABLES] = RULES_BY_NFTABLES,
	};
	const struct config *c = i->config;

	*plan = (struct rules_plan){
		.mode = c->intercept == INTERCEPT_REDIRECT ? RULES_BY_REDIRECT : modes[c->rules],
		.dir = c->rules_dir,
		.lan_devices = c->lan_devices,
		.n_lan_devices = c->n_lan_devices,
		.lan_port = c->lan_port,
		.vps = i->vps,
		.n_vps = i->n_vps,
		.bypass = c->bypass,
		.n_bypass = c->n_bypass,
		.own = c->own,
	};
}

static void wake_in(struct intercept *i, unsigned ms)
{
	timer_in_ms(&i->timer, ms);
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

static void take_out(struct intercept *i)
{
	struct rules_plan plan;
	char err[ERR];

	plan_rules(i, &plan);
	if (i->state != OUT && rules_down(&plan, i->used, err, sizeof(err)))
		log_warn("%s", err);
	i->state = OUT;
}

static void drain(struct intercept *i)
{
	struct rules_plan plan;
	char err[ERR];

	plan_rules(i, &plan);
	if (rules_drain(&plan, i->used, err, sizeof(err))) {
		log_warn("%s", err);
		take_out(i);
	} else {
		i->state = DRAINING;
		wake_in(i, DRAINED_MS);
	}
	log_warn("new connections of the LAN go out directly");
}

static void put_in(struct intercept *i)
{
	enum rules_mode was = i->used;
	struct rules_plan plan;
	struct script down;
	char err[ERR];

	if (i->config->rules == RULES_NONE)
		return;
	plan_rules(i, &plan);
	looked_into(i->bridges);
	if (rules_up(&plan, &i->used, err, sizeof(err))) {
		i->state = OUT;
		log_error("the LAN is not intercepted (tried again in %u s): %s", i->retry_ms / 1000, err);
		wake_in(i, i->retry_ms);
		i->retry_ms = i->retry_ms * 2 < RETRY_MAX_MS ? i->retry_ms * 2 : RETRY_MAX_MS;
		return;
	}
	if (i->state != IN || i->used != was)
		log_info("connections of the LAN are taken, by %s", rules_name(i->used));
	i->state = IN;
	i->retry_ms = RETRY_MIN_MS;
	rules_script(&plan, i->used, "up", &i->in);
	lan_redirected(i->lan, i->used == RULES_BY_REDIRECT); /* before they arrive */
	if (rules_script(&plan, i->used, "down", &down) || guard_arm(i->guard, &down))
		log_warn("the guard is away: if this process is killed, interception stays in");
	wake_in(i, WATCH_MS);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct intercept *i = arg;

	(void)fd;
	(void)what;
	if (i->wanted && i->state == IN && !is_blinded(i))
		wake_in(i, WATCH_MS);
	else if (i->wanted)
		put_in(i);
	else if (i->state == DRAINING && !relay_loop_count(i->relays))
		take_out(i);
	else if (i->state == DRAINING)
		wake_in(i, DRAINED_MS);
}

struct intercept *intercept_new(struct event_base *base, const struct config *config, struct guard *guard,
				const struct vps_choice *vps, struct lan *lan, const struct relay_loop *relays)
{
	struct intercept *i = calloc(1, sizeof(*i));

	if (!i)
		return NULL;
	i->config = config;
	i->guard = guard;
	i->vps_choice = vps;
	i->lan = lan;
	i->relays = relays;
	i->retry_ms = RETRY_MIN_MS;
	i->wanted = config->on_vps_down == DOWN_REJECT;
	event_assign(&i->timer, base, -1, 0, on_timer, i);
	if (i->wanted)
		wake_in(i, 0);
	return i;
}

void intercept_free(struct intercept *i)
{
	if (!i)
		return;
	event_del(&i->timer);
	take_out(i);
	free(i);
}

/* Has the config changed what the rules say? */
static bool is_stale(const struct intercept *i)
{
	struct rules_plan plan;
	struct script now;

	plan_rules(i, &plan);
	return rules_script(&plan, i->used, "up", &now) == 0 && !script_equal(&now, &i->in);
}

void intercept_reload(struct intercept *i)
{
	bool wanted = i->session || i->config->on_vps_down == DOWN_REJECT, changed = wanted != i->wanted;

	i->wanted = wanted;
	if (wanted && (changed || (i->state == IN && is_stale(i))))
		put_in(i);
	else if (changed && i->state == IN)
		drain(i);
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
	if (i->state == IN)
		put_in(i);
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
		put_in(i);
	else if (up)
		wake_in(i, HEALTHY_MS);
	else if (i->state == IN)
		drain(i);
	else if (i->state == DRAINING)
		wake_in(i, DRAINED_MS);
}

void intercept_vps_changed(void *intercept)
{
	struct intercept *i = intercept;

	spare(i);
	follow_session(i, vps_choice_session(i->vps_choice) != NULL);
}

const char *intercept_mode(const struct intercept *i)
{
	return i->state == IN ? rules_name(i->used) : "out";
}
