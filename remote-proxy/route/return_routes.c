/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * A download's first round trip is as large as the VPS's initial window, and that is a property of
 * the route. So the connections of gateways bear a mark (set on the listener, inherited), a rule
 * sends marked packets to table 25050, and that table is a copy of the main table with initcwnd
 * added to every route. All of main is copied, not only the default, and refusing routes too: the
 * mark changes how fast a packet starts, never where it goes.
 *
 * Therefore the rule is also left out when it could change that: when somebody's rule stands
 * between ours and the one for the main table, it would be skipped; and when main is very large, a
 * copy is not worth it. Nothing else depends on the table: without it connections merely start
 * slower.
 *
 * With initcwnd = auto the copies stay as they are, and each address of a gateway's line gets a
 * route of its own: that of main it would take (the longest prefix), with the window learnt for it
 * (see estimate.h). While downloads run, and when they end, what TCP measured on each path is told
 * here. There are GATEWAY_LINKS_MAX such routes at most.
 *
 * Whatever changes in the kernel's routes or rules, all is computed anew and the difference is
 * written (see rtnl_own). The limit of subflows is raised so that every line of a gateway may join,
 * and addresses to announce become `signal` endpoints. */
#include "return_routes.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway_links.h"
#include "log.h"
#include "mptcp_pm.h"
#include "rtnl.h"
#include "rtnl_own.h"

#define DEBOUNCE_MS 20
#define ROUTES_MAX 1024

struct return_routes {
	const struct config *config;
	struct netlink *nl;
	struct mptcp_pm *pm; /* NULL: a kernel without MPTCP */
	struct rtnl_monitor *monitor;
	struct mptcp_endpoint announced[2];
	size_t n_announced;
	size_t routes, learnt;
	struct gateway_links gateway_links;
	const char *why; /* there is no table; "" when there is */
};

struct look {
	struct rtnl_set want;
	struct rtnl_metrics metrics;
	size_t routes;
	int err;
};

static void look_begin(void *arg)
{
	struct look *k = arg;

	rtnl_set_clear(&k->want);
	k->routes = 0;
	k->err = 0;
}

static bool is_copied(const struct rtnl_route *r)
{
	if (!r->raw || r->table != RT_TABLE_MAIN || r->protocol == RTNL_PROTOCOL)
		return false;
	return r->type == RTN_UNICAST || r->type == RTN_BLACKHOLE || r->type == RTN_UNREACHABLE ||
	       r->type == RTN_PROHIBIT || r->type == RTN_THROW;
}

static void look_route(void *arg, const struct rtnl_route *r)
{
	struct look *k = arg;

	if (!is_copied(r) || ++k->routes > ROUTES_MAX || k->err)
		return;
	k->err = rtnl_set_copy(&k->want, r->raw, rtnl_range_return_routes.table, &k->metrics);
}

/* Is there somebody's rule between ours and the first that leads to the main table? */
struct between {
	uint32_t main, next; /* priorities: of main's rule, of the first rule after ours */
};

static int between_rule(const struct nlmsghdr *msg, void *arg)
{
	const struct fib_rule_hdr *h = mnl_nlmsg_get_payload(msg);
	const struct nlattr *tb[FRA_MAX + 1];
	struct between *b = arg;
	uint32_t priority;

	if (msg->nlmsg_type != RTM_NEWRULE || netlink_attrs(msg, sizeof(*h), tb, FRA_MAX) < 0)
		return MNL_CB_OK;
	priority = netlink_u32(tb[FRA_PRIORITY], 0);
	if (netlink_u8(tb[FRA_PROTOCOL], 0) == RTNL_PROTOCOL || priority < rtnl_range_return_routes.priority)
		return MNL_CB_OK;
	if (priority < b->next)
		b->next = priority;
	if (netlink_u32(tb[FRA_TABLE], h->table) == RT_TABLE_MAIN && !h->src_len && !h->dst_len && priority < b->main)
		b->main = priority;
	return MNL_CB_OK;
}

static bool rules_between(struct netlink *nl, uint8_t family)
{
	char buf[MNL_NLMSG_HDRLEN + 64];
	struct nlmsghdr *req = mnl_nlmsg_put_header(buf);
	struct fib_rule_hdr *h;
	struct between b = {UINT32_MAX, UINT32_MAX};

	req->nlmsg_type = RTM_GETRULE;
	req->nlmsg_flags = NLM_F_DUMP;
	h = mnl_nlmsg_put_extra_header(req, sizeof(*h));
	h->family = family;
	return netlink_call(nl, req, between_rule, &b) == 0 && b.next != b.main;
}

static int want_rule(struct rtnl_set *want, bool v6)
{
	const struct rtnl_new_rule rule = {
		.v6 = v6,
		.priority = rtnl_range_return_routes.priority,
		.table = rtnl_range_return_routes.table,
		.mark = RETURN_ROUTES_MARK,
		.mask = UINT32_MAX,
	};

	return rtnl_set_rule(want, &rule);
}

/* Why there should be no table of our own now, or "". */
static const char *return_routes_why(struct return_routes *r, const struct look *k)
{
	if (!r->config->initcwnd)
		return "not asked for";
	if (k->routes > ROUTES_MAX)
		return "the main table has too many routes";
	if (rules_between(r->nl, AF_INET) || rules_between(r->nl, AF_INET6))
		return "other routing rules stand before the main table's";
	return "";
}

static bool has_v6(const struct rtnl_set *s)
{
	for (size_t i = 0; i < s->n; i++)
		if (((const struct rtmsg *)mnl_nlmsg_get_payload(s->item[i]))->rtm_family == AF_INET6)
			return true;
	return false;
}

/* The route among the copies that packets to this address take: the longest prefix, then the lowest
 * priority. */
static const struct nlmsghdr *route_to(const struct rtnl_set *copies, size_t n, const struct addr *to)
{
	const struct nlmsghdr *best = NULL;
	struct rtnl_route r, found = {0};

	for (size_t i = 0; i < n; i++) {
		const struct rtmsg *rtm = mnl_nlmsg_get_payload(copies->item[i]);

		if (rtm->rtm_tos || rtm->rtm_src_len || rtnl_parse_route(&r, copies->item[i]) || !prefix_contains(&r.dst, to))
			continue;
		if (best && (r.dst.bits < found.dst.bits || (r.dst.bits == found.dst.bits && r.priority >= found.priority)))
			continue;
		best = copies->item[i];
		found = r;
	}
	return best && found.type == RTN_UNICAST ? best : NULL;
}

static int want_peers(struct return_routes *r, struct rtnl_set *want)
{
	size_t copies = want->n;
	int err = 0;

	r->learnt = 0;
	for (size_t i = 0; i < r->gateway_links.n && !err; i++) {
		const struct gateway_link *p = &r->gateway_links.peer[i];
		const struct rtnl_metrics m = {.initcwnd = p->down.installed};
		const struct nlmsghdr *route = m.initcwnd ? route_to(want, copies, &p->addr) : NULL;

		if (!route)
			continue;
		err = rtnl_set_copy_host(want, route, &p->addr, rtnl_range_return_routes.table, &m);
		r->learnt++;
	}
	return err;
}

static bool is_auto(const struct return_routes *r)
{
	return r->config->initcwnd == CONFIG_AUTO;
}

static int return_routes_refresh(struct return_routes *r)
{
	const struct rtnl_dump_ops ops = {.begin = look_begin, .route = look_route};
	struct look k = {.metrics = {.initcwnd = is_auto(r) ? 0 : r->config->initcwnd}};
	const char *why;
	int err = rtnl_dump(r->nl, &ops, &k);
	bool v6 = has_v6(&k.want);

	if (!err)
		err = k.err;
	why = return_routes_why(r, &k);
	if (*why)
		rtnl_set_clear(&k.want);
	else if (!err)
		err = want_peers(r, &k.want);
	if (!err && !*why)
		err = want_rule(&k.want, false);
	if (!err && !*why && v6)
		err = want_rule(&k.want, true);
	if (!err)
		err = rtnl_sync(r->nl, &k.want, &rtnl_range_return_routes);
	if (err < 0)
		log_warn("return routes: %s", netlink_error(r->nl));
	if (*why && why != r->why && r->config->initcwnd)
		log_warn("return routes: no initcwnd for the gateways' connections: %s", why);
	r->why = why;
	r->routes = *why ? 0 : k.routes;
	rtnl_set_clear(&k.want);
	return err;
}

static void return_routes_news(void *arg)
{
	return_routes_refresh(arg);
}

static void return_routes_mptcp(struct return_routes *r)
{
	for (size_t i = 0; i < r->config->n_announce && i < 2; i++) {
		r->announced[i] = (struct mptcp_endpoint){
			.addr = r->config->announce[i],
			.id = (uint8_t)(MPTCP_PM_EGRESS + i),
			.flags = MPTCP_PM_SIGNAL,
		};
		r->announced[i].addr.port = 0; /* the connection's own port */
		r->n_announced = i + 1;
	}
	if (mptcp_pm_sync(r->pm, r->announced, r->n_announced, MPTCP_PM_EGRESS, MPTCP_PM_EGRESS_END) < 0)
		log_warn("MPTCP endpoints: %s", mptcp_pm_error(r->pm));
}

struct return_routes *return_routes_new(struct event_base *base, const struct config *config, char *err, size_t err_len)
{
	struct return_routes *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->config = config;
	r->why = "";
	r->nl = netlink_open(NETLINK_ROUTE);
	r->monitor = rtnl_monitor_new(base, RTNL_LINKS | RTNL_ROUTES | RTNL_RULES, DEBOUNCE_MS, return_routes_news, r);
	if (!r->nl || !r->monitor) {
		snprintf(err, err_len, "return routes: %s", strerror(errno));
		return_routes_free(r);
		return NULL;
	}
	r->pm = mptcp_pm_open();
	if (r->pm)
		return_routes_mptcp(r);
	else
		log_warn("MPTCP path manager: %s; gateways get one link only", strerror(errno));
	return_routes_refresh(r);
	return r;
}

bool return_routes_learn(struct return_routes *r, const struct sock_subflow *path)
{
	const struct estimate_sample sample = {path->delivery_rate, path->min_rtt_us, path->mss, path->app_limited};
	char text[ADDR_STRLEN];
	struct gateway_link *p;
	bool much;

	if (!is_auto(r))
		return false;
	p = gateway_links_at(&r->gateway_links, &path->peer);
	estimate_observe(&p->down, &sample);
	if (!estimate_changed(&p->down))
		return false;
	much = estimate_install(&p->down);
	log_debug("return routes: %s holds %u packets, from now on the first window", addr_print_ip(&p->addr, text), p->down.installed);
	return_routes_refresh(r);
	return much;
}

void return_routes_free(struct return_routes *r)
{
	const struct rtnl_set nothing = {0};

	if (!r)
		return;
	rtnl_monitor_free(r->monitor);
	if (r->pm)
		mptcp_pm_sync(r->pm, NULL, 0, MPTCP_PM_EGRESS, MPTCP_PM_EGRESS_END);
	if (r->nl)
		rtnl_sync(r->nl, &nothing, &rtnl_range_return_routes);
	mptcp_pm_close(r->pm);
	netlink_close(r->nl);
	free(r);
}

json_t *return_routes_status(const struct return_routes *r)
{
	json_t *initcwnd = is_auto(r) ? json_string("auto") : json_integer(*r->why ? 0 : r->config->initcwnd);

	return json_pack("{so ss sI sI sI}", "initcwnd", initcwnd, "why", r->why, "routes", (json_int_t)r->routes, "learnt",
			 (json_int_t)(*r->why ? 0 : r->learnt), "endpoints", (json_int_t)r->n_announced);
}
