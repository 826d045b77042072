/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * relay: theory of operation
 *
 * The least that a relay can do, for others to be measured against. Each connection that is
 * accepted gets one to the next host; what is read at either end is written to the other, and an
 * end of the stream is passed on. Nothing is sealed, paced, counted or judged. Two of them, with
 * Multipath TCP between, are what a house would have that only copies.
 *
 * Descriptors are watched edge-triggered, both ends of a pair for both readiness: an event at
 * either end lets both ways run until they would block. A pair that is over is freed after the
 * batch of events in which it ended, because a later event of the batch may be its own.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "load.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

struct way {
	int from, to;
	bool ended; /* no more will come, and the far end has been told */
	size_t at, len;
	char buffer[LOAD_BUFFER];
};

struct pair {
	struct pair *next; /* of those that are over */
	bool over;
	struct way there, back;
};

struct relay {
	int ep, listener;
	int protocol; /* of the connections to the next host */
	struct addrinfo *next_host;
	struct pair *over;
};

enum progress { MOVED, BLOCKED, BROKEN };

static enum progress way_read(struct way *w)
{
	ssize_t n = read(w->from, w->buffer, sizeof(w->buffer));

	if (n < 0)
		return errno == EAGAIN ? BLOCKED : BROKEN;
	if (!n) {
		w->ended = true;
		shutdown(w->to, SHUT_WR);
		return BLOCKED;
	}
	w->at = 0;
	w->len = (size_t)n;
	return MOVED;
}

static enum progress way_write(struct way *w)
{
	ssize_t n = send(w->to, w->buffer + w->at, w->len, MSG_NOSIGNAL);

	if (n < 0) /* a connection that is not there yet is ENOTCONN to Multipath TCP */
		return errno == EAGAIN || errno == ENOTCONN ? BLOCKED : BROKEN;
	w->at += (size_t)n;
	w->len -= (size_t)n;
	return MOVED;
}

/* Moves what can be moved now. False when the way is broken. */
static bool way_run(struct way *w)
{
	enum progress p = MOVED;

	while (p == MOVED && !w->ended)
		p = w->len ? way_write(w) : way_read(w);
	return p != BROKEN;
}

static void pair_run(struct relay *r, struct pair *p)
{
	if (p->over || (way_run(&p->there) && way_run(&p->back) && !(p->there.ended && p->back.ended)))
		return;
	p->over = true;
	p->next = r->over;
	r->over = p;
}

static void sweep(struct relay *r)
{
	struct pair *p;

	while ((p = r->over)) {
		r->over = p->next;
		close(p->there.from);
		close(p->there.to);
		free(p);
	}
}

static void watch(struct relay *r, int fd, struct pair *p)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = p };
	int one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	epoll_ctl(r->ep, EPOLL_CTL_ADD, fd, &ev);
}

static void pair_new(struct relay *r, int near)
{
	struct addrinfo *to = r->next_host;
	int far = socket(to->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, r->protocol);
	struct pair *p = calloc(1, sizeof(*p));

	if (far < 0 || !p)
		load_die("a new pair");
	if (connect(far, to->ai_addr, to->ai_addrlen) < 0 && errno != EINPROGRESS)
		load_die("connect");
	p->there.from = p->back.to = near;
	p->there.to = p->back.from = far;
	watch(r, near, p);
	watch(r, far, p);
}

static void accept_all(struct relay *r)
{
	int fd;

	while ((fd = accept4(r->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
		pair_new(r, fd);
}

static void relay_init(struct relay *r, char **a)
{
	struct addrinfo hint = { .ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM };
	struct epoll_event ev = { .events = EPOLLIN }; /* a NULL pointer is the listener */

	if (getaddrinfo(a[1], a[2], &hint, &r->next_host))
		load_die(a[1]);
	r->listener = load_listen((uint16_t)atoi(a[0]), !strcmp(a[3], "near") ? IPPROTO_MPTCP : 0);
	r->protocol = !strcmp(a[3], "far") ? IPPROTO_MPTCP : 0;
	r->ep = epoll_create1(EPOLL_CLOEXEC);
	epoll_ctl(r->ep, EPOLL_CTL_ADD, r->listener, &ev);
}

int load_relay(char **a)
{
	struct epoll_event ev[LOAD_EVENTS];
	struct relay r = { 0 };

	relay_init(&r, a);
	puts("ready");
	fflush(stdout);
	for (;;) {
		int n = epoll_wait(r.ep, ev, LOAD_EVENTS, -1);

		for (int i = 0; i < n; i++) {
			if (ev[i].data.ptr)
				pair_run(&r, ev[i].data.ptr);
			else
				accept_all(&r);
		}
		sweep(&r);
	}
}
