/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * Everything is computed from all of the kernel's present state; nothing is patched by single
 * events. An event only says "look again" (20 ms after the first of a burst), and looking again
 * means: dump devices, addresses and routes, make a struct link of each [link], derive from the
 * links what should be in the kernel, and let rtnl_sync() and mptcp_pm_sync() move the difference.
 * The first look is the same as every later one and also cleans up after a run that was killed. The
 * end is the same again, with nothing wanted.
 *
 * Each link has its own table of routes and a rule for its address (link_routes.c). The first
 * window in them is the config's, or learnt (see estimate.h): while uploads run, and when they end,
 * what TCP measured on each link is told here, and a figure that has changed is put in like all
 * else. New connections begin with it.
 *
 * A link that is in use has an MPTCP endpoint per family with a fixed id and the link's device, so
 * that later subflows leave by it. The kernel holds 8 endpoints: up to four links have one for each
 * family (100 + i, 104 + i); with more links each has one, for the VPS's family if the config names
 * an address, else for IPv4 if the link has it. The moment a link is not in use its endpoint goes,
 * and its subflows with it, which sends what they had not delivered over the others; when it is
 * used again they are made anew at once. Its routes stay as long as it is up: it can still be
 * probed.
 *
 * What a link is used for follows from the verdicts on it (verdicts.c). One for the worse acts at
 * once, one for the better after DEBOUNCE_MS with whatever else was said by then. A link that was
 * rejected and used all the same, for want of a better one, has subflows whose timers have backed
 * off: when it is found good again its endpoint is taken out and put in anew.
 *
 * Announced addresses of the VPS are accepted only if the links are mixed: one that is up cannot
 * reach the VPS in the family that connections begin with, and joins by the address of the other
 * family that the VPS announces. The kernel gives subflows of both families to an AF_INET6 socket
 * only, so connections are then dialled by such ones. */
#include "links.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "link_routes.h"
#include "links_room.h"
#include "log.h"
#include "snapshot.h"
#include "timer.h"

#define DEBOUNCE_MS 20
#define CALM_MS 60000

/* Packets of a link's first window, 0 for the kernel's. */
static uint32_t links_initcwnd(const struct links *l, size_t i)
{
	uint32_t asked = l->config->links[i].initcwnd;

	return asked == CONFIG_AUTO ? l->up[i].installed : asked;
}

static int links_look(struct links *l, struct snapshot *s)
{
	int err = snapshot_take(s, l->nl, l->config);

	for (size_t i = 0; i < l->n; i++)
		s->initcwnd[i] = links_initcwnd(l, i);
	return err;
}

/* The id of a link's endpoint for this family, 0 for none: see above for the kernel's limit of
 * 8. */
static unsigned endpoint_id(const struct links *l, size_t i, int side)
{
	const struct link *link = &l->link[i];
	struct addr remote;
	int first = LINK_V4;

	if (!link_side_up(link, side) || l->use[i] == LINKS_OUT || l->use[i] == LINKS_PLAIN)
		return 0;
	if (l->n <= 4)
		return MPTCP_PM_LINKS + (unsigned)i + (side == LINK_V6 ? 4 : 0);
	if (addr_parse(&remote, l->config->vps[0].host, 0) == 0 && !addr_is_v4(&remote))
		first = LINK_V6;
	if (side != first && link_side_up(link, first))
		return 0;
	return MPTCP_PM_LINKS + (unsigned)i;
}

static bool vps_may_have(const struct config *c, int side)
{
	struct addr host;

	for (size_t i = 0; i < c->n_vps; i++)
		if (addr_parse(&host, c->vps[i].host, 0) || addr_is_v4(&host) == (side == LINK_V4))
			return true; /* a name may stand for either */
	return false;
}

/* Can a link have no part in a connection that another one begins? */
static bool mixed(const struct links *l)
{
	for (int s = 0; s < LINK_SIDES; s++) {
		bool have = false, lack = false;

		for (size_t i = 0; i < l->n; i++) {
			have |= link_side_up(&l->link[i], s);
			lack |= link_up(&l->link[i]) && !link_side_up(&l->link[i], s);
		}
		if (have && lack && vps_may_have(l->config, s))
			return true;
	}
	return false;
}

/* To an announced address the kernel goes from where its routes say, unless an endpoint asks to:
 * the link that needs it does. */
static uint32_t endpoint_flags(const struct links *l, size_t i)
{
	const struct link *link = &l->link[i];
	uint32_t flags = MPTCP_PM_SUBFLOW;

	if (l->mixed && !(link_side_up(link, LINK_V4) && link_side_up(link, LINK_V6)))
		flags |= MPTCP_PM_FULLMESH;
	if (l->use[i] == LINKS_BACKUP)
		flags |= MPTCP_PM_BACKUP;
	return flags;
}

/* Its subflows go now; the sync that follows makes new ones. */
static void links_renew(struct links *l, size_t i)
{
	for (int s = 0; s < LINK_SIDES; s++) {
		const struct link_side *side = &l->link[i].side[s];

		if (side->endpoint && !side->foreign)
			mptcp_pm_del(l->pm, (uint8_t)side->endpoint);
	}
	l->renew[i] = false;
}

static void links_sync_endpoints(struct links *l)
{
	struct mptcp_endpoint want[MPTCP_PM_MAX];
	struct link_side *owner[MPTCP_PM_MAX];
	size_t n = 0;

	if (!l->pm)
		return;
	l->mixed = mixed(l);
	if (l->mixed)
		settings_raise(l->settings, SETTINGS_MPTCP_ADD_ADDR, 2);
	for (size_t i = 0; i < l->n; i++) {
		if (l->renew[i])
			links_renew(l, i);
		for (int s = 0; s < LINK_SIDES; s++) {
			struct link_side *side = &l->link[i].side[s];

			side->endpoint = endpoint_id(l, i, s);
			if (!side->endpoint || n == MPTCP_PM_MAX)
				continue;
			want[n] = (struct mptcp_endpoint){.addr = side->addr.addr,
							  .id = (uint8_t)side->endpoint,
							  .flags = endpoint_flags(l, i),
							  .index = l->link[i].index};
			owner[n++] = side;
		}
	}
	if (mptcp_pm_sync(l->pm, want, n, MPTCP_PM_LINKS, MPTCP_PM_LINKS_END) < 0)
		log_warn("MPTCP endpoints: %s", mptcp_pm_error(l->pm));
	for (size_t i = 0; i < n; i++) {
		owner[i]->endpoint = want[i].id;
		owner[i]->foreign = want[i].foreign;
	}
}

/* What each link is used for from now on; true when that is something else. */
static bool links_decide(struct links *l)
{
	struct verdicts_link link[CONFIG_LINKS];
	bool differs = false;

	for (size_t i = 0; i < l->n; i++)
		link[i] = (struct verdicts_link){&l->verdicts[i], link_up(&l->link[i]), l->use[i]};
	verdicts_use(link, l->n);
	for (size_t i = 0; i < l->n; i++) {
		differs |= l->use[i] != link[i].use;
		l->use[i] = link[i].use;
	}
	return differs;
}

/* True when something that callers can see is different now. */
static bool links_adopt(struct links *l, const struct snapshot *k, bool first)
{
	bool differs = first;

	for (size_t i = 0; i < l->n; i++) {
		struct link was = l->link[i];

		l->link[i] = k->link[i];
		for (int s = 0; s < LINK_SIDES; s++) {
			differs |= link_side_differs(&l->link[i], &was, s);
			l->link[i].side[s].endpoint = was.side[s].endpoint;
			l->link[i].side[s].foreign = was.side[s].foreign;
		}
	}
	return links_decide(l) || differs;
}

static void tell_soon(struct links *l)
{
	l->shaken_ms = clock_ms();
	timer_in_ms(&l->tell, 0);
}

static int links_refresh(struct links *l, bool first)
{
	struct link was[CONFIG_LINKS];
	struct snapshot k;
	int err = links_look(l, &k);

	if (!err) {
		bool differs;

		memcpy(was, l->link, sizeof(was));
		err = link_routes_sync(&k, l->nl);
		differs = links_adopt(l, &k, first);
		links_sync_endpoints(l);
		for (size_t i = 0; i < l->n; i++)
			link_log(&l->link[i], &was[i], first);
		if (differs && !first)
			tell_soon(l);
	}
	snapshot_clear(&k);
	if (err < 0 && !first)
		log_error("links: %s", netlink_error(l->nl));
	return err;
}

static void links_news(void *arg)
{
	links_refresh(arg, false);
}

static int links_open(struct links *l, struct event_base *base)
{
	l->nl = netlink_open(NETLINK_ROUTE);
	l->monitor = rtnl_monitor_new(base, RTNL_LINKS | RTNL_ADDRS | RTNL_ROUTES | RTNL_RULES,
				      DEBOUNCE_MS, links_news, l);
	if (!l->nl || !l->monitor)
		return -1;
	l->pm = mptcp_pm_open();
	if (!l->pm)
		log_warn("MPTCP path manager: %s; each connection will use one link only", strerror(errno));
	return 0;
}

static void links_tell_due(evutil_socket_t fd, short what, void *arg)
{
	struct links *l = arg;

	(void)fd;
	(void)what;
	watchers_tell(&l->watchers);
}

static void links_decide_due(evutil_socket_t fd, short what, void *arg)
{
	struct links *l = arg;

	(void)fd;
	(void)what;
	event_del(&l->decide);
	if (links_decide(l))
		tell_soon(l);
	links_sync_endpoints(l);
}

static const char *links_state(const struct links *l, size_t link)
{
	return verdicts_state(&l->verdicts[link], link_up(&l->link[link]), l->use[link]);
}

void links_set_verdict(struct links *l, size_t link, enum links_judge who,
		       enum links_standing standing, const char *why)
{
	struct verdicts *v = &l->verdicts[link];
	enum links_standing was = verdicts_standing(v);
	const char *state = links_state(l, link);
	bool news = verdicts_hear(v, who, standing, why);

	if (links_state(l, link) != state) /* perhaps for people only */
		timer_in_ms(&l->tell, 0);
	if (!news)
		return;
	log_info("link %s: %s by %s%s%s", l->link[link].name,
		 verdicts_standing_name(verdicts_standing(v)), verdicts_judge_name(who),
		 *v->of[who].why ? ", " : "", v->of[who].why);
	l->renew[link] |= was == LINKS_OUT && l->use[link] != LINKS_OUT;
	if (verdicts_standing(v) > was)
		links_decide_due(-1, 0, l);
	else if (!event_pending(&l->decide, EV_TIMEOUT, NULL))
		timer_in_ms(&l->decide, DEBOUNCE_MS);
}

enum links_standing links_standing(const struct links *l, size_t link, const char **why)
{
	const struct verdicts *v = &l->verdicts[link];

	if (why)
		*why = v->of[verdicts_worst(v)].why;
	return verdicts_standing(v);
}

bool links_uneasy(const struct links *l)
{
	if (l->shaken_ms && clock_ms() - l->shaken_ms < CALM_MS)
		return true;
	for (size_t i = 0; i < l->n; i++)
		if (!verdicts_forbid(&l->verdicts[i]) && (!l->link[i].up || links_standing(l, i, NULL) == LINKS_OUT))
			return true;
	return false;
}

/* FULLMESH put on and taken off makes the kernel (mptcp_pm_nl_fullmesh) close and join an
 * endpoint's subflows without a word to the remote. Of an endpoint that is taken out the VPS is
 * told (RM_ADDR), for want of a subflow by the next one that joins; and where the address is the
 * one that the connection began on, it is that one which the VPS then closes, both being id 0. A
 * link that needs FULLMESH has no other way. */
static void join_anew(struct links *l, size_t link)
{
	uint32_t flags = endpoint_flags(l, link);

	if (flags & MPTCP_PM_FULLMESH) {
		l->renew[link] = true;
		links_sync_endpoints(l);
		return;
	}
	for (int s = 0; s < LINK_SIDES; s++) {
		const struct link_side *side = &l->link[link].side[s];
		uint8_t id = (uint8_t)side->endpoint;

		if (id && !side->foreign && (mptcp_pm_set_flags(l->pm, id, flags | MPTCP_PM_FULLMESH) < 0 ||
					     mptcp_pm_set_flags(l->pm, id, flags) < 0))
			log_warn("MPTCP endpoint %u: cannot change it: %s", id, mptcp_pm_error(l->pm));
	}
}

void links_rejoin(struct links *l)
{
	if (!l->pm)
		return;
	for (size_t i = 1; i <= l->n; i++) {
		size_t link = (l->rejoined + i) % l->n;

		if (l->use[link] == LINKS_OUT || l->use[link] == LINKS_PLAIN || links_standing(l, link, NULL) == LINKS_OUT)
			continue;
		log_info("link %s: joined anew, connections have lost all links", l->link[link].name);
		l->rejoined = link;
		join_anew(l, link);
		return;
	}
}

size_t links_count(const struct links *l)
{
	return l->n;
}

const char *links_name_of(const struct links *l, size_t link)
{
	return l->link[link].name;
}

bool links_address(const struct links *l, size_t link, int family, struct addr *out)
{
	int side = family == AF_INET ? LINK_V4 : LINK_V6;

	if (!link_side_up(&l->link[link], side))
		return false;
	*out = l->link[link].side[side].addr.addr;
	return true;
}

struct links *links_new(struct event_base *base, const struct config *config,
			struct settings *settings, char *err, size_t err_len)
{
	struct links *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->config = config;
	l->settings = settings;
	l->n = config->n_links;
	event_assign(&l->decide, base, -1, 0, links_decide_due, l);
	event_assign(&l->tell, base, -1, 0, links_tell_due, l);
	if (links_open(l, base) < 0)
		snprintf(err, err_len, "links: %s", strerror(errno));
	else if (links_refresh(l, true) < 0)
		snprintf(err, err_len, "links: %s", netlink_error(l->nl));
	else
		return l;
	links_free(l);
	return NULL;
}

void links_watch(struct links *l, void (*told)(void *arg), void *arg)
{
	watchers_add(&l->watchers, told, arg);
}

void links_free(struct links *l)
{
	const struct rtnl_set nothing = {0};

	if (!l)
		return;
	event_del(&l->decide);
	event_del(&l->tell);
	rtnl_monitor_free(l->monitor);
	if (l->pm)
		mptcp_pm_sync(l->pm, NULL, 0, MPTCP_PM_LINKS, MPTCP_PM_LINKS_END);
	if (l->nl)
		rtnl_sync(l->nl, &nothing, &rtnl_range_links);
	mptcp_pm_close(l->pm);
	netlink_close(l->nl);
	free(l);
}

bool links_learn(struct links *l, const struct sock_subflow *path)
{
	const struct estimate_sample sample = {path->delivery_rate, path->min_rtt_us, path->mss, path->app_limited};
	size_t i = links_index(l, &path->local);
	bool much;

	if (i == l->n || l->config->links[i].initcwnd != CONFIG_AUTO)
		return false;
	estimate_observe(&l->up[i], &sample);
	if (!estimate_changed(&l->up[i]))
		return false;
	much = estimate_install(&l->up[i]);
	log_info("link %s: holds %u packets upwards, from now on the first window", l->link[i].name, l->up[i].installed);
	links_refresh(l, false);
	return much;
}

bool links_mixed(const struct links *l)
{
	return l->mixed;
}

static void status_standing(const struct links *l, size_t i, json_t *o)
{
	const struct verdicts *v = &l->verdicts[i];
	enum links_judge who = verdicts_worst(v);

	json_object_set_new(o, "standing", json_string(verdicts_standing_name(verdicts_standing(v))));
	json_object_set_new(o, "use", json_string(verdicts_standing_name(l->use[i])));
	json_object_set_new(o, "state", json_string(links_state(l, i)));
	if (!link_up(&l->link[i]) || v->of[who].standing == LINKS_IN)
		return;
	json_object_set_new(o, "reason", json_string(verdicts_judge_name(who)));
	json_object_set_new(o, "why", json_string(v->of[who].why));
}

json_t *links_status(const struct links *l)
{
	json_t *list = json_array();

	for (size_t i = 0; i < l->n; i++) {
		const struct link *link = &l->link[i];
		json_t *o = json_pack("{ss ss sb ss sI sI}", "name", link->name, "device", link->device, "up", link_up(link),
				      "why", link_why(link), "table", (json_int_t)(rtnl_range_links.table + i), "initcwnd",
				      (json_int_t)links_initcwnd(l, i));

		status_standing(l, i, o);
		link_status(link, o);
		json_array_append_new(list, o);
	}
	return list;
}
