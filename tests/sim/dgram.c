/* SPDX-License-Identifier: BSD-2-Clause */
/* dgram: UDP between the gateway and a VPS. A datagram leaves by the line of its socket's address
 * and arrives when that line says, or not. Left out: segmentation offloads, fragments, ICMP. */
#include "dgram.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "fd.h"
#include "line.h"
#include "numbers.h"
#include "sim.h"
#include "sim_clock.h"

#define HEADER 28
#define QUEUE_MAX 256
#define MTU 1500

struct datagram {
	TAILQ_ENTRY(datagram) entry;
	enum host to_host;
	struct sockaddr_in from, to;
	uint8_t tos;
	size_t len;
	uint8_t data[];
};

struct dgram {
	LIST_ENTRY(dgram) entry;
	enum host host;
	int fd;
	struct sockaddr_in name, peer; /* peer: sin_family 0: it is not connected */
	TAILQ_HEAD(, datagram) got;
	unsigned n;
};

static LIST_HEAD(, dgram) sockets;

void dgrams_begin(void)
{
	LIST_INIT(&sockets);
}

static void arrives(void *arg)
{
	struct datagram *d = arg;
	struct dgram *s;

	LIST_FOREACH(s, &sockets, entry) {
		if (s->host != d->to_host || s->name.sin_port != d->to.sin_port ||
		    s->n == QUEUE_MAX ||
		    (s->peer.sin_family && s->peer.sin_addr.s_addr != d->from.sin_addr.s_addr) ||
		    (s->name.sin_addr.s_addr && s->name.sin_addr.s_addr != d->to.sin_addr.s_addr))
			continue;
		TAILQ_INSERT_TAIL(&s->got, d, entry);
		s->n++;
		fd_changed(s->fd);
		return;
	}
	free(d);
}

static uint8_t tos_of(const struct msghdr *msg)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c;
	     c = CMSG_NXTHDR((struct msghdr *)(uintptr_t)msg, c))
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS)
			return *CMSG_DATA(c);
	return 0;
}

static ssize_t dgram_sendmsg(void *obj, const struct msghdr *msg)
{
	struct dgram *s = obj;
	const struct sockaddr_in *to = msg->msg_name ? msg->msg_name : &s->peer;
	int line = line_of(s->host == GATEWAY ? s->name.sin_addr : to->sin_addr);
	size_t len = 0, at = 0;
	uint8_t data[MTU];
	struct datagram *d;
	uint64_t when;

	for (size_t i = 0; i < msg->msg_iovlen; i++)
		len += msg->msg_iov[i].iov_len;
	if (len + HEADER > MTU)
		return -EMSGSIZE;
	for (size_t i = 0; i < msg->msg_iovlen; at += msg->msg_iov[i++].iov_len)
		memcpy(data + at, msg->msg_iov[i].iov_base, msg->msg_iov[i].iov_len);
	numbers_seen(s->host, data, len);
	if (line < 0) /* its address has gone, or nobody has it */
		return s->host == GATEWAY ? -ENETUNREACH : (ssize_t)len;
	when = line_send(&lines[line], s->host == GATEWAY ? UP : DOWN, (uint32_t)len + HEADER);
	if (when == NEVER || lines[line].drops_udp)
		return (ssize_t)len;
	d = sim_alloc(sizeof(*d) + len);
	d->to_host = s->host == GATEWAY ? line_vps(to->sin_addr) : GATEWAY;
	d->from = s->name;
	if (s->host != GATEWAY)
		d->from.sin_addr = lines[line_net(s->host)].addr;
	d->to = *to;
	d->tos = tos_of(msg);
	d->len = len;
	memcpy(d->data, data, len);
	alarm_once(when - clock_now(), arrives, d);
	return (ssize_t)len;
}

static void put_cmsg(struct msghdr *msg, size_t *used, int type, const void *value, size_t len)
{
	struct cmsghdr *c = (struct cmsghdr *)(void *)((uint8_t *)msg->msg_control + *used);

	if (*used + CMSG_SPACE(len) > msg->msg_controllen)
		return;
	c->cmsg_level = IPPROTO_IP;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(c), value, len);
	*used += CMSG_SPACE(len);
}

static ssize_t dgram_recvmsg(void *obj, struct msghdr *msg)
{
	struct dgram *s = obj;
	struct datagram *d = TAILQ_FIRST(&s->got);
	size_t used = 0, len;

	if (!d)
		return -EAGAIN;
	len = d->len < msg->msg_iov[0].iov_len ? d->len : msg->msg_iov[0].iov_len;
	memcpy(msg->msg_iov[0].iov_base, d->data, len);
	memcpy(msg->msg_name, &d->from, sizeof(d->from));
	msg->msg_namelen = sizeof(d->from);
	put_cmsg(msg, &used, IP_TOS, &d->tos, 1);
	put_cmsg(msg, &used, IP_PKTINFO, &(struct in_pktinfo){ .ipi_addr = d->to.sin_addr },
		 sizeof(struct in_pktinfo));
	msg->msg_controllen = used;
	TAILQ_REMOVE(&s->got, d, entry);
	s->n--;
	free(d);
	return (ssize_t)len;
}

static uint32_t dgram_ready(void *obj)
{
	return ((struct dgram *)obj)->n ? EPOLLIN | EPOLLOUT : EPOLLOUT;
}

static void dgram_close(void *obj)
{
	struct dgram *s = obj;
	struct datagram *d;

	while ((d = TAILQ_FIRST(&s->got))) {
		TAILQ_REMOVE(&s->got, d, entry);
		free(d);
	}
	LIST_REMOVE(s, entry);
	free(s);
}

static bool is_own(const struct dgram *s, struct in_addr a)
{
	return !a.s_addr || a.s_addr == htonl(INADDR_LOOPBACK) ||
	       (s->host == GATEWAY ? line_of(a) >= 0 || a.s_addr == lines[LINE_LAN].addr.s_addr :
				     a.s_addr == lines[line_net(s->host)].addr.s_addr);
}

static int dgram_bind(void *obj, const struct sockaddr *sa)
{
	struct dgram *s = obj;
	const struct sockaddr_in *at = (const struct sockaddr_in *)sa;

	if (!is_own(s, at->sin_addr))
		return -EADDRNOTAVAIL;
	s->name = *at;
	if (!s->name.sin_port)
		s->name.sin_port = noise_port();
	return 0;
}

static int dgram_connect(void *obj, const struct sockaddr *sa)
{
	struct dgram *s = obj;

	s->peer = *(const struct sockaddr_in *)sa;
	return 0;
}

static int dgram_name(void *obj, bool peer, struct sockaddr_storage *sa)
{
	struct dgram *s = obj;

	memset(sa, 0, sizeof(*sa));
	memcpy(sa, peer ? &s->peer : &s->name, sizeof(s->name));
	return peer && !s->peer.sin_family ? -ENOTCONN : 0;
}

static int dgram_set(void *obj, int level, int option, const void *value, socklen_t len)
{
	(void)obj, (void)value, (void)len;
	return level == IPPROTO_UDP && (option == UDP_SEGMENT || option == UDP_GRO) ? -ENOPROTOOPT :
										      0;
}

static const struct fd_ops dgram_ops = {
	.ready = dgram_ready,
	.close = dgram_close,
	.bind = dgram_bind,
	.connect = dgram_connect,
	.name = dgram_name,
	.set = dgram_set,
	.sendmsg = dgram_sendmsg,
	.recvmsg = dgram_recvmsg,
};

int dgram_socket(void)
{
	struct dgram *s = sim_alloc(sizeof(*s));

	s->host = proc_current();
	s->name.sin_family = AF_INET;
	TAILQ_INIT(&s->got);
	LIST_INSERT_HEAD(&sockets, s, entry);
	s->fd = fd_new(&dgram_ops, s);
	return s->fd;
}
