/* SPDX-License-Identifier: BSD-2-Clause */
/* A kernel that answers anything: what is read of devices, addresses, routes, rules, counters and
 * MPTCP endpoints stays within the message, and every call ends. libmnl's sockets are replaced, its
 * parsers are not. */
#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fuzz.h"
#include "log.h"
#include "mptcp_pm.h"
#include "rtnl.h"
#include "rtnl_own.h"
#include "rtnl_stats.h"

static const uint8_t *in;
static size_t in_len;
static uint32_t seq;
static int fd = -1;
static unsigned calls;

struct mnl_socket *mnl_socket_open2(int bus, int flags)
{
	(void)bus, (void)flags;
	return (struct mnl_socket *)&seq;
}

int mnl_socket_bind(struct mnl_socket *s, unsigned groups, pid_t pid)
{
	(void)s, (void)groups, (void)pid;
	return 0;
}

int mnl_socket_close(struct mnl_socket *s)
{
	(void)s;
	return 0;
}

int mnl_socket_setsockopt(const struct mnl_socket *s, int type, void *buf, socklen_t len)
{
	(void)s, (void)type, (void)buf, (void)len;
	return 0;
}

int mnl_socket_get_fd(const struct mnl_socket *s)
{
	(void)s;
	return fd;
}

unsigned mnl_socket_get_portid(const struct mnl_socket *s)
{
	(void)s;
	return 7;
}

ssize_t mnl_socket_sendto(const struct mnl_socket *s, const void *req, size_t len)
{
	(void)s;
	MUST(len >= sizeof(struct nlmsghdr) && ((const struct nlmsghdr *)req)->nlmsg_len == len);
	seq = ((const struct nlmsghdr *)req)->nlmsg_seq;
	return (ssize_t)len;
}

/* One part: its length in two bytes, a byte of flags, the bytes. Headers are made to be answers
 * unless the flags say otherwise. */
ssize_t mnl_socket_recvfrom(const struct mnl_socket *s, void *buf, size_t size)
{
	size_t len, at = 0;
	uint8_t flags;

	(void)s;
	errno = EAGAIN;
	if (in_len < 3 || ++calls > 64)
		return -1;
	len = (size_t)in[0] | (size_t)(in[1] & 15) << 8;
	flags = in[2];
	in += 3;
	in_len -= 3;
	len = len < in_len ? len : in_len;
	len = len < size ? len : size;
	memset(buf, 0xa5, size);
	memcpy(buf, in, len);
	in += len;
	in_len -= len;
	while (!(flags & 1) && at + sizeof(struct nlmsghdr) <= len) {
		struct nlmsghdr m;

		memcpy(&m, (uint8_t *)buf + at, sizeof(m));
		m.nlmsg_seq = seq;
		m.nlmsg_pid = flags & 2 ? 0 : 7;
		if (flags & 4)
			m.nlmsg_len = (uint32_t)(len - at);
		memcpy((uint8_t *)buf + at, &m, sizeof(m));
		if (m.nlmsg_len < sizeof(m) || m.nlmsg_len > len - at)
			break;
		at += MNL_ALIGN(m.nlmsg_len);
	}
	errno = ENOBUFS;
	return flags == 0xff ? -1 : (ssize_t)len;
}

struct seen {
	struct rtnl_set set;
	unsigned n;
};

static void on_link(void *arg, const struct rtnl_link *l)
{
	((struct seen *)arg)->n++;
	MUST(strnlen(l->name, sizeof(l->name)) < sizeof(l->name));
}

static void on_addr(void *arg, const struct rtnl_addr *a)
{
	char text[ADDR_STRLEN];

	((struct seen *)arg)->n++;
	MUST(a->bits <= 128 && addr_print(&a->addr, text) && addr_print(&a->net, text));
}

static void on_route(void *arg, const struct rtnl_route *r)
{
	static const struct rtnl_metrics metrics = { .initcwnd = 40, .congestion = "bbr" };
	struct seen *s = arg;

	s->n++;
	MUST(r->dst.bits <= 128);
	if (r->raw && s->n < 64)
		rtnl_set_copy(&s->set, r->raw, 25001, &metrics);
	if (r->raw && s->n < 64 && r->has_gateway)
		rtnl_set_copy_host(&s->set, r->raw, &r->gateway, 25002, &metrics);
}

static void ask_rtnl(uint8_t what)
{
	static const struct rtnl_dump_ops ops = { NULL, on_link, on_addr, on_route };
	struct netlink *nl = netlink_open(NETLINK_ROUTE);
	struct seen s = { .n = 0 };
	struct rtnl_stats stats;
	struct addr a;

	MUST(nl && !addr_parse(&a, "192.0.2.1", 0));
	if (what % 4 == 0)
		rtnl_dump(nl, &ops, &s);
	if (what % 4 == 1)
		rtnl_route_type(nl, &a);
	if (what % 4 == 2 && !rtnl_stats(nl, "wan1", &stats))
		MUST(stats.index);
	rtnl_sync(nl, &s.set, &rtnl_range_links);
	MUST(*netlink_error(nl));
	rtnl_set_clear(&s.set);
	netlink_close(nl);
}

static void ask_pm(void)
{
	struct mptcp_pm *pm = mptcp_pm_open();
	struct mptcp_endpoint e[MPTCP_PM_MAX] = { { .id = MPTCP_PM_LINKS, .flags = MPTCP_PM_SUBFLOW } };

	if (!pm)
		return;
	MUST(!addr_parse(&e[0].addr, "192.0.2.1", 0));
	mptcp_pm_sync(pm, e, 1, MPTCP_PM_LINKS, MPTCP_PM_LINKS_END);
	MUST(mptcp_pm_dump(pm, e, MPTCP_PM_MAX) <= MPTCP_PM_MAX);
	mptcp_pm_close(pm);
}

static void on_changed(void *arg)
{
	(void)arg;
}

static void listen_to(void)
{
	struct event_base *base = event_base_new();
	struct rtnl_monitor *m;
	uint64_t one = 1;

	fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	MUST(write(fd, &one, sizeof(one)) == sizeof(one));
	m = rtnl_monitor_new(base, RTNL_LINKS | RTNL_ADDRS | RTNL_ROUTES | RTNL_RULES, 0, on_changed, NULL);
	if (m)
		event_base_loop(base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
	rtnl_monitor_free(m);
	event_base_free(base);
	close(fd);
	fd = -1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	log_level = LOG_LVL_ERROR; /* the kernel's refusals */
	calls = 0;
	in = data + 1;
	in_len = size - 1;
	if (data[0] % 6 == 4)
		ask_pm();
	else if (data[0] % 6 == 5)
		listen_to();
	else
		ask_rtnl(data[0] % 6);
	return 0;
}
