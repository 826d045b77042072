/* SPDX-License-Identifier: BSD-2-Clause */
/* sources: the devices of the LAN, and whose turn it is to open a connection.
 *
 * Theory of operation. A house shares what it may have: places for connections, its own and those
 * that the VPS gives it, and openings a second. A device that opens thousands (a scan, a torrent, a
 * program in a circle) would use them up, and the VPS refuses what is too much, whoever asked. So
 * nothing more than that is asked for, and what must wait waits here, where it is known whose it
 * is.
 *
 * Places. The last quarter is for who has few: when three quarters are taken, a device that has
 * more than a sixteenth of all gets no more. At its arrival it is refused (it has a descriptor
 * already); of the VPS's places it has to wait for one.
 *
 * Openings. A bucket holds what two seconds allow and is filled at the VPS's rate, a little less
 * than the VPS fills its own, since both clocks begin at different moments. While it is empty the
 * devices that wait take turns, one opening each; a device alone gets all of them.
 *
 * A turn is granted from the loop, never from inside turn_new() or turn_free(): whoever is granted
 * one may end others. */
#include "sources.h"

#include <event2/event_struct.h>
#include <stdlib.h>
#include <sys/queue.h>

#include <uthash.h>

#include "clock.h"
#include "counter.h"
#include "timer.h"

#define BURST_S 2
#define TOKEN 1000 /* an opening, in thousandths: a millisecond at n a second earns n of them */
#define OF_RATE 95 /* per cent of what the VPS allows */
#define LOOK_MS 5  /* while somebody waits for a token; it earns ten at 2,000 a second */
#define FEW 64	   /* so few places are not divided */

enum turn_state { ARRIVED, WAITING, GRANTED };

struct turn {
	TAILQ_ENTRY(turn) link; /* while it waits */
	struct source *source;
	enum turn_state state;
	void (*granted)(void *arg);
	void *arg;
};

struct source { /* a device */
	UT_hash_handle hh;
	TAILQ_ENTRY(source) link; /* while somebody of it waits */
	struct sources *all;
	uint8_t ip[16];
	unsigned turns, granted;
	TAILQ_HEAD(, turn) waiting;
};

struct sources {
	struct event_base *base;
	unsigned most, turns, granted, waiting;
	uint32_t relays, opens;
	uint64_t tokens, filled_ms;
	struct source *table;
	TAILQ_HEAD(, source) round; /* those that wait; the first is next */
	struct event due;
};

/* --- devices --- */

static struct source *source_get(struct sources *s, const struct addr *who)
{
	struct source *source;

	HASH_FIND(hh, s->table, who->ip, sizeof(who->ip), source);
	if (source)
		return source;
	source = calloc(1, sizeof(*source));
	if (!source)
		return NULL;
	source->all = s;
	memcpy(source->ip, who->ip, sizeof(source->ip));
	TAILQ_INIT(&source->waiting);
	HASH_ADD(hh, s->table, ip, sizeof(source->ip), source);
	return source;
}

static void source_put(struct source *source)
{
	if (source->turns)
		return;
	HASH_DEL(source->all->table, source);
	free(source);
}

/* May one who has so many of these places, of which so many are taken, have one more? */
static bool may_have(unsigned own, unsigned taken, unsigned most)
{
	return taken < most && (most < FEW || taken < most / 4 * 3 || own < most / 16);
}

/* --- openings --- */

static void source_refill(struct sources *s)
{
	uint64_t now = clock_ms(), most = (uint64_t)BURST_S * s->opens * OF_RATE * TOKEN / 100;
	uint64_t passed = now - s->filled_ms;

	s->filled_ms = now;
	if (passed >= BURST_S * 1000)
		s->tokens = most;
	else
		s->tokens += passed * s->opens * OF_RATE / 100;
	if (s->tokens > most)
		s->tokens = most;
}

static bool has_token(struct sources *s)
{
	if (!s->opens)
		return true;
	source_refill(s);
	return s->tokens >= TOKEN;
}

static bool source_may_open(const struct source *source)
{
	const struct sources *s = source->all;

	return !s->relays || may_have(source->granted, s->granted, s->relays);
}

static void grant(struct turn *t)
{
	struct sources *s = t->source->all;

	if (s->opens)
		s->tokens -= TOKEN;
	t->state = GRANTED;
	t->source->granted++;
	s->granted++;
}

static void leave_line(struct turn *t)
{
	struct source *source = t->source;

	TAILQ_REMOVE(&source->waiting, t, link);
	source->all->waiting--;
	if (TAILQ_EMPTY(&source->waiting))
		TAILQ_REMOVE(&source->all->round, source, link);
}

/* Whose turn it is; his device goes to the end of the round. */
static struct turn *next_turn(struct sources *s)
{
	struct source *source;
	struct turn *t;

	TAILQ_FOREACH(source, &s->round, link)
		if (source_may_open(source))
			break;
	if (!source)
		return NULL;
	TAILQ_REMOVE(&s->round, source, link);
	TAILQ_INSERT_TAIL(&s->round, source, link);
	t = TAILQ_FIRST(&source->waiting);
	leave_line(t);
	return t;
}

static void sources_due(evutil_socket_t fd, short what, void *arg)
{
	struct sources *s = arg;
	struct turn *t;

	(void)fd;
	(void)what;
	while (s->waiting && has_token(s) && (t = next_turn(s))) {
		grant(t);
		t->granted(t->arg);
	}
	if (s->waiting && !has_token(s))
		timer_in_ms(&s->due, LOOK_MS);
}

bool turn_ask(struct turn *t, void (*granted)(void *arg), void *arg)
{
	struct source *source = t->source;
	struct sources *s = source->all;

	if (!s->waiting && source_may_open(source) && has_token(s)) {
		grant(t);
		return true;
	}
	counters.opens_waited++;
	t->state = WAITING;
	t->granted = granted;
	t->arg = arg;
	if (TAILQ_EMPTY(&source->waiting))
		TAILQ_INSERT_TAIL(&s->round, source, link);
	TAILQ_INSERT_TAIL(&source->waiting, t, link);
	s->waiting++;
	if (has_token(s))
		event_active(&s->due, 0, 0);
	else if (!event_pending(&s->due, EV_TIMEOUT, NULL))
		timer_in_ms(&s->due, LOOK_MS);
	return false;
}

struct turn *turn_new(struct sources *s, const struct addr *who)
{
	struct source *source = source_get(s, who);
	struct turn *t = source && may_have(source->turns, s->turns, s->most) ?
				 calloc(1, sizeof(*t)) :
				 NULL;

	if (!t) {
		if (source)
			source_put(source);
		return NULL;
	}
	t->source = source;
	source->turns++;
	s->turns++;
	return t;
}

void turn_free(struct turn *t)
{
	struct source *source;
	struct sources *s;

	if (!t)
		return;
	source = t->source;
	s = source->all;
	if (t->state == WAITING)
		leave_line(t);
	if (t->state == GRANTED) {
		source->granted--;
		s->granted--;
	}
	source->turns--;
	s->turns--;
	source_put(source);
	free(t);
	if (s->waiting)
		event_active(&s->due, 0, 0);
}

/* --- the whole --- */

void sources_allow(struct sources *s, uint32_t relays, uint32_t opens)
{
	s->relays = relays;
	s->opens = opens;
	if (s->waiting)
		event_active(&s->due, 0, 0);
}

unsigned sources_connections(const struct sources *s)
{
	return s->turns;
}

unsigned sources_waiting(const struct sources *s)
{
	return s->waiting;
}

struct sources *sources_new(struct event_base *base, unsigned most)
{
	struct sources *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->base = base;
	s->most = most;
	TAILQ_INIT(&s->round);
	event_assign(&s->due, base, -1, 0, sources_due, s);
	return s;
}

void sources_free(struct sources *s)
{
	if (!s)
		return;
	event_del(&s->due);
	free(s);
}
