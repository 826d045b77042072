/* SPDX-License-Identifier: BSD-2-Clause */
/* listener: accepts connections until descriptors or memory run out.
 *
 * Theory of operation. The listening socket is level-triggered; each wake-up accepts a
 * batch, so that one busy port does not starve the relays. When the kernel
 * answers EMFILE, ENFILE, ENOBUFS or ENOMEM the connection stays in the backlog
 * and the socket stays readable: a loop that just tries again burns a core and
 * fills the log. So the listener takes itself out of the loop and a timer puts
 * it back: after 100 ms, doubling to 1 s while the shortage lasts. The clients
 * wait in the kernel meanwhile. One log line a second at most. */
#include <errno.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "counter.h"
#include "listener.h"
#include "log.h"
#include "sock.h"
#include "timer.h"

#define BATCH 32
#define REST_MIN_MS 100
#define REST_MAX_MS 1000

struct listener {
	int fd;
	struct event readable, rest;
	unsigned rest_ms;
	bool paused;
	struct log_limit said;
	listener_cb cb;
	void *arg;
};

static void listener_rest(struct listener *l, int err)
{
	counters.accept_pauses++;
	log_limited(&l->said, "accept: %s; resting for %u ms", strerror(err), l->rest_ms);
	event_del(&l->readable);
	timer_in_ms(&l->rest, l->rest_ms);
	l->paused = true;
	l->rest_ms = l->rest_ms * 2 > REST_MAX_MS ? REST_MAX_MS : l->rest_ms * 2;
}

static void listener_rested(evutil_socket_t fd, short what, void *arg)
{
	struct listener *l = arg;

	(void)fd;
	(void)what;
	l->paused = false;
	event_add(&l->readable, NULL);
}

static bool is_shortage(int err)
{
	return err == EMFILE || err == ENFILE || err == ENOBUFS || err == ENOMEM;
}

static void listener_readable(evutil_socket_t fd, short what, void *arg)
{
	struct listener *l = arg;
	struct addr peer;
	int conn;

	(void)what;
	for (int i = 0; i < BATCH; i++) {
		conn = sock_accept(fd, &peer);
		if (conn >= 0) {
			l->rest_ms = REST_MIN_MS;
			l->cb(l->arg, conn, &peer);
		} else if (is_shortage(errno)) {
			listener_rest(l, errno);
			return;
		} else if (errno == EAGAIN) {
			return;
		}
		/* Anything else (ECONNABORTED, a network error of the new connection) concerns that
		 * one only. */
	}
}

struct listener *listener_new(struct event_base *base, int fd, listener_cb cb, void *arg)
{
	struct listener *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->fd = fd;
	l->cb = cb;
	l->arg = arg;
	l->rest_ms = REST_MIN_MS;
	event_assign(&l->readable, base, fd, EV_READ | EV_PERSIST, listener_readable, l);
	event_assign(&l->rest, base, -1, 0, listener_rested, l);
	event_add(&l->readable, NULL);
	return l;
}

void listener_free(struct listener *l)
{
	if (!l)
		return;
	event_del(&l->readable);
	event_del(&l->rest);
	close(l->fd);
	free(l);
}

bool listener_paused(const struct listener *l)
{
	return l->paused;
}
