/* SPDX-License-Identifier: BSD-2-Clause */
/* places: for strangers, who have not proven yet to be users.
 *
 * Theory of operation. A connection is a stranger's from its accept until it authenticates,
 * wherever it is meanwhile: its first bytes are awaited, it is in the handshake, or it hangs in
 * silence. There are at most PLACES_MAX. For the next one somebody has to go, because the next one
 * may be a user, who proves it in a round trip or two.
 *
 * Who goes is one of those who came from where most came from: an address of IPv4, or a /64 of
 * IPv6, which a house has many addresses of. So whoever fills the places turns out his own, and who
 * comes from elsewhere is not hurried. Of that source's, one that was judged goes first, else the
 * one that has been here longest; of sources alike, the one whose first has been here longest. */
#include "places.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <uthash.h>

#include "clock.h"
#include "counter.h"

#define PLACES_MAX 512

struct place {
	TAILQ_ENTRY(place) link;
	struct source *source;
	uint64_t since_ms;
	bool judged;
	void (*turn_out)(void *arg);
	void *arg;
};

struct source { /* where strangers come from */
	UT_hash_handle hh;
	struct places *all;
	struct addr site;
	unsigned n;
	TAILQ_HEAD(, place) here; /* in order of arrival */
};

struct places {
	struct source *table;
	unsigned taken;
};

static struct source *place_source_get(struct places *all, const struct addr *peer)
{
	struct addr site = addr_site(peer);
	struct source *s;

	HASH_FIND(hh, all->table, site.ip, sizeof(site.ip), s);
	if (s)
		return s;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->all = all;
	s->site = site;
	TAILQ_INIT(&s->here);
	HASH_ADD(hh, all->table, site.ip, sizeof(s->site.ip), s);
	return s;
}

static void place_source_put(struct source *s)
{
	if (s->n)
		return;
	HASH_DEL(s->all->table, s);
	free(s);
}

static bool is_heavier(const struct source *a, const struct source *b)
{
	if (a->n != b->n)
		return a->n > b->n;
	return TAILQ_FIRST(&a->here)->since_ms < TAILQ_FIRST(&b->here)->since_ms;
}

static void turn_one_out(struct places *all)
{
	struct source *s, *next, *heaviest = NULL;
	struct place *p;

	HASH_ITER(hh, all->table, s, next)
		if (s->n && (!heaviest || is_heavier(s, heaviest)))
			heaviest = s;
	if (!heaviest)
		return;
	TAILQ_FOREACH(p, &heaviest->here, link)
		if (p->judged)
			break;
	if (!p)
		p = TAILQ_FIRST(&heaviest->here);
	counters.quiet_overflow++;
	p->turn_out(p->arg);
}

struct place *place_new(struct places *all, const struct addr *peer)
{
	struct source *s;
	struct place *p;

	if (all->taken >= PLACES_MAX)
		turn_one_out(all);
	s = place_source_get(all, peer);
	p = s ? calloc(1, sizeof(*p)) : NULL;
	if (!p) {
		if (s)
			place_source_put(s);
		return NULL;
	}
	p->source = s;
	p->since_ms = clock_ms();
	TAILQ_INSERT_TAIL(&s->here, p, link);
	s->n++;
	all->taken++;
	return p;
}

void place_give(struct place *p, bool judged, void (*turn_out)(void *arg), void *arg)
{
	p->judged = judged;
	p->turn_out = turn_out;
	p->arg = arg;
}

void place_free(struct place *p)
{
	struct source *s;

	if (!p)
		return;
	s = p->source;
	TAILQ_REMOVE(&s->here, p, link);
	s->n--;
	s->all->taken--;
	place_source_put(s);
	free(p);
}

uint64_t place_since_ms(const struct place *p)
{
	return p->since_ms;
}

unsigned places_taken(const struct places *all)
{
	return all->taken;
}

struct places *places_new(void)
{
	return calloc(1, sizeof(struct places));
}

void places_free(struct places *all)
{
	free(all);
}
