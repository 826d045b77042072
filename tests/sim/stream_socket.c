/* SPDX-License-Identifier: BSD-2-Clause */
/* stream_socket: the daemons' sockets, as the system calls see them: what stream.c carries is read,
 * written, asked after and listened for here. */
#include <errno.h>
#include <linux/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "fd.h"
#include "sim.h"
#include "stream_room.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#define LEVEL_MPTCP 284
#define INFO_MPTCP 1
#define INFO_TCP 2
#define INFO_ADDRS 3

static struct stream *other(struct stream *s)
{
	return &s->c->end[!s->side];
}

static uint32_t stream_ready(void *obj)
{
	struct stream *s = obj;
	const struct direction *in = &s->c->d[!s->side];
	uint32_t r = 0;

	if (s->error)
		return EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP;
	if (!s->c->connected)
		return s->c->end[CLIENT].name.sin_family && s->c->to_port ? 0 : EPOLLHUP;
	if (direction_readable(in) || direction_at_eof(in))
		r |= EPOLLIN | EPOLLRDNORM;
	if (direction_at_eof(in))
		r |= EPOLLRDHUP;
	if (stream_space(s))
		r |= EPOLLOUT;
	return r;
}

static ssize_t socket_read(void *obj, const struct iovec *iov, int n)
{
	ssize_t all = 0, r = 0;

	for (int i = 0; i < n; i++) {
		r = stream_read(obj, iov[i].iov_base, iov[i].iov_len);
		if (r <= 0)
			break;
		all += r;
		if ((size_t)r < iov[i].iov_len)
			break;
	}
	return all ? all : r;
}

static ssize_t socket_write(void *obj, const struct iovec *iov, int n)
{
	ssize_t all = 0, r = 0;

	for (int i = 0; i < n; i++) {
		r = stream_write(obj, iov[i].iov_base, iov[i].iov_len);
		if (r < 0)
			break;
		all += r;
		if ((size_t)r < iov[i].iov_len)
			break;
	}
	return all ? all : r;
}

static void socket_close(void *obj)
{
	struct stream *s = obj;

	s->fd = -1;
	stream_close(s, s->linger0);
}

static int socket_bind(void *obj, const struct sockaddr *sa)
{
	struct stream *s = obj;

	s->name = *(const struct sockaddr_in *)sa;
	s->bound = true;
	return 0;
}

static int socket_connect(void *obj, const struct sockaddr *sa)
{
	struct stream *s = obj;
	const struct sockaddr_in *to = (const struct sockaddr_in *)sa;
	int line;

	if (s->host != GATEWAY)
		line = line_net(s->host);
	else
		line = s->bound && s->name.sin_addr.s_addr ? line_of(s->name.sin_addr) :
							     line_default();
	if (line < 0)
		return s->bound ? -EADDRNOTAVAIL : -ENETUNREACH;
	if (line < LINES)
		s->name.sin_addr = lines[line].addr;
	s->name.sin_family = AF_INET;
	s->name.sin_port = noise_port();
	return connection_begin(s->c, line, to,
				s->host == GATEWAY ? line_vps(to->sin_addr) : OUTSIDE,
				to->sin_port);
}

static int socket_shut(void *obj)
{
	stream_shut(obj);
	return 0;
}

static int socket_name(void *obj, bool peer, struct sockaddr_storage *sa)
{
	struct stream *s = obj;

	if (peer && !s->c->connected)
		return -ENOTCONN;
	memset(sa, 0, sizeof(*sa));
	memcpy(sa, peer ? &other(s)->name : &s->name, sizeof(struct sockaddr_in));
	return 0;
}

static int socket_set(void *obj, int level, int option, const void *value, socklen_t len)
{
	struct stream *s = obj;

	(void)len;
	if (level == SOL_SOCKET && option == SO_LINGER)
		s->linger0 = ((const struct linger *)value)->l_onoff;
	if (level == IPPROTO_TCP && option == TCP_NOTSENT_LOWAT)
		s->lowat = *(const uint32_t *)value;
	if (level == IPPROTO_TCP && option == TCP_KEEPIDLE)
		s->probe.idle = *(const unsigned *)value;
	if (level == IPPROTO_TCP && option == TCP_KEEPINTVL)
		s->probe.every = *(const unsigned *)value;
	if (level == IPPROTO_TCP && option == TCP_KEEPCNT) {
		s->probe.tries = *(const unsigned *)value;
		s->probe.on = true; /* the last that sock_keepalive() sets */
		stream_probe(s);
	}
	return 0;
}

struct sub_head {
	uint32_t size, count, kernel_size, user_size;
};

static void fill_info(struct tcp_info *info, const struct stream *s, const struct subflow *sub)
{
	const struct subflow_way *w = &sub->way[s->side];
	uint64_t now = clock_now();

	*info = (struct tcp_info){ .tcpi_state = 1,
				   .tcpi_snd_mss = 1448,
				   .tcpi_bytes_acked = w->acked };
	info->tcpi_rtt = info->tcpi_min_rtt = (uint32_t)line_rtt(&lines[sub->line]);
	info->tcpi_last_ack_recv = (uint32_t)((now - w->heard_us) / MS);
	info->tcpi_last_data_sent = (uint32_t)((now - w->sent_us) / MS);
	info->tcpi_delivery_rate = lines[sub->line].way[side_way(s->side)].rate;
	info->tcpi_pacing_rate = 2 * info->tcpi_delivery_rate;
	info->tcpi_delivery_rate_app_limited = 1;
}

static int get_subflows(const struct stream *s, int option, void *value, socklen_t *len)
{
	struct sub_head *head = value;
	uint8_t *at = (uint8_t *)value + sizeof(*head);
	size_t each = option == INFO_TCP ? sizeof(struct tcp_info) :
					   2 * sizeof(struct sockaddr_storage);

	head->count = 0;
	for (unsigned i = 0; i < s->c->n_subs; i++) {
		const struct subflow *sub = &s->c->sub[i];
		struct sockaddr_in *name = (struct sockaddr_in *)(void *)at;

		if (!sub->up || at + each > (uint8_t *)value + *len)
			continue;
		head->count++;
		if (option == INFO_TCP) {
			fill_info((struct tcp_info *)(void *)at, s, sub);
		} else {
			struct sockaddr_in *peer =
				(struct sockaddr_in *)(void *)(at +
							       sizeof(struct sockaddr_storage));

			memset(at, 0, each);
			*name = s->c->end[CLIENT].name;
			name->sin_addr = sub->addr;
			*peer = s->c->end[SERVER].name;
			if (s->side == SERVER) {
				struct sockaddr_in swap = *name;

				*name = *peer;
				*peer = swap;
			}
		}
		at += each;
	}
	*len = (socklen_t)(at - (uint8_t *)value);
	return 0;
}

static int socket_get(void *obj, int level, int option, void *value, socklen_t *len)
{
	struct stream *s = obj;
	unsigned up = 0;

	if (level == SOL_SOCKET && option == SO_ERROR) {
		*(int *)value = s->error;
		return 0;
	}
	if (level == IPPROTO_TCP && option == TCP_INFO && !s->c->mptcp) {
		fill_info(value, s, &s->c->sub[0]);
		return 0;
	}
	if (level != LEVEL_MPTCP || !s->c->mptcp)
		return -EOPNOTSUPP;
	if (option == INFO_TCP || option == INFO_ADDRS)
		return get_subflows(s, option, value, len);
	if (option != INFO_MPTCP)
		return -EOPNOTSUPP;
	for (unsigned i = 0; i < s->c->n_subs; i++)
		up += s->c->sub[i].up;
	memset(value, 0, *len);
	*(uint8_t *)value = (uint8_t)(up ? up - 1 : 0);
	return 0;
}

static int socket_outq(void *obj)
{
	struct stream *s = obj;
	const struct direction *d = &s->c->d[s->side];

	return (int)(d->written - (d->acked < d->written ? d->acked : d->written));
}

static int socket_listen(void *obj);

static const struct fd_ops stream_ops = {
	.ready = stream_ready,
	.read = socket_read,
	.write = socket_write,
	.close = socket_close,
	.bind = socket_bind,
	.listen = socket_listen,
	.connect = socket_connect,
	.shut = socket_shut,
	.name = socket_name,
	.set = socket_set,
	.get = socket_get,
	.outq = socket_outq,
};

int stream_socket(int protocol)
{
	struct connection *c = connection_new();
	struct stream *s = &c->end[CLIENT];

	c->wants_mptcp = protocol == IPPROTO_MPTCP;
	s->host = proc_current();
	s->open = true;
	s->fd = fd_new(&stream_ops, s);
	return s->fd;
}

/* --- listening --- */

static uint32_t listener_ready(void *obj)
{
	return ((struct listener *)obj)->n ? EPOLLIN : 0;
}

static int listener_accept(void *obj, struct sockaddr_storage *peer)
{
	struct listener *l = obj;
	struct stream *s;

	if (!l->n)
		return -EAGAIN;
	s = l->queue[0];
	memmove(&l->queue[0], &l->queue[1], --l->n * sizeof(l->queue[0]));
	memset(peer, 0, sizeof(*peer));
	memcpy(peer, &other(s)->name, sizeof(struct sockaddr_in));
	s->fd = fd_new_of(l->host, &stream_ops, s);
	s->probe.idle = l->idle;
	s->probe.every = l->every;
	s->probe.tries = l->tries;
	s->probe.on = l->tries != 0;
	stream_probe(s);
	return s->fd;
}

static void listener_close(void *obj)
{
	struct listener *l = obj;

	for (unsigned i = 0; i < l->n; i++)
		stream_close(l->queue[i], true);
	LIST_REMOVE(l, entry);
	free(l);
}

static int listener_name(void *obj, bool peer, struct sockaddr_storage *sa)
{
	struct listener *l = obj;

	(void)peer;
	memset(sa, 0, sizeof(*sa));
	memcpy(sa, &l->at, sizeof(l->at));
	return 0;
}

static int listener_set(void *obj, int level, int option, const void *value, socklen_t len)
{
	(void)obj, (void)level, (void)option, (void)value, (void)len;
	return 0;
}

static const struct fd_ops listener_ops = {
	.ready = listener_ready,
	.accept = listener_accept,
	.close = listener_close,
	.name = listener_name,
	.set = listener_set,
};

static int socket_listen(void *obj)
{
	struct stream *s = obj;
	struct listener *l = sim_alloc(sizeof(*l));

	if (listener_find(s->host, &s->name, s->name.sin_port)) {
		free(l);
		return -EADDRINUSE;
	}
	*l = (struct listener){ .host = s->host,
				.fd = s->fd,
				.at = s->name,
				.mptcp = s->c->wants_mptcp,
				.idle = s->probe.idle,
				.every = s->probe.every,
				.tries = s->probe.tries };
	listener_add(l);
	fd_become(s->fd, &listener_ops, l);
	s->open = false;
	return 0;
}
