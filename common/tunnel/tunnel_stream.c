/* SPDX-License-Identifier: BSD-2-Clause */
/* The other way out: frames of the control connection, where datagrams do not get through. tunnel.c
 * has the theory.
 *
 * Which way is taken is decided elsewhere; here it is done. A packet that goes by the stream is not
 * sealed (TLS does that), has no number, and is sent once: the stream loses nothing. What it was to
 * do on the paths is not repeated here: at the far end it is looked at like any other packet, and
 * goes the same way from there. Packets that were on their way when the way changed may overtake
 * each other. */
#include "clock.h"
#include "tunnel_room.h"


_Static_assert(WIRE_PACKET_MAX == PACKET_INNER_MAX, "what a datagram can hold");

void tunnel_stream_way(struct tunnel *t, tunnel_offer_cb offer, void *arg)
{
	t->offer = offer;
	t->offer_arg = arg;
}

void tunnel_carry(struct tunnel *t, bool by_stream)
{
	t->by_stream = by_stream && t->offer;
}

bool tunnel_by_stream(const struct tunnel *t)
{
	return t->by_stream;
}

bool tunnel_has_path(const struct tunnel *t)
{
	for (unsigned i = 0; i < ASSOC_PATHS; i++) {
		enum health_state s = assoc_health(t->assoc, i)->state;

		if (assoc_has_path(t->assoc, i) && assoc_use(t->assoc, i) != WIRE_USE_NOT && (health_usable(s) || s == HEALTH_SUSPECT))
			return true;
	}
	return false;
}

bool tunnel_has_hope(const struct tunnel *t)
{
	for (unsigned i = 0; i < ASSOC_PATHS; i++)
		if (tunnel_answers_again(t, i, clock_us()))
			return true;
	return false;
}

const char *tunnel_carrier(const struct tunnel *t)
{
	return t->by_stream ? "stream" : assoc_keyed(t->assoc) && tunnel_has_path(t) ? "udp" : "none";
}

uint64_t tunnel_stream_moved(const struct tunnel *t)
{
	return t->stream.sent + t->stream.received;
}

/* Probing goes on meanwhile, or nobody would know when datagrams get through again. */
void tunnel_stream_put(struct tunnel *t, struct packet *p)
{
	assoc_busy(t->assoc);
	stream_put(&t->stream, p, t->now);
}

/* Also after the way back was taken, until nothing waits any more. */
void tunnel_stream_pump(struct tunnel *t)
{
	struct packet *p;

	while ((p = stream_head(&t->stream, t->now)) && t->offer && t->offer(t->offer_arg, packet_inner(p), p->len))
		stream_pop(&t->stream);
}

void tunnel_stream_room(struct tunnel *t)
{
	t->now = clock_us();
	tunnel_stream_pump(t);
}
