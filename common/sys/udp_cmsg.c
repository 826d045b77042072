/* SPDX-License-Identifier: BSD-2-Clause */
/* udp_cmsg: see udp_cmsg.h. */
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>

#include "udp_cmsg.h"

static void put(struct msghdr *msg, size_t *used, int level, int type, const void *value, size_t len)
{
	struct cmsghdr *c = (struct cmsghdr *)((char *)msg->msg_control + *used);

	c->cmsg_level = level;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(c), value, len);
	*used += CMSG_SPACE(len);
}

static void put_source(struct msghdr *msg, size_t *used, bool v4, const struct addr *from)
{
	struct in6_pktinfo info6 = { 0 };
	struct in_pktinfo info4 = { 0 };
	size_t len;
	const uint8_t *ip = addr_bytes(from, &len);

	if (v4 && len == 4) {
		memcpy(&info4.ipi_spec_dst, ip, len);
		put(msg, used, IPPROTO_IP, IP_PKTINFO, &info4, sizeof(info4));
	} else if (!v4 && len == 16) {
		memcpy(&info6.ipi6_addr, ip, len);
		put(msg, used, IPPROTO_IPV6, IPV6_PKTINFO, &info6, sizeof(info6));
	}
}

void udp_cmsg_put(struct msghdr *msg, const struct udp_cmsg_out *out)
{
	size_t used = 0;
	int tos = out->tos;

	if (out->from && !addr_is_any(out->from))
		put_source(msg, &used, out->v4, out->from);
	if (out->v4)
		put(msg, &used, IPPROTO_IP, IP_TOS, &tos, sizeof(tos));
	else
		put(msg, &used, IPPROTO_IPV6, IPV6_TCLASS, &tos, sizeof(tos));
	if (out->segment)
		put(msg, &used, IPPROTO_UDP, UDP_SEGMENT, &out->segment, sizeof(out->segment));
	msg->msg_controllen = used;
}

/* IP_TOS comes as one byte, the others as ints. */
static int cmsg_number(const struct cmsghdr *c)
{
	int value = 0;

	if (c->cmsg_len >= CMSG_LEN(sizeof(value)))
		memcpy(&value, CMSG_DATA(c), sizeof(value));
	else if (c->cmsg_len >= CMSG_LEN(1))
		value = *CMSG_DATA(c);
	return value;
}

static void get_one(struct udp_cmsg_in *in, const struct cmsghdr *c)
{
	struct in6_pktinfo info6;
	struct in_pktinfo info4;
	int level = c->cmsg_level, type = c->cmsg_type;

	if ((level == IPPROTO_IP && type == IP_TOS) || (level == IPPROTO_IPV6 && type == IPV6_TCLASS)) {
		in->tos = (uint8_t)cmsg_number(c);
	} else if (level == IPPROTO_UDP && type == UDP_GRO) {
		in->segment = cmsg_number(c) > 0 ? (size_t)cmsg_number(c) : 0;
	} else if (level == IPPROTO_IP && type == IP_PKTINFO && c->cmsg_len >= CMSG_LEN(sizeof(info4))) {
		memcpy(&info4, CMSG_DATA(c), sizeof(info4));
		in->has_to = addr_from_bytes(&in->to, &info4.ipi_addr, 4, 0) == 0;
	} else if (level == IPPROTO_IPV6 && type == IPV6_PKTINFO && c->cmsg_len >= CMSG_LEN(sizeof(info6))) {
		memcpy(&info6, CMSG_DATA(c), sizeof(info6));
		in->has_to = addr_from_bytes(&in->to, &info6.ipi6_addr, 16, 0) == 0;
	}
}

void udp_cmsg_get(struct udp_cmsg_in *in, struct msghdr *msg)
{
	memset(in, 0, sizeof(*in));
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c))
		get_one(in, c);
}

void udp_cmsg_ask(int fd, int family)
{
	int on = 1;

	setsockopt(fd, IPPROTO_IP, IP_RECVTOS, &on, sizeof(on)); /* also on AF_INET6: for IPv4 that arrives there */
	if (family == AF_INET6) {
		setsockopt(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, &on, sizeof(on));
		setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on)); /* tells of IPv4 too */
	} else {
		setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on));
	}
}
