/* Theory of operation
 *
 * Everything is computed from the kernel's present state as a whole; nothing is patched by single events. An event only
 * says "look again" (20 ms after the first of a burst), and looking again means: dump devices, addresses and routes, make a
 * struct line of each [link], derive from the lines what should be in the kernel, and let rtnl_sync() and mptcp_pm_sync()
 * move the difference. The first look is the same as every later one and also cleans up after a run that was killed. The
 * end is the same again, with nothing wanted.
 *
 * Line number i owns table 25000 + i: the subnets that the house itself reaches without a gateway, the line's own subnet, and a
 * default route through its gateway with the line's initcwnd. That is the config's, or learnt (see estimate.h): while uploads run,
 * and when they end, what TCP measured on each line is told here, and a figure that has changed is put in like all else.
 * New connections begin with it. The rule "from ADDRESS lookup TABLE" makes a socket that is bound to
 * the line's address leave by that line, whatever the main table prefers; gateways are taken as on-link, so two lines
 * may have the same subnet and even the same gateway. A strict rp_filter asks for the way back with the same rule and is content.
 *
 * A line that is up has an MPTCP endpoint per family with a fixed id and the line's device, so that later subflows leave by
 * it. The kernel holds 8 endpoints: up to four lines have one for each family (100 + i, 104 + i); with more lines each has
 * one, for the remote's family if the config names an address, else for IPv4 if the line has it. The moment a line is
 * not up its endpoint goes, and its subflows with it; when it returns they are made anew at once.
 *
 * Announced addresses of the remote are accepted only if the lines are mixed: one that is up cannot reach the remote in the
 * family that connections begin with, and joins by the address of the other family that the remote announces. The kernel gives
 * subflows of both families to an AF_INET6 socket only, so connections are then dialled by such ones. */
#include "links.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "estimate.h"
#include "line.h"
#include "log.h"
#include "mptcp_pm.h"
#include "rtnl.h"
#include "rtnl_own.h"

#define DEBOUNCE_MS 20
#define HOUSE_ROUTES 64 /* routes of the house that are copied into each line's table */

struct links {
	const struct config *config;
	void (*changed)(void *arg);
	void *arg;
	struct netlink *nl;
	struct mptcp_pm *pm; /* NULL: a kernel without MPTCP */
	struct rtnl_monitor *monitor;
	struct mptcp_raised raised;
	struct line line[CONFIG_LINKS];
	struct estimate up[CONFIG_LINKS]; /* of each line, towards the remote */
	size_t n;
	bool mixed;
};

/* One look at the kernel. */
struct look {
	const struct config *config;
	struct line line[CONFIG_LINKS];
	uint32_t initcwnd[CONFIG_LINKS];
	size_t n;
	int lan[CONFIG_LAN_DEVICES]; /* their indexes, 0: not there */
	struct rtnl_set house;	     /* copies of the house's own routes, table 0 yet */
};

static void look_begin(void *arg)
{
	struct look *k = arg;

	rtnl_set_clear(&k->house);
	memset(k->lan, 0, sizeof(k->lan));
	for (size_t i = 0; i < k->n; i++)
		line_init(&k->line[i], &k->config->links[i]);
}

static void look_link(void *arg, const struct rtnl_link *link)
{
	struct look *k = arg;

	for (size_t i = 0; i < k->n; i++)
		line_link(&k->line[i], link);
	for (size_t i = 0; i < k->config->n_lan_devices; i++)
		if (strcmp(k->config->lan_devices[i], link->name) == 0)
			k->lan[i] = link->index;
}

static void look_addr(void *arg, const struct rtnl_addr *addr)
{
	struct look *k = arg;

	for (size_t i = 0; i < k->n; i++)
		line_addr(&k->line[i], addr);
}

static bool look_is_line(const struct look *k, int index)
{
	for (size_t i = 0; i < k->n; i++)
		if (k->line[i].index == index)
			return true;
	return false;
}

static bool look_is_lan(const struct look *k, int index)
{
	for (size_t i = 0; i < k->config->n_lan_devices; i++)
		if (k->lan[i] && k->lan[i] == index)
			return true;
	return false;
}

/* The gateway also answers the house from a line's address: those packets must not leave by the line. Whatever lies
 * behind a LAN device is the house, and so is the subnet of any device that is not a line. */
static bool look_is_house(const struct look *k, const struct rtnl_route *r)
{
	if (!r->raw || r->table != RT_TABLE_MAIN || r->type != RTN_UNICAST || !r->index)
		return false;
	if (r->dst.bits == (r->v6 ? 0 : 96) || look_is_line(k, r->index))
		return false;
	if (r->v6 && r->dst.ip[0] == 0xfe && (r->dst.ip[1] & 0xc0) == 0x80)
		return false;
	return look_is_lan(k, r->index) || r->protocol == RTPROT_KERNEL;
}

static void look_route(void *arg, const struct rtnl_route *r)
{
	struct look *k = arg;
	const struct rtnl_metrics none = {0, 0, NULL};

	if (r->protocol == RTNL_PROTOCOL)
		return;
	for (size_t i = 0; i < k->n; i++)
		line_route(&k->line[i], r);
	if (look_is_house(k, r) && k->house.n < HOUSE_ROUTES)
		rtnl_set_copy(&k->house, r->raw, 0, &none);
}

static void look_clashes(struct look *k)
{
	for (size_t i = 0; i < k->n; i++)
		for (size_t j = 0; j < i; j++)
			for (int s = 0; s < LINE_SIDES; s++)
				if (line_side_up(&k->line[i], s) && line_side_up(&k->line[j], s) &&
				    addr_same_ip(&k->line[i].side[s].addr.addr, &k->line[j].side[s].addr.addr))
					k->line[i].side[s].clash = true;
}

/* Packets of a line's first window, 0 for the kernel's. */
static uint32_t links_initcwnd(const struct links *l, size_t i)
{
	uint32_t asked = l->config->links[i].initcwnd;

	return asked == CONFIG_AUTO ? l->up[i].installed : asked;
}

static int links_look(struct links *l, struct look *k)
{
	const struct rtnl_dump_ops ops = {look_begin, look_link, look_addr, look_route};
	int err;

	memset(k, 0, sizeof(*k));
	k->config = l->config;
	k->n = l->n;
	for (size_t i = 0; i < l->n; i++)
		k->initcwnd[i] = links_initcwnd(l, i);
	err = rtnl_dump(l->nl, &ops, k);
	if (!err)
		look_clashes(k);
	return err;
}

static struct prefix default_of(int side)
{
	struct prefix p = {.bits = 0};

	if (side == LINE_V4) {
		p.ip[10] = p.ip[11] = 0xff;
		p.bits = 96;
	}
	return p;
}

static struct prefix subnet_of(const struct rtnl_addr *a)
{
	struct prefix p = {.bits = a->peer ? 128 : a->bits};

	for (unsigned i = 0; i < p.bits / 8u; i++)
		p.ip[i] = a->net.ip[i];
	if (p.bits % 8)
		p.ip[p.bits / 8] = a->net.ip[p.bits / 8] & (uint8_t)(0xff << (8 - p.bits % 8));
	return p;
}

static int want_house(struct rtnl_set *set, const struct rtnl_set *house, bool v6, uint32_t table)
{
	const struct rtnl_metrics none = {0, 0, NULL};
	int err = 0;

	for (size_t i = 0; i < house->n && !err; i++) {
		const struct rtmsg *rtm = mnl_nlmsg_get_payload(house->item[i]);

		if ((rtm->rtm_family == AF_INET6) == v6)
			err = rtnl_set_copy(set, house->item[i], table, &none);
	}
	return err;
}

static int want_side(struct rtnl_set *set, const struct look *k, size_t i, int side)
{
	const struct line *line = &k->line[i];
	const struct line_side *s = &line->side[side];
	uint32_t table = rtnl_range_links.table + (uint32_t)i;
	struct rtnl_new_route r = {.table = table, .v6 = side == LINE_V6, .index = line->index};
	struct rtnl_new_rule rule = {
		.v6 = side == LINE_V6,
		.priority = rtnl_range_links.priority + (uint32_t)i,
		.table = table,
		.has_from = true,
		.from = s->addr.addr,
	};
	int err = want_house(set, &k->house, r.v6, table);

	r.dst = subnet_of(&s->addr);
	r.has_source = side == LINE_V4;
	r.source = s->addr.addr;
	if (!err && r.dst.bits < 128)
		err = rtnl_set_route(set, &r);
	r.dst = default_of(side);
	r.has_gateway = s->has_gateway;
	r.gateway = s->gateway;
	r.metrics.initcwnd = k->initcwnd[i];
	if (!err)
		err = rtnl_set_route(set, &r);
	return err ? err : rtnl_set_rule(set, &rule);
}

static int links_sync_routes(struct links *l, const struct look *k)
{
	struct rtnl_set want = {0};
	int err = 0;

	for (size_t i = 0; i < k->n && !err; i++)
		for (int s = 0; s < LINE_SIDES && !err; s++)
			if (line_side_up(&k->line[i], s))
				err = want_side(&want, k, i, s);
	if (!err)
		err = rtnl_sync(l->nl, &want, &rtnl_range_links);
	rtnl_set_clear(&want);
	return err;
}

/* The id of a line's endpoint for this family, 0 for none: see above for the kernel's limit of 8. */
static unsigned endpoint_id(const struct links *l, const struct look *k, size_t i, int side)
{
	struct addr remote;
	int first = LINE_V4;

	if (!line_side_up(&k->line[i], side))
		return 0;
	if (l->n <= 4)
		return MPTCP_PM_LINKS + (unsigned)i + (side == LINE_V6 ? 4 : 0);
	if (addr_parse(&remote, l->config->host, 0) == 0 && !addr_is_v4(&remote))
		first = LINE_V6;
	if (side != first && line_side_up(&k->line[i], first))
		return 0;
	return MPTCP_PM_LINKS + (unsigned)i;
}

static bool mixed(const struct look *k)
{
	bool common[LINE_SIDES] = {true, true};
	struct addr host;

	for (size_t i = 0; i < k->n; i++)
		for (int s = 0; s < LINE_SIDES; s++)
			if (line_up(&k->line[i]) && !line_side_up(&k->line[i], s))
				common[s] = false;
	if (addr_parse(&host, k->config->host, 0) == 0)
		return !common[addr_is_v4(&host) ? LINE_V4 : LINE_V6];
	return !(common[LINE_V4] && common[LINE_V6]); /* a name may stand for either */
}

/* To an announced address the kernel goes from where its routes say, unless an endpoint asks to: the line that needs it does. */
static uint32_t mesh(const struct links *l, const struct line *line)
{
	return l->mixed && !(line_side_up(line, LINE_V4) && line_side_up(line, LINE_V6)) ? MPTCP_PM_FULLMESH : 0;
}

static void links_sync_limits(struct links *l)
{
	struct mptcp_limits want = {.subflows = MPTCP_PM_MAX, .add_addr_accepted = l->mixed ? 2 : 0};
	int err = mptcp_pm_raise(l->pm, &want, &l->raised);

	if (err)
		log_warn("MPTCP limits: %s", mptcp_pm_error(l->pm));
}

static void links_sync_endpoints(struct links *l, struct look *k)
{
	struct mptcp_endpoint want[MPTCP_PM_MAX];
	struct line_side *owner[MPTCP_PM_MAX];
	size_t n = 0;
	int err;

	if (!l->pm)
		return;
	l->mixed = mixed(k);
	links_sync_limits(l);
	for (size_t i = 0; i < k->n; i++)
		for (int s = 0; s < LINE_SIDES; s++) {
			struct line_side *side = &k->line[i].side[s];

			side->endpoint = endpoint_id(l, k, i, s);
			if (!side->endpoint || n == MPTCP_PM_MAX)
				continue;
			want[n] = (struct mptcp_endpoint){.addr = side->addr.addr,
							  .id = (uint8_t)side->endpoint,
							  .flags = MPTCP_PM_SUBFLOW | mesh(l, &k->line[i]),
							  .index = k->line[i].index};
			owner[n++] = side;
		}
	err = mptcp_pm_sync(l->pm, want, n, MPTCP_PM_LINKS, MPTCP_PM_LINKS_END);
	if (err < 0)
		log_warn("MPTCP endpoints: %s", mptcp_pm_error(l->pm));
	for (size_t i = 0; i < n; i++) {
		owner[i]->endpoint = want[i].id;
		owner[i]->foreign = want[i].foreign;
	}
}

/* True when something that callers can see is different now. */
static bool links_adopt(struct links *l, const struct look *k, bool first)
{
	bool differs = first;

	for (size_t i = 0; i < l->n; i++) {
		line_log(&k->line[i], &l->line[i], first);
		for (int s = 0; s < LINE_SIDES; s++)
			differs |= line_side_differs(&k->line[i], &l->line[i], s);
		l->line[i] = k->line[i];
	}
	return differs;
}

static int links_refresh(struct links *l, bool first)
{
	struct look k;
	int err = links_look(l, &k);

	if (!err) {
		err = links_sync_routes(l, &k);
		links_sync_endpoints(l, &k);
		if (links_adopt(l, &k, first) && !first && l->changed)
			l->changed(l->arg);
	}
	rtnl_set_clear(&k.house);
	if (err < 0)
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
	l->monitor = rtnl_monitor_new(base, RTNL_LINKS | RTNL_ADDRS | RTNL_ROUTES, DEBOUNCE_MS, links_news, l);
	if (!l->nl || !l->monitor)
		return -1;
	l->pm = mptcp_pm_open();
	if (!l->pm)
		log_warn("MPTCP path manager: %s; each connection will use one line only", strerror(errno));
	return 0;
}

struct links *links_new(struct event_base *base, const struct config *config, void (*changed)(void *arg), void *arg)
{
	struct links *l = calloc(1, sizeof(*l));

	if (!l || (l->config = config, l->n = config->n_links, links_open(l, base) < 0)) {
		log_error("links: %s", strerror(errno));
		links_free(l);
		return NULL;
	}
	l->changed = changed;
	l->arg = arg;
	if (links_refresh(l, true) < 0) {
		links_free(l);
		return NULL;
	}
	return l;
}

void links_free(struct links *l)
{
	const struct rtnl_set nothing = {0};

	if (!l)
		return;
	rtnl_monitor_free(l->monitor);
	if (l->pm) {
		mptcp_pm_sync(l->pm, NULL, 0, MPTCP_PM_LINKS, MPTCP_PM_LINKS_END);
		mptcp_pm_restore(l->pm, &l->raised);
	}
	if (l->nl)
		rtnl_sync(l->nl, &nothing, &rtnl_range_links);
	mptcp_pm_close(l->pm);
	netlink_close(l->nl);
	free(l);
}

/* The line that has this address, or l->n. */
static size_t links_index(const struct links *l, const struct addr *src)
{
	size_t i;

	for (i = 0; i < l->n; i++)
		for (int s = 0; s < LINE_SIDES; s++)
			if (line_side_up(&l->line[i], s) && addr_same_ip(&l->line[i].side[s].addr.addr, src))
				return i;
	return i;
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
	log_info("link %s: holds %u packets upwards, from now on the first window", l->line[i].name, l->up[i].installed);
	links_refresh(l, false);
	return much;
}

size_t links_sources(const struct links *l, const struct addr *to, struct addr *out, size_t max)
{
	int side = addr_is_v4(to) ? LINE_V4 : LINE_V6;
	struct prefix any = default_of(side);
	size_t n = 0;

	if (!l->n && max) {
		memcpy(out[0].ip, any.ip, sizeof(any.ip));
		out[0].port = 0;
		return 1;
	}
	for (size_t i = 0; i < l->n && n < max; i++)
		if (line_side_up(&l->line[i], side))
			out[n++] = l->line[i].side[side].addr.addr;
	return n;
}

bool links_mixed(const struct links *l)
{
	return l->mixed;
}

const char *links_name(const struct links *l, const struct addr *src)
{
	size_t i = links_index(l, src);

	return i < l->n ? l->line[i].name : "?";
}

static void status_side(json_t *o, const struct line_side *s, const char *suffix)
{
	char key[16], text[ADDR_STRLEN];

	if (!s->has_addr)
		return;
	snprintf(key, sizeof(key), "address%s", suffix);
	json_object_set_new(o, key, json_string(addr_print_ip(&s->addr.addr, text)));
	snprintf(key, sizeof(key), "gateway%s", suffix);
	if (s->has_gateway)
		json_object_set_new(o, key, json_string(addr_print_ip(&s->gateway, text)));
	snprintf(key, sizeof(key), "endpoint%s", suffix);
	if (s->endpoint)
		json_object_set_new(o, key, json_integer(s->endpoint));
}

json_t *links_status(const struct links *l)
{
	json_t *list = json_array();

	for (size_t i = 0; i < l->n; i++) {
		const struct line *line = &l->line[i];
		json_t *o = json_pack("{ss ss sb ss sI sI}", "name", line->name, "device", line->device, "up", line_up(line),
				      "why", line_why(line), "table", (json_int_t)(rtnl_range_links.table + i), "initcwnd",
				      (json_int_t)links_initcwnd(l, i));

		status_side(o, &line->side[LINE_V4], "4");
		status_side(o, &line->side[LINE_V6], "6");
		json_array_append_new(list, o);
	}
	return list;
}
