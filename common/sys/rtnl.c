/* SPDX-License-Identifier: BSD-2-Clause */
/* rtnl: rtnetlink messages, parsed into plain structs; what is too short or too long is left out.
 */
#include "rtnl.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "rtnl_own.h"
#include "timer.h"

#define DUMP_TRIES 5

static bool family_ok(uint8_t family)
{
	return family == AF_INET || family == AF_INET6;
}

static int attr_addr(struct addr *a, const struct nlattr *attr)
{
	if (!attr)
		return -1;
	return addr_from_bytes(a, mnl_attr_get_payload(attr), mnl_attr_get_payload_len(attr), 0);
}

int rtnl_parse_link(struct rtnl_link *l, const struct nlmsghdr *msg)
{
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(msg);
	const struct nlattr *tb[IFLA_IFNAME + 1];

	if (netlink_attrs(msg, sizeof(*ifi), tb, IFLA_IFNAME) < 0)
		return -1;
	if (!tb[IFLA_IFNAME] || mnl_attr_validate(tb[IFLA_IFNAME], MNL_TYPE_NUL_STRING) < 0 ||
	    mnl_attr_get_payload_len(tb[IFLA_IFNAME]) > sizeof(l->name))
		return -1;
	memset(l, 0, sizeof(*l));
	strcpy(l->name, mnl_attr_get_str(tb[IFLA_IFNAME]));
	l->index = ifi->ifi_index;
	l->up = ifi->ifi_flags & IFF_UP;
	l->carrier = ifi->ifi_flags & IFF_RUNNING;
	l->pointopoint = ifi->ifi_flags & IFF_POINTOPOINT;
	l->loopback = ifi->ifi_flags & IFF_LOOPBACK;
	return 0;
}

int rtnl_parse_addr(struct rtnl_addr *a, const struct nlmsghdr *msg)
{
	const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(msg);
	const struct nlattr *tb[IFA_FLAGS + 1];
	unsigned width;

	if (netlink_attrs(msg, sizeof(*ifa), tb, IFA_FLAGS) < 0 || !family_ok(ifa->ifa_family))
		return -1;
	width = ifa->ifa_family == AF_INET ? 32 : 128;
	memset(a, 0, sizeof(*a));
	if (ifa->ifa_prefixlen > width || attr_addr(&a->net, tb[IFA_ADDRESS] ? tb[IFA_ADDRESS] : tb[IFA_LOCAL]) < 0)
		return -1;
	a->addr = a->net;
	if (tb[IFA_LOCAL] && attr_addr(&a->addr, tb[IFA_LOCAL]) < 0)
		return -1;
	if (addr_family(&a->addr) != (int)ifa->ifa_family)
		return -1;
	a->index = (int)ifa->ifa_index;
	a->bits = (uint8_t)(128 - width + ifa->ifa_prefixlen);
	a->peer = !addr_same_ip(&a->addr, &a->net);
	a->scope = ifa->ifa_scope;
	a->flags = netlink_u32(tb[IFA_FLAGS], ifa->ifa_flags);
	return 0;
}

static int route_prefix(struct prefix *p, const struct rtmsg *rtm, const struct nlattr *dst)
{
	unsigned width = rtm->rtm_family == AF_INET ? 32 : 128;
	struct addr a;
	static const uint8_t zero[16];

	if (rtm->rtm_dst_len > width || addr_from_bytes(&a, zero, width / 8, 0) < 0)
		return -1;
	if (dst && (mnl_attr_get_payload_len(dst) != width / 8 || attr_addr(&a, dst) < 0))
		return -1;
	if (!dst && rtm->rtm_dst_len)
		return -1;
	memcpy(p->ip, a.ip, sizeof(p->ip));
	p->bits = (uint8_t)(128 - width + rtm->rtm_dst_len);
	return 0;
}

int rtnl_parse_route(struct rtnl_route *r, const struct nlmsghdr *msg)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(msg);
	const struct nlattr *tb[RTA_MAX + 1];

	if (netlink_attrs(msg, sizeof(*rtm), tb, RTA_MAX) < 0 || !family_ok(rtm->rtm_family))
		return -1;
	memset(r, 0, sizeof(*r));
	if (route_prefix(&r->dst, rtm, tb[RTA_DST]) < 0)
		return -1;
	if (tb[RTA_GATEWAY] && attr_addr(&r->gateway, tb[RTA_GATEWAY]) < 0)
		return -1;
	r->has_gateway = tb[RTA_GATEWAY];
	r->v6 = rtm->rtm_family == AF_INET6;
	r->table = netlink_u32(tb[RTA_TABLE], rtm->rtm_table);
	r->priority = netlink_u32(tb[RTA_PRIORITY], 0);
	r->index = (int)netlink_u32(tb[RTA_OIF], 0);
	r->type = rtm->rtm_type;
	r->protocol = rtm->rtm_protocol;
	r->raw = msg;
	return 0;
}

struct dump {
	const struct rtnl_dump_ops *ops;
	void *arg;
};

static int dump_link(const struct nlmsghdr *msg, void *data)
{
	struct dump *d = data;
	struct rtnl_link l;

	if (msg->nlmsg_type == RTM_NEWLINK && rtnl_parse_link(&l, msg) == 0)
		d->ops->link(d->arg, &l);
	return MNL_CB_OK;
}

static int dump_addr(const struct nlmsghdr *msg, void *data)
{
	struct dump *d = data;
	struct rtnl_addr a;

	if (msg->nlmsg_type == RTM_NEWADDR && rtnl_parse_addr(&a, msg) == 0)
		d->ops->addr(d->arg, &a);
	return MNL_CB_OK;
}

/* A route of several next hops, hop by hop. */
static void dump_hops(struct dump *d, const struct rtnl_route *whole, const struct nlattr *multipath)
{
	const struct rtnexthop *hop = mnl_attr_get_payload(multipath);
	size_t left = mnl_attr_get_payload_len(multipath);
	const struct nlattr *attr;

	while (left >= sizeof(*hop) && hop->rtnh_len >= sizeof(*hop) && hop->rtnh_len <= left) {
		struct rtnl_route r = *whole;

		r.raw = NULL;
		r.index = hop->rtnh_ifindex;
		mnl_attr_for_each_payload((void *)(uintptr_t)(hop + 1), hop->rtnh_len - sizeof(*hop))
			if (mnl_attr_get_type(attr) == RTA_GATEWAY && attr_addr(&r.gateway, attr) == 0)
				r.has_gateway = true;
		d->ops->route(d->arg, &r);
		if ((size_t)MNL_ALIGN(hop->rtnh_len) >= left)
			return;
		left -= MNL_ALIGN(hop->rtnh_len);
		hop = (const struct rtnexthop *)((const char *)hop + MNL_ALIGN(hop->rtnh_len));
	}
}

static int dump_route(const struct nlmsghdr *msg, void *data)
{
	struct dump *d = data;
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(msg);
	const struct nlattr *tb[RTA_MAX + 1];
	struct rtnl_route r;

	if (msg->nlmsg_type != RTM_NEWROUTE || rtnl_parse_route(&r, msg) < 0 || (rtm->rtm_flags & RTM_F_CLONED))
		return MNL_CB_OK;
	d->ops->route(d->arg, &r);
	if (netlink_attrs(msg, sizeof(*rtm), tb, RTA_MAX) == 0 && tb[RTA_MULTIPATH])
		dump_hops(d, &r, tb[RTA_MULTIPATH]);
	return MNL_CB_OK;
}

static int dump_one(struct netlink *nl, uint16_t type, size_t header, mnl_cb_t cb, struct dump *d)
{
	char buf[MNL_NLMSG_HDRLEN + 64];
	struct nlmsghdr *req = mnl_nlmsg_put_header(buf);

	req->nlmsg_type = type;
	req->nlmsg_flags = NLM_F_DUMP;
	mnl_nlmsg_put_extra_header(req, header);
	return netlink_call(nl, req, cb, d);
}

static int dump_all(struct netlink *nl, struct dump *d)
{
	int err = 0;

	if (d->ops->begin)
		d->ops->begin(d->arg);
	if (d->ops->link)
		err = dump_one(nl, RTM_GETLINK, sizeof(struct ifinfomsg), dump_link, d);
	if (!err && d->ops->addr)
		err = dump_one(nl, RTM_GETADDR, sizeof(struct ifaddrmsg), dump_addr, d);
	if (!err && d->ops->route)
		err = dump_one(nl, RTM_GETROUTE, sizeof(struct rtmsg), dump_route, d);
	return err;
}

int rtnl_dump(struct netlink *nl, const struct rtnl_dump_ops *ops, void *arg)
{
	struct dump d = {.ops = ops, .arg = arg};
	int err = -EINTR;

	/* EINTR is the kernel's way to say that a table changed under the dump: it asks to be asked
	 * again. */
	for (int i = 0; i < DUMP_TRIES && err == -EINTR; i++)
		err = dump_all(nl, &d);
	return err;
}

static int route_type(const struct nlmsghdr *msg, void *data)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(msg);

	if (msg->nlmsg_type == RTM_NEWROUTE && mnl_nlmsg_get_payload_len(msg) >= sizeof(*rtm))
		*(int *)data = rtm->rtm_type;
	return MNL_CB_OK;
}

int rtnl_route_type(struct netlink *nl, const struct addr *to)
{
	char buf[256];
	struct nlmsghdr *req = mnl_nlmsg_put_header(buf);
	struct rtmsg *rtm;
	size_t len;
	const uint8_t *ip = addr_bytes(to, &len);
	int type = -ENODATA, err;

	req->nlmsg_type = RTM_GETROUTE;
	rtm = mnl_nlmsg_put_extra_header(req, sizeof(*rtm));
	rtm->rtm_family = (unsigned char)addr_family(to);
	rtm->rtm_dst_len = (unsigned char)(len * 8);
	mnl_attr_put(req, RTA_DST, len, ip);
	err = netlink_call(nl, req, route_type, &type);
	return err ? err : type;
}

struct rtnl_monitor {
	struct mnl_socket *sock;
	struct event *readable, *quiet;
	unsigned delay_ms;
	void (*changed)(void *arg);
	void *arg;
	char buf[8192];
};

static void monitor_quiet(evutil_socket_t fd, short what, void *arg)
{
	struct rtnl_monitor *m = arg;

	(void)fd, (void)what;
	m->changed(m->arg);
}

/* What we put in is no news, but that a rule of ours was taken out is: perhaps it was not us. */
static bool is_news(const struct nlmsghdr *msg)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(msg);
	const struct nlattr *tb[FRA_PROTOCOL + 1];

	if (msg->nlmsg_type == RTM_DELRULE)
		return true;
	if (msg->nlmsg_type == RTM_NEWRULE)
		return netlink_attrs(msg, sizeof(struct fib_rule_hdr), tb, FRA_PROTOCOL) < 0 ||
		       netlink_u8(tb[FRA_PROTOCOL], 0) != RTNL_PROTOCOL;
	if (msg->nlmsg_type != RTM_NEWROUTE && msg->nlmsg_type != RTM_DELROUTE)
		return true;
	return mnl_nlmsg_get_payload_len(msg) >= sizeof(*rtm) && rtm->rtm_protocol != RTNL_PROTOCOL;
}

static bool has_news(const char *buf, ssize_t size)
{
	const struct nlmsghdr *msg = (const struct nlmsghdr *)buf;
	int len = (int)size;

	for (; len > 0 && netlink_ok(msg, (size_t)len); msg = mnl_nlmsg_next(msg, &len))
		if (is_news(msg))
			return true;
	return false;
}

static void monitor_readable(evutil_socket_t fd, short what, void *arg)
{
	struct rtnl_monitor *m = arg;
	bool news = false;
	ssize_t len;

	(void)fd, (void)what;
	while ((len = mnl_socket_recvfrom(m->sock, m->buf, sizeof(m->buf))) > 0 || (len < 0 && errno == ENOBUFS)) {
		/* ENOBUFS: messages were lost, and what they said is to be found by reading
		 * anew. */
		news |= len < 0 || has_news(m->buf, len);
	}
	if (news && !evtimer_pending(m->quiet, NULL))
		timer_in_ms(m->quiet, m->delay_ms);
}

static unsigned topic_groups(unsigned topics)
{
	return (topics & RTNL_LINKS ? RTMGRP_LINK : 0) | (topics & RTNL_ADDRS ? RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR : 0) |
	       (topics & RTNL_ROUTES ? RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE : 0) |
	       (topics & RTNL_RULES ? RTMGRP_IPV4_RULE | 1u << (RTNLGRP_IPV6_RULE - 1) : 0);
}

struct rtnl_monitor *rtnl_monitor_new(struct event_base *base, unsigned topics, unsigned delay_ms,
				      void (*changed)(void *arg), void *arg)
{
	struct rtnl_monitor *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->changed = changed;
	m->arg = arg;
	m->delay_ms = delay_ms;
	m->sock = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!m->sock || mnl_socket_bind(m->sock, topic_groups(topics), MNL_SOCKET_AUTOPID) < 0) {
		rtnl_monitor_free(m);
		return NULL;
	}
	m->readable = event_new(base, mnl_socket_get_fd(m->sock), EV_READ | EV_PERSIST, monitor_readable, m);
	m->quiet = evtimer_new(base, monitor_quiet, m);
	if (!m->readable || !m->quiet || event_add(m->readable, NULL) < 0) {
		rtnl_monitor_free(m);
		errno = ENOMEM;
		return NULL;
	}
	return m;
}

void rtnl_monitor_free(struct rtnl_monitor *m)
{
	if (!m)
		return;
	if (m->readable)
		event_free(m->readable);
	if (m->quiet)
		event_free(m->quiet);
	if (m->sock)
		mnl_socket_close(m->sock);
	free(m);
}
