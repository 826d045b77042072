/* SPDX-License-Identifier: BSD-2-Clause */
/* The way out of the tunnel: an inner packet gets a class, waits if it must, is sealed, and leaves
 * on one path or several. tunnel.c has the theory.
 *
 * R is sealed at once and leaves on every urgent path: the best one first, as the packet itself,
 * the others as copies, which are shed where there is no room. F and B wait in the queue and are
 * sealed when a path takes them, so that numbers are in the order of leaving and a dropped packet
 * never had one. What is sealed and cannot leave at once waits for its path (tunnel_path.c).
 *
 * A packet is copied once, into a box of the slab. It is sealed there, sent from there, and kept
 * there for a resend. */
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "counter.h"
#include "tunnel_room.h"

#define SMALL (256 + WIRE_DG_OVERHEAD)
#define COPY_B_US 5000	/* queues in the modem, up to which bulk is copied; */
#define STOP_B_US 10000 /* once it is, up to here */
#define STOP_F_US 25000
#define STOP_R_US 60000
#define MOVE_US 30000
#define FLOWLET_US 30000 /* a flow silent for so long may move: what it sent before has arrived */

/* --- sealing, and what follows from a number --- */

static bool seal(struct tunnel *t, struct packet *p)
{
	tunnel_fec_note(t, p);
	if (assoc_seal(t->assoc, p->type, p->class, packet_dgram(p), p->len, &p->seq)) {
		counters.tunnel_no_path++;
		return false;
	}
	p->len = (uint16_t)(p->len + WIRE_DG_OVERHEAD);
	p->sent_us = p->last_us = t->now;
	t->sort[p->class].packets++;
	t->sort[p->class].bytes += p->len;
	return true;
}

static void tunnel_out_keep(struct tunnel *t, struct packet *p)
{
	if (p->type == WIRE_DG_DATA)
		resend_keep(&t->sort[p->class].resend, p);
}

/* --- copies --- */

/* The longer the modem's queue, the fewer classes are copied on this path. */
static uint8_t copies_upto(const struct tunnel *t, unsigned i)
{
	uint32_t q = jitter_queue_us(&t->path[i].pace.jitter, assoc_health(t->assoc, i)->side[HEALTH_TX].queue_us);

	if (q < COPY_B_US || (q < STOP_B_US && t->path[i].copies_upto == WIRE_CLASS_B))
		return WIRE_CLASS_B;
	return q < STOP_F_US ? WIRE_CLASS_F : q < STOP_R_US ? WIRE_CLASS_R : WIRE_CLASS_CONTROL;
}

static void copy_urgent(struct tunnel *t, unsigned i, struct packet *p)
{
	struct tunnel_path *path = &t->path[i];
	bool small = p->len <= SMALL;

	if (t->config.redundancy == TUNNEL_ALWAYS && !(t->view.returning >> i & 1)) { /* nobody would empty that one's fifo */
		tunnel_send_or_wait(t, i, &path->urgent, p);
		return;
	}
	path->copies_upto = copies_upto(t, i);
	if ((small || path->copies_upto >= WIRE_CLASS_R) && (path->pace.spare > 0 || path->pace.share > 0) && !tunnel_waits(path->urgent) &&
	    pace_may_borrow(&path->pace, small ? 2 * BORROW_US : BORROW_US))
		tunnel_send_on(t, i, p, true);
	else
		path->shed++;
}

static void copy_returning(struct tunnel *t, struct packet *p)
{
	if (!t->view.returning || p->len > SMALL || t->config.redundancy == TUNNEL_NEVER)
		return;
	for (unsigned i = 0; i < ASSOC_PATHS; i++)
		if (t->view.returning >> i & 1)
			copy_urgent(t, i, p);
}

static bool may_copy(struct tunnel *t, unsigned i, const struct packet *p)
{
	struct tunnel_path *path = &t->path[i];

	if (assoc_use(t->assoc, i) == WIRE_USE_COPIES || !tunnel_fits(t, i, p))
		return false; /* metered: not for bulk */
	if (t->config.redundancy == TUNNEL_ALWAYS)
		return pace_may_borrow(&path->pace, BORROW_US);
	path->copies_upto = copies_upto(t, i);
	if (path->copies_upto < p->class || tunnel_waits(path->urgent) || tunnel_waits(path->again) || queue_has(&t->queue, i, t->view.wide))
		return false;
	if (!pace_may_copy(&path->pace))
		path->pace.limited = true; /* copies teach, too, what a path carries */
	return pace_may_copy(&path->pace);
}

static void copy_bulk(struct tunnel *t, unsigned but, struct packet *p)
{
	if (t->config.redundancy == TUNNEL_NEVER || p->type != WIRE_DG_DATA)
		return;
	for (unsigned n = 0; n < t->view.n; n++) {
		unsigned i = t->view.order[n];

		if (i == but || !(t->view.urgent >> i & 1) || !may_copy(t, i, p))
			continue;
		tunnel_send_on(t, i, p, true);
		if (t->config.redundancy == TUNNEL_AUTO)
			return;
	}
}

/* --- sending --- */

/* Too long for where it should go: two pieces. Takes the reference. */
static void send_pieces(struct tunnel *t, struct packet *p, size_t room, void (*send)(struct tunnel *, struct packet *, unsigned), unsigned i)
{
	struct packet *out[2] = { slab_take(&t->slab), slab_take(&t->slab) };

	if (out[0] && out[1] && fragment_cut(out, t->fragment_id++, packet_inner(p), p->len, room) == 0) {
		for (unsigned n = 0; n < 2; n++) {
			out[n]->class = p->class;
			out[n]->tos = p->tos;
			send(t, packet_get(out[n]), i);
		}
	} else {
		counters.tunnel_oversize++;
	}
	packet_put(&t->slab, out[0]);
	packet_put(&t->slab, out[1]);
	packet_put(&t->slab, p);
}

static uint8_t paths_that_fit(const struct tunnel *t, const struct packet *p, size_t *room)
{
	uint8_t fit = 0;

	*room = 0;
	for (unsigned n = 0; n < t->view.n; n++) {
		unsigned i = t->view.order[n];
		size_t r = pmtu_room(t->pmtu, i);

		if (t->view.urgent >> i & 1 && p->len <= r)
			fit |= (uint8_t)(1 << i);
		*room = !*room || r < *room ? r : *room;
	}
	return fit;
}

/* Takes the reference; not sealed. */
static void send_urgent(struct tunnel *t, struct packet *p, unsigned unused)
{
	bool first = true;
	size_t room;
	uint8_t fit = paths_that_fit(t, p, &room);

	(void)unused;
	if (!fit && p->type == WIRE_DG_DATA && t->view.n) {
		send_pieces(t, p, room, send_urgent, 0);
		return;
	}
	for (unsigned n = 0; fit && n < t->view.n; n++) {
		unsigned i = t->view.order[n];

		if (!(fit >> i & 1))
			continue;
		if (first && !seal(t, p))
			break;
		if (first)
			tunnel_send_or_wait(t, i, &t->path[i].urgent, p);
		else if (t->config.redundancy != TUNNEL_NEVER)
			copy_urgent(t, i, p);
		first = false;
	}
	if (!first) {
		copy_returning(t, p);
		tunnel_out_keep(t, p);
		tunnel_fec_sent(t, p);
	}
	packet_put(&t->slab, p);
}

/* Its path has shrunk under it: another where it fits, and may go now? Pieces are not resent. */
static unsigned where_it_fits(const struct tunnel *t, const struct packet *p, unsigned i)
{
	uint8_t to = tunnel_home(t, (uint8_t)i, p->len);

	if (to < ASSOC_PATHS && p->len <= pmtu_room(t->pmtu, to) && pace_may_borrow(&t->path[to].pace, BORROW_US))
		return to;
	return i;
}

/* Takes the reference; not sealed. */
static void send_bulk(struct tunnel *t, struct packet *p, unsigned i)
{
	if (p->type == WIRE_DG_DATA && p->len > pmtu_room(t->pmtu, i))
		i = where_it_fits(t, p, i);
	if (p->type == WIRE_DG_DATA && p->len > pmtu_room(t->pmtu, i)) {
		send_pieces(t, p, pmtu_room(t->pmtu, i), send_bulk, i);
		return;
	}
	if (seal(t, p)) {
		tunnel_send_on(t, i, p, false);
		copy_bulk(t, i, p);
		tunnel_out_keep(t, p);
		tunnel_fec_sent(t, p);
	}
	packet_put(&t->slab, p);
}

static bool is_homeless(const struct tunnel *t, const struct queue_bucket *b)
{
	if (b->home >= ASSOC_PATHS || !(t->view.bulk >> b->home & 1))
		return true;
	return b->head->len > pmtu_room(t->pmtu, b->home) && !(t->view.wide >> b->home & 1);
}

/* A flow whose path is gone, or takes only shorter packets now, goes to another. */
static void rehome(struct tunnel *t)
{
	t->rehome = false;
	for (unsigned n = 0; n < QUEUE_BANDS * QUEUE_BUCKETS && t->queue.packets; n++) {
		struct queue_bucket *b = &t->queue.bucket[n / QUEUE_BUCKETS][n % QUEUE_BUCKETS];

		if (b->head && is_homeless(t, b))
			b->home = tunnel_home(t, QUEUE_NO_PATH, b->head->len);
	}
}

/* A flow that has just become bulk waits in both bands: half of it elsewhere would be overtaken by
 * the other. */
static bool is_in_both(struct tunnel *t, uint32_t flow)
{
	return queue_bucket(&t->queue, QUEUE_F, flow)->head && queue_bucket(&t->queue, QUEUE_B, flow)->head;
}

/* Several flows chose the same path and are too many for it: one at a time goes where there is
 * room. */
static void relieve(struct tunnel *t)
{
	struct queue_bucket *b = t->now - t->moved_us > MOVE_US ? queue_crowded(&t->queue, t->now) : NULL;
	uint8_t to = b && b->rate ? tunnel_room_for(t, b->home, b->rate) : QUEUE_NO_PATH;

	if (to == QUEUE_NO_PATH || is_in_both(t, b->head->flow))
		return;
	t->path[to].pace.load += b->rate; /* until it is measured */
	if (b->home < ASSOC_PATHS && t->path[b->home].pace.load > b->rate)
		t->path[b->home].pace.load -= b->rate;
	b->home = to;
	b->above_us = t->now;
	t->moved_us = t->now;
}

static void pump_path(struct tunnel *t, unsigned i)
{
	struct tunnel_path *path = &t->path[i];
	struct packet *p;

	tunnel_drain(t, i, path->urgent, BORROW_US);
	tunnel_drain(t, i, path->again, 0);
	while (t->queue.packets && t->view.bulk >> i & 1 && pace_may(&path->pace)) {
		p = queue_take(&t->queue, i, t->view.wide, t->now);
		if (!p)
			break;
		send_bulk(t, p, i);
	}
	path->pace.backlog = !pace_may(&path->pace) && (tunnel_waits(path->urgent) || tunnel_waits(path->again) || queue_has(&t->queue, i, t->view.wide));
	path->pace.limited = path->pace.limited || path->pace.backlog;
	if (path->pace.backlog && path->pace.starting)
		t->queue.patient_us = t->now + PATIENT_US;
}

void tunnel_pump(struct tunnel *t)
{
	if (t->deserted)
		tunnel_desert(t);
	if (t->rehome)
		rehome(t);
	if (t->queue.packets)
		relieve(t);
	for (unsigned n = 0; n < t->view.n; n++)
		pace_fill(&t->path[t->view.order[n]].pace, t->now);
	for (unsigned n = 0; n < t->view.n; n++)
		pump_path(t, t->view.order[n]);
	tunnel_stream_pump(t);
}

/* --- in from the caller --- */

static uint8_t outer_tos(const struct tunnel *t, uint8_t tos, enum wire_class class)
{
	static const uint8_t by_class[WIRE_CLASSES] = { 0xc0, 46 << 2, 34 << 2, 0 };
	uint8_t ecn = tos & 3;

	switch (t->config.dscp) {
	case TUNNEL_DSCP_CLASS:
		return by_class[class] | ecn;
	case TUNNEL_DSCP_ZERO:
		return ecn;
	default:
		return tos;
	}
}

/* What is urgent because its sender says so, and fast, may have a third of the best path and no
 * more. */
static enum wire_class demote_costly(struct tunnel *t, enum wire_class class,
				     const struct classify_flow *f, size_t len)
{
	struct pace *best = t->view.n ? &t->path[t->view.order[0]].pace : NULL;

	if (class != WIRE_CLASS_R || len <= 256 || f->rate <= 1000000 / 8 || !best)
		return class;
	if (best->share <= 0)
		return WIRE_CLASS_F;
	best->share -= (int64_t)len;
	return class;
}

/* A flow that has just become bulk stays where it was: elsewhere it would overtake itself, and what
 * is in pieces would not be joined. */
static uint8_t find_home(struct tunnel *t, const struct packet *p, const struct queue_bucket *b)
{
	const struct queue_bucket *f = queue_bucket(&t->queue, QUEUE_F, p->flow);

	if (f != b && f->home < ASSOC_PATHS && t->view.bulk >> f->home & 1 && t->now - f->last_us < FLOWLET_US)
		return f->home;
	return tunnel_home(t, b->home, p->len);
}

/* A flow that is bulk no more stays behind what of it still waits as bulk: before it, that would
 * starve. */
static bool waits_as_bulk(struct tunnel *t, uint32_t flow)
{
	const struct queue_bucket *b = queue_bucket(&t->queue, QUEUE_B, flow);

	return b->head && b->tail->flow == flow;
}

static void enqueue(struct tunnel *t, struct packet *p, uint32_t rate)
{
	unsigned band = p->class == WIRE_CLASS_F ? QUEUE_F : QUEUE_B;
	struct queue_bucket *b = queue_bucket(&t->queue, band, p->flow);

	if (b->home >= ASSOC_PATHS || !(t->view.bulk >> b->home & 1) || (!b->head && t->now - b->last_us > FLOWLET_US))
		b->home = find_home(t, p, b);
	b->rate = rate;
	queue_put(&t->queue, band, p, t->now);
}

static void begin_batch(struct tunnel *t)
{
	t->in_batch = true;
	t->now = t->active_us = clock_us();
	tunnel_look(t);
	for (unsigned n = 0; n < t->view.n; n++)
		pace_fill(&t->path[t->view.order[n]].pace, t->now);
}

static bool is_fit(struct tunnel *t, const uint8_t *packet, size_t len, struct inner *in)
{
	if (!t->flows)
		t->flows = calloc(1, sizeof(*t->flows));
	if (inner_parse(in, packet, len))
		counters.tunnel_malformed++;
	else if (len > PACKET_INNER_MAX)
		counters.tunnel_oversize++;
	else if (!t->by_stream && (!t->view.n || !assoc_keyed(t->assoc)))
		counters.tunnel_no_path++;
	else
		return t->flows;
	return false;
}

void tunnel_send(struct tunnel *t, uint8_t *packet, size_t len)
{
	struct classify_flow *flow;
	enum wire_class class;
	struct packet *p;
	struct inner in;

	if (!t->in_batch)
		begin_batch(t);
	if (!is_fit(t, packet, len, &in))
		return;
	class = classify_packet(t->flows, &in, len, t->now / 1000, &flow);
	class = demote_costly(t, class, flow, len);
	if (class == WIRE_CLASS_F && waits_as_bulk(t, in.flow))
		class = WIRE_CLASS_B;
	p = slab_take(&t->slab);
	if (!p) {
		counters.tunnel_full++;
		return;
	}
	memcpy(packet_inner(p), packet, len);
	p->len = (uint16_t)len;
	p->class = (uint8_t)class;
	p->flow = in.flow;
	p->tos = outer_tos(t, in.tos, class);
	p->born_us = t->now;
	if (t->by_stream)
		tunnel_stream_put(t, p);
	else if (class == WIRE_CLASS_R)
		send_urgent(t, p, 0);
	else
		enqueue(t, p, flow->rate);
}

void tunnel_send_end(struct tunnel *t)
{
	if (!t->in_batch)
		return;
	t->in_batch = false;
	tunnel_pump(t);
	tunnel_flush(t);
	tunnel_wake(t, tunnel_backlog(t) ? 1000 : 5000);
}
