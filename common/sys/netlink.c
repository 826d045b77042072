/* SPDX-License-Identifier: BSD-2-Clause */
/* netlink: see netlink.h. */
#include "netlink.h"

#include <errno.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#define BUFFER 32768 /* what the kernel fills at most in one message of a dump */

struct netlink {
	struct mnl_socket *sock;
	uint32_t seq;
	char error[160];
	char buf[BUFFER];
};

struct netlink *netlink_open(int protocol)
{
	struct netlink *nl = calloc(1, sizeof(*nl));
	struct timeval limit = {.tv_sec = 2};
	int on = 1;

	if (!nl)
		return NULL;
	nl->sock = mnl_socket_open2(protocol, SOCK_CLOEXEC);
	if (!nl->sock || mnl_socket_bind(nl->sock, 0, MNL_SOCKET_AUTOPID) < 0) {
		netlink_close(nl);
		return NULL;
	}
	mnl_socket_setsockopt(nl->sock, NETLINK_EXT_ACK, &on, sizeof(on));
	mnl_socket_setsockopt(nl->sock, NETLINK_CAP_ACK, &on, sizeof(on));
	setsockopt(mnl_socket_get_fd(nl->sock), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	return nl;
}

void netlink_close(struct netlink *nl)
{
	int keep = errno;

	if (nl && nl->sock)
		mnl_socket_close(nl->sock);
	free(nl);
	errno = keep;
}

const char *netlink_error(const struct netlink *nl)
{
	return nl->error[0] ? nl->error : "no error";
}

bool netlink_ok(const struct nlmsghdr *msg, size_t len)
{
	return len >= sizeof(*msg) && msg->nlmsg_len >= sizeof(*msg) && msg->nlmsg_len <= len;
}

/* Up to where whole messages stand one behind the other. */
static size_t whole_messages(const char *buf, size_t len)
{
	size_t at = 0;

	while (at < len && netlink_ok((const struct nlmsghdr *)(buf + at), len - at))
		at += MNL_ALIGN(((const struct nlmsghdr *)(buf + at))->nlmsg_len);
	return at < len ? at : len;
}

static int attr_store(const struct nlattr *a, void *data)
{
	const struct nlattr **tb = data;
	uint16_t max = (uint16_t)(uintptr_t)tb[0];

	if (mnl_attr_get_type(a) <= max && mnl_attr_get_type(a) > 0)
		tb[mnl_attr_get_type(a)] = a;
	return MNL_CB_OK;
}

/* tb[0] lends itself to carry the bound: no family of ours uses attribute 0. */
static int attrs_done(const struct nlattr **tb, int verdict)
{
	tb[0] = NULL;
	return verdict == MNL_CB_ERROR ? -1 : 0;
}

static void attrs_start(const struct nlattr **tb, uint16_t max)
{
	memset(tb, 0, (max + 1u) * sizeof(*tb));
	tb[0] = (const struct nlattr *)(uintptr_t)max;
}

int netlink_attrs(const struct nlmsghdr *msg, size_t offset, const struct nlattr **tb, uint16_t max)
{
	attrs_start(tb, max);
	if (mnl_nlmsg_get_payload_len(msg) < MNL_ALIGN(offset))
		return attrs_done(tb, MNL_CB_ERROR);
	return attrs_done(tb, mnl_attr_parse(msg, (unsigned)offset, attr_store, tb));
}

int netlink_nested(const struct nlattr *nest, const struct nlattr **tb, uint16_t max)
{
	attrs_start(tb, max);
	return attrs_done(tb, mnl_attr_parse_nested(nest, attr_store, tb));
}

uint32_t netlink_u32(const struct nlattr *a, uint32_t otherwise)
{
	return a && mnl_attr_get_payload_len(a) >= 4 ? mnl_attr_get_u32(a) : otherwise;
}

uint16_t netlink_u16(const struct nlattr *a, uint16_t otherwise)
{
	return a && mnl_attr_get_payload_len(a) >= 2 ? mnl_attr_get_u16(a) : otherwise;
}

uint8_t netlink_u8(const struct nlattr *a, uint8_t otherwise)
{
	return a && mnl_attr_get_payload_len(a) >= 1 ? mnl_attr_get_u8(a) : otherwise;
}

/* The text of an extended acknowledgement, if the kernel sent one. */
static const char *ack_text(const struct nlmsghdr *msg, const struct nlmsgerr *e)
{
	size_t offset = sizeof(*e);
	const struct nlattr *tb[NLMSGERR_ATTR_MSG + 1];

	if (!(msg->nlmsg_flags & NLM_F_ACK_TLVS))
		return NULL;
	if (!(msg->nlmsg_flags & NLM_F_CAPPED) && e->msg.nlmsg_len >= sizeof(e->msg))
		offset += MNL_ALIGN(e->msg.nlmsg_len - sizeof(e->msg));
	if (netlink_attrs(msg, offset, tb, NLMSGERR_ATTR_MSG) < 0 || !tb[NLMSGERR_ATTR_MSG] ||
	    mnl_attr_validate(tb[NLMSGERR_ATTR_MSG], MNL_TYPE_NUL_STRING) < 0)
		return NULL;
	return mnl_attr_get_str(tb[NLMSGERR_ATTR_MSG]);
}

struct answer {
	struct netlink *nl;
	mnl_cb_t cb;
	void *arg;
};

#define ERRNO_MAX 4095

static int errno_of(int error)
{
	return error < -ERRNO_MAX || error > ERRNO_MAX ? EIO : abs(error);
}

static int answer_error(const struct nlmsghdr *msg, void *data)
{
	struct answer *a = data;
	const struct nlmsgerr *e = mnl_nlmsg_get_payload(msg);
	const char *text;

	if (mnl_nlmsg_get_payload_len(msg) < sizeof(*e)) {
		errno = EBADMSG;
		return MNL_CB_ERROR;
	}
	if (!e->error)
		return MNL_CB_STOP;
	text = ack_text(msg, e);
	if (text)
		snprintf(a->nl->error, sizeof(a->nl->error), "%s", text);
	errno = errno_of(e->error);
	return MNL_CB_ERROR;
}

/* The end of a dump says how it ended. */
static int answer_done(const struct nlmsghdr *msg, void *data)
{
	const int *status = mnl_nlmsg_get_payload(msg);

	(void)data;
	if (mnl_nlmsg_get_payload_len(msg) < sizeof(*status) || *status >= 0)
		return MNL_CB_STOP;
	errno = errno_of(*status);
	return MNL_CB_ERROR;
}

static int answer_message(const struct nlmsghdr *msg, void *data)
{
	struct answer *a = data;

	return a->cb ? a->cb(msg, a->arg) : MNL_CB_OK;
}

/* The answer's next part: positive to go on, 0 at the end, negative errno. What is left of an
 * earlier, timed out answer carries another number and is skipped. */
static int answer_part(struct netlink *nl, struct answer *a)
{
	mnl_cb_t ctl[NLMSG_MIN_TYPE] = {[NLMSG_ERROR] = answer_error, [NLMSG_DONE] = answer_done};
	ssize_t len = mnl_socket_recvfrom(nl->sock, nl->buf, sizeof(nl->buf));
	const struct nlmsghdr *first = (const struct nlmsghdr *)nl->buf;
	int verdict;

	if (len < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	if (netlink_ok(first, (size_t)len) && first->nlmsg_seq != nl->seq)
		return 1;
	verdict = mnl_cb_run2(nl->buf, whole_messages(nl->buf, (size_t)len), nl->seq, mnl_socket_get_portid(nl->sock), answer_message, a, ctl,
			      sizeof(ctl) / sizeof(ctl[0]));
	if (verdict < 0)
		return errno ? -errno : -EIO;
	return verdict;
}

int netlink_call(struct netlink *nl, struct nlmsghdr *req, mnl_cb_t cb, void *arg)
{
	struct answer a = {.nl = nl, .cb = cb, .arg = arg};
	int verdict;

	nl->error[0] = '\0';
	req->nlmsg_seq = ++nl->seq;
	req->nlmsg_flags |= NLM_F_REQUEST;
	if ((req->nlmsg_flags & NLM_F_DUMP) != NLM_F_DUMP)
		req->nlmsg_flags |= NLM_F_ACK;
	if (mnl_socket_sendto(nl->sock, req, req->nlmsg_len) < 0)
		verdict = -errno;
	else
		do
			verdict = answer_part(nl, &a);
		while (verdict > 0);
	if (verdict < 0 && !nl->error[0])
		snprintf(nl->error, sizeof(nl->error), "%s", strerror(-verdict));
	return verdict;
}
