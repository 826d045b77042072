/* SPDX-License-Identifier: BSD-2-Clause */
/* nft_monitor: see nft_monitor.h. Messages as in linux/netfilter/nf_tables.h; the name of the table
 * is the first attribute of each of them. */
#include "nft_monitor.h"

#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "netlink.h"
#include "timer.h"

struct nft_monitor {
	struct mnl_socket *sock;
	struct event *readable, *quiet;
	const char *ours;
	unsigned delay_ms;
	void (*changed)(void *arg);
	void *arg;
	char buf[8192];
};

static void nft_monitor_quiet(evutil_socket_t fd, short what, void *arg)
{
	struct nft_monitor *m = arg;

	(void)fd, (void)what;
	m->changed(m->arg);
}

static bool is_in_ours(const struct nft_monitor *m, const struct nlmsghdr *msg)
{
	const struct nlattr *tb[NFTA_TABLE_NAME + 1];
	size_t len = strlen(m->ours);

	if (netlink_attrs(msg, sizeof(struct nfgenmsg), tb, NFTA_TABLE_NAME) || !tb[NFTA_TABLE_NAME])
		return false;
	return mnl_attr_get_payload_len(tb[NFTA_TABLE_NAME]) > len &&
	       !memcmp(mnl_attr_get_payload(tb[NFTA_TABLE_NAME]), m->ours, len);
}

static bool nft_monitor_is_news(const struct nft_monitor *m, const struct nlmsghdr *msg)
{
	if (NFNL_SUBSYS_ID(msg->nlmsg_type) != NFNL_SUBSYS_NFTABLES)
		return false;
	switch (NFNL_MSG_TYPE(msg->nlmsg_type)) {
	case NFT_MSG_DELTABLE:
	case NFT_MSG_DELCHAIN:
	case NFT_MSG_DELRULE:
		return true;
	case NFT_MSG_NEWGEN:
		return false;
	default:
		return is_in_ours(m, msg);
	}
}

static bool nft_monitor_has_news(const struct nft_monitor *m, ssize_t size)
{
	const struct nlmsghdr *msg = (const struct nlmsghdr *)m->buf;
	int len = (int)size;

	for (; len > 0 && netlink_ok(msg, (size_t)len); msg = mnl_nlmsg_next(msg, &len))
		if (nft_monitor_is_news(m, msg))
			return true;
	return false;
}

static void nft_monitor_readable(evutil_socket_t fd, short what, void *arg)
{
	struct nft_monitor *m = arg;
	bool news = false;
	ssize_t len;

	(void)fd, (void)what;
	/* ENOBUFS: messages were lost. */
	while ((len = mnl_socket_recvfrom(m->sock, m->buf, sizeof(m->buf))) > 0 || (len < 0 && errno == ENOBUFS))
		news |= len < 0 || nft_monitor_has_news(m, len);
	if (news && !evtimer_pending(m->quiet, NULL))
		timer_in_ms(m->quiet, m->delay_ms);
}

struct nft_monitor *nft_monitor_new(struct event_base *base, const char *ours, unsigned delay_ms, void (*changed)(void *arg),
				    void *arg)
{
	struct nft_monitor *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->ours = ours;
	m->delay_ms = delay_ms;
	m->changed = changed;
	m->arg = arg;
	m->sock = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!m->sock || mnl_socket_bind(m->sock, 1u << (NFNLGRP_NFTABLES - 1), MNL_SOCKET_AUTOPID) < 0) {
		nft_monitor_free(m);
		return NULL;
	}
	m->readable = event_new(base, mnl_socket_get_fd(m->sock), EV_READ | EV_PERSIST, nft_monitor_readable, m);
	m->quiet = evtimer_new(base, nft_monitor_quiet, m);
	if (!m->readable || !m->quiet || event_add(m->readable, NULL) < 0) {
		nft_monitor_free(m);
		errno = ENOMEM;
		return NULL;
	}
	return m;
}

void nft_monitor_free(struct nft_monitor *m)
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
