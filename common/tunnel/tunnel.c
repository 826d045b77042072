/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * An inner packet is sealed once, as it is, and the same bytes go out on as many paths as it
 * deserves; at the far end the first copy wins, and the window that stops replays drops the others
 * before they are decrypted. classify.c says what a packet deserves:
 * - R: on every path that lives, and resent within `deadline_ms`. Never held: the first copy is delivered as it comes.
 * - F, B: on one path, that of its flow, and resent; and copied to another while that one has room to spare.
 *
 * Redundancy is paid from idle capacity (pace.c): a copy of bulk needs a short queue in the modem
 * and spare tokens; R has a share of each path even without. `redundancy = always` asks nobody,
 * `never` leaves resends alone. Metered paths get R and nothing else.
 *
 * Who waits where. In front of a path its pace decides; what may not leave waits in our queues
 * (tunnel_queue.c) and not in the modem's. Numbers are given when a packet leaves, so what the
 * queue drops is never missed at the far end.
 *
 * What is lost. The receiver says by ACK frames what arrived (gaps.c); the sender, who knows what
 * went where, decides what is lost and resends the same bytes (resend.c). A path that becomes
 * SUSPECT or DOWN has all that is unacknowledged on it sent elsewhere at once. Where a resend would
 * come too late and copies have no room, parity may mend (tunnel_fec.c). Flows that use several
 * paths are put in order again by the receiver (reorder.c).
 *
 * Where no datagram gets through at all, packets go by a stream that somebody else has
 * (tunnel_stream.c), bare and once.
 *
 * Promises: nothing is delivered twice (assoc.c), nothing that did not authenticate is looked at,
 * no path delays another, everything is bounded: the slab's boxes, the rings, the queue (50 ms),
 * the lists of the held. When memory or room is out, packets are dropped and counted. With new keys
 * numbers begin anew, and what was unacknowledged under the old ones is not resent any more.
 *
 * Time. One timer: every millisecond while something waits for a path, every few while something
 * may have to be resent, acknowledged or released, then slower, and after two quiet seconds not at
 * all; the memory is given back. */
#include "tunnel.h"

#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "tunnel_room.h"

#define PACKETS_MAX 4096 /* 6 MB */
#define QUIET_US 2000000
#define BACKLOG_US 1000
#define WATCH_US 5000
#define SLOW_US 50000
#define KEEP_R_US 400000
#define KEEP_B_US 1000000

/* --- time --- */

static void judge_paths(struct tunnel *t)
{
	for (unsigned n = 0; n < t->view.n; n++) {
		const struct health *h = assoc_health(t->assoc, t->view.order[n]);
		struct pace_seen seen = { .queue_us = h->side[HEALTH_TX].queue_us, .srtt_us = h->srtt_us,
					  .delivered = h->side[HEALTH_TX].rate,
					  .arrives = h->side[HEALTH_TX].rate_now };

		pace_judge(&t->path[t->view.order[n]].pace, &seen, t->now);
	}
}

static bool has_worries(const struct tunnel *t)
{
	for (unsigned c = 0; c < WIRE_CLASSES; c++) {
		const struct sort *s = &t->sort[c];

		if (resend_waits(&s->resend) || (s->gaps && !gaps_idle(s->gaps)) || (s->reorder && s->reorder->n))
			return true;
	}
	return false;
}

/* Nothing moved for a while: all memory goes back. */
static void tunnel_rest(struct tunnel *t)
{
	tunnel_fec_rest(t);
	for (unsigned i = 0; i < ASSOC_PATHS; i++)
		tunnel_drop_backlog(t, i);
	for (unsigned c = 0; c < WIRE_CLASSES; c++)
		resend_trim(&t->sort[c].resend);
	if (t->fragments)
		fragments_expire(t->fragments, &t->slab, UINT64_MAX);
	free(t->fragments);
	t->fragments = NULL;
	free(t->flows);
	t->flows = NULL;
	slab_trim(&t->slab);
}

static void wake_later(struct tunnel *t)
{
	if (tunnel_backlog(t))
		tunnel_wake(t, BACKLOG_US);
	else if (has_worries(t))
		tunnel_wake(t, WATCH_US);
	else if (t->now - t->active_us < QUIET_US)
		tunnel_wake(t, SLOW_US);
	else
		tunnel_rest(t);
}

static void tunnel_tick(evutil_socket_t fd, short what, void *arg)
{
	struct tunnel *t = arg;

	(void)fd;
	(void)what;
	t->tick_us = 0;
	t->now = clock_us();
	tunnel_look(t);
	judge_paths(t);
	tunnel_fec_judge(t);
	for (unsigned c = WIRE_CLASS_R; c < WIRE_CLASSES; c++)
		resend_tick(&t->sort[c].resend, &t->view.paths, t->now, tunnel_again, t);
	if (t->fragments)
		fragments_expire(t->fragments, &t->slab, t->now);
	tunnel_release(t);
	tunnel_ack_due(t);
	tunnel_pump(t);
	queue_expire(&t->queue, t->now);
	tunnel_flush(t);
	wake_later(t);
}

/* --- what the association tells --- */

static void tunnel_batch_end(void *arg)
{
	struct tunnel *t = arg;

	t->now = clock_us();
	tunnel_look(t);
	tunnel_release(t);
	tunnel_ack_due(t);
	tunnel_flush(t);
	tunnel_wake(t, WATCH_US);
}

static void tunnel_path_changed(void *arg, unsigned path, enum health_state was)
{
	struct tunnel *t = arg;

	t->now = clock_us();
	t->look_us = 0;
	pmtu_path(t->pmtu, path, t->now / 1000);
	tunnel_look(t);
	tunnel_wake(t, 0);
	if (t->on_path)
		t->on_path(t->watch_arg, path, was);
}

static void tunnel_frame(void *arg, unsigned path, uint8_t type, const uint8_t *value, size_t len)
{
	struct tunnel *t = arg;

	if (type == WIRE_CTL_MTU_PROBE)
		pmtu_awake(t->pmtu, true, clock_ms());
	if (type == WIRE_CTL_ACK)
		tunnel_on_ack(t, path, value, len);
	else if (type == WIRE_CTL_MEND)
		tunnel_fec_heard(t, value, len);
	else if (path < ASSOC_PATHS)
		pmtu_frame(t->pmtu, path, type, value, len, clock_ms());
}

static void tunnel_unknown(void *arg)
{
	struct tunnel *t = arg;

	if (t->on_unknown)
		t->on_unknown(t->watch_arg);
}

static void tunnel_mtu_found(void *arg, unsigned inner)
{
	struct tunnel *t = arg;

	if (t->ops.mtu)
		t->ops.mtu(t->arg, inner);
}

/* --- life --- */

static void tunnel_begin(struct tunnel *t)
{
	struct resend_how r = { .deadline_us = t->config.deadline_ms * 1000, .strict = true, .tries = 2, .keep_us = KEEP_R_US };
	struct resend_how b = { .deadline_us = t->config.deadline_ms * 1000, .tries = 3, .keep_us = KEEP_B_US };

	t->now = clock_us();
	slab_init(&t->slab, PACKETS_MAX);
	queue_init(&t->queue, &t->slab, t->config.aggregate);
	stream_init(&t->stream, &t->slab);
	resend_init(&t->sort[WIRE_CLASS_R].resend, &t->slab, 256, 256 * WIRE_DG_MAX, &r);
	resend_init(&t->sort[WIRE_CLASS_F].resend, &t->slab, 1024, 1 << 20, &b);
	resend_init(&t->sort[WIRE_CLASS_B].resend, &t->slab, 1024, 1 << 20, &b);
	for (unsigned i = 0; i < ASSOC_PATHS; i++)
		pace_init(&t->path[i].pace, t->now);
	event_assign(&t->tick, t->base, -1, 0, tunnel_tick, t);
}

void tunnel_set_redundancy(struct tunnel *t, enum tunnel_redundancy redundancy)
{
	t->config.redundancy = redundancy;
}

struct tunnel *tunnel_new(struct event_base *base, struct seal *seal, enum assoc_side side, const struct tunnel_config *config,
			  const struct tunnel_ops *ops, void *arg)
{
	static const struct assoc_ops down = { .path = tunnel_path_changed, .got = tunnel_on_got, .copy = tunnel_on_copy, .frame = tunnel_frame,
					       .unknown = tunnel_unknown, .batch_end = tunnel_batch_end };
	struct tunnel *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->base = base;
	t->side = side;
	t->config = *config;
	t->ops = *ops;
	t->arg = arg;
	tunnel_begin(t);
	t->assoc = assoc_new(base, seal, side, &down, t);
	t->pmtu = t->assoc ? pmtu_new(base, t->assoc, config->fec == TUNNEL_FEC_OFF ? 0 : WIRE_REPAIR_HDR, tunnel_mtu_found, t) : NULL;
	if (!t->pmtu) {
		tunnel_free(t);
		return NULL;
	}
	pmtu_awake(t->pmtu, side == ASSOC_LOCAL, 0);
	return t;
}

void tunnel_unused(struct tunnel *t)
{
	pmtu_awake(t->pmtu, false, 0);
}

void tunnel_free(struct tunnel *t)
{
	if (!t)
		return;
	event_del(&t->tick);
	tunnel_fec_rest(t);
	pmtu_free(t->pmtu);
	assoc_free(t->assoc);
	for (unsigned i = 0; i < ASSOC_PATHS; i++)
		tunnel_drop_backlog(t, i);
	for (unsigned c = 0; c < WIRE_CLASSES; c++) {
		free(t->sort[c].resend.slot);
		free(t->sort[c].gaps);
		free(t->sort[c].reorder);
	}
	free(t->fragments);
	free(t->flows);
	slab_end(&t->slab);
	free(t);
}

struct assoc *tunnel_assoc(struct tunnel *t)
{
	return t->assoc;
}

void tunnel_watch(struct tunnel *t, tunnel_path_cb path, void (*unknown)(void *arg), void *arg)
{
	t->on_path = path;
	t->on_unknown = unknown;
	t->watch_arg = arg;
}

unsigned tunnel_mtu(const struct tunnel *t)
{
	return pmtu_inner(t->pmtu);
}
