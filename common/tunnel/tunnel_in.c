/* SPDX-License-Identifier: BSD-2-Clause */
/* The way in: a datagram that authenticated, once, becomes an inner packet again. tunnel.c has the
 * theory. */
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "counter.h"
#include "tunnel_room.h"

#define ACK_GAP_US 10000
#define ACK_CALM_US 20000

static void tunnel_in_begin(struct tunnel *t)
{
	t->now = t->active_us = clock_us();
	tunnel_look(t);
}

/* --- delivery --- */

static void tunnel_in_deliver(struct tunnel *t, uint8_t *packet, size_t len)
{
	t->delivered = true;
	t->ops.deliver(t->arg, packet, len);
}

static void deliver_held(void *arg, struct packet *p)
{
	struct tunnel *t = arg;

	tunnel_in_deliver(t, packet_inner(p), p->len);
	tunnel_let_go(t, p);
}

static uint32_t hold_us(struct tunnel *t, struct sort *s)
{
	return reorder_hold_us(s->reorder, t->view.hold_us, HOLD_MAX_US, t->now);
}

void tunnel_release(struct tunnel *t)
{
	for (unsigned c = WIRE_CLASS_F; c <= WIRE_CLASS_B; c++)
		if (t->sort[c].reorder && t->sort[c].reorder->n)
			reorder_release(t->sort[c].reorder, t->sort[c].gaps, hold_us(t, &t->sort[c]), t->now, deliver_held, t);
}

static void tunnel_in_hold(struct tunnel *t, const struct assoc_got *got, uint32_t flow)
{
	struct sort *s = &t->sort[got->hdr.class];
	struct packet *p = got->len <= PACKET_INNER_MAX ? slab_take(&t->slab) : NULL;

	if (!p) {
		tunnel_in_deliver(t, got->plain, got->len);
		return;
	}
	memcpy(packet_inner(p), got->plain, got->len);
	p->len = (uint16_t)got->len;
	p->seq = got->seq;
	p->flow = flow;
	reorder_hold(s->reorder, p, deliver_held, t);
	reorder_release(s->reorder, s->gaps, hold_us(t, s), t->now, deliver_held, t);
}

/* Its outer packet may have been marked on the way. */
static bool is_wanted(struct tunnel *t, uint8_t *packet, size_t len, uint8_t tos, struct inner *in)
{
	(void)t;
	if (inner_parse(in, packet, len)) {
		counters.tunnel_malformed++;
		return false;
	}
	if (!inner_take_ecn(packet, tos)) {
		counters.tunnel_ecn_dropped++;
		return false;
	}
	return true;
}

/* --- numbers --- */

/* Where keys are new, numbers begin anew. False: these are of the keys before, and not kept count
 * of. */
static bool is_current(struct tunnel *t, uint32_t index)
{
	if (index == t->index)
		return true;
	if (index == t->index_before)
		return false;
	t->index_before = t->index;
	t->index = index;
	for (unsigned c = 0; c < WIRE_CLASSES; c++) {
		if (t->sort[c].reorder)
			reorder_release(t->sort[c].reorder, t->sort[c].gaps, 0, t->now, deliver_held, t);
		if (t->sort[c].gaps)
			gaps_restart(t->sort[c].gaps);
		if (t->sort[c].reorder)
			t->sort[c].reorder->base = 0;
	}
	tunnel_fec_forget(t);
	return true;
}

static bool tunnel_in_note(struct tunnel *t, const struct assoc_got *got)
{
	struct gaps *g = t->sort[got->hdr.class].gaps;
	uint64_t filled = g->filled;
	bool taken = gaps_take(g, got->seq, t->now);
	unsigned c = got->hdr.class;

	if (got->path < ASSOC_PATHS) {
		t->path[got->path].in[c].received++;
		t->path[got->path].in[c].repaired += g->filled - filled;
		t->path[got->path].in[c].late += !taken;
	}
	return taken;
}

static bool tunnel_in_count(struct tunnel *t, const struct assoc_got *got)
{
	struct sort *s = &t->sort[got->hdr.class];

	if (!is_current(t, got->hdr.index))
		return false;
	if (!s->gaps)
		s->gaps = calloc(1, sizeof(*s->gaps));
	if (!s->reorder && got->hdr.class != WIRE_CLASS_R)
		s->reorder = calloc(1, sizeof(*s->reorder));
	return s->gaps && tunnel_in_note(t, got);
}

static void take_data(struct tunnel *t, const struct assoc_got *got)
{
	struct sort *s = &t->sort[got->hdr.class];
	bool counted = tunnel_in_count(t, got);
	struct inner in;

	if (counted && !tunnel_fec_source(t, got)) {
		s->duplicates++;
		return;
	}
	if (!is_wanted(t, got->plain, got->len, got->tos, &in))
		return;
	if (counted && s->reorder && got->path < ASSOC_PATHS &&
	    reorder_must_hold(s->reorder, s->gaps, got->seq, in.flow, got->path, hold_us(t, s), t->now))
		tunnel_in_hold(t, got, in.flow);
	else
		tunnel_in_deliver(t, got->plain, got->len);
}

/* A packet that did not come in a datagram of its own: it is copied into the box `p`, which is
 * given away. */
static void tunnel_in_take_copy(struct tunnel *t, struct packet *p, const uint8_t *packet,
				size_t len)
{
	struct inner in;

	memcpy(packet_inner(p), packet, len);
	p->len = (uint16_t)len;
	if (is_wanted(t, packet_inner(p), len, 0, &in))
		deliver_held(t, p);
	else
		packet_put(&t->slab, p);
}

static void tunnel_in_mended(struct tunnel *t, unsigned class, uint64_t seq, const uint8_t *packet,
			     size_t len)
{
	struct sort *s = &t->sort[class];
	struct packet *p = len <= PACKET_INNER_MAX ? slab_take(&t->slab) : NULL;

	if (!p)
		return;
	if (s->gaps)
		gaps_take(s->gaps, seq, t->now);
	tunnel_in_take_copy(t, p, packet, len);
}

static void take_fragment(struct tunnel *t, const struct assoc_got *got)
{
	struct packet *p;
	struct inner in;

	if (!t->fragments)
		t->fragments = calloc(1, sizeof(*t->fragments));
	if (!t->fragments)
		return;
	p = fragments_take(t->fragments, &t->slab, got->hdr.class, got->plain, got->len, t->now);
	if (!p)
		return;
	if (is_wanted(t, packet_inner(p), p->len, got->tos, &in))
		deliver_held(t, p);
	else
		packet_put(&t->slab, p);
}

void tunnel_on_got(void *arg, const struct assoc_got *got)
{
	struct tunnel *t = arg;

	tunnel_in_begin(t);
	pmtu_awake(t->pmtu, true, t->now / 1000);
	if (got->hdr.class == WIRE_CLASS_CONTROL)
		counters.tunnel_malformed++;
	else if (got->hdr.type == WIRE_DG_DATA)
		take_data(t, got);
	else if (got->hdr.type == WIRE_DG_FRAGMENT)
		take_fragment(t, got);
	else if (got->hdr.type == WIRE_DG_REPAIR && is_current(t, got->hdr.index))
		tunnel_fec_repair(t, got, tunnel_in_mended);
}

void tunnel_stream_got(struct tunnel *t, const uint8_t *packet, size_t len)
{
	struct packet *p;

	tunnel_in_begin(t);
	assoc_busy(t->assoc);
	t->stream.received++;
	p = len <= PACKET_INNER_MAX ? slab_take(&t->slab) : NULL;
	if (!p) {
		counters.tunnel_full++;
		return;
	}
	tunnel_in_take_copy(t, p, packet, len);
	tunnel_wake(t, 0); /* what came in this turn is flushed together */
}

void tunnel_on_copy(void *arg, unsigned path, const struct wire_dgram *hdr, uint64_t seq)
{
	struct tunnel *t = arg;

	(void)seq;
	t->sort[hdr->class].duplicates++;
	if (path < ASSOC_PATHS)
		t->path[path].in[hdr->class].duplicates++;
}

/* --- acknowledgements --- */

static void say(struct tunnel *t, unsigned class, const struct gaps_pace *pace)
{
	struct gaps *g = t->sort[class].gaps;
	bool missing = g->gap && t->now - g->gap_us < pace->young_us;
	struct wire_ack ack[GAPS_FRAMES];
	uint8_t value[WIRE_ACK_LEN_MIN + WIRE_ACK_MAP];
	unsigned n = gaps_ack(g, pace, class, ack, t->now);

	for (unsigned i = 0; i < n; i++) {
		size_t len = wire_put_ack(value, &ack[i]);

		assoc_control(t->assoc, missing || !t->view.n ? ASSOC_ALL : t->view.order[0], WIRE_CTL_ACK, value, len);
	}
	tunnel_fec_say(t, missing || !t->view.n ? ASSOC_ALL : t->view.order[0]);
}

void tunnel_ack_due(struct tunnel *t)
{
	struct gaps_pace pace = { .gap_us = ACK_GAP_US, .young_us = t->config.deadline_ms * 1000 };

	for (unsigned c = WIRE_CLASS_R; c < WIRE_CLASSES; c++) {
		pace.eager = c == WIRE_CLASS_R;
		pace.calm_us = c == WIRE_CLASS_R ? ACK_GAP_US : ACK_CALM_US;
		if (t->sort[c].gaps && gaps_due(t->sort[c].gaps, &pace, t->now))
			say(t, c, &pace);
	}
}

/* Acknowledged a round trip after a resend: so the first was lost. Sooner: it was only late. */
static void tunnel_packet_acked(void *arg, const struct packet *p)
{
	struct tunnel *t = arg;
	uint32_t round = UINT32_MAX;

	for (unsigned i = 0; i < ASSOC_PATHS; i++)
		if (p->paths >> i & 1 && t->view.paths.srtt_us[i] < round)
			round = t->view.paths.srtt_us[i];
	if (!p->tries)
		tunnel_fec_fate(t, p, false);
	tunnel_tell_pmtu(t, p, p->tries && t->now - p->last_us >= round / 4 * 3);
}

void tunnel_on_ack(struct tunnel *t, unsigned path, const uint8_t *value, size_t len)
{
	struct wire_ack a;

	if (wire_get_ack(&a, value, len) < 0 || a.type != WIRE_DG_DATA || a.class == WIRE_CLASS_CONTROL)
		return;
	tunnel_in_begin(t);
	resend_ack(&t->sort[a.class].resend, &a, path, &t->view.paths, t->now, tunnel_again, tunnel_packet_acked, t);
	tunnel_wake(t, 0); /* resends leave with the end of this turn */
}
