/* SPDX-License-Identifier: BSD-2-Clause */
/* own_addrs: the kernel's list is read again whenever it says that it changed, and given to the
 * policy whole. */
#include "own_addrs.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "netlink.h"
#include "rtnl.h"

#define SETTLE_MS 50

struct own_addrs_set {
	struct addr *addr;
	size_t n, room;
};

struct own_addrs {
	struct policy *policy;
	struct netlink *nl;
	struct rtnl_monitor *monitor;
	struct own_addrs_set now;
};

static bool own_addrs_set_has(const struct own_addrs_set *s, const struct addr *a)
{
	for (size_t i = 0; i < s->n; i++)
		if (addr_same_ip(&s->addr[i], a))
			return true;
	return false;
}

static void set_begin(void *arg)
{
	((struct own_addrs_set *)arg)->n = 0;
}

/* An address may be told twice; that is no harm. */
static void own_addrs_set_add(void *arg, const struct rtnl_addr *a)
{
	struct own_addrs_set *s = arg;
	struct addr *more;

	if (s->n == s->room) {
		more = realloc(s->addr, (s->room + 16) * sizeof(*more));
		if (!more)
			return;
		s->addr = more;
		s->room += 16;
	}
	s->addr[s->n++] = a->addr;
}

static int own_addrs_read(struct own_addrs *o, struct own_addrs_set *s)
{
	static const struct rtnl_dump_ops ops = { .begin = set_begin, .addr = own_addrs_set_add };
	int err = rtnl_dump(o->nl, &ops, s);

	if (err)
		log_warn("own addresses cannot be read: %s", strerror(-err));
	return err;
}

/* New ones are denied before old ones are let go. */
static void own_addrs_changed(void *arg)
{
	struct own_addrs *o = arg;
	struct own_addrs_set s = { 0 };

	if (own_addrs_read(o, &s)) {
		free(s.addr);
		return;
	}
	for (size_t i = 0; i < s.n; i++)
		if (!own_addrs_set_has(&o->now, &s.addr[i]))
			policy_add_own(o->policy, &s.addr[i]);
	for (size_t i = 0; i < o->now.n; i++)
		if (!own_addrs_set_has(&s, &o->now.addr[i]))
			policy_del_own(o->policy, &o->now.addr[i]);
	free(o->now.addr);
	o->now = s;
}

/* A route that exists and is not unicast ends here (local, anycast), or nowhere. */
static bool own_addrs_here(void *arg, const struct addr *a)
{
	const struct own_addrs *o = arg;
	int type = rtnl_route_type(o->nl, a);

	return type >= 0 && type != RTN_UNICAST;
}

struct own_addrs *own_addrs_new(struct event_base *base, struct policy *policy, char *err, size_t err_len)
{
	struct own_addrs *o = calloc(1, sizeof(*o));

	if (!o)
		return NULL;
	o->policy = policy;
	o->nl = netlink_open(NETLINK_ROUTE);
	if (o->nl)
		o->monitor = rtnl_monitor_new(base, RTNL_ADDRS, SETTLE_MS, own_addrs_changed, o);
	if (!o->monitor) {
		snprintf(err, err_len, "own addresses cannot be followed: %s", strerror(errno));
		own_addrs_free(o);
		return NULL;
	}
	own_addrs_changed(o);
	policy_set_here(policy, own_addrs_here, o);
	return o;
}

void own_addrs_free(struct own_addrs *o)
{
	if (!o)
		return;
	policy_set_here(o->policy, NULL, NULL);
	rtnl_monitor_free(o->monitor);
	if (o->nl)
		netlink_close(o->nl);
	free(o->now.addr);
	free(o);
}
