#include "touch.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <stdlib.h>

#include "sock.h"

#define PATIENCE_MS 600 /* more than a lost SYN costs nothing: it is tried again */

struct touch {
	int fd; /* -1: refused by the kernel at once */
	struct event ev;
	touch_cb cb;
	void *arg;
	bool there;
};

static void on_event(evutil_socket_t fd, short what, void *arg)
{
	struct touch *t = arg;
	touch_cb cb = t->cb;
	void *to = t->arg;
	int err = fd < 0 || what & EV_TIMEOUT ? ETIMEDOUT : sock_connect_error(fd);

	touch_cancel(t);
	cb(to, err == 0 || err == ECONNREFUSED);
}

struct touch *touch_new(struct event_base *base, const struct addr *from, const struct addr *to, uint32_t mark, touch_cb cb, void *arg)
{
	const struct timeval patience = { PATIENCE_MS / 1000, PATIENCE_MS % 1000 * 1000 };
	struct touch *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->cb = cb;
	t->arg = arg;
	t->fd = sock_dial_tcp_from(to, from, mark);
	event_assign(&t->ev, base, t->fd, t->fd < 0 ? 0 : EV_WRITE, on_event, t);
	event_add(&t->ev, &patience);
	return t;
}

void touch_cancel(struct touch *t)
{
	if (!t)
		return;
	event_del(&t->ev);
	if (t->fd >= 0)
		sock_close_reset(t->fd);
	free(t);
}
