/* SPDX-License-Identifier: BSD-2-Clause */
/* A path as the sender sees it: a sealed packet leaves on it now, or waits for it. tunnel.c has the
 * theory.
 *
 * Two fifos wait: `urgent`, R, which may borrow from the path's near future, and `again`, resends
 * of F and B, which come before new bulk. What the socket has taken is let go in batches, at
 * tunnel_flush(), which is when the kernel has seen it. */
#include <stdlib.h>

#include "tunnel_room.h"

void tunnel_flush(struct tunnel *t)
{
	assoc_flush(t->assoc);
	if (t->delivered && t->ops.flush)
		t->ops.flush(t->arg);
	t->delivered = false;
	while (t->n_done)
		packet_put(&t->slab, t->done[--t->n_done]);
}

void tunnel_let_go(struct tunnel *t, struct packet *p)
{
	if (t->n_done == DONE)
		tunnel_flush(t);
	t->done[t->n_done++] = p;
}

bool tunnel_fits(const struct tunnel *t, unsigned i, const struct packet *p)
{
	return p->len <= pmtu_size(t->pmtu, i);
}

bool tunnel_send_on(struct tunnel *t, unsigned i, struct packet *p, bool copy)
{
	struct tunnel_path *path = &t->path[i];

	if (!assoc_send(t->assoc, i, p->tos, packet_dgram(p), p->len))
		return false;
	pace_spend(&path->pace, p->len + OUTER, copy);
	pmtu_sent(t->pmtu, i, p->len, t->now / 1000);
	if (copy)
		path->copies[p->class]++;
	else
		path->packets[p->class]++;
	p->paths |= (uint8_t)(1 << i);
	p->last_us = t->now;
	if (!t->n_done || t->done[t->n_done - 1] != p)
		tunnel_let_go(t, packet_get(p));
	return true;
}

bool tunnel_waits(const struct fifo *f)
{
	return f && f->head != f->tail;
}

static void wait_in(struct tunnel *t, unsigned i, struct fifo **f, struct packet *p)
{
	if (!*f)
		*f = calloc(1, sizeof(**f));
	if (!*f || (*f)->head - (*f)->tail == FIFO) {
		t->path[i].overflows++;
		return;
	}
	(*f)->slot[(*f)->head++ % FIFO] = packet_get(p);
}

void tunnel_send_or_wait(struct tunnel *t, unsigned i, struct fifo **f, struct packet *p)
{
	if (!tunnel_waits(*f) && pace_may_borrow(&t->path[i].pace, BORROW_US))
		tunnel_send_on(t, i, p, false);
	else
		wait_in(t, i, f, p);
}

/* Only what is urgent borrows: a path's death brings many resends of bulk at once, and calls would
 * wait behind them. */
void tunnel_send_again(struct tunnel *t, unsigned i, struct packet *p)
{
	struct tunnel_path *path = &t->path[i];

	path->resent++;
	if (p->class == WIRE_CLASS_R)
		tunnel_send_or_wait(t, i, &path->urgent, p);
	else if (!tunnel_waits(path->urgent) && !tunnel_waits(path->again) && pace_may(&path->pace))
		tunnel_send_on(t, i, p, false);
	else
		wait_in(t, i, &path->again, p);
}

void tunnel_drain(struct tunnel *t, unsigned i, struct fifo *f, uint32_t borrow_us)
{
	while (tunnel_waits(f) && pace_may_borrow(&t->path[i].pace, borrow_us)) {
		struct packet *p = f->slot[f->tail++ % FIFO];

		tunnel_send_on(t, i, p, false);
		packet_put(&t->slab, p);
	}
}

static void empty_fifo(struct tunnel *t, struct fifo **f)
{
	while (tunnel_waits(*f))
		packet_put(&t->slab, (*f)->slot[(*f)->tail++ % FIFO]);
	free(*f);
	*f = NULL;
}

void tunnel_drop_backlog(struct tunnel *t, unsigned path)
{
	empty_fifo(t, &t->path[path].urgent);
	empty_fifo(t, &t->path[path].again);
}

bool tunnel_backlog(const struct tunnel *t)
{
	bool any = t->queue.packets;

	for (unsigned i = 0; i < ASSOC_PATHS; i++)
		any = any || tunnel_waits(t->path[i].urgent) || tunnel_waits(t->path[i].again);
	return any;
}
