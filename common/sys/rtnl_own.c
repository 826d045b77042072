/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * A route or rule is kept as the netlink message that would make it, in one canonical form: the
 * attributes that define it, in ascending order, flags that only report a state masked out. What
 * the kernel dumps is brought into the same form, so "is it there already" is a comparison of
 * bytes, and to delete something is to send the same message with another type.
 *
 * The kernel drops routes without a word when their device goes down, so nothing is remembered from
 * one sync to the next: each one asks. What is missing is appended before what is too much is
 * deleted, so that a changed gateway leaves no moment without a route. IPv6 knows no two routes
 * that differ in their metrics alone: it refuses the new one, and deletes either by the name of the
 * other. So its new routes are appended once more behind the deletions. */
#include "rtnl_own.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

#define ITEM_MAX 4096
#define IPV6_PRIORITY 1024 /* what the kernel takes for 0; said aloud, so that it is the same when read back */

const struct rtnl_range rtnl_range_links = {25000, 25049, 25000, 25099};
const struct rtnl_range rtnl_range_return_routes = {25050, 25099, 25100, 25199};
const struct rtnl_range rtnl_range_tunnel = {25100, 25109, 25200, 25209};
const struct rtnl_range rtnl_range_nat = {25110, 25119, 25210, 25219};

static int rtnl_own_set_add(struct rtnl_set *s, const struct nlmsghdr *msg)
{
	struct nlmsghdr *copy;

	if (s->n == s->room) {
		size_t room = s->room ? 2 * s->room : 16;
		struct nlmsghdr **grown = realloc(s->item, room * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		s->item = grown;
		s->room = room;
	}
	copy = malloc(msg->nlmsg_len);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, msg, msg->nlmsg_len);
	s->item[s->n++] = copy;
	return 0;
}

void rtnl_set_clear(struct rtnl_set *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->item[i]);
	free(s->item);
	memset(s, 0, sizeof(*s));
}

static bool rtnl_own_set_has(const struct rtnl_set *s, const struct nlmsghdr *msg)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->item[i]->nlmsg_len == msg->nlmsg_len && memcmp(s->item[i], msg, msg->nlmsg_len) == 0)
			return true;
	return false;
}

static void rtnl_own_put_addr(struct nlmsghdr *msg, uint16_t type, const struct addr *a)
{
	size_t len;
	const uint8_t *ip = addr_bytes(a, &len);

	mnl_attr_put(msg, type, len, ip);
}

static void put_metric(struct nlmsghdr *msg, uint16_t type, uint32_t value)
{
	if (value)
		mnl_attr_put_u32(msg, type, value);
}

/* The metrics of `old` (may be NULL) with ours on top. */
static void put_metrics(struct nlmsghdr *msg, const struct nlattr *old, const struct rtnl_metrics *m)
{
	const struct nlattr *tb[RTAX_MAX + 1] = {NULL};
	struct nlattr *nest;

	if (old && netlink_nested(old, tb, RTAX_MAX) < 0)
		memset(tb, 0, sizeof(tb));
	nest = mnl_attr_nest_start(msg, RTA_METRICS);
	for (uint16_t i = 1; i <= RTAX_MAX; i++) {
		if (i == RTAX_INITCWND && m->initcwnd)
			put_metric(msg, i, m->initcwnd);
		else if (i == RTAX_INITRWND && m->initrwnd)
			put_metric(msg, i, m->initrwnd);
		else if (i == RTAX_MTU && m->mtu)
			put_metric(msg, i, m->mtu);
		else if (i == RTAX_CC_ALGO && m->congestion)
			mnl_attr_put_strz(msg, i, m->congestion);
		else if (i == RTAX_CC_ALGO && tb[i])
			mnl_attr_put(msg, i, mnl_attr_get_payload_len(tb[i]), mnl_attr_get_payload(tb[i]));
		else
			put_metric(msg, i, netlink_u32(tb[i], 0));
	}
	mnl_attr_nest_end(msg, nest);
	if (mnl_attr_get_payload_len(nest) == 0)
		mnl_attr_nest_cancel(msg, nest);
}

static struct rtmsg *route_start(struct nlmsghdr *msg, uint8_t family)
{
	struct rtmsg *rtm;

	msg->nlmsg_type = RTM_NEWROUTE;
	rtm = mnl_nlmsg_put_extra_header(msg, sizeof(*rtm));
	rtm->rtm_family = family;
	rtm->rtm_protocol = RTNL_PROTOCOL;
	rtm->rtm_type = RTN_UNICAST;
	return rtm;
}

int rtnl_set_route(struct rtnl_set *s, const struct rtnl_new_route *r)
{
	char buf[ITEM_MAX];
	struct nlmsghdr *msg = mnl_nlmsg_put_header(memset(buf, 0, sizeof(buf)));
	struct rtmsg *rtm = route_start(msg, r->v6 ? AF_INET6 : AF_INET);
	struct addr dst = {.port = 0};

	memcpy(dst.ip, r->dst.ip, sizeof(dst.ip));
	rtm->rtm_dst_len = (unsigned char)(r->v6 ? r->dst.bits : r->dst.bits - 96);
	rtm->rtm_type = r->throws ? RTN_THROW : RTN_UNICAST;
	rtm->rtm_scope = !r->v6 && !r->has_gateway && !r->throws ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
	rtm->rtm_flags = r->has_gateway ? RTNH_F_ONLINK : 0;
	if (rtm->rtm_dst_len)
		rtnl_own_put_addr(msg, RTA_DST, &dst);
	if (!r->throws)
		mnl_attr_put_u32(msg, RTA_OIF, (uint32_t)r->index);
	if (r->has_gateway)
		rtnl_own_put_addr(msg, RTA_GATEWAY, &r->gateway);
	if (r->v6)
		mnl_attr_put_u32(msg, RTA_PRIORITY, IPV6_PRIORITY);
	if (r->has_source)
		rtnl_own_put_addr(msg, RTA_PREFSRC, &r->source);
	put_metrics(msg, NULL, &r->metrics);
	mnl_attr_put_u32(msg, RTA_TABLE, r->table);
	return rtnl_own_set_add(s, msg);
}

static uint8_t rule_action(const struct rtnl_new_rule *r)
{
	return r->jump ? FR_ACT_GOTO : r->table ? FR_ACT_TO_TBL : FR_ACT_NOP;
}

static void put_match(struct nlmsghdr *msg, const struct rtnl_new_rule *r)
{
	const struct fib_rule_port_range range = {r->port, r->port};

	mnl_attr_put_u8(msg, FRA_PROTOCOL, RTNL_PROTOCOL);
	if (r->proto)
		mnl_attr_put_u8(msg, FRA_IP_PROTO, r->proto);
	if (r->port)
		mnl_attr_put(msg, FRA_DPORT_RANGE, sizeof(range), &range);
}

int rtnl_set_rule(struct rtnl_set *s, const struct rtnl_new_rule *r)
{
	char buf[512];
	struct nlmsghdr *msg = mnl_nlmsg_put_header(memset(buf, 0, sizeof(buf)));
	struct fib_rule_hdr *h;

	msg->nlmsg_type = RTM_NEWRULE;
	h = mnl_nlmsg_put_extra_header(msg, sizeof(*h));
	h->family = r->v6 ? AF_INET6 : AF_INET;
	h->src_len = r->has_from ? (r->v6 ? 128 : 32) : 0;
	h->action = rule_action(r);
	if (r->has_from)
		rtnl_own_put_addr(msg, FRA_SRC, &r->from);
	if (r->iif[0])
		mnl_attr_put_strz(msg, FRA_IIFNAME, r->iif);
	if (r->jump)
		mnl_attr_put_u32(msg, FRA_GOTO, r->jump);
	mnl_attr_put_u32(msg, FRA_PRIORITY, r->priority);
	if (r->mask)
		mnl_attr_put_u32(msg, FRA_FWMARK, r->mark);
	if (r->no_default)
		mnl_attr_put_u32(msg, FRA_SUPPRESS_PREFIXLEN, 0);
	mnl_attr_put_u32(msg, FRA_TABLE, r->table);
	if (r->mask)
		mnl_attr_put_u32(msg, FRA_FWMASK, r->mask);
	if (r->oif[0])
		mnl_attr_put_strz(msg, FRA_OIFNAME, r->oif);
	put_match(msg, r);
	return rtnl_own_set_add(s, msg);
}

/* Next hops carry the state of their device in their flags: not part of what they are. */
static void put_hops(struct nlmsghdr *msg, const struct nlattr *multipath)
{
	struct nlattr *copy = mnl_nlmsg_get_payload_tail(msg);
	size_t left = mnl_attr_get_payload_len(multipath);
	struct rtnexthop *hop;

	mnl_attr_put(msg, RTA_MULTIPATH, left, mnl_attr_get_payload(multipath));
	hop = mnl_attr_get_payload(copy);
	while (left >= sizeof(*hop) && hop->rtnh_len >= sizeof(*hop) && (size_t)MNL_ALIGN(hop->rtnh_len) <= left) {
		hop->rtnh_flags &= RTNH_F_ONLINK;
		left -= MNL_ALIGN(hop->rtnh_len);
		hop = (struct rtnexthop *)((char *)hop + MNL_ALIGN(hop->rtnh_len));
	}
}

/* A next hop object says everything that these would say again. */
static bool is_hop_attr(uint16_t type)
{
	return type == RTA_OIF || type == RTA_GATEWAY || type == RTA_VIA || type == RTA_MULTIPATH || type == RTA_FLOW ||
	       type == RTA_ENCAP || type == RTA_ENCAP_TYPE;
}

static bool is_kept_attr(uint16_t type)
{
	return is_hop_attr(type) || type == RTA_DST || type == RTA_SRC || type == RTA_PREFSRC || type == RTA_PRIORITY ||
	       type == RTA_PREF || type == RTA_NH_ID;
}

static void put_route_attr(struct nlmsghdr *msg, const struct nlattr *a)
{
	uint16_t type = mnl_attr_get_type(a);

	if (type == RTA_MULTIPATH)
		put_hops(msg, a);
	else if (type != RTA_PREF || netlink_u8(a, 0) != 0)
		mnl_attr_put(msg, a->nla_type, mnl_attr_get_payload_len(a), mnl_attr_get_payload(a));
}

/* IPv6 says "lo" of the routes that lead nowhere. */
static bool leads_nowhere(const struct rtmsg *rtm)
{
	return rtm->rtm_type == RTN_THROW || rtm->rtm_type == RTN_UNREACHABLE || rtm->rtm_type == RTN_PROHIBIT ||
	       rtm->rtm_type == RTN_BLACKHOLE;
}

static bool is_kept(const struct rtmsg *rtm, const struct nlattr **tb, uint16_t type)
{
	if (!tb[type] || !is_kept_attr(type) || (type == RTA_OIF && leads_nowhere(rtm)))
		return false;
	return !(tb[RTA_NH_ID] && is_hop_attr(type));
}

/* NULL for host: the whole route. */
static int set_copy(struct rtnl_set *s, const struct nlmsghdr *route, const struct addr *host, uint32_t table,
		    const struct rtnl_metrics *m)
{
	char buf[2 * ITEM_MAX];
	struct nlmsghdr *msg = mnl_nlmsg_put_header(memset(buf, 0, sizeof(buf)));
	const struct rtmsg *old = mnl_nlmsg_get_payload(route);
	const struct nlattr *tb[RTA_MAX + 1];
	struct rtmsg *rtm;

	if (route->nlmsg_len > ITEM_MAX || netlink_attrs(route, sizeof(*old), tb, RTA_MAX) < 0)
		return -EINVAL;
	rtm = route_start(msg, old->rtm_family);
	rtm->rtm_dst_len = !host ? old->rtm_dst_len : addr_is_v4(host) ? 32 : 128;
	rtm->rtm_src_len = old->rtm_src_len;
	rtm->rtm_tos = old->rtm_tos;
	rtm->rtm_scope = old->rtm_scope;
	rtm->rtm_type = old->rtm_type;
	rtm->rtm_flags = old->rtm_flags & RTNH_F_ONLINK;
	for (uint16_t i = 1; i <= RTA_MAX; i++) {
		if (i == RTA_DST && host)
			rtnl_own_put_addr(msg, RTA_DST, host);
		else if (i == RTA_METRICS)
			put_metrics(msg, tb[i], m);
		else if (i == RTA_TABLE)
			mnl_attr_put_u32(msg, RTA_TABLE, table);
		else if (is_kept(old, tb, i))
			put_route_attr(msg, tb[i]);
	}
	return rtnl_own_set_add(s, msg);
}

int rtnl_set_copy(struct rtnl_set *s, const struct nlmsghdr *route, uint32_t table, const struct rtnl_metrics *m)
{
	return set_copy(s, route, NULL, table, m);
}

int rtnl_set_copy_host(struct rtnl_set *s, const struct nlmsghdr *route, const struct addr *host, uint32_t table,
		       const struct rtnl_metrics *m)
{
	return set_copy(s, route, host, table, m);
}

static bool in_range(uint32_t v, uint32_t first, uint32_t last)
{
	return v >= first && v <= last;
}

struct collect {
	struct rtnl_set set;
	const struct rtnl_range *range;
};

static int collect_route(const struct nlmsghdr *msg, void *arg)
{
	struct collect *c = arg;
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(msg);
	const struct nlattr *tb[RTA_MAX + 1];
	const struct rtnl_metrics none = {.mtu = 0};
	uint32_t table;

	if (msg->nlmsg_type != RTM_NEWROUTE || netlink_attrs(msg, sizeof(*rtm), tb, RTA_MAX) < 0)
		return MNL_CB_OK;
	table = netlink_u32(tb[RTA_TABLE], rtm->rtm_table);
	if (rtm->rtm_protocol != RTNL_PROTOCOL || !in_range(table, c->range->table, c->range->table_end) ||
	    (rtm->rtm_flags & RTM_F_CLONED))
		return MNL_CB_OK;
	return rtnl_set_copy(&c->set, msg, table, &none) == -ENOMEM ? MNL_CB_ERROR : MNL_CB_OK;
}

/* The kernel says of every rule what it suppresses; -1: nothing. */
static bool rule_is_kept_attr(const struct nlattr *a)
{
	uint16_t type = mnl_attr_get_type(a);

	return type == FRA_SRC || type == FRA_DST || type == FRA_IIFNAME || type == FRA_OIFNAME || type == FRA_PRIORITY ||
	       type == FRA_FWMARK || type == FRA_FWMASK || type == FRA_TABLE || type == FRA_PROTOCOL || type == FRA_GOTO ||
	       type == FRA_IP_PROTO || type == FRA_DPORT_RANGE ||
	       (type == FRA_SUPPRESS_PREFIXLEN && netlink_u32(a, UINT32_MAX) != UINT32_MAX);
}

static int collect_rule(const struct nlmsghdr *msg, void *arg)
{
	struct collect *c = arg;
	const struct fib_rule_hdr *old = mnl_nlmsg_get_payload(msg);
	const struct nlattr *tb[FRA_MAX + 1];
	char buf[ITEM_MAX];
	struct nlmsghdr *copy = mnl_nlmsg_put_header(memset(buf, 0, sizeof(buf)));
	struct fib_rule_hdr *h;

	if (msg->nlmsg_type != RTM_NEWRULE || msg->nlmsg_len > sizeof(buf) / 2 ||
	    netlink_attrs(msg, sizeof(*old), tb, FRA_MAX) < 0)
		return MNL_CB_OK;
	if (netlink_u8(tb[FRA_PROTOCOL], 0) != RTNL_PROTOCOL ||
	    !in_range(netlink_u32(tb[FRA_PRIORITY], 0), c->range->priority, c->range->priority_end))
		return MNL_CB_OK;
	copy->nlmsg_type = RTM_NEWRULE;
	h = mnl_nlmsg_put_extra_header(copy, sizeof(*h));
	h->family = old->family;
	h->src_len = old->src_len;
	h->dst_len = old->dst_len;
	h->tos = old->tos;
	h->action = old->action;
	h->flags = old->flags & FIB_RULE_INVERT;
	for (uint16_t i = 1; i <= FRA_MAX; i++)
		if (tb[i] && rule_is_kept_attr(tb[i]))
			mnl_attr_put(copy, i, mnl_attr_get_payload_len(tb[i]), mnl_attr_get_payload(tb[i]));
	return rtnl_own_set_add(&c->set, copy) < 0 ? MNL_CB_ERROR : MNL_CB_OK;
}

static int collect_dump(struct netlink *nl, uint16_t type, size_t header, uint8_t family, struct collect *c)
{
	char buf[MNL_NLMSG_HDRLEN + 64];
	struct nlmsghdr *req = mnl_nlmsg_put_header(buf);
	uint8_t *h;

	req->nlmsg_type = type;
	req->nlmsg_flags = NLM_F_DUMP;
	h = mnl_nlmsg_put_extra_header(req, header);
	h[0] = family; /* the first byte of both headers */
	return netlink_call(nl, req, type == RTM_GETROUTE ? collect_route : collect_rule, c);
}

/* Everything of ours that is in the kernel now. A kernel without IPv6 answers EAFNOSUPPORT or
 * EOPNOTSUPP to its half. */
static int collect_all(struct netlink *nl, struct collect *c)
{
	static const uint8_t family[] = {AF_INET, AF_INET6};
	int err;

	rtnl_set_clear(&c->set);
	for (int i = 0; i < 2; i++) {
		err = collect_dump(nl, RTM_GETROUTE, sizeof(struct rtmsg), family[i], c);
		if (!err)
			err = collect_dump(nl, RTM_GETRULE, sizeof(struct fib_rule_hdr), family[i], c);
		if (err && !(family[i] == AF_INET6 && (err == -EAFNOSUPPORT || err == -EOPNOTSUPP)))
			return err;
	}
	return 0;
}

static bool is_route(const struct nlmsghdr *msg)
{
	return msg->nlmsg_type == RTM_NEWROUTE;
}

/* 1 when the kernel refused for a reason worth a line. */
static int item_send(struct netlink *nl, const struct nlmsghdr *item, bool add)
{
	char buf[2 * ITEM_MAX];
	struct nlmsghdr *msg = memcpy(buf, item, item->nlmsg_len);
	const char *what = is_route(item) ? "route" : "rule";
	int err;

	if (!add)
		msg->nlmsg_type = is_route(item) ? RTM_DELROUTE : RTM_DELRULE;
	else
		msg->nlmsg_flags = (uint16_t)(NLM_F_CREATE | (is_route(item) ? NLM_F_APPEND : NLM_F_EXCL));
	err = netlink_call(nl, msg, NULL, NULL);
	if (!err || err == (add ? -EEXIST : -ESRCH) || err == -ENODEV || err == -ENETDOWN || (!add && err == -ENOENT))
		return 0;
	log_warn("%s: cannot %s one: %s", what, add ? "add" : "delete", netlink_error(nl));
	return 1;
}

/* Rules lead to routes: added after them, deleted before them. */
static int sync_pass(struct netlink *nl, const struct rtnl_set *s, const struct rtnl_set *not_in, bool routes, bool add)
{
	int refused = 0;

	for (size_t i = 0; i < s->n; i++)
		if (is_route(s->item[i]) == routes && !rtnl_own_set_has(not_in, s->item[i]))
			refused += item_send(nl, s->item[i], add);
	return refused;
}

static int sync_again(struct netlink *nl, const struct rtnl_set *s, const struct rtnl_set *not_in)
{
	int refused = 0;

	for (size_t i = 0; i < s->n; i++) {
		const struct rtmsg *rtm = mnl_nlmsg_get_payload(s->item[i]);

		if (is_route(s->item[i]) && rtm->rtm_family == AF_INET6 &&
		    !rtnl_own_set_has(not_in, s->item[i]))
			refused += item_send(nl, s->item[i], true);
	}
	return refused;
}

int rtnl_sync(struct netlink *nl, const struct rtnl_set *want, const struct rtnl_range *range)
{
	struct collect have = {.range = range};
	int err = -EINTR;

	for (int i = 0; i < 5 && err == -EINTR; i++)
		err = collect_all(nl, &have);
	if (!err) {
		err += sync_pass(nl, want, &have.set, true, true);
		err += sync_pass(nl, want, &have.set, false, true);
		err += sync_pass(nl, &have.set, want, false, false);
		err += sync_pass(nl, &have.set, want, true, false);
		err += sync_again(nl, want, &have.set);
	}
	rtnl_set_clear(&have.set);
	return err;
}
