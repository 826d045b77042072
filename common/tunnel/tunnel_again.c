/* SPDX-License-Identifier: BSD-2-Clause */
/* Resends: what the peer did not acknowledge goes out again, and what a silent path may have
 * swallowed goes elsewhere. tunnel.c has the theory. */
#include "tunnel_room.h"

void tunnel_tell_pmtu(struct tunnel *t, const struct packet *p, bool lost)
{
	uint8_t on = p->tries ? p->first : p->paths;

	if (!on || on & (on - 1))
		return;
	if (lost)
		pmtu_lost(t->pmtu, (unsigned)__builtin_ctz(on), p->len, t->now / 1000);
	else if (!p->tries)
		pmtu_acked(t->pmtu, (unsigned)__builtin_ctz(on), p->len);
}

/* R goes everywhere again; others on one path the first time, on another than before if there is
 * one. */
static uint8_t again_on(const struct tunnel *t, const struct packet *p, uint8_t was)
{
	uint8_t on = p->class == WIRE_CLASS_R ? t->view.urgent : t->view.bulk;

	if (p->class == WIRE_CLASS_R || p->tries > 1)
		return on;
	if (on & ~was)
		on &= (uint8_t)~was;
	for (unsigned n = 0; n < t->view.n; n++)
		if (on >> t->view.order[n] & 1 && tunnel_fits(t, t->view.order[n], p))
			return (uint8_t)(1 << t->view.order[n]);
	return on;
}

static void note_lost(struct tunnel *t, const struct packet *p)
{
	if (p->paths && !(p->paths & (p->paths - 1)))
		t->path[__builtin_ctz(p->paths)].lost[p->class]++;
}

void tunnel_again(void *tunnel, struct packet *p)
{
	struct tunnel *t = tunnel;
	uint8_t on = again_on(t, p, p->paths);

	tunnel_tell_pmtu(t, p, p->tries > 1);
	if (p->tries == 1) {
		tunnel_fec_fate(t, p, true);
		note_lost(t, p);
		p->first = p->paths;
	}
	p->paths = 0;
	for (unsigned n = 0; n < t->view.n; n++) {
		unsigned i = t->view.order[n];

		if (!(on >> i & 1) || !tunnel_fits(t, i, p))
			continue;
		tunnel_send_again(t, i, p);
	}
}

static void elsewhere(void *arg, struct packet *p)
{
	struct tunnel *t = arg;

	for (unsigned n = 0; n < t->view.n; n++) {
		unsigned i = t->view.order[n];

		if (p->paths >> i & 1 || !tunnel_fits(t, i, p))
			continue;
		p->first = p->paths = 0; /* no fault of its length */
		tunnel_send_again(t, i, p);
		return;
	}
}

/* What still waits for that path only. */
static void move_backlog(struct tunnel *t, struct fifo *f)
{
	for (uint32_t n = f ? f->head - f->tail : 0; n > 0; n--) {
		struct packet *p = f->slot[f->tail++ % FIFO];

		if (!p->paths)
			elsewhere(t, p);
		packet_put(&t->slab, p);
	}
}

/* What is not acknowledged and may have died on a path that went silent goes elsewhere, now. */
void tunnel_desert(struct tunnel *t)
{
	for (unsigned i = 0; i < ASSOC_PATHS; i++) {
		if (!(t->deserted >> i & 1))
			continue;
		move_backlog(t, t->path[i].urgent);
		move_backlog(t, t->path[i].again);
		for (unsigned c = WIRE_CLASS_R; c < WIRE_CLASSES; c++)
			resend_desert(&t->sort[c].resend, &t->view.paths, i, t->now, elsewhere, t);
		if (!(t->view.paths.usable >> i & 1))
			tunnel_drop_backlog(t, i);
	}
	t->deserted = 0;
	t->queue.patient_us = t->now + PATIENT_US;
}
