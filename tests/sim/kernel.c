/* SPDX-License-Identifier: BSD-2-Clause */
/* kernel: netlink of the simulated world, at the seam of libmnl's sockets.
 *
 * Theory of operation. Of devices, addresses and main routes the kernel's answers are made anew
 * from `lines` at each question. Routes and rules that a daemon adds are kept as the messages they
 * came in, told in dumps as they are, and deleted by the same bytes. MPTCP's endpoints are a table
 * of ids, of which stream.c is told. Each request is answered at once; who has joined a group gets
 * a message when a line changes.
 *
 * Left out: IPv6, what makes the real kernel refuse, routes that lead anywhere (line.c does that by
 * the source address, as plait's rules would). */
#include "kernel.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/fib_rules.h>
#include <linux/genetlink.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/mptcp.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "fd.h"
#include "line.h"
#include "sim.h"
#include "stream.h"

#define ITEMS 256
#define QUEUE 512
#define MPTCP_FAMILY 40
#define ENDPOINTS 8

struct table {
	struct nlmsghdr *item[ITEMS]; /* NEWROUTE and NEWRULE messages */
	unsigned n;
	struct {
		bool there;
		struct in_addr addr;
		uint8_t id;
		uint32_t flags, index;
	} endpoint[ENDPOINTS];
	uint32_t limit_subflows, limit_accept;
};

static struct table tables[HOSTS];

struct mnl_socket {
	int fd, bus;
	enum host host;
	unsigned groups, pid;
	struct {
		char *data;
		size_t len;
	} answer[QUEUE];
	unsigned first, n;
	struct mnl_socket *next;
};

static struct mnl_socket *sockets;
static unsigned pids;

void kernel_begin(void)
{
	for (enum host h = GATEWAY; h < HOSTS; h++)
		for (unsigned i = 0; i < tables[h].n; i++)
			free(tables[h].item[i]);
	memset(tables, 0, sizeof(tables));
	for (enum host h = GATEWAY; h < HOSTS; h++)
		tables[h].limit_subflows = 2;
	sockets = NULL;
	pids = 1000;
}

unsigned kernel_left(enum host host)
{
	unsigned n = tables[host].n;

	for (unsigned i = 0; i < ENDPOINTS; i++)
		n += tables[host].endpoint[i].there;
	return n;
}

/* --- answers --- */

static void answer(struct mnl_socket *s, const void *data, size_t len)
{
	unsigned at = (s->first + s->n) % QUEUE;

	if (s->n == QUEUE)
		sim_fail("an answer of the kernel is not read");
	s->answer[at].data = memcpy(sim_alloc(len), data, len);
	s->answer[at].len = len;
	s->n++;
	fd_changed(s->fd);
}

static void answer_error(struct mnl_socket *s, const struct nlmsghdr *req, int error)
{
	char buf[64] = { 0 };
	struct nlmsghdr *msg = mnl_nlmsg_put_header(buf);
	struct nlmsgerr *e;

	msg->nlmsg_type = NLMSG_ERROR;
	msg->nlmsg_seq = req->nlmsg_seq;
	msg->nlmsg_pid = s->pid;
	e = mnl_nlmsg_put_extra_header(msg, sizeof(*e));
	e->error = -error;
	e->msg = *req;
	answer(s, msg, msg->nlmsg_len);
}

static void answer_done(struct mnl_socket *s, const struct nlmsghdr *req)
{
	char buf[64] = { 0 };
	struct nlmsghdr *msg = mnl_nlmsg_put_header(buf);

	msg->nlmsg_type = NLMSG_DONE;
	msg->nlmsg_seq = req->nlmsg_seq;
	msg->nlmsg_pid = s->pid;
	*(int *)mnl_nlmsg_put_extra_header(msg, sizeof(int)) = 0;
	answer(s, msg, msg->nlmsg_len);
}

/* One message of a dump, or the answer to one question; the buffer is the caller's. */
static struct nlmsghdr *message(char *buf, const struct mnl_socket *s, const struct nlmsghdr *req,
				uint16_t type)
{
	struct nlmsghdr *msg = mnl_nlmsg_put_header(memset(buf, 0, 1024));

	msg->nlmsg_type = type;
	msg->nlmsg_seq = req->nlmsg_seq;
	msg->nlmsg_pid = s->pid;
	msg->nlmsg_flags = req->nlmsg_flags & NLM_F_DUMP ? NLM_F_MULTI : 0;
	return msg;
}

/* --- devices, addresses, routes of the house --- */

static bool is_there(const struct line *l)
{
	return l->index != 0;
}

static void tell_device(struct mnl_socket *s, const struct nlmsghdr *req, const struct line *l)
{
	char buf[1024];
	struct nlmsghdr *msg = message(buf, s, req, RTM_NEWLINK);
	struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(msg, sizeof(*ifi));
	struct rtnl_link_stats64 stats = { .rx_bytes = l->way[DOWN].bytes,
					   .tx_bytes = l->way[UP].bytes };

	ifi->ifi_index = l->index;
	ifi->ifi_flags = IFF_UP | (l->carrier ? IFF_RUNNING | 0x10000 /* IFF_LOWER_UP */ : 0);
	mnl_attr_put_strz(msg, IFLA_IFNAME, l->name);
	mnl_attr_put(msg, IFLA_STATS64, sizeof(stats), &stats);
	answer(s, msg, msg->nlmsg_len);
}

static void tell_address(struct mnl_socket *s, const struct nlmsghdr *req, const struct line *l)
{
	char buf[1024];
	struct nlmsghdr *msg = message(buf, s, req, RTM_NEWADDR);
	struct ifaddrmsg *ifa = mnl_nlmsg_put_extra_header(msg, sizeof(*ifa));

	ifa->ifa_family = AF_INET;
	ifa->ifa_prefixlen = 24;
	ifa->ifa_index = (unsigned)l->index;
	mnl_attr_put_u32(msg, IFA_ADDRESS, l->addr.s_addr);
	mnl_attr_put_u32(msg, IFA_LOCAL, l->addr.s_addr);
	answer(s, msg, msg->nlmsg_len);
}

static void tell_default(struct mnl_socket *s, const struct nlmsghdr *req, const struct line *l)
{
	char buf[1024];
	struct nlmsghdr *msg = message(buf, s, req, RTM_NEWROUTE);
	struct rtmsg *rtm = mnl_nlmsg_put_extra_header(msg, sizeof(*rtm));

	rtm->rtm_family = AF_INET;
	rtm->rtm_table = RT_TABLE_MAIN;
	rtm->rtm_protocol = RTPROT_BOOT;
	rtm->rtm_type = RTN_UNICAST;
	mnl_attr_put_u32(msg, RTA_TABLE, RT_TABLE_MAIN);
	mnl_attr_put_u32(msg, RTA_GATEWAY, l->gateway.s_addr);
	mnl_attr_put_u32(msg, RTA_OIF, (uint32_t)l->index);
	mnl_attr_put_u32(msg, RTA_PRIORITY, (uint32_t)(100 + l->index));
	answer(s, msg, msg->nlmsg_len);
}

static void each_line(struct mnl_socket *s, const struct nlmsghdr *req,
		      void (*tell)(struct mnl_socket *, const struct nlmsghdr *,
				   const struct line *),
		      bool numbered)
{
	for (unsigned i = 0; s->host == GATEWAY && i < n_lines; i++)
		if (is_there(&lines[i]) &&
		    (!numbered || (lines[i].carrier && lines[i].addr.s_addr)))
			tell(s, req, &lines[i]);
}

static void tell_kept(struct mnl_socket *s, const struct nlmsghdr *req, uint16_t type)
{
	const struct table *t = &tables[s->host];
	uint8_t family = *(const uint8_t *)mnl_nlmsg_get_payload(req);
	char buf[2048];

	for (unsigned i = 0; i < t->n; i++) {
		struct nlmsghdr *msg = memcpy(buf, t->item[i], t->item[i]->nlmsg_len);

		if (msg->nlmsg_type != type ||
		    (family && *(uint8_t *)mnl_nlmsg_get_payload(msg) != family))
			continue;
		msg->nlmsg_seq = req->nlmsg_seq;
		msg->nlmsg_pid = s->pid;
		msg->nlmsg_flags = NLM_F_MULTI;
		answer(s, msg, msg->nlmsg_len);
	}
}

static void dump(struct mnl_socket *s, const struct nlmsghdr *req)
{
	uint8_t family = *(const uint8_t *)mnl_nlmsg_get_payload(req);

	if (req->nlmsg_type == RTM_GETLINK) {
		each_line(s, req, tell_device, false);
		if (s->host == GATEWAY)
			tell_device(s, req, &lines[LINE_LAN]);
	} else if (req->nlmsg_type == RTM_GETADDR) {
		each_line(s, req, tell_address, true);
		if (s->host == GATEWAY)
			tell_address(s, req, &lines[LINE_LAN]);
	} else if (req->nlmsg_type == RTM_GETROUTE) {
		if (family != AF_INET6)
			each_line(s, req, tell_default, true);
		tell_kept(s, req, RTM_NEWROUTE);
	} else if (req->nlmsg_type == RTM_GETRULE) {
		tell_kept(s, req, RTM_NEWRULE);
	}
	answer_done(s, req);
}

/* --- what the daemons put in --- */

static int find(const struct table *t, uint16_t type, const struct nlmsghdr *req)
{
	for (unsigned i = 0; i < t->n; i++)
		if (t->item[i]->nlmsg_type == type && t->item[i]->nlmsg_len == req->nlmsg_len &&
		    !memcmp(mnl_nlmsg_get_payload(t->item[i]), mnl_nlmsg_get_payload(req),
			    mnl_nlmsg_get_payload_len(req)))
			return (int)i;
	return -1;
}

static int put_in(struct table *t, const struct nlmsghdr *req)
{
	if (find(t, req->nlmsg_type, req) >= 0)
		return EEXIST;
	if (t->n == ITEMS)
		return ENOBUFS;
	t->item[t->n++] = memcpy(sim_alloc(req->nlmsg_len), req, req->nlmsg_len);
	return 0;
}

static int take_out(struct table *t, const struct nlmsghdr *req, uint16_t type)
{
	int i = find(t, type, req);

	if (i < 0)
		return type == RTM_NEWROUTE ? ESRCH : ENOENT;
	free(t->item[i]);
	t->item[i] = t->item[--t->n];
	return 0;
}

static void rtnetlink(struct mnl_socket *s, const struct nlmsghdr *req)
{
	struct table *t = &tables[s->host];
	int error = EOPNOTSUPP;

	if (req->nlmsg_type == RTM_NEWROUTE || req->nlmsg_type == RTM_NEWRULE)
		error = put_in(t, req);
	else if (req->nlmsg_type == RTM_DELROUTE || req->nlmsg_type == RTM_DELRULE)
		error = take_out(t, req,
				 req->nlmsg_type == RTM_DELROUTE ? RTM_NEWROUTE : RTM_NEWRULE);
	answer_error(s, req, error);
}

static int keep(const struct nlattr *a, void *data)
{
	const struct nlattr **tb = data;

	if (mnl_attr_get_type(a) < 16)
		tb[mnl_attr_get_type(a)] = a;
	return MNL_CB_OK;
}

/* What a device has carried, or the route to somewhere. */
static void question(struct mnl_socket *s, const struct nlmsghdr *req)
{
	const struct nlattr *tb[16] = { NULL };
	char buf[1024];
	struct rtmsg *rtm;

	mnl_attr_parse(req,
		       req->nlmsg_type == RTM_GETLINK ? sizeof(struct ifinfomsg) : sizeof(*rtm),
		       keep, tb);
	if (req->nlmsg_type == RTM_GETLINK) {
		for (unsigned i = 0; i < n_lines; i++)
			if (tb[IFLA_IFNAME] &&
			    !strcmp(mnl_attr_get_str(tb[IFLA_IFNAME]), lines[i].name) &&
			    s->host == GATEWAY) {
				tell_device(s, req, &lines[i]);
				answer_error(s, req, 0);
				return;
			}
		answer_error(s, req, ENODEV);
	} else {
		struct nlmsghdr *msg = message(buf, s, req, RTM_NEWROUTE);

		rtm = mnl_nlmsg_put_extra_header(msg, sizeof(*rtm));
		rtm->rtm_family = AF_INET;
		rtm->rtm_type = RTN_UNICAST;
		answer(s, msg, msg->nlmsg_len);
		answer_error(s, req, 0);
	}
}

/* --- MPTCP's path manager --- */

static int line_of_index(uint32_t index)
{
	for (unsigned i = 0; i < n_lines; i++)
		if (lines[i].index == (int)index)
			return (int)i;
	return -1;
}

static void endpoint_changed(enum host host, unsigned i, bool there)
{
	int line = line_of_index(tables[host].endpoint[i].index);

	tables[host].endpoint[i].there = there;
	if (host == GATEWAY && line >= 0)
		streams_endpoint(line, there, tables[host].endpoint[i].flags & 4);
}

static int endpoint_do(enum host host, uint8_t cmd, const struct nlattr **a)
{
	uint8_t id = a[MPTCP_PM_ADDR_ATTR_ID] ? mnl_attr_get_u8(a[MPTCP_PM_ADDR_ATTR_ID]) : 0;
	uint32_t flags = a[MPTCP_PM_ADDR_ATTR_FLAGS] ?
				 mnl_attr_get_u32(a[MPTCP_PM_ADDR_ATTR_FLAGS]) :
				 0;
	unsigned i, room = ENDPOINTS;
	struct table *t = &tables[host];

	for (i = 0; i < ENDPOINTS; i++) {
		if (!t->endpoint[i].there)
			room = i;
		else if (t->endpoint[i].id == id)
			break;
	}
	if (cmd == MPTCP_PM_CMD_ADD_ADDR) {
		if (i < ENDPOINTS || room == ENDPOINTS || !a[MPTCP_PM_ADDR_ATTR_ADDR4])
			return EINVAL;
		t->endpoint[room].id = id;
		t->endpoint[room].flags = flags;
		t->endpoint[room].addr.s_addr = mnl_attr_get_u32(a[MPTCP_PM_ADDR_ATTR_ADDR4]);
		t->endpoint[room].index = a[MPTCP_PM_ADDR_ATTR_IF_IDX] ?
						  mnl_attr_get_u32(a[MPTCP_PM_ADDR_ATTR_IF_IDX]) :
						  0;
		endpoint_changed(host, room, true);
		return 0;
	}
	if (i == ENDPOINTS)
		return EINVAL;
	if (cmd == MPTCP_PM_CMD_SET_FLAGS)
		t->endpoint[i].flags = (t->endpoint[i].flags & ~12u) | flags;
	endpoint_changed(host, i, cmd == MPTCP_PM_CMD_SET_FLAGS);
	return 0;
}

static void tell_endpoints(struct mnl_socket *s, const struct nlmsghdr *req)
{
	const struct table *t = &tables[s->host];

	for (unsigned i = 0; i < ENDPOINTS; i++) {
		char buf[1024];
		struct nlmsghdr *msg = message(buf, s, req, MPTCP_FAMILY);
		struct nlattr *nest;

		if (!t->endpoint[i].there)
			continue;
		mnl_nlmsg_put_extra_header(msg, sizeof(struct genlmsghdr));
		nest = mnl_attr_nest_start(msg, MPTCP_PM_ATTR_ADDR);
		mnl_attr_put_u16(msg, MPTCP_PM_ADDR_ATTR_FAMILY, AF_INET);
		mnl_attr_put_u8(msg, MPTCP_PM_ADDR_ATTR_ID, t->endpoint[i].id);
		mnl_attr_put_u32(msg, MPTCP_PM_ADDR_ATTR_ADDR4, t->endpoint[i].addr.s_addr);
		mnl_attr_put_u32(msg, MPTCP_PM_ADDR_ATTR_FLAGS, t->endpoint[i].flags);
		mnl_attr_put_u32(msg, MPTCP_PM_ADDR_ATTR_IF_IDX, t->endpoint[i].index);
		mnl_attr_nest_end(msg, nest);
		answer(s, msg, msg->nlmsg_len);
	}
	answer_done(s, req);
}

static void mptcp(struct mnl_socket *s, const struct nlmsghdr *req)
{
	const struct genlmsghdr *g = mnl_nlmsg_get_payload(req);
	const struct nlattr *top[16] = { NULL }, *a[16] = { NULL };
	struct table *t = &tables[s->host];
	char buf[1024];

	mnl_attr_parse(req, sizeof(*g), keep, top);
	if (top[MPTCP_PM_ATTR_ADDR])
		mnl_attr_parse_nested(top[MPTCP_PM_ATTR_ADDR], keep, a);
	if (g->cmd == MPTCP_PM_CMD_GET_ADDR) {
		tell_endpoints(s, req);
		return;
	}
	if (g->cmd == MPTCP_PM_CMD_GET_LIMITS) {
		struct nlmsghdr *msg = message(buf, s, req, MPTCP_FAMILY);

		mnl_nlmsg_put_extra_header(msg, sizeof(*g));
		mnl_attr_put_u32(msg, MPTCP_PM_ATTR_RCV_ADD_ADDRS, t->limit_accept);
		mnl_attr_put_u32(msg, MPTCP_PM_ATTR_SUBFLOWS, t->limit_subflows);
		answer(s, msg, msg->nlmsg_len);
		answer_error(s, req, 0);
	} else if (g->cmd == MPTCP_PM_CMD_SET_LIMITS) {
		t->limit_accept = mnl_attr_get_u32(top[MPTCP_PM_ATTR_RCV_ADD_ADDRS]);
		t->limit_subflows = mnl_attr_get_u32(top[MPTCP_PM_ATTR_SUBFLOWS]);
		answer_error(s, req, 0);
	} else {
		answer_error(s, req, endpoint_do(s->host, g->cmd, a));
	}
}

static void resolve_family(struct mnl_socket *s, const struct nlmsghdr *req)
{
	char buf[1024];
	struct nlmsghdr *msg = message(buf, s, req, GENL_ID_CTRL);

	mnl_nlmsg_put_extra_header(msg, sizeof(struct genlmsghdr));
	mnl_attr_put_u16(msg, CTRL_ATTR_FAMILY_ID, MPTCP_FAMILY);
	answer(s, msg, msg->nlmsg_len);
	answer_error(s, req, 0);
}

/* --- news --- */

void kernel_line_changed(int line)
{
	char buf[64] = { 0 };
	struct nlmsghdr *msg = mnl_nlmsg_put_header(buf);

	streams_line_changed(line);
	msg->nlmsg_type = RTM_NEWLINK;
	mnl_nlmsg_put_extra_header(msg, sizeof(struct ifinfomsg));
	for (struct mnl_socket *s = sockets; s; s = s->next)
		if (s->host == GATEWAY && s->groups && s->n < QUEUE - 1)
			answer(s, msg, msg->nlmsg_len);
}

/* --- libmnl's sockets --- */

static uint32_t socket_ready(void *obj)
{
	return ((struct mnl_socket *)obj)->n ? EPOLLIN : 0;
}

static void socket_close(void *obj)
{
	struct mnl_socket *s = obj, **at = &sockets;

	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	for (; s->n; s->n--, s->first++)
		free(s->answer[s->first % QUEUE].data);
	free(s);
}

static int socket_set(void *obj, int level, int option, const void *value, socklen_t len)
{
	(void)obj, (void)level, (void)option, (void)value, (void)len;
	return 0;
}

static const struct fd_ops socket_ops = { .ready = socket_ready,
					  .close = socket_close,
					  .set = socket_set };

struct mnl_socket *mnl_socket_open2(int bus, int flags)
{
	struct mnl_socket *s = sim_alloc(sizeof(*s));

	(void)flags;
	s->bus = bus;
	s->host = proc_current();
	s->pid = pids++;
	s->next = sockets;
	sockets = s;
	s->fd = fd_new(&socket_ops, s);
	return s;
}

int mnl_socket_bind(struct mnl_socket *s, unsigned groups, pid_t pid)
{
	(void)pid;
	s->groups = groups;
	return 0;
}

int mnl_socket_close(struct mnl_socket *s)
{
	extern int close(int);

	return close(s->fd);
}

int mnl_socket_get_fd(const struct mnl_socket *s)
{
	return s->fd;
}

unsigned mnl_socket_get_portid(const struct mnl_socket *s)
{
	return s->pid;
}

int mnl_socket_setsockopt(const struct mnl_socket *s, int type, void *buf, socklen_t len)
{
	(void)s, (void)type, (void)buf, (void)len;
	return 0;
}

ssize_t mnl_socket_sendto(const struct mnl_socket *socket, const void *buf, size_t len)
{
	struct mnl_socket *s = (struct mnl_socket *)(uintptr_t)socket;
	const struct nlmsghdr *req = buf;

	if (s->bus == NETLINK_GENERIC && req->nlmsg_type == GENL_ID_CTRL)
		resolve_family(s, req);
	else if (s->bus == NETLINK_GENERIC)
		mptcp(s, req);
	else if ((req->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP)
		dump(s, req);
	else if (req->nlmsg_type == RTM_GETLINK || req->nlmsg_type == RTM_GETROUTE)
		question(s, req);
	else
		rtnetlink(s, req);
	return (ssize_t)len;
}

ssize_t mnl_socket_recvfrom(const struct mnl_socket *socket, void *buf, size_t size)
{
	struct mnl_socket *s = (struct mnl_socket *)(uintptr_t)socket;
	size_t len;

	if (!s->n) {
		errno = EAGAIN;
		return -1;
	}
	len = s->answer[s->first].len;
	if (len > size)
		sim_fail("an answer of the kernel is too long");
	memcpy(buf, s->answer[s->first].data, len);
	free(s->answer[s->first].data);
	s->first = (s->first + 1) % QUEUE;
	s->n--;
	return (ssize_t)len;
}
