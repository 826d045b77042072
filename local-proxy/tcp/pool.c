/* SPDX-License-Identifier: BSD-2-Clause */
/* pool: warm connections.
 *
 * Theory of operation. A LAN connection that finds a warm upstream costs no handshake: OPEN and the
 * first bytes leave at once, on a connection whose subflows have joined already. The pool keeps
 * `want` of them. `want` follows demand: it starts at [pool] min, doubles when somebody found the
 * pool empty, and loses an eighth every DECAY_MS in which nobody did; never above [pool] max, nor
 * above what the VPS allows. When nobody has asked for IDLE_MS it sinks to none, since each that
 * waits costs every link 0.7 MB a day, and is back at min with the next who does, whose connection
 * has to be dialled. The oldest is handed out first: its other links have had the longest time to
 * join.
 *
 * A waiting connection is dropped when it breaks, when it is older than the smaller of both sides'
 * `age` (before NATs forget it), when no link carries it any more (one that lost only the link it
 * began on is as good as before), and when the VPS was restarted. When one that was handed out
 * turns out to be dead in silence, all that wait are dropped: a NAT that forgot one forgot all.
 * When the links have learnt another first window (links_learn), those made before have the old one
 * for good and are replaced, some at a time; so are they all when one began on a link that is not
 * the best now, since the kernel goes on preferring that. Each loss is refilled; after a failed
 * dial the pool rests for REST_MS first. One whose ATTACH is not answered in ATTACH_MS is given up:
 * when the only link that it has yet is gone, the kernel neither joins another nor says so.
 *
 * A connection that fell back to plain TCP (SYNs that are lost three times do that) dies with the
 * link it is on. It is dialled again, but no more than UPSTREAM_FALLBACKS times in a row: then
 * there is a reason, which mptcp_check.c will find. */
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "counter.h"
#include "log.h"
#include "pool.h"
#include "timer.h"

#define DIALS_MAX 16 /* at a time */
#define DECAY_MS 5000
#define REST_MS 500
#define ATTACH_MS 5000
#define TICK_MS 250
#define IDLE_MS 300000

struct pool {
	struct event_base *base;
	const struct config *config;
	const struct links *links;
	struct vps_choice *vps;
	struct seal *seal;
	struct upstream_list warm, dialling;
	unsigned n_warm, n_dialling;
	unsigned want, fallbacks; /* fallbacks: in a row */
	unsigned epoch; /* of the VPS that these are with */
	uint64_t asked_ms, empty_ms, decay_ms, rest_until_ms, renew_ms; /* renew: what was made before is to be replaced */
	struct event tick, refill;
};

static unsigned pool_least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

static unsigned pool_room(const struct pool *p)
{
	const struct wire_welcome *w = vps_choice_welcome(p->vps);

	return w ? pool_least(p->config->pool_max, w->pool_cap) : 0;
}

static uint64_t age_ms(const struct pool *p)
{
	const struct wire_welcome *w = vps_choice_welcome(p->vps);

	return 1000 * (uint64_t)pool_least(p->config->pool_age_s,
					   w && w->pool_age ? w->pool_age : UINT32_MAX);
}

static void refill_soon(struct pool *p)
{
	timer_in_ms(&p->refill, 0);
}

static void pool_drop(struct pool *p, struct upstream_list *list, unsigned *count,
		      struct upstream *u)
{
	upstream_list_del(list, u);
	(*count)--;
	upstream_free(u);
	refill_soon(p);
}

static void pool_warm_event(void *arg, struct upstream *u, enum upstream_event ev)
{
	struct pool *p = arg;

	(void)ev; /* a waiting connection can only break */
	pool_drop(p, &p->warm, &p->n_warm, u);
}

static bool pool_is_unfit(struct pool *p, const struct upstream *u)
{
	if (upstream_is_mptcp(u))
		p->fallbacks = 0;
	return upstream_fell_back(u, p->links) && p->fallbacks++ < UPSTREAM_FALLBACKS;
}

static void pool_dialling_event(void *arg, struct upstream *u, enum upstream_event ev)
{
	struct pool *p = arg;
	bool heard = ev == UPSTREAM_CONNECTED || ev == UPSTREAM_ATTACHED;

	if (heard && pool_is_unfit(p, u)) {
		pool_drop(p, &p->dialling, &p->n_dialling, u);
		return;
	}
	if (ev == UPSTREAM_CONNECTED && upstream_attach(u) == 0)
		return;
	if (ev != UPSTREAM_ATTACHED) {
		p->rest_until_ms = clock_ms() + REST_MS;
		pool_drop(p, &p->dialling, &p->n_dialling, u);
		return;
	}
	upstream_list_del(&p->dialling, u);
	p->n_dialling--;
	upstream_list_add(&p->warm, u);
	p->n_warm++;
	upstream_set_owner(u, pool_warm_event, p);
}

static void pool_refill_due(evutil_socket_t fd, short what, void *arg)
{
	struct pool *p = arg;
	unsigned goal = pool_least(p->want, pool_room(p));
	struct upstream *u;

	(void)fd;
	(void)what;
	if (!vps_choice_session(p->vps) || clock_ms() < p->rest_until_ms)
		return;
	while (p->n_warm + p->n_dialling < goal && p->n_dialling < DIALS_MAX) {
		u = upstream_new(p->base, vps_choice_active(p->vps), p->seal,
					 pool_dialling_event, p);
		if (!u)
			return;
		upstream_list_add(&p->dialling, u);
		p->n_dialling++;
	}
}

/* --- what changes with time --- */

static void pool_drop_old(struct pool *p, uint64_t now)
{
	struct upstream *u;

	while ((u = TAILQ_FIRST(&p->warm)) && now - upstream_since(u) >= age_ms(p))
		pool_drop(p, &p->warm, &p->n_warm, u);
}

static void drop_hopeless(struct pool *p, uint64_t now)
{
	struct upstream *u, *next;

	for (u = TAILQ_FIRST(&p->dialling); u; u = next) {
		next = upstream_list_next(u);
		if (upstream_session(u) && now - upstream_since(u) >= ATTACH_MS)
			pool_drop(p, &p->dialling, &p->n_dialling, u);
	}
}

static void drop_outdated(struct pool *p)
{
	unsigned some = p->n_dialling ? 0 : (p->n_warm + 3) / 4;
	struct upstream *u;

	while (some-- && (u = TAILQ_FIRST(&p->warm)) && upstream_since(u) < p->renew_ms)
		pool_drop(p, &p->warm, &p->n_warm, u);
}

static void drop_surplus(struct pool *p)
{
	while (p->n_warm > p->want)
		pool_drop(p, &p->warm, &p->n_warm, TAILQ_FIRST(&p->warm));
}

static unsigned floor_of(const struct pool *p, uint64_t now)
{
	return now - p->asked_ms < IDLE_MS ? p->config->pool_min : 0;
}

static void pool_tick_due(evutil_socket_t fd, short what, void *arg)
{
	struct pool *p = arg;
	uint64_t now = clock_ms();

	(void)fd;
	(void)what;
	if (now - p->empty_ms >= DECAY_MS && now - p->decay_ms >= DECAY_MS) {
		p->decay_ms = now;
		p->want -= (p->want + 7) / 8;
		if (p->want < floor_of(p, now))
			p->want = floor_of(p, now);
	}
	pool_drop_old(p, now);
	drop_hopeless(p, now);
	drop_outdated(p);
	drop_surplus(p);
	pool_refill_due(-1, 0, p);
}

/* --- for the rest of the house --- */

struct pool *pool_new(struct event_base *base, const struct config *config, const struct links *links,
		      struct vps_choice *vps, struct seal *seal)
{
	struct pool *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->base = base;
	p->config = config;
	p->links = links;
	p->vps = vps;
	p->seal = seal;
	p->want = config->pool_min;
	p->asked_ms = clock_ms();
	TAILQ_INIT(&p->warm);
	TAILQ_INIT(&p->dialling);
	event_assign(&p->tick, base, -1, EV_PERSIST, pool_tick_due, p);
	event_assign(&p->refill, base, -1, 0, pool_refill_due, p);
	timer_in_ms(&p->tick, TICK_MS);
	return p;
}

static void drop_all(struct pool *p)
{
	struct upstream *u;

	while ((u = TAILQ_FIRST(&p->warm)))
		pool_drop(p, &p->warm, &p->n_warm, u);
	while ((u = TAILQ_FIRST(&p->dialling)))
		pool_drop(p, &p->dialling, &p->n_dialling, u);
}

void pool_free(struct pool *p)
{
	if (!p)
		return;
	drop_all(p);
	event_del(&p->tick);
	event_del(&p->refill);
	free(p);
}

static void note_empty(struct pool *p)
{
	p->empty_ms = clock_ms();
	if (p->n_dialling < p->want) /* those on their way answer this demand already */
		return;
	p->want = pool_least(p->want ? p->want * 2 : 1, p->config->pool_max);
}

struct upstream *pool_take(struct pool *p, upstream_cb cb, void *arg)
{
	struct upstream *u = TAILQ_FIRST(&p->warm);

	p->asked_ms = clock_ms();
	if (p->want < p->config->pool_min)
		p->want = p->config->pool_min;
	refill_soon(p);
	if (!u) {
		note_empty(p);
		counters.opens_cold++;
		return NULL;
	}
	upstream_list_del(&p->warm, u);
	p->n_warm--;
	upstream_set_owner(u, cb, arg);
	counters.opens_warm++;
	return u;
}

void pool_distrust(struct pool *p)
{
	while (TAILQ_FIRST(&p->warm))
		pool_drop(p, &p->warm, &p->n_warm, TAILQ_FIRST(&p->warm));
}

void pool_vps_changed(void *pool)
{
	struct pool *p = pool;
	bool up = vps_choice_session(p->vps) != NULL;

	if (!up || p->epoch != vps_choice_epoch(p->vps))
		drop_all(p);
	p->epoch = vps_choice_epoch(p->vps);
	p->rest_until_ms = 0;
	if (up)
		refill_soon(p);
}

/* The place of its link among those that connections may begin on, 0: the best; -1: none of
 * them. */
static int link_rank(const struct pool *p, const struct upstream *u)
{
	struct addr target[8], src[CONFIG_LINKS];
	size_t n = vps_choice_active_targets(p->vps, target, 8);

	for (size_t t = 0; t < n; t++) {
		size_t m = links_sources(p->links, &target[t], src, CONFIG_LINKS);

		for (size_t s = 0; s < m; s++)
			if (addr_is_any(&src[s]) || addr_same_ip(&src[s], upstream_src(u)))
				return (int)s;
	}
	return -1;
}

/* Plain TCP dies with its link; MPTCP with the last of its links. */
static bool is_carried(const struct pool *p, const struct upstream *u)
{
	return upstream_is_mptcp(u) ? !upstream_severed(u) : link_rank(p, u) >= 0;
}

void pool_links_changed(void *pool)
{
	struct pool *p = pool;
	struct upstream *u, *next;

	for (u = TAILQ_FIRST(&p->warm); u; u = next) {
		next = upstream_list_next(u);
		if (!is_carried(p, u))
			pool_drop(p, &p->warm, &p->n_warm, u);
		else if (link_rank(p, u) != 0)
			pool_renew(p);
	}
	p->rest_until_ms = 0;
	refill_soon(p);
}

void pool_renew(struct pool *p)
{
	p->renew_ms = clock_ms();
}

json_t *pool_status(const struct pool *p)
{
	return json_pack("{s:i, s:i, s:i}", "warm", (int)p->n_warm, "dialling", (int)p->n_dialling, "want",
			 (int)p->want);
}
