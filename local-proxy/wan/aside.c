/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * While relays move bytes, each device's counters are read once a second and weighed (weigh.c);
 * when nothing moves, nothing is read. A second counts only if most of what the devices carried was
 * large transfers of the relays' (bulk.h): pages ask for little at a time, and the kernel puts it
 * where it is soonest, so a link that carried nothing of it has shown nothing; and one that is full
 * of something else says nothing about what it could do for relays.
 * The verdict goes to `links`, which makes the link a backup, on running connections too, and to
 * UDP, which keeps sending copies on it. Probes go on all the while.
 *
 * A link whose addresses are all others than before may have another line behind its device: what
 * was found out of the one before is forgotten. */
#include "aside.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "clock.h"
#include "rtnl_stats.h"
#include "timer.h"
#include "weigh.h"

#define STILL 4 /* seconds after which a transfer is over */
#define MOST 60 /* per cent of the devices' bytes, of which headers and what is resent are some */

struct aside {
	const struct config *config;
	struct hint {
		uint64_t down, up; /* bits a second, 0: none */
	} hint[CONFIG_LINKS];
	struct links *links;
	struct roles *roles;
	const struct paths *paths;
	const struct relay_loop *relays;
	struct netlink *nl;
	struct event *second;
	struct weigh weigh;
	bool aside[CONFIG_LINKS]; /* as told to others */
	struct addr address[CONFIG_LINKS][2]; /* IPv4, IPv6: the last ones; any: none yet */
	struct rtnl_stats last[CONFIG_LINKS];
	uint64_t moved, bulk;
	unsigned still; /* seconds in which the relays moved nothing, in a row */
	bool primed; /* last[] is of a second ago */
};

static bool is_up(const struct aside *a, size_t i)
{
	struct addr addr;

	return links_address(a->links, i, AF_INET, &addr) || links_address(a->links, i, AF_INET6, &addr);
}

/* All others think it an equal. */
static bool aside_is_in(const struct aside *a, size_t i)
{
	enum links_standing s = links_standing(a->links, i, NULL);

	return is_up(a, i) && roles_role(a->roles, i) == ROLE_PRIMARY &&
	       (s == LINKS_IN || (a->aside[i] && s == LINKS_BACKUP));
}

static void aside_tell(struct aside *a)
{
	for (size_t i = 0; i < a->config->n_links; i++) {
		const struct weigh_link *l = &a->weigh.link[i];
		char why[96] = "";

		if (l->aside == a->aside[i])
			continue;
		a->aside[i] = l->aside;
		if (l->aside)
			snprintf(why, sizeof(why), "it slows the others: it brings %u.%u %% of %.1f Mbit/s %s", l->share / 10, l->share % 10,
				 (double)l->level * 8 / 1e6, l->way ? "up" : "down");
		links_set_verdict(a->links, i, LINKS_ASIDE, l->aside ? LINKS_BACKUP : LINKS_IN, why);
		roles_aside(a->roles, i, l->aside);
	}
}

static uint32_t queue_of(const struct health *h)
{
	uint32_t up = h->side[HEALTH_TX].queue_us, down = h->side[HEALTH_RX].queue_us;

	return up > down ? up : down;
}

/* What each link carried since the last look; false when that cannot be told of all. */
static bool aside_look(struct aside *a, struct weigh_second *link)
{
	bool complete = a->primed;

	for (size_t i = 0; i < a->config->n_links; i++) {
		const struct health *health = paths_health(a->paths, i);
		struct rtnl_stats now = { 0 }, was = a->last[i];

		a->last[i] = now;
		link[i] = (struct weigh_second){ .in = aside_is_in(a, i) };
		if (health) {
			link[i].rtt_us = health->min_rtt_us;
			link[i].queue_us = queue_of(health);
		}
		if (rtnl_stats(a->nl, a->config->links[i].device, &now))
			continue; /* not there: it carried nothing */
		a->last[i] = now;
		if (now.index != was.index || now.rx < was.rx || now.tx < was.tx) {
			complete = false;
			continue;
		}
		link[i].bytes[0] = now.rx - was.rx;
		link[i].bytes[1] = now.tx - was.tx;
	}
	return complete;
}

static void aside_weigh(struct aside *a, const struct weigh_second *link, uint64_t bulk)
{
	uint64_t all = 0;

	for (size_t i = 0; i < a->config->n_links; i++)
		all += link[i].bytes[0] + link[i].bytes[1];
	if (bulk * 100 < all * MOST)
		a->weigh.busy = 0;
	else if (weigh_second(&a->weigh, link, a->config->n_links, clock_ms()))
		aside_tell(a);
}

static void aside_second(evutil_socket_t fd, short what, void *arg)
{
	struct aside *a = arg;
	struct weigh_second link[CONFIG_LINKS];
	uint64_t moved = relay_loop_moved(a->relays), by_relays = moved - a->moved;
	uint64_t all_bulk = relay_loop_bulk(a->relays), bulk = all_bulk - a->bulk;

	(void)fd, (void)what;
	a->moved = moved;
	a->bulk = all_bulk;
	a->still = by_relays ? 0 : a->still + 1;
	if (a->still >= STILL) {
		a->primed = false;
		a->weigh.busy = 0;
		return;
	}
	if (aside_look(a, link) && by_relays)
		aside_weigh(a, link, bulk);
	a->primed = true;
}

/* A hint that is as it was must not push out what was learnt. */
void aside_reload(struct aside *a)
{
	for (size_t i = 0; i < a->config->n_links; i++) {
		const struct config_link *c = &a->config->links[i];
		struct hint *was = &a->hint[i];

		if (was->down != c->rate_down || was->up != c->rate_up)
			weigh_hint(&a->weigh, i, c->rate_down / 8, c->rate_up / 8);
		*was = (struct hint){ c->rate_down, c->rate_up };
	}
}

struct aside *aside_new(struct event_base *base, const struct config *config, struct links *links, struct roles *roles,
			const struct paths *paths, const struct relay_loop *relays)
{
	struct aside *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	*a = (struct aside){ .config = config, .links = links, .roles = roles, .paths = paths, .relays = relays };
	aside_reload(a);
	a->nl = netlink_open(NETLINK_ROUTE);
	a->second = event_new(base, -1, EV_PERSIST, aside_second, a);
	if (!a->nl || !a->second || (config->n_links > 1 && timer_in_s(a->second, 1))) {
		aside_free(a);
		return NULL;
	}
	return a;
}

void aside_free(struct aside *a)
{
	if (!a)
		return;
	if (a->second)
		event_free(a->second);
	if (a->nl)
		netlink_close(a->nl);
	free(a);
}

static bool is_another(struct aside *a, size_t link)
{
	static const int families[] = { AF_INET, AF_INET6 };
	bool same = false, changed = false;
	struct addr now;

	for (int i = 0; i < 2; i++) {
		struct addr *was = &a->address[link][i];

		if (!links_address(a->links, link, families[i], &now))
			continue;
		same |= addr_same_ip(was, &now);
		changed |= !addr_is_any(was) && !addr_same_ip(was, &now);
		*was = now;
	}
	return changed && !same;
}

void aside_links_changed(struct aside *a)
{
	bool present[CONFIG_LINKS], changed = false;

	for (size_t i = 0; i < a->config->n_links; i++) {
		if (is_another(a, i)) {
			changed = true;
			weigh_forget(&a->weigh, i);
			weigh_hint(&a->weigh, i, a->hint[i].down / 8, a->hint[i].up / 8);
		}
		present[i] = aside_is_in(a, i);
	}
	if (weigh_present(&a->weigh, present, a->config->n_links) || changed)
		aside_tell(a);
}

void aside_status(const struct aside *a, size_t link, json_t *o)
{
	const struct weigh_link *l = &a->weigh.link[link];

	if (!l->limit)
		return;
	json_object_set_new(o, "share_percent", json_real(l->share / 10.0));
	json_object_set_new(o, "trial", json_boolean(l->trial));
}
