/* SPDX-License-Identifier: BSD-2-Clause */
/* Reading: messages that lie about their lengths. Writing: what is wanted is there, once, and
 * others' is left; this part needs root and a network namespace of its own, and says so when it has
 * none. */
#include <errno.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "rtnl.h"
#include "rtnl_own.h"

static bool own_namespace;

static struct nlmsghdr *route_message(char *buf, uint8_t family, uint8_t dst_len, size_t attr_len)
{
	static const uint8_t bytes[16] = {192, 0, 2, 0};
	struct nlmsghdr *msg = mnl_nlmsg_put_header(buf);
	struct rtmsg *rtm;

	msg->nlmsg_type = RTM_NEWROUTE;
	rtm = mnl_nlmsg_put_extra_header(msg, sizeof(*rtm));
	rtm->rtm_family = family;
	rtm->rtm_dst_len = dst_len;
	mnl_attr_put(msg, RTA_DST, attr_len, bytes);
	return msg;
}

static void parse_route_lengths(void **state)
{
	char buf[256];
	struct rtnl_route r;

	(void)state;
	assert_int_equal(rtnl_parse_route(&r, route_message(buf, AF_INET, 24, 4)), 0);
	assert_int_equal(r.dst.bits, 120);
	assert_int_equal(rtnl_parse_route(&r, route_message(buf, AF_INET, 33, 4)), -1);
	assert_int_equal(rtnl_parse_route(&r, route_message(buf, AF_INET, 24, 3)), -1);
	assert_int_equal(rtnl_parse_route(&r, route_message(buf, AF_INET, 24, 16)), -1);
	assert_int_equal(rtnl_parse_route(&r, route_message(buf, AF_INET6, 24, 4)), -1);
	assert_int_equal(rtnl_parse_route(&r, route_message(buf, AF_UNIX, 24, 4)), -1);
}

static void parse_truncated(void **state)
{
	char buf[256];
	struct nlmsghdr *msg = route_message(buf, AF_INET, 24, 4);
	struct rtnl_route r;
	struct rtnl_addr a;
	struct rtnl_link l;

	(void)state;
	msg->nlmsg_len = MNL_NLMSG_HDRLEN + 4;
	assert_int_equal(rtnl_parse_route(&r, msg), -1);
	assert_int_equal(rtnl_parse_addr(&a, msg), -1);
	assert_int_equal(rtnl_parse_link(&l, msg), -1);
}

struct seen {
	unsigned ours, theirs;
};

static void count_route(void *arg, const struct rtnl_route *r)
{
	struct seen *s = arg;

	if (r->table == 25000 && r->protocol == RTNL_PROTOCOL)
		s->ours++;
	if (r->table == 25000 && r->protocol != RTNL_PROTOCOL)
		s->theirs++;
}

static struct seen count(struct netlink *nl)
{
	const struct rtnl_dump_ops ops = {.route = count_route};
	struct seen s = {0, 0};

	assert_int_equal(rtnl_dump(nl, &ops, &s), 0);
	return s;
}

static void loopback_up(struct netlink *nl)
{
	char buf[256];
	struct nlmsghdr *msg = mnl_nlmsg_put_header(buf);
	struct ifinfomsg *ifi;

	msg->nlmsg_type = RTM_NEWLINK;
	ifi = mnl_nlmsg_put_extra_header(msg, sizeof(*ifi));
	ifi->ifi_index = 1;
	ifi->ifi_flags = ifi->ifi_change = IFF_UP;
	assert_int_equal(netlink_call(nl, msg, NULL, NULL), 0);
}

/* A route of somebody else's in a table of ours. */
static void foreign_route(struct netlink *nl)
{
	char buf[256];
	struct nlmsghdr *msg = route_message(buf, AF_INET, 24, 4);
	struct rtmsg *rtm = mnl_nlmsg_get_payload(msg);

	rtm->rtm_protocol = RTPROT_STATIC;
	rtm->rtm_scope = RT_SCOPE_LINK;
	rtm->rtm_type = RTN_UNICAST;
	mnl_attr_put_u32(msg, RTA_OIF, 1);
	mnl_attr_put_u32(msg, RTA_TABLE, 25000);
	msg->nlmsg_flags = NLM_F_CREATE;
	assert_int_equal(netlink_call(nl, msg, NULL, NULL), 0);
}

static void sync_adds_once_and_takes_only_ours(void **state)
{
	struct netlink *nl = netlink_open(NETLINK_ROUTE);
	struct rtnl_set want = {0};
	struct rtnl_new_route r = {.table = 25000, .index = 1, .metrics = {.initcwnd = 40, .initrwnd = 40}};
	struct rtnl_new_rule rule = {.priority = 25000, .table = 25000, .mark = 5, .mask = UINT32_MAX};

	(void)state;
	if (!own_namespace) {
		print_message("skipped: needs root for a network namespace\n");
		netlink_close(nl);
		skip();
	}
	loopback_up(nl);
	foreign_route(nl);
	assert_int_equal(prefix_parse(&r.dst, "198.51.100.0/24"), 0);
	assert_int_equal(rtnl_set_route(&want, &r), 0);
	assert_int_equal(rtnl_set_rule(&want, &rule), 0);
	assert_int_equal(rtnl_sync(nl, &want, &rtnl_range_links), 0);
	assert_int_equal(rtnl_sync(nl, &want, &rtnl_range_links), 0);
	assert_int_equal(count(nl).ours, 1);
	rtnl_set_clear(&want);
	assert_int_equal(rtnl_sync(nl, &want, &rtnl_range_return_routes), 0);
	assert_int_equal(count(nl).ours, 1);
	assert_int_equal(rtnl_sync(nl, &want, &rtnl_range_links), 0);
	assert_int_equal(count(nl).ours, 0);
	assert_int_equal(count(nl).theirs, 1);
	netlink_close(nl);
}

/* What is in the kernel's table after this route alone was asked for with this window: also the
 * window. */
static uint32_t window_in_kernel;

static void take_window(void *arg, const struct rtnl_route *r)
{
	const struct nlattr *tb[RTA_MAX + 1], *metrics[RTAX_MAX + 1];

	(void)arg;
	if (r->table != 25050 || !r->raw)
		return;
	assert_true(netlink_attrs(r->raw, sizeof(struct rtmsg), tb, RTA_MAX) >= 0);
	assert_true(netlink_nested(tb[RTA_METRICS], metrics, RTAX_MAX) >= 0);
	window_in_kernel = netlink_u32(metrics[RTAX_INITCWND], 0);
}

static uint32_t window_after(struct netlink *nl, const char *whole, const char *host, uint32_t window)
{
	const struct rtnl_dump_ops ops = {.route = take_window};
	const struct rtnl_metrics m = {.initcwnd = window};
	struct rtnl_new_route r = {.table = 25050, .index = 1};
	struct rtnl_set base = {0}, want = {0};
	struct addr a;

	assert_int_equal(prefix_parse(&r.dst, whole), 0);
	assert_int_equal(addr_parse(&a, host, 0), 0);
	r.v6 = !addr_is_v4(&a);
	assert_int_equal(rtnl_set_route(&base, &r), 0);
	assert_int_equal(rtnl_set_copy_host(&want, base.item[0], &a, 25050, &m), 0);
	assert_int_equal(rtnl_sync(nl, &want, &rtnl_range_return_routes), 0);
	rtnl_set_clear(&base);
	rtnl_set_clear(&want);
	window_in_kernel = 0;
	assert_int_equal(rtnl_dump(nl, &ops, NULL), 0);
	return window_in_kernel;
}

static void a_window_changes_in_both_families(void **state)
{
	const struct rtnl_set nothing = {0};
	struct netlink *nl = netlink_open(NETLINK_ROUTE);

	(void)state;
	if (!own_namespace) {
		netlink_close(nl);
		skip();
	}
	loopback_up(nl);
	assert_int_equal(window_after(nl, "198.51.100.0/24", "198.51.100.7", 40), 40);
	assert_int_equal(window_after(nl, "198.51.100.0/24", "198.51.100.7", 100), 100);
	assert_int_equal(window_after(nl, "2001:db8::/32", "2001:db8::7", 40), 40);
	assert_int_equal(window_after(nl, "2001:db8::/32", "2001:db8::7", 100), 100);
	assert_int_equal(rtnl_sync(nl, &nothing, &rtnl_range_return_routes), 0);
	netlink_close(nl);
}

/* What the kernel says of them must be what we said, or each sync would put them in once more. */
static void add_tunnel(struct rtnl_set *s, bool v6)
{
	struct rtnl_new_rule rule = {.v6 = v6, .priority = 25200, .table = 254, .no_default = true, .iif = "lan0"};
	struct rtnl_new_route route = {.v6 = v6, .table = 25100, .throws = true};

	assert_int_equal(rtnl_set_rule(s, &rule), 0);
	rule = (struct rtnl_new_rule){.v6 = v6, .priority = 25201, .jump = 25209, .proto = 17, .port = 53, .iif = "lo"};
	assert_int_equal(rtnl_set_rule(s, &rule), 0);
	rule = (struct rtnl_new_rule){.v6 = v6, .priority = 25201, .jump = 25209, .mark = 5, .mask = UINT32_MAX};
	assert_int_equal(rtnl_set_rule(s, &rule), 0);
	rule = (struct rtnl_new_rule){.v6 = v6, .priority = 25202, .table = 25100, .iif = "lan0"};
	assert_int_equal(rtnl_set_rule(s, &rule), 0);
	rule = (struct rtnl_new_rule){.v6 = v6, .priority = 25209};
	assert_int_equal(rtnl_set_rule(s, &rule), 0);
	assert_int_equal(prefix_parse(&route.dst, v6 ? "2001:db8::/32" : "10.0.0.0/8"), 0);
	assert_int_equal(rtnl_set_route(s, &route), 0);
	assert_int_equal(prefix_parse(&route.dst, v6 ? "2a11::/32" : "11.0.0.0/8"), 0);
	route.throws = false;
	route.index = 1;
	route.metrics.mtu = 1400;
	assert_int_equal(rtnl_set_route(s, &route), 0);
}

static void tunnel_rules_are_put_in_once(void **state)
{
	static const char count[] = "test $({ ip rule; ip -6 rule; } | grep -c 252..:) = %d && "
				    "test $({ ip route show table 25100; ip -6 route show table 25100; } 2>&- | wc -l) = %d";
	const struct rtnl_set nothing = {0};
	struct netlink *nl = netlink_open(NETLINK_ROUTE);
	struct rtnl_set want = {0};
	char command[300];

	(void)state;
	if (!own_namespace) {
		netlink_close(nl);
		skip();
	}
	loopback_up(nl);
	add_tunnel(&want, false);
	add_tunnel(&want, true);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(rtnl_sync(nl, &want, &rtnl_range_tunnel), 0);
		snprintf(command, sizeof(command), count, 10, 4);
		assert_int_equal(system(command), 0);
	}
	assert_int_equal(rtnl_sync(nl, &nothing, &rtnl_range_tunnel), 0);
	snprintf(command, sizeof(command), count, 0, 0);
	assert_int_equal(system(command), 0);
	rtnl_set_clear(&want);
	netlink_close(nl);
}

static void route_type_of_loopback(void **state)
{
	struct netlink *nl = netlink_open(NETLINK_ROUTE);
	struct addr a;

	(void)state;
	assert_non_null(nl);
	assert_int_equal(addr_parse(&a, "127.0.0.1", 0), 0);
	assert_int_equal(rtnl_route_type(nl, &a), RTN_LOCAL);
	assert_int_equal(addr_parse(&a, "::ffff:127.0.0.1", 0), 0);
	assert_int_equal(rtnl_route_type(nl, &a), RTN_LOCAL);
	if (own_namespace) {
		assert_int_equal(addr_parse(&a, "203.0.113.1", 0), 0);
		assert_int_equal(rtnl_route_type(nl, &a), -ENETUNREACH);
	}
	netlink_close(nl);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parse_route_lengths),
		cmocka_unit_test(parse_truncated),
		cmocka_unit_test(sync_adds_once_and_takes_only_ours),
		cmocka_unit_test(a_window_changes_in_both_families),
		cmocka_unit_test(tunnel_rules_are_put_in_once),
		cmocka_unit_test(route_type_of_loopback),
	};

	own_namespace = geteuid() == 0 && unshare(CLONE_NEWNET) == 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
