/* SPDX-License-Identifier: BSD-2-Clause */
/* tcp_probe: one SYN. Any answer counts, whoever gives it: nothing here proves that it was the VPS.
 */
#include "tcp_probe.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <stdlib.h>

#include "sock.h"
#include "timer.h"

#define PATIENCE_MS 600 /* more than a lost SYN costs nothing: it is tried again */

struct tcp_probe {
	int fd; /* -1: refused by the kernel at once */
	struct event ev;
	tcp_probe_cb cb;
	void *arg;
	bool there;
};

static void tcp_probe_ready(evutil_socket_t fd, short what, void *arg)
{
	struct tcp_probe *p = arg;
	tcp_probe_cb cb = p->cb;
	void *to = p->arg;
	int err = fd < 0 || what & EV_TIMEOUT ? ETIMEDOUT : sock_connect_error(fd);

	tcp_probe_cancel(p);
	cb(to, err == 0 || err == ECONNREFUSED);
}

struct tcp_probe *tcp_probe_new(struct event_base *base, const struct addr *from, const struct addr *to, uint32_t mark, tcp_probe_cb cb, void *arg)
{
	struct tcp_probe *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->cb = cb;
	p->arg = arg;
	p->fd = sock_dial_tcp_from(to, from, mark);
	event_assign(&p->ev, base, p->fd, p->fd < 0 ? 0 : EV_WRITE, tcp_probe_ready, p);
	timer_in_ms(&p->ev, PATIENCE_MS);
	return p;
}

void tcp_probe_cancel(struct tcp_probe *p)
{
	if (!p)
		return;
	event_del(&p->ev);
	if (p->fd >= 0)
		sock_close_reset(p->fd);
	free(p);
}
