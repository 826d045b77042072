/* Theory of operation
 *
 * While relays move bytes, each device's counters are read once a second and weighed (weigh.c); when nothing moves,
 * nothing is read. A second counts only if most of what the devices carried was the relays': a line that is full of
 * something else says nothing about what it could do for them. The verdict goes to `links`, which makes the line a
 * backup, on running connections too, and to UDP, which keeps sending copies on it. Probes go on all the while. */
#include "harm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "clock.h"
#include "rtnl_stats.h"
#include "weigh.h"

#define STILL 4 /* seconds after which a transfer is over */
#define MOST 60 /* per cent of the devices' bytes, of which headers and what is resent are some */

struct harm {
	const struct config *config;
	struct hint {
		uint64_t down, up; /* bits a second, 0: none */
	} hint[CONFIG_LINKS];
	struct links *links;
	struct roles *roles;
	struct harm_ops ops;
	void *arg;
	struct netlink *nl;
	struct event *second;
	struct weigh weigh;
	bool aside[CONFIG_LINKS]; /* as told to others */
	struct rtnl_stats last[CONFIG_LINKS];
	uint64_t moved;
	unsigned still; /* seconds in which the relays moved nothing, in a row */
	bool primed; /* last[] is of a second ago */
};

static bool is_up(const struct harm *h, size_t i)
{
	struct addr a;

	return links_address(h->links, i, AF_INET, &a) || links_address(h->links, i, AF_INET6, &a);
}

/* All others think it an equal. */
static bool is_in(const struct harm *h, size_t i)
{
	enum links_standing s = links_standing(h->links, i, NULL);

	return is_up(h, i) && roles_role(h->roles, i) == ROLE_PRIMARY &&
	       (s == LINKS_IN || (h->aside[i] && s == LINKS_BACKUP));
}

static void tell(struct harm *h)
{
	for (size_t i = 0; i < h->config->n_links; i++) {
		const struct weigh_line *l = &h->weigh.line[i];
		char why[96] = "";

		if (l->aside == h->aside[i])
			continue;
		h->aside[i] = l->aside;
		if (l->aside)
			snprintf(why, sizeof(why), "it slows the others: it brings %u.%u %% of %.1f Mbit/s %s", l->share / 10, l->share % 10,
				 (double)l->level * 8 / 1e6, l->way ? "up" : "down");
		links_judge(h->links, i, LINKS_HARM, l->aside ? LINKS_BACKUP : LINKS_IN, why);
		roles_aside(h->roles, i, l->aside);
	}
}

static uint32_t queue_of(const struct health *h)
{
	uint32_t up = h->side[HEALTH_TX].queue_us, down = h->side[HEALTH_RX].queue_us;

	return up > down ? up : down;
}

/* What each line carried since the last look; false when that cannot be told of all. */
static bool look(struct harm *h, struct weigh_second *line)
{
	bool whole = h->primed;

	for (size_t i = 0; i < h->config->n_links; i++) {
		const struct health *health = h->ops.health ? h->ops.health(h->arg, i) : NULL;
		struct rtnl_stats now = { 0 }, was = h->last[i];

		h->last[i] = now;
		line[i] = (struct weigh_second){ .in = is_in(h, i) };
		if (health) {
			line[i].rtt_us = health->min_rtt_us;
			line[i].queue_us = queue_of(health);
		}
		if (rtnl_stats(h->nl, h->config->links[i].device, &now))
			continue; /* not there: it carried nothing */
		h->last[i] = now;
		if (now.index != was.index || now.rx < was.rx || now.tx < was.tx) {
			whole = false;
			continue;
		}
		line[i].bytes[0] = now.rx - was.rx;
		line[i].bytes[1] = now.tx - was.tx;
	}
	return whole;
}

static void on_second(evutil_socket_t fd, short what, void *arg)
{
	struct harm *h = arg;
	struct weigh_second line[CONFIG_LINKS];
	uint64_t moved = h->ops.moved(h->arg), by_relays = moved - h->moved, by_all = 0;

	(void)fd, (void)what;
	h->moved = moved;
	h->still = by_relays ? 0 : h->still + 1;
	if (h->still >= STILL) {
		h->primed = false;
		h->weigh.busy = 0;
		return;
	}
	/* A second without a byte may be the worst that a line did: all waited for what it had been given. */
	if (look(h, line) && by_relays) {
		for (size_t i = 0; i < h->config->n_links; i++)
			by_all += line[i].bytes[0] + line[i].bytes[1];
		if (by_relays * 100 >= by_all * MOST && weigh_second(&h->weigh, line, h->config->n_links, clock_ms()))
			tell(h);
	}
	h->primed = true;
}

/* A hint that is as it was must not push out what was learnt. */
void harm_reload(struct harm *h)
{
	for (size_t i = 0; i < h->config->n_links; i++) {
		const struct config_link *c = &h->config->links[i];
		struct hint *was = &h->hint[i];

		if (was->down != c->rate_down || was->up != c->rate_up)
			weigh_hint(&h->weigh, i, c->rate_down / 8, c->rate_up / 8);
		*was = (struct hint){ c->rate_down, c->rate_up };
	}
}

struct harm *harm_new(struct event_base *base, const struct config *config, struct links *links, struct roles *roles,
		      const struct harm_ops *ops, void *arg)
{
	struct harm *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	*h = (struct harm){ .config = config, .links = links, .roles = roles, .ops = *ops, .arg = arg };
	harm_reload(h);
	h->nl = netlink_open(NETLINK_ROUTE);
	h->second = event_new(base, -1, EV_PERSIST, on_second, h);
	if (!h->nl || !h->second || (config->n_links > 1 && event_add(h->second, &(struct timeval){ .tv_sec = 1 }))) {
		harm_free(h);
		return NULL;
	}
	return h;
}

void harm_free(struct harm *h)
{
	if (!h)
		return;
	if (h->second)
		event_free(h->second);
	if (h->nl)
		netlink_close(h->nl);
	free(h);
}

void harm_links_changed(struct harm *h)
{
	bool present[CONFIG_LINKS];

	for (size_t i = 0; i < h->config->n_links; i++)
		present[i] = is_in(h, i);
	if (weigh_present(&h->weigh, present, h->config->n_links))
		tell(h);
}

void harm_status(const struct harm *h, size_t line, json_t *o)
{
	const struct weigh_line *l = &h->weigh.line[line];

	if (!l->limit)
		return;
	json_object_set_new(o, "share_percent", json_real(l->share / 10.0));
	json_object_set_new(o, "trial", json_boolean(l->trial));
}
