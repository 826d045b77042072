/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * server: theory of operation
 *
 * One epoll loop. A connection's first byte says what it wants: 'x' is answered by one byte and so
 * is every later byte; anything else opens the header described in tests/net/peer.py, whose command
 * is "down SIZE SEED" (we send SIZE bytes, then FIN) or "up SIZE SEED" (we read to the end, then
 * answer with the count in ASCII). The bytes themselves are not looked at: peer.py checks contents,
 * this one is for speed.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "load.h"

enum state { START, ECHO, UP, DOWN, DRAIN };

struct conn {
	int fd;
	enum state state;
	uint64_t count; /* bytes got, or bytes still to send */
	size_t n_head;
	char head[128];
};

static void conn_free(struct conn *c)
{
	close(c->fd);
	free(c);
}

/* The header is whole: what is asked for? */
static void conn_start(struct conn *c, int ep)
{
	struct epoll_event ev = { .events = EPOLLOUT, .data.ptr = c };
	unsigned long long size = 0;

	c->head[c->n_head] = 0;
	c->state = UP;
	if (sscanf(c->head + 9, "down %llu", &size) == 1) {
		c->state = DOWN;
		c->count = size;
		epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &ev);
	}
}

static bool conn_header(struct conn *c, int ep)
{
	size_t want = 5;
	ssize_t n;

	if (c->n_head >= 5)
		want += ((size_t)(uint8_t)c->head[3] << 8) + (uint8_t)c->head[4];
	if (want >= sizeof(c->head))
		return false;
	n = recv(c->fd, c->head + c->n_head, c->n_head ? want - c->n_head : 1, 0);
	if (n <= 0)
		return n < 0 && errno == EAGAIN;
	c->n_head += (size_t)n;
	if (c->n_head == 1 && c->head[0] == 'x') {
		c->state = ECHO;
		return send(c->fd, "x", 1, MSG_NOSIGNAL) == 1;
	}
	if (c->n_head > 5 && c->n_head == want)
		conn_start(c, ep);
	return true;
}

static bool conn_echo(struct conn *c)
{
	ssize_t n = recv(c->fd, load_buffer, LOAD_BUFFER, 0);

	if (n <= 0)
		return n < 0 && errno == EAGAIN;
	return send(c->fd, load_buffer, (size_t)n, MSG_NOSIGNAL) == n;
}

static bool conn_up(struct conn *c)
{
	ssize_t n = recv(c->fd, load_buffer, LOAD_BUFFER, 0);
	char reply[32];
	int len;

	if (n > 0) {
		c->count += (uint64_t)n;
		return true;
	}
	if (n < 0)
		return errno == EAGAIN;
	len = snprintf(reply, sizeof(reply), "%llu\n", (unsigned long long)c->count);
	send(c->fd, reply, (size_t)len, MSG_NOSIGNAL);
	return false;
}

static bool conn_down(struct conn *c, int ep)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = c };
	size_t want = c->count < LOAD_BUFFER ? (size_t)c->count : LOAD_BUFFER;
	ssize_t n = send(c->fd, load_buffer, want, MSG_NOSIGNAL);

	if (n < 0)
		return errno == EAGAIN;
	c->count -= (uint64_t)n;
	if (!c->count) {
		shutdown(c->fd, SHUT_WR);
		c->state = DRAIN;
		epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &ev);
	}
	return true;
}

static bool conn_drain(struct conn *c)
{
	ssize_t n = recv(c->fd, load_buffer, LOAD_BUFFER, 0);

	return n > 0 || (n < 0 && errno == EAGAIN);
}

static bool conn_ready(struct conn *c, int ep)
{
	switch (c->state) {
	case START:
		return conn_header(c, ep);
	case ECHO:
		return conn_echo(c);
	case UP:
		return conn_up(c);
	case DOWN:
		return conn_down(c, ep);
	case DRAIN:
		return conn_drain(c);
	}
	return false;
}

static void accept_all(int listener, int ep)
{
	int fd, one = 1;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct conn *c = calloc(1, sizeof(*c));
		struct epoll_event ev = { .events = EPOLLIN, .data.ptr = c };

		if (!c)
			load_die("out of memory");
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		c->fd = fd;
		epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
	}
}

int load_listen(uint16_t port, int protocol)
{
	struct sockaddr_in6 sa = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fd, 65535) < 0)
		load_die("cannot listen");
	return fd;
}

int load_serve(uint16_t port)
{
	int ep = epoll_create1(EPOLL_CLOEXEC), listener = load_listen(port, 0);
	struct epoll_event ev[LOAD_EVENTS] = { { .events = EPOLLIN } };

	epoll_ctl(ep, EPOLL_CTL_ADD, listener, ev); /* a NULL pointer is the listener */
	puts("ready");
	fflush(stdout);
	for (;;) {
		int n = epoll_wait(ep, ev, LOAD_EVENTS, -1);

		for (int i = 0; i < n; i++) {
			struct conn *c = ev[i].data.ptr;

			if (!c)
				accept_all(listener, ep);
			else if (!conn_ready(c, ep))
				conn_free(c);
		}
	}
}
