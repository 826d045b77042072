/* SPDX-License-Identifier: BSD-2-Clause */
/* stream: TCP and Multipath TCP of the simulated world.
 *
 * Theory of operation. A connection has two ends and two directions. A direction is one run of
 * bytes with marks on it: what was acknowledged, what was sent, what was written; what the other
 * end has received in order, and what was read there. FIN is one more byte behind the last. Bytes
 * travel in segments, each on one subflow (a TCP connection has one) whose line says when they
 * arrive. The acknowledgement travels back and says up to where all has come.
 *
 * A subflow that hears no acknowledgement for its time-out gives its segments back, and they go
 * over whichever subflow works; itself it is passed over until its line lets something through
 * again. Loss by chance costs the segment a round trip more.
 *
 * A Multipath TCP connection begins as TCP does, on the line of its source address. When its client
 * has heard its peer, subflows join from each endpoint of the gateway. Where the line takes away
 * MPTCP's options the connection is plain TCP, and a join fails. When an endpoint is taken out, so
 * are its subflows.
 *
 * A reset goes over any subflow that works; whoever sends to an end that is gone is answered with
 * one. A SYN is repeated after 1, 2, 4 ... seconds.
 *
 * Left out: congestion control beyond a window that grows, delayed acknowledgements, window
 * updates that get lost, MP_FAIL, REMOVE_ADDR and announced addresses. */
#include "stream_room.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "fd.h"
#include "line.h"
#include "sim.h"
#include "sim_clock.h"

#define SEGMENT 4096
#define HEADER 60
#define WINDOW_FIRST (14 << 10)
#define WINDOW_MAX (256 << 10)
#define RTO_MIN (200 * MS)
#define BACKOFF_MAX 6
#define SYN_TRIES 7
#define SEVERED (60 * SECOND)

static LIST_HEAD(, connection) connections;
static LIST_HEAD(, listener) listeners;
static bool endpoint[LINES], endpoint_backup[LINES];

static void pump(struct direction *d);
static void join(struct connection *c, int line, bool backup);

void streams_begin(void)
{
	LIST_INIT(&connections);
	LIST_INIT(&listeners);
	memset(endpoint, 0, sizeof(endpoint));
}

/* --- who is told --- */

static void ring_event(void *arg)
{
	struct stream *s = arg;

	if (s->event && s->open)
		s->event(s->arg);
}

static void tell(struct stream *s)
{
	if (s->fd >= 0)
		fd_changed(s->fd);
	else if (s->event)
		alarm_once(0, ring_event, s);
}

static void die(struct stream *s, int error)
{
	if (s->error)
		return;
	s->error = error;
	tell(s);
}

/* --- subflows --- */

int side_way(enum side from)
{
	return from == CLIENT ? UP : DOWN;
}

static bool sub_here(const struct subflow *s)
{
	const struct line *l = &lines[s->line];

	return s->line >= LINES || (l->carrier && l->addr.s_addr == s->addr.s_addr);
}

static bool sub_passes(const struct subflow *s, enum side from)
{
	return s->up && sub_here(s) && line_passes(&lines[s->line], side_way(from));
}

static bool sub_works(const struct subflow *s)
{
	return sub_passes(s, CLIENT) && sub_passes(s, SERVER);
}

static uint64_t sub_send(struct subflow *s, enum side from, uint32_t bytes)
{
	return sub_here(s) ? line_send(&lines[s->line], side_way(from), bytes + HEADER) : NEVER;
}

static uint64_t timeout_us(const struct subflow_way *w)
{
	uint64_t rto = 2 * line_rtt(&lines[w->sub->line]) + RTO_MIN;

	return rto << w->backoff;
}

static void give_back(struct subflow_way *w)
{
	struct direction *d = &w->sub->c->d[w->from];
	struct segment *g, *next;

	for (g = TAILQ_FIRST(&d->flying); g; g = next) {
		struct segment *at;

		next = TAILQ_NEXT(g, entry);
		if (&w->sub->c->sub[g->sub] != w->sub)
			continue;
		alarm_clear(&g->alarm);
		TAILQ_REMOVE(&d->flying, g, entry);
		TAILQ_FOREACH(at, &d->lost, entry)
			if (at->from > g->from)
				break;
		if (at)
			TAILQ_INSERT_BEFORE(at, g, entry);
		else
			TAILQ_INSERT_TAIL(&d->lost, g, entry);
	}
	w->flying = 0;
}

static void way_timed_out(void *arg)
{
	struct subflow_way *w = arg;

	give_back(w);
	w->stale = !sub_works(w->sub);
	w->window = WINDOW_FIRST;
	if (w->stale) {
		w->backoff += w->backoff < BACKOFF_MAX;
		alarm_in(&w->timeout, timeout_us(w));
	}
	pump(&w->sub->c->d[w->from]);
}

static struct subflow *sub_new(struct connection *c, int line, struct in_addr addr)
{
	struct subflow *s = NULL;

	for (unsigned i = 0; i < c->n_subs && !s; i++)
		if (!c->sub[i].up && !c->sub[i].join.place)
			s = &c->sub[i];
	if (!s && c->n_subs < SUBFLOWS)
		s = &c->sub[c->n_subs++];
	if (!s)
		return NULL;
	*s = (struct subflow){ .c = c, .line = line, .addr = addr };
	for (enum side side = CLIENT; side <= SERVER; side++) {
		s->way[side] = (struct subflow_way){
			.sub = s, .from = side, .window = WINDOW_FIRST, .heard_us = clock_now()
		};
		alarm_init(&s->way[side].timeout, way_timed_out, &s->way[side]);
	}
	return s;
}

static void severed_for_long(void *arg)
{
	struct connection *c = arg;

	die(&c->end[CLIENT], ETIMEDOUT);
	die(&c->end[SERVER], ETIMEDOUT);
}

/* The kernel ends a connection that has been without any subflow for a minute; an endpoint that is
 * put in begins the minute anew. */
static void watch_severed(struct connection *c)
{
	bool any = false;

	for (unsigned i = 0; i < c->n_subs; i++)
		any |= c->sub[i].up;
	if (any || !c->connected || !c->mptcp)
		alarm_clear(&c->severed);
	else
		alarm_in(&c->severed, SEVERED);
}

static void sub_drop(struct subflow *s)
{
	s->up = false;
	alarm_clear(&s->join);
	watch_severed(s->c);
	for (enum side side = CLIENT; side <= SERVER; side++) {
		alarm_clear(&s->way[side].timeout);
		give_back(&s->way[side]);
	}
	pump(&s->c->d[CLIENT]);
	pump(&s->c->d[SERVER]);
}

/* The one to send on: it works as far as is known, has room, is no backup if there is a choice, and
 * is the quickest. */
static struct subflow_way *choose(struct direction *d, uint64_t len)
{
	struct subflow_way *best = NULL;

	for (unsigned i = 0; i < d->c->n_subs; i++) {
		struct subflow *s = &d->c->sub[i];
		struct subflow_way *w = &s->way[d->from];

		if (!s->up || w->stale || (w->flying && w->flying + len > w->window))
			continue;
		if (!best || (best->sub->backup && !s->backup) ||
		    (best->sub->backup == s->backup &&
		     line_rtt(&lines[s->line]) < line_rtt(&lines[best->sub->line])))
			best = w;
	}
	return best;
}

/* --- a reset --- */

static void reset_arrives(void *arg)
{
	die(arg, ECONNRESET);
}

static void send_reset(struct connection *c, enum side from)
{
	for (unsigned i = 0; i < c->n_subs; i++) {
		struct subflow *s = &c->sub[i];
		uint64_t at = sub_passes(s, from) ? sub_send(s, from, 0) : NEVER;

		if (at == NEVER &&
		    sub_passes(s, from)) /* lost by chance: what the peer sends is answered again */
			at = clock_now() + 2 * line_rtt(&lines[s->line]);
		if (at == NEVER)
			continue;
		alarm_once(at - clock_now(), reset_arrives, &c->end[!from]);
		return;
	}
}

/* --- keep-alive --- */

static uint64_t heard_of(const struct connection *c, enum side side)
{
	uint64_t last = 0;

	for (unsigned i = 0; i < c->n_subs; i++)
		if (c->sub[i].up && c->sub[i].way[side].heard_us > last)
			last = c->sub[i].way[side].heard_us;
	return last;
}

static void probe_due(void *arg)
{
	struct stream *s = arg;
	struct connection *c = s->c;
	uint64_t quiet = clock_now() - heard_of(c, s->side);
	bool through = false;

	if (!s->open || s->error || !s->probe.on)
		return;
	if (!s->probe.lost && quiet < s->probe.idle * SECOND) {
		alarm_in(&s->probe.alarm, s->probe.idle * SECOND - quiet);
		return;
	}
	for (unsigned i = 0; i < c->n_subs; i++) {
		if (!sub_works(&c->sub[i]))
			continue;
		through = true;
		c->sub[i].way[s->side].heard_us = clock_now();
	}
	if (through && !c->end[!s->side].open && c->end[!s->side].error) {
		die(s, ECONNRESET);
		return;
	}
	s->probe.lost = through ? 0 : s->probe.lost + 1;
	if (s->probe.lost > s->probe.tries)
		die(s, ETIMEDOUT);
	else
		alarm_in(&s->probe.alarm,
			 (s->probe.lost ? s->probe.every : s->probe.idle) * SECOND);
}

void stream_probe(struct stream *s)
{
	if (s->probe.on && s->c->connected && s->open)
		alarm_in(&s->probe.alarm, s->probe.idle * SECOND);
}

/* --- a direction --- */

static uint64_t end_of(const struct direction *d)
{
	return d->written + d->fin;
}

static void segment_free(struct segments *list, struct segment *g)
{
	TAILQ_REMOVE(list, g, entry);
	alarm_clear(&g->alarm);
	free(g);
}

static void trim(struct direction *d)
{
	uint64_t keep = d->acked < d->read ? d->acked : d->read;

	if (keep > d->written)
		keep = d->written;
	if (keep - d->base < 65536 && keep != d->written)
		return;
	memmove(d->bytes, d->bytes + (keep - d->base), d->written - keep);
	d->base = keep;
}

static void acknowledged(struct direction *d, uint64_t upto)
{
	struct segment *g, *next;

	for (g = TAILQ_FIRST(&d->flying); g; g = next) {
		struct subflow_way *w = &d->c->sub[g->sub].way[d->from];

		next = TAILQ_NEXT(g, entry);
		if (g->to > upto)
			continue;
		w->flying -= g->to - g->from;
		segment_free(&d->flying, g);
	}
	for (g = TAILQ_FIRST(&d->lost); g; g = next) {
		next = TAILQ_NEXT(g, entry);
		if (g->to <= upto)
			segment_free(&d->lost, g);
	}
	if (upto > d->acked)
		d->acked = upto;
	trim(d);
}

static void ack_arrives(struct segment *g)
{
	struct direction *d = g->d;
	struct subflow_way *w = &d->c->sub[g->sub].way[d->from];
	uint64_t upto = g->acked, len = g->to - g->from;

	w->flying -= len;
	w->acked += len;
	w->window = w->window + len < WINDOW_MAX ? w->window + len : WINDOW_MAX;
	w->heard_us = clock_now();
	w->backoff = 0;
	w->stale = false;
	segment_free(&d->flying, g);
	acknowledged(d, upto);
	if (w->flying)
		alarm_in(&w->timeout, timeout_us(w));
	else
		alarm_clear(&w->timeout);
	tell(&d->c->end[d->from]);
	pump(d);
}

/* What came out of order is noted, in as few runs as there are. False: there is no room for one
 * more, and it has not come. */
static bool note_gap(struct direction *d, uint64_t from, uint64_t to)
{
	for (unsigned i = 0; i < d->n_gaps; i++) {
		if (from > d->gap[i].to || to < d->gap[i].from)
			continue;
		d->gap[i].from = from < d->gap[i].from ? from : d->gap[i].from;
		d->gap[i].to = to > d->gap[i].to ? to : d->gap[i].to;
		return true;
	}
	if (d->n_gaps == GAPS)
		return false;
	d->gap[d->n_gaps].from = from;
	d->gap[d->n_gaps++].to = to;
	return true;
}

static bool take_in(struct direction *d, uint64_t from, uint64_t to)
{
	if (from > d->received)
		return note_gap(d, from, to);
	d->received = to > d->received ? to : d->received;
	for (unsigned i = 0; i < d->n_gaps; i++)
		if (d->gap[i].from <= d->received) {
			d->received = d->gap[i].to > d->received ? d->gap[i].to : d->received;
			d->gap[i] = d->gap[--d->n_gaps];
			i = UINT32_MAX; /* from the beginning: another may fit now */
		}
	return true;
}

static void try_join_all(struct connection *c)
{
	if (c->mptcp && c->end[CLIENT].host == GATEWAY && c->d[SERVER].received)
		for (int i = 0; i < LINES; i++)
			if (endpoint[i])
				join(c, i, endpoint_backup[i]);
}

static void segment_event(void *arg)
{
	struct segment *g = arg;
	struct direction *d = g->d;
	struct stream *to = &d->c->end[!d->from];
	uint64_t was = d->received, back;

	if (g->arrived) {
		ack_arrives(g);
		return;
	}
	g->arrived = true;
	if (!to->open || to->error) { /* nobody is there any more */
		send_reset(d->c, to->side);
		return;
	}
	if (!take_in(d, g->from, g->to))
		return;
	g->acked = d->received;
	if (d->received != was) {
		tell(to);
		if (!was)
			try_join_all(d->c);
	}
	back = sub_passes(&d->c->sub[g->sub], to->side) ?
		       sub_send(&d->c->sub[g->sub], to->side, 0) :
		       NEVER;
	if (back != NEVER)
		alarm_in(&g->alarm, back - clock_now());
}

static void fly(struct direction *d, struct segment *g, struct subflow_way *w)
{
	uint64_t len = g->to - g->from, at = sub_send(w->sub, d->from, (uint32_t)len);
	const struct line *l = &lines[w->sub->line];

	if (at == NEVER && sub_passes(w->sub, d->from))
		at = clock_now() + l->way[side_way(d->from)].delay_us + line_rtt(l);
	g->sub = (int)(w->sub - d->c->sub);
	g->arrived = false;
	w->flying += len;
	w->sent_us = clock_now();
	TAILQ_INSERT_TAIL(&d->flying, g, entry);
	if (at != NEVER)
		alarm_in(&g->alarm, at - clock_now());
	if (!w->timeout.place)
		alarm_in(&w->timeout, timeout_us(w));
}

static void pump(struct direction *d)
{
	struct connection *c = d->c;
	struct subflow_way *w;
	struct segment *g;

	if (!c->connected || c->end[d->from].error)
		return;
	while ((g = TAILQ_FIRST(&d->lost)) && (w = choose(d, g->to - g->from))) {
		TAILQ_REMOVE(&d->lost, g, entry);
		fly(d, g, w);
	}
	while (!g && d->next < end_of(d) && d->next < d->read + RCVBUF) {
		uint64_t len = end_of(d) - d->next < SEGMENT ? end_of(d) - d->next : SEGMENT;

		w = choose(d, len);
		if (!w)
			break;
		g = sim_alloc(sizeof(*g));
		g->d = d;
		g->from = d->next;
		g->to = d->next += len;
		alarm_init(&g->alarm, segment_event, g);
		fly(d, g, w);
		g = NULL;
	}
}

/* --- connecting --- */

static void send_syn(void *arg);

struct connection *connection_new(void)
{
	struct connection *c = sim_alloc(sizeof(*c));

	for (enum side side = CLIENT; side <= SERVER; side++) {
		c->end[side] = (struct stream){ .c = c, .side = side, .fd = -1, .lowat = SNDBUF };
		alarm_init(&c->end[side].probe.alarm, probe_due, &c->end[side]);
		c->d[side].c = c;
		c->d[side].from = side;
		TAILQ_INIT(&c->d[side].flying);
		TAILQ_INIT(&c->d[side].lost);
	}
	alarm_init(&c->syn, send_syn, c);
	alarm_init(&c->severed, severed_for_long, c);
	LIST_INSERT_HEAD(&connections, c, entry);
	return c;
}

struct listener *listener_find(enum host host, const struct sockaddr_in *to, uint16_t port)
{
	struct listener *l;

	LIST_FOREACH(l, &listeners, entry)
		if (l->host == host && l->at.sin_port == port &&
		    (!l->at.sin_addr.s_addr || l->at.sin_addr.s_addr == to->sin_addr.s_addr))
			return l;
	return NULL;
}

void listener_add(struct listener *l)
{
	LIST_INSERT_HEAD(&listeners, l, entry);
}

static void enter_queue(void *arg)
{
	struct connection *c = arg;
	struct stream *s = &c->end[SERVER];
	struct listener *l = listener_find(c->to_host, &s->name, c->to_port);

	if (!c->end[CLIENT].open || c->end[CLIENT].error) {
		s->open = false;     /* its client has gone again: nobody gets it to see */
	} else if (!l || !s->open) { /* gone meanwhile */
		s->open = false;
		send_reset(c, SERVER);
	} else if (l->accept) {
		l->accept(l->arg, s);
	} else if (l->n < 256) {
		l->queue[l->n++] = s;
		fd_changed(l->fd);
	}
}

static void refused(void *arg)
{
	die(arg, ECONNREFUSED);
}

static void connected(void *arg)
{
	struct connection *c = arg;
	const struct line *l = &lines[c->sub[0].line];

	if (c->connected || c->end[CLIENT].error || !c->end[CLIENT].open)
		return;
	c->connected = true;
	c->sub[0].up = true;
	c->sub[0].joined_us = clock_now();
	alarm_clear(&c->syn);
	stream_probe(&c->end[CLIENT]);
	tell(&c->end[CLIENT]);
	alarm_once(l->way[UP].delay_us, enter_queue, c);
	pump(&c->d[CLIENT]);
}

static void syn_arrives(void *arg)
{
	struct connection *c = arg;
	struct listener *l = listener_find(c->to_host, &c->end[SERVER].name, c->to_port);
	struct subflow *s = &c->sub[0];
	uint64_t at = sub_send(s, SERVER, 0);

	if (at == NEVER)
		return;
	if (!l || c->end[CLIENT].error) {
		alarm_once(at - clock_now(), refused, &c->end[CLIENT]);
		return;
	}
	if (!c->served) {
		c->served = true;
		c->mptcp = c->wants_mptcp && l->mptcp && !lines[s->line].strips_mptcp;
		c->end[SERVER].open = true;
		c->end[SERVER].host = l->host;
		c->end[SERVER].linger0 = true; /* as the listener's */
	}
	if (l->slow_us)
		at += noise() % l->slow_us;
	alarm_once(at - clock_now(), connected, c);
}

static void send_syn(void *arg)
{
	struct connection *c = arg;
	uint64_t at;

	if (c->connected || c->end[CLIENT].error || !c->end[CLIENT].open)
		return;
	if (c->tries == SYN_TRIES) {
		die(&c->end[CLIENT], ETIMEDOUT);
		return;
	}
	at = sub_send(&c->sub[0], CLIENT, 0);
	if (at != NEVER)
		alarm_once(at - clock_now(), syn_arrives, c);
	alarm_in(&c->syn, SECOND << c->tries++);
}

int connection_begin(struct connection *c, int line, const struct sockaddr_in *to, enum host at,
		     uint16_t port)
{
	struct subflow *s = sub_new(c, line, c->end[CLIENT].name.sin_addr);

	c->end[SERVER].name = *to;
	c->to_host = at;
	c->to_port = port;
	(void)s;
	send_syn(c);
	return -EINPROGRESS;
}

/* --- further subflows --- */

static void join_done(struct subflow *s)
{
	s->up = true;
	s->joined_us = clock_now();
	watch_severed(s->c);
	pump(&s->c->d[CLIENT]);
	pump(&s->c->d[SERVER]);
}

/* One SYN of a join: it goes through, or is tried again later. */
static void join_tries(void *arg)
{
	struct subflow *s = arg;
	const struct line *l = &lines[s->line];

	if (s->tries && sub_here(s) && line_passes(l, UP) && line_passes(l, DOWN) && s->joined_us) {
		join_done(s);
		return;
	}
	if (s->tries++ == SYN_TRIES || l->strips_mptcp || s->c->end[CLIENT].error)
		return;
	s->joined_us = line_passes(l, UP) && line_passes(l, DOWN); /* on its way */
	alarm_in(&s->join, s->joined_us ? line_rtt(l) : SECOND << (s->tries - 1));
}

static void join(struct connection *c, int line, bool backup)
{
	struct subflow *s;

	for (unsigned i = 0; i < c->n_subs; i++)
		if (c->sub[i].line == line && (c->sub[i].up || c->sub[i].join.place) &&
		    sub_here(&c->sub[i])) {
			c->sub[i].backup = backup;
			return;
		}
	s = sub_new(c, line, lines[line].addr);
	if (!s)
		return;
	s->backup = backup;
	alarm_init(&s->join, join_tries, s);
	alarm_in(&s->join, 0);
}

void streams_endpoint(int line, bool there, bool backup)
{
	struct connection *c;

	endpoint[line] = there;
	endpoint_backup[line] = backup;
	LIST_FOREACH(c, &connections, entry) {
		if (!c->mptcp || c->end[CLIENT].host != GATEWAY)
			continue;
		for (unsigned i = 0; !there && i < c->n_subs; i++)
			if (c->sub[i].line == line)
				sub_drop(&c->sub[i]);
		if (!there)
			continue;
		if (c->severed.place)
			watch_severed(c);
		try_join_all(c);
	}
}

void streams_line_changed(int line)
{
	struct connection *c;

	LIST_FOREACH(c, &connections, entry)
		for (unsigned i = 0; i < c->n_subs; i++)
			if (c->mptcp && c->sub[i].line == line && c->sub[i].up &&
			    !sub_here(&c->sub[i]))
				sub_drop(&c->sub[i]);
}

/* --- for both kinds of owners --- */

bool stream_connected(const struct stream *s)
{
	return s->c->connected;
}

int stream_error(const struct stream *s)
{
	return s->error;
}

bool direction_at_eof(const struct direction *d)
{
	return d->fin && d->received == end_of(d) && d->read == d->written;
}

uint64_t direction_readable(const struct direction *d)
{
	uint64_t upto = d->received < d->written ? d->received : d->written;

	return upto - d->read;
}

ssize_t stream_read(struct stream *s, void *buf, size_t len)
{
	struct direction *d = &s->c->d[!s->side];
	uint64_t n = direction_readable(d);

	n = n < len ? n : len;
	if (n) {
		memcpy(buf, d->bytes + (d->read - d->base), n);
		d->read += n;
		trim(d);
		pump(d);
		return (ssize_t)n;
	}
	if (s->error)
		return -s->error;
	return direction_at_eof(d) ? 0 : -EAGAIN;
}

uint64_t stream_space(const struct stream *s)
{
	const struct direction *d = &s->c->d[s->side];
	uint64_t waits = d->written - d->acked,
		 unsent = d->written - (d->next < d->written ? d->next : d->written);

	return waits >= SNDBUF || unsent >= s->lowat ? 0 : SNDBUF - waits;
}

ssize_t stream_write(struct stream *s, const void *buf, size_t len)
{
	struct direction *d = &s->c->d[s->side];
	uint64_t n = stream_space(s);

	if (s->error || !s->c->connected)
		return s->error ? -s->error : -EAGAIN;
	if (d->fin)
		return -EPIPE;
	n = n < len ? n : len;
	if (!n)
		return -EAGAIN;
	if (d->written - d->base + n > d->room) {
		d->room = 2 * (d->written - d->base + n);
		d->bytes = realloc(d->bytes, d->room);
	}
	memcpy(d->bytes + (d->written - d->base), buf, n);
	d->written += n;
	pump(d);
	return (ssize_t)n;
}

void stream_shut(struct stream *s)
{
	s->c->d[s->side].fin = true;
	pump(&s->c->d[s->side]);
}

bool stream_told_fin(const struct stream *s)
{
	const struct direction *d = &s->c->d[s->side];

	return d->fin && d->received == end_of(d);
}

void stream_close(struct stream *s, bool reset)
{
	struct direction *in = &s->c->d[!s->side];

	if (!s->open)
		return;
	s->open = false;
	s->event = NULL;
	if (s->error)
		return;
	if (s->side == CLIENT && !s->c->connected)
		s->c->end[SERVER].open = false; /* what the SYN has made there goes again */
	if (reset || (s->c->connected && direction_readable(in))) {
		if (s->c->connected || s->side == SERVER)
			send_reset(s->c, s->side);
		s->error = ECONNABORTED; /* nothing is sent any more */
		return;
	}
	stream_shut(s);
}

void stream_on_event(struct stream *s, stream_event event, void *arg)
{
	s->event = event;
	s->arg = arg;
	tell(s);
}

/* --- the world outside --- */

struct stream *stream_dial(int line, enum host at_host, const struct sockaddr_in *from,
			   const struct sockaddr_in *to, uint16_t at_port, stream_event event,
			   void *arg)
{
	struct connection *c = connection_new();
	struct stream *s = &c->end[CLIENT];

	s->host = OUTSIDE;
	s->open = true;
	s->name = *from;
	s->event = event;
	s->arg = arg;
	connection_begin(c, line, to, at_host, at_port);
	return s;
}

void stream_serve(const struct sockaddr_in *at, uint64_t slow_us, stream_accept accept, void *arg)
{
	struct listener *l = sim_alloc(sizeof(*l));

	*l = (struct listener){ .host = OUTSIDE,
				.fd = -1,
				.at = *at,
				.slow_us = slow_us,
				.accept = accept,
				.arg = arg };
	listener_add(l);
}

/* --- the end of the world --- */

unsigned streams_open(enum host host)
{
	struct connection *c;
	unsigned n = 0;

	LIST_FOREACH(c, &connections, entry)
		for (enum side side = CLIENT; side <= SERVER; side++)
			if (c->end[side].open && c->end[side].host == host && c->served) {
				const struct stream *s = &c->end[side];

				const struct direction *in = &c->d[!side], *out = &c->d[side];

				sim_say("open: fd %d, %s, to port %u: read %llu of %llu%s, written "
					"%llu, sent %llu, acked %llu%s, %s, peer %s, error %d",
					s->fd, c->connected ? "connected" : "connecting",
					ntohs(c->to_port), (unsigned long long)in->read,
					(unsigned long long)in->received, in->fin ? " and EOF" : "",
					(unsigned long long)out->written,
					(unsigned long long)out->next,
					(unsigned long long)out->acked, out->fin ? " and EOF" : "",
					c->mptcp ? "MPTCP" : "TCP",
					c->end[!side].open ? "open" : "closed",
					c->end[!side].error);
				n++;
			}
	return n;
}

void streams_end(void)
{
	struct connection *c;
	struct listener *l;
	struct segment *g;

	while ((c = LIST_FIRST(&connections))) {
		LIST_REMOVE(c, entry);
		alarm_clear(&c->syn);
		alarm_clear(&c->severed);
		for (enum side side = CLIENT; side <= SERVER; side++) {
			alarm_clear(&c->end[side].probe.alarm);
			while ((g = TAILQ_FIRST(&c->d[side].flying)))
				segment_free(&c->d[side].flying, g);
			while ((g = TAILQ_FIRST(&c->d[side].lost)))
				segment_free(&c->d[side].lost, g);
			free(c->d[side].bytes);
		}
		free(c);
	}
	while ((l = LIST_FIRST(&listeners))) {
		LIST_REMOVE(l, entry);
		free(l);
	}
}
