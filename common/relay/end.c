/* SPDX-License-Identifier: BSD-2-Clause */
/* end: see end.h. What a socket does not take is kept and counted here; the relay decides what
 * follows. */
#include "end.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sock.h"

static void arm(struct event *ev, bool *armed, bool want)
{
	if (*armed == want)
		return;
	*armed = want;
	if (want)
		event_add(ev, NULL);
	else
		event_del(ev);
}

void end_arm(struct end *e, bool read, bool write)
{
	arm(&e->rd, &e->reading, read);
	arm(&e->wr, &e->writing, write);
}

static void charge(struct end *e, int64_t bytes)
{
	if (e->budget)
		e->budget->held += (uint64_t)bytes;
}

static void drop_out(struct end *e)
{
	if (e->out)
		charge(e, -(int64_t)(e->out_off + e->out_len));
	free(e->out);
	e->out = NULL;
	e->out_off = e->out_len = 0;
}

void end_drop_partial(struct end *e)
{
	charge(e, -(int64_t)e->in_len);
	free(e->in);
	e->in = NULL;
	e->in_len = 0;
}

static int end_keep(struct end *e, const uint8_t *data, size_t len)
{
	uint8_t *more = malloc(e->out_len + len);

	if (!more)
		return -1;
	if (e->out_len)
		memcpy(more, e->out + e->out_off, e->out_len);
	memcpy(more + e->out_len, data, len);
	len += e->out_len;
	drop_out(e);
	e->out = more;
	e->out_len = (uint32_t)len;
	e->was_full = true;
	charge(e, (int64_t)len);
	return 0;
}

int end_send(struct end *e, const uint8_t *data, size_t len)
{
	ssize_t n = 0;

	if (e->out_len == 0 && len) {
		n = write(e->fd, data, len);
		if (n < 0 && errno != EAGAIN)
			return -1;
		n = n < 0 ? 0 : n;
	}
	return (size_t)n == len ? 0 : end_keep(e, data + n, len - (size_t)n);
}

ssize_t end_flush(struct end *e)
{
	ssize_t n = write(e->fd, e->out + e->out_off, e->out_len);

	if (n < 0)
		return errno == EAGAIN ? 0 : -1;
	e->out_off += (uint32_t)n;
	e->out_len -= (uint32_t)n;
	if (!e->out_len)
		drop_out(e);
	return n;
}

int end_keep_partial(struct end *e, const uint8_t *data, size_t len)
{
	if (!len)
		return 0;
	e->in = malloc(len);
	if (!e->in)
		return -1;
	memcpy(e->in, data, len);
	e->in_len = (uint32_t)len;
	charge(e, (int64_t)len);
	return 0;
}

size_t end_take_partial(struct end *e, uint8_t *buf)
{
	size_t len = e->in_len;

	if (len)
		memcpy(buf, e->in, len);
	end_drop_partial(e);
	return len;
}

void end_close(struct end *e, bool clean)
{
	end_arm(e, false, false);
	drop_out(e);
	end_drop_partial(e);
	if (e->fd < 0)
		return;
	if (clean)
		sock_close_clean(e->fd);
	else
		sock_close_reset(e->fd);
	e->fd = -1;
}
