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
#include "stream.h"

#include <errno.h>
#include <linux/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>

#include "fd.h"
#include "line.h"
#include "sim.h"
#include "sim_clock.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#define LEVEL_MPTCP 284
#define INFO_MPTCP 1
#define INFO_TCP 2
#define INFO_ADDRS 3

#define SEGMENT 4096
#define HEADER 60
#define SNDBUF (256 << 10)
#define RCVBUF (512 << 10)
#define WINDOW_FIRST (14 << 10)
#define WINDOW_MAX (256 << 10)
#define RTO_MIN (200 * MS)
#define BACKOFF_MAX 6
#define SYN_TRIES 7
#define SUBFLOWS 9
#define SEVERED (60 * SECOND)
#define GAPS 64

enum side { CLIENT, SERVER };

struct segment {
	TAILQ_ENTRY(segment) entry;
	struct direction *d;
	uint64_t from, to;
	int sub;	/* the subflow that it flies on */
	uint64_t acked; /* what its acknowledgement says */
	bool arrived;
	struct alarm alarm;
};
TAILQ_HEAD(segments, segment);

struct direction {
	struct connection *c;
	enum side from;
	uint8_t *bytes; /* base .. written */
	size_t room;
	uint64_t base, acked, next, written, received, read;
	bool fin;
	struct segments flying, lost;
	struct {
		uint64_t from, to;
	} gap[GAPS]; /* what came out of order */
	unsigned n_gaps;
};

struct subflow {
	struct connection *c;
	int line;
	struct in_addr addr;
	bool up, backup;
	unsigned tries; /* SYNs of its join */
	struct alarm join;
	uint64_t joined_us;
	struct subflow_way {
		struct subflow *sub;
		enum side from;
		uint64_t flying, window, acked, heard_us, sent_us;
		unsigned backoff;
		bool stale;
		struct alarm timeout;
	} way[2];
};

struct stream {
	struct connection *c;
	enum side side;
	enum host host;
	int fd; /* -1: somebody outside has it */
	stream_event event;
	void *arg;
	struct sockaddr_in name;
	bool bound, open, linger0;
	int error; /* it died of that */
	uint32_t lowat;
	struct {
		bool on;
		unsigned idle, every, tries, lost;
		struct alarm alarm;
	} probe; /* SO_KEEPALIVE, seconds */
};

struct connection {
	LIST_ENTRY(connection) entry;
	struct stream end[2];
	struct direction d[2]; /* by the side that sends */
	struct subflow sub[SUBFLOWS];
	unsigned n_subs, tries;
	bool wants_mptcp, mptcp, connected, served;
	enum host to_host;
	uint16_t to_port; /* where it arrives, which may not be where it wants to go */
	struct alarm syn, severed;
};

struct listener {
	LIST_ENTRY(listener) entry;
	enum host host;
	int fd;
	struct sockaddr_in at;
	bool mptcp;
	stream_accept accept; /* of one outside */
	uint64_t slow_us;     /* at most, until it answers a SYN */
	void *arg;
	unsigned idle, every, tries; /* keep-alive, for who arrives */
	struct stream *queue[256];
	unsigned n;
};

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

static struct stream *other(struct stream *s)
{
	return &s->c->end[!s->side];
}

/* --- subflows --- */

static int way_on_line(enum side from)
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
	return s->up && sub_here(s) && line_passes(&lines[s->line], way_on_line(from));
}

static bool sub_works(const struct subflow *s)
{
	return sub_passes(s, CLIENT) && sub_passes(s, SERVER);
}

static uint64_t sub_send(struct subflow *s, enum side from, uint32_t bytes)
{
	return sub_here(s) ? line_send(&lines[s->line], way_on_line(from), bytes + HEADER) : NEVER;
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

static void probe_begin(struct stream *s)
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
		at = clock_now() + l->way[way_on_line(d->from)].delay_us + line_rtt(l);
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

static struct connection *connection_new(void)
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

static const struct fd_ops stream_ops, listener_ops;

static struct listener *find_listener(enum host host, const struct sockaddr_in *to, uint16_t port)
{
	struct listener *l;

	LIST_FOREACH(l, &listeners, entry)
		if (l->host == host && l->at.sin_port == port &&
		    (!l->at.sin_addr.s_addr || l->at.sin_addr.s_addr == to->sin_addr.s_addr))
			return l;
	return NULL;
}

static void enter_queue(void *arg)
{
	struct connection *c = arg;
	struct stream *s = &c->end[SERVER];
	struct listener *l = find_listener(c->to_host, &s->name, c->to_port);

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
	probe_begin(&c->end[CLIENT]);
	tell(&c->end[CLIENT]);
	alarm_once(l->way[UP].delay_us, enter_queue, c);
	pump(&c->d[CLIENT]);
}

static void syn_arrives(void *arg)
{
	struct connection *c = arg;
	struct listener *l = find_listener(c->to_host, &c->end[SERVER].name, c->to_port);
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

static int begin(struct connection *c, int line, const struct sockaddr_in *to, enum host at,
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

static bool at_eof(const struct direction *d)
{
	return d->fin && d->received == end_of(d) && d->read == d->written;
}

static uint64_t readable_bytes(const struct direction *d)
{
	uint64_t upto = d->received < d->written ? d->received : d->written;

	return upto - d->read;
}

ssize_t stream_read(struct stream *s, void *buf, size_t len)
{
	struct direction *d = &s->c->d[!s->side];
	uint64_t n = readable_bytes(d);

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
	return at_eof(d) ? 0 : -EAGAIN;
}

static uint64_t room_for(const struct stream *s)
{
	const struct direction *d = &s->c->d[s->side];
	uint64_t waits = d->written - d->acked,
		 unsent = d->written - (d->next < d->written ? d->next : d->written);

	return waits >= SNDBUF || unsent >= s->lowat ? 0 : SNDBUF - waits;
}

ssize_t stream_write(struct stream *s, const void *buf, size_t len)
{
	struct direction *d = &s->c->d[s->side];
	uint64_t n = room_for(s);

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
	if (reset || (s->c->connected && readable_bytes(in))) {
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
	begin(c, line, to, at_host, at_port);
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
	LIST_INSERT_HEAD(&listeners, l, entry);
}

/* --- sockets of the daemons --- */

static uint32_t stream_ready(void *obj)
{
	struct stream *s = obj;
	const struct direction *in = &s->c->d[!s->side];
	uint32_t r = 0;

	if (s->error)
		return EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP;
	if (!s->c->connected)
		return s->c->end[CLIENT].name.sin_family && s->c->to_port ? 0 : EPOLLHUP;
	if (readable_bytes(in) || at_eof(in))
		r |= EPOLLIN | EPOLLRDNORM;
	if (at_eof(in))
		r |= EPOLLRDHUP;
	if (room_for(s))
		r |= EPOLLOUT;
	return r;
}

static ssize_t socket_read(void *obj, const struct iovec *iov, int n)
{
	ssize_t all = 0, r = 0;

	for (int i = 0; i < n; i++) {
		r = stream_read(obj, iov[i].iov_base, iov[i].iov_len);
		if (r <= 0)
			break;
		all += r;
		if ((size_t)r < iov[i].iov_len)
			break;
	}
	return all ? all : r;
}

static ssize_t socket_write(void *obj, const struct iovec *iov, int n)
{
	ssize_t all = 0, r = 0;

	for (int i = 0; i < n; i++) {
		r = stream_write(obj, iov[i].iov_base, iov[i].iov_len);
		if (r < 0)
			break;
		all += r;
		if ((size_t)r < iov[i].iov_len)
			break;
	}
	return all ? all : r;
}

static void socket_close(void *obj)
{
	struct stream *s = obj;

	s->fd = -1;
	stream_close(s, s->linger0);
}

static int socket_bind(void *obj, const struct sockaddr *sa)
{
	struct stream *s = obj;

	s->name = *(const struct sockaddr_in *)sa;
	s->bound = true;
	return 0;
}

static int socket_connect(void *obj, const struct sockaddr *sa)
{
	struct stream *s = obj;
	const struct sockaddr_in *to = (const struct sockaddr_in *)sa;
	int line;

	if (s->host != GATEWAY)
		line = line_net(s->host);
	else
		line = s->bound && s->name.sin_addr.s_addr ? line_of(s->name.sin_addr) :
							     line_default();
	if (line < 0)
		return s->bound ? -EADDRNOTAVAIL : -ENETUNREACH;
	if (line < LINES)
		s->name.sin_addr = lines[line].addr;
	s->name.sin_family = AF_INET;
	s->name.sin_port = noise_port();
	return begin(s->c, line, to, s->host == GATEWAY ? line_vps(to->sin_addr) : OUTSIDE,
		     to->sin_port);
}

static int socket_shut(void *obj)
{
	stream_shut(obj);
	return 0;
}

static int socket_name(void *obj, bool peer, struct sockaddr_storage *sa)
{
	struct stream *s = obj;

	if (peer && !s->c->connected)
		return -ENOTCONN;
	memset(sa, 0, sizeof(*sa));
	memcpy(sa, peer ? &other(s)->name : &s->name, sizeof(struct sockaddr_in));
	return 0;
}

static int socket_set(void *obj, int level, int option, const void *value, socklen_t len)
{
	struct stream *s = obj;

	(void)len;
	if (level == SOL_SOCKET && option == SO_LINGER)
		s->linger0 = ((const struct linger *)value)->l_onoff;
	if (level == IPPROTO_TCP && option == TCP_NOTSENT_LOWAT)
		s->lowat = *(const uint32_t *)value;
	if (level == IPPROTO_TCP && option == TCP_KEEPIDLE)
		s->probe.idle = *(const unsigned *)value;
	if (level == IPPROTO_TCP && option == TCP_KEEPINTVL)
		s->probe.every = *(const unsigned *)value;
	if (level == IPPROTO_TCP && option == TCP_KEEPCNT) {
		s->probe.tries = *(const unsigned *)value;
		s->probe.on = true; /* the last that sock_keepalive() sets */
		probe_begin(s);
	}
	return 0;
}

struct sub_head {
	uint32_t size, count, kernel_size, user_size;
};

static void fill_info(struct tcp_info *info, const struct stream *s, const struct subflow *sub)
{
	const struct subflow_way *w = &sub->way[s->side];
	uint64_t now = clock_now();

	*info = (struct tcp_info){ .tcpi_state = 1,
				   .tcpi_snd_mss = 1448,
				   .tcpi_bytes_acked = w->acked };
	info->tcpi_rtt = info->tcpi_min_rtt = (uint32_t)line_rtt(&lines[sub->line]);
	info->tcpi_last_ack_recv = (uint32_t)((now - w->heard_us) / MS);
	info->tcpi_last_data_sent = (uint32_t)((now - w->sent_us) / MS);
	info->tcpi_delivery_rate = lines[sub->line].way[way_on_line(s->side)].rate;
	info->tcpi_pacing_rate = 2 * info->tcpi_delivery_rate;
	info->tcpi_delivery_rate_app_limited = 1;
}

static int get_subflows(const struct stream *s, int option, void *value, socklen_t *len)
{
	struct sub_head *head = value;
	uint8_t *at = (uint8_t *)value + sizeof(*head);
	size_t each = option == INFO_TCP ? sizeof(struct tcp_info) :
					   2 * sizeof(struct sockaddr_storage);

	head->count = 0;
	for (unsigned i = 0; i < s->c->n_subs; i++) {
		const struct subflow *sub = &s->c->sub[i];
		struct sockaddr_in *name = (struct sockaddr_in *)(void *)at;

		if (!sub->up || at + each > (uint8_t *)value + *len)
			continue;
		head->count++;
		if (option == INFO_TCP) {
			fill_info((struct tcp_info *)(void *)at, s, sub);
		} else {
			struct sockaddr_in *peer =
				(struct sockaddr_in *)(void *)(at +
							       sizeof(struct sockaddr_storage));

			memset(at, 0, each);
			*name = s->c->end[CLIENT].name;
			name->sin_addr = sub->addr;
			*peer = s->c->end[SERVER].name;
			if (s->side == SERVER) {
				struct sockaddr_in swap = *name;

				*name = *peer;
				*peer = swap;
			}
		}
		at += each;
	}
	*len = (socklen_t)(at - (uint8_t *)value);
	return 0;
}

static int socket_get(void *obj, int level, int option, void *value, socklen_t *len)
{
	struct stream *s = obj;
	unsigned up = 0;

	if (level == SOL_SOCKET && option == SO_ERROR) {
		*(int *)value = s->error;
		return 0;
	}
	if (level == IPPROTO_TCP && option == TCP_INFO && !s->c->mptcp) {
		fill_info(value, s, &s->c->sub[0]);
		return 0;
	}
	if (level != LEVEL_MPTCP || !s->c->mptcp)
		return -EOPNOTSUPP;
	if (option == INFO_TCP || option == INFO_ADDRS)
		return get_subflows(s, option, value, len);
	if (option != INFO_MPTCP)
		return -EOPNOTSUPP;
	for (unsigned i = 0; i < s->c->n_subs; i++)
		up += s->c->sub[i].up;
	memset(value, 0, *len);
	*(uint8_t *)value = (uint8_t)(up ? up - 1 : 0);
	return 0;
}

static int socket_outq(void *obj)
{
	struct stream *s = obj;
	const struct direction *d = &s->c->d[s->side];

	return (int)(d->written - (d->acked < d->written ? d->acked : d->written));
}

static int socket_listen(void *obj);

static const struct fd_ops stream_ops = {
	.ready = stream_ready,
	.read = socket_read,
	.write = socket_write,
	.close = socket_close,
	.bind = socket_bind,
	.listen = socket_listen,
	.connect = socket_connect,
	.shut = socket_shut,
	.name = socket_name,
	.set = socket_set,
	.get = socket_get,
	.outq = socket_outq,
};

int stream_socket(int protocol)
{
	struct connection *c = connection_new();
	struct stream *s = &c->end[CLIENT];

	c->wants_mptcp = protocol == IPPROTO_MPTCP;
	s->host = proc_current();
	s->open = true;
	s->fd = fd_new(&stream_ops, s);
	return s->fd;
}

/* --- listening --- */

static uint32_t listener_ready(void *obj)
{
	return ((struct listener *)obj)->n ? EPOLLIN : 0;
}

static int listener_accept(void *obj, struct sockaddr_storage *peer)
{
	struct listener *l = obj;
	struct stream *s;

	if (!l->n)
		return -EAGAIN;
	s = l->queue[0];
	memmove(&l->queue[0], &l->queue[1], --l->n * sizeof(l->queue[0]));
	memset(peer, 0, sizeof(*peer));
	memcpy(peer, &other(s)->name, sizeof(struct sockaddr_in));
	s->fd = fd_new_of(l->host, &stream_ops, s);
	s->probe.idle = l->idle;
	s->probe.every = l->every;
	s->probe.tries = l->tries;
	s->probe.on = l->tries != 0;
	probe_begin(s);
	return s->fd;
}

static void listener_close(void *obj)
{
	struct listener *l = obj;

	for (unsigned i = 0; i < l->n; i++)
		stream_close(l->queue[i], true);
	LIST_REMOVE(l, entry);
	free(l);
}

static int listener_name(void *obj, bool peer, struct sockaddr_storage *sa)
{
	struct listener *l = obj;

	(void)peer;
	memset(sa, 0, sizeof(*sa));
	memcpy(sa, &l->at, sizeof(l->at));
	return 0;
}

static int listener_set(void *obj, int level, int option, const void *value, socklen_t len)
{
	(void)obj, (void)level, (void)option, (void)value, (void)len;
	return 0;
}

static const struct fd_ops listener_ops = {
	.ready = listener_ready,
	.accept = listener_accept,
	.close = listener_close,
	.name = listener_name,
	.set = listener_set,
};

static int socket_listen(void *obj)
{
	struct stream *s = obj;
	struct listener *l = sim_alloc(sizeof(*l));

	if (find_listener(s->host, &s->name, s->name.sin_port)) {
		free(l);
		return -EADDRINUSE;
	}
	*l = (struct listener){ .host = s->host,
				.fd = s->fd,
				.at = s->name,
				.mptcp = s->c->wants_mptcp,
				.idle = s->probe.idle,
				.every = s->probe.every,
				.tries = s->probe.tries };
	LIST_INSERT_HEAD(&listeners, l, entry);
	fd_become(s->fd, &listener_ops, l);
	s->open = false;
	return 0;
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
