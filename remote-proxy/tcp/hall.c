/* Theory of operation
 *
 * A guest is one attached connection on its way to become a relay:
 *
 *   WAITING   ATTACHED was sent; OPEN has not come, or not all of it. A warm connection
 *             of the gateway's pool spends its life here. Each user has pool_cap places
 *             and a few more, because an OPEN may be slower than the ATTACH of its successor
 *             (then the one who waited longest makes room), for pool_age and a fifth,
 *             so that normally the gateway ends it first. An OPEN that came right behind its
 *             ATTACH is served at once, and ATTACHED then goes along with ACCEPT.
 *   DIALLING  OPEN was granted; the destination is being connected. The user's relay is
 *             counted from here on. WAN is not read, so what follows OPEN waits in the
 *             kernel; its death is looked for four times a second, because a loop that
 *             does not read cannot tell.
 *             Once connected it gets the early data, and has FIRST_MS to answer: what it says
 *             by then goes inside ACCEPT. In a segment of its own it would go out by another
 *             line, because the kernel's scheduler spreads what follows unacknowledged data.
 *   REFUSED   ACCEPT with a status was sent. The gateway closes; if it does not for two
 *             seconds, we do. Closing at once could destroy the answer on its way.
 *
 * An OPEN that asks to be KEPT outlives its connection (hall_resume.c).
 *
 * OPEN is served in this order, and the first that says no decides: the record opens and is
 * an OPEN, its number was not revoked, mode, caps, policy, connect(). The number is taken
 * before anything can be refused: so a refused OPEN is answered once too.
 *
 * Data behind OPEN is read only as far as it came in the same read; that and the early data are
 * copied, and charged to the user, until the destination is there. */
#include "hall_room.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "counter.h"
#include "log.h"
#include "sock.h"

#define POOL_SLACK 16
#define RENEW_MS 500

/* --- memory and places --- */

void guest_drop_held(struct guest *g)
{
	user_budget(g->user)->held -= g->held_len;
	free(g->held);
	g->held = NULL;
	g->held_len = g->early = 0;
}

int guest_hold(struct guest *g, const uint8_t *data, size_t len)
{
	guest_drop_held(g);
	if (!len)
		return 0;
	g->held = malloc(len);
	if (!g->held)
		return -1;
	memcpy(g->held, data, len);
	g->held_len = (uint32_t)len;
	user_budget(g->user)->held += len;
	return 0;
}

void guest_leave_place(struct guest *g)
{
	struct hall *h = g->hall;
	unsigned i = user_index(g->user);

	if (g->state == WAITING) {
		TAILQ_REMOVE(&h->waiters[i], g, link);
		h->waiting[i]--;
		return;
	}
	TAILQ_REMOVE(&h->others, g, link);
	if (g->state == DIALLING)
		h->dialling--;
	else
		h->refused--;
}

void guest_take_place(struct guest *g, enum state state)
{
	struct hall *h = g->hall;
	unsigned i = user_index(g->user);

	g->state = state;
	TAILQ_INSERT_TAIL(state == WAITING ? &h->waiters[i] : &h->others, g, link);
	if (state == WAITING)
		h->waiting[i]++;
	else if (state == DIALLING)
		h->dialling++;
	else
		h->refused++;
}

/* Frees all but the sockets. */
void guest_sweep(struct guest *g)
{
	event_del(&g->rd);
	if (g->dest >= 0)
		event_del(&g->wr);
	event_del(&g->clock);
	guest_leave_place(g);
	guest_drop_held(g);
	user_budget(g->user)->held -= g->said_len;
	free(g->said);
	session_put(g->session);
	seal_wipe(&g->up, sizeof(g->up));
	seal_wipe(&g->down, sizeof(g->down));
	free(g);
}

void guest_reset(struct guest *g)
{
	int fd = g->fd, dest = g->dest;

	if (g->state == DIALLING)
		user_closed(g->user);
	guest_sweep(g);
	if (fd >= 0)
		sock_close_reset(fd);
	if (dest >= 0)
		sock_close_reset(dest);
}

void guest_set_clock(struct guest *g, uint64_t ms)
{
	struct timeval tv = { .tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000) };

	event_add(&g->clock, &tv);
}

/* --- OPEN --- */

static uint16_t may_open(struct guest *g, const struct wire_open *o)
{
	uint16_t status;

	if (o->mode == WIRE_CLEAR && !g->hall->config->clear)
		return WIRE_UNSUPPORTED;
	status = user_may_open(g->user, clock_ms());
	if (status)
		return status;
	status = policy_check_dial(g->hall->policy, &o->dst);
	if (status)
		counters.refused_policy++;
	return status;
}

/* rec is OPEN, inside the hall's buffer; `more` bytes follow it. */
static void serve_open(struct guest *g, const struct record *rec, size_t more)
{
	struct wire_resume resume;
	struct wire_open o;
	uint16_t status;
	size_t early;

	if (!session_claim_open(g->session, g->ctr)) {
		log_debug("user %s: an OPEN came after it was revoked", user_config(g->user)->name);
		guest_reset(g);
		return;
	}
	if (wire_get_resume(&resume, rec->data, rec->len) > 0) {
		guest_resume(g, &resume, rec->data + rec->len + WIRE_TAG, more);
		return;
	}
	if (wire_get_open(&o, rec->data, rec->len) <= 0) {
		guest_refuse(g, WIRE_MALFORMED);
		return;
	}
	status = may_open(g, &o);
	if (status) {
		guest_refuse(g, status);
		return;
	}
	early = rec->len - WIRE_OPEN_LEN;
	memmove(rec->data + WIRE_OPEN_LEN + early, rec->data + rec->len + WIRE_TAG, more);
	if (guest_hold(g, rec->data + WIRE_OPEN_LEN, early + more)) {
		guest_refuse(g, WIRE_NO_RESOURCES);
		return;
	}
	g->early = (uint32_t)early;
	g->mode = o.mode;
	g->keeps = o.flags & WIRE_OPEN_KEEP;
	guest_dial(g, &o.dst);
}

static void make_room(struct hall *h, unsigned user)
{
	while (h->waiting[user] > h->config->pool_cap + POOL_SLACK)
		guest_reset(TAILQ_FIRST(&h->waiters[user]));
}

/* There is no whole OPEN yet. The guest may be gone afterwards. */
static void wait_for_open(struct guest *g)
{
	if (g->attached)
		return;
	if (guest_answer(g, NULL, 0)) {
		guest_reset(g);
		return;
	}
	event_add(&g->rd, NULL);
	guest_set_clock(g, (uint64_t)g->hall->config->pool_age_s * 1200);
	make_room(g->hall, user_index(g->user));
}

static void open_arrived(struct guest *g, uint8_t *raw, size_t len)
{
	struct record rec;
	int got = record_open(g->hall->seal, g->alg, &g->up, raw, len, &rec);

	if (got == 0) {
		if (guest_hold(g, raw, len))
			guest_reset(g);
		else
			wait_for_open(g);
	} else if (got < 0 || rec.kind != WIRE_OPEN) {
		counters.records_forged++;
		guest_reset(g);
	} else {
		serve_open(g, &rec, len - rec.used);
	}
}

static void read_open(struct guest *g)
{
	uint8_t *raw = g->hall->raw;
	size_t head = g->held_len;
	ssize_t n = read(g->fd, raw + head, OPEN_MAX - head);

	if (n < 0 && errno == EAGAIN) {
		wait_for_open(g);
		return;
	}
	if (n <= 0) {
		guest_reset(g);
		return;
	}
	if (head)
		memcpy(raw, g->held, head);
	open_arrived(g, raw, head + (size_t)n);
}

/* --- the loop's events --- */

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct guest *g = arg;
	ssize_t n;

	(void)what;
	if (g->state == WAITING) {
		read_open(g);
		return;
	}
	n = read(fd, g->hall->raw, sizeof(g->hall->raw));
	if (n == 0 || (n < 0 && errno != EAGAIN))
		guest_reset(g);
}

void guest_watch(struct guest *g)
{
	event_assign(&g->rd, g->hall->base, g->fd, EV_READ | EV_PERSIST, on_readable, g);
}

static void on_clock(evutil_socket_t fd, short what, void *arg)
{
	struct guest *g = arg;

	(void)fd;
	(void)what;
	if (g->state == DIALLING)
		guest_look(g);
	else
		guest_reset(g);
}

void hall_enter(struct hall *h, const struct hall_guest *in)
{
	struct guest *g = calloc(1, sizeof(*g));

	if (!g) {
		sock_close_reset(in->fd);
		return;
	}
	g->hall = h;
	g->fd = in->fd;
	g->dest = -1;
	g->session = session_get(in->session);
	g->alg = session_alg(in->session);
	g->user = in->user;
	g->ctr = in->ctr;
	g->up = in->up;
	g->down = in->down;
	guest_watch(g);
	event_assign(&g->clock, h->base, -1, 0, on_clock, g);
	guest_take_place(g, WAITING);
	read_open(g); /* without a warm connection it came with ATTACH */
}

void hall_renew(struct hall *h, const struct addr *peer)
{
	struct guest *g;
	struct addr from;
	uint64_t ms = 0;

	for (unsigned i = 0; i < CONFIG_USERS; i++)
		TAILQ_FOREACH(g, &h->waiters[i], link)
			if (sock_peer(g->fd, &from) == 0 && addr_same_ip(&from, peer))
				guest_set_clock(g, ms += RENEW_MS);
}

void hall_drop(struct hall *h, const struct user *user)
{
	struct guests *waiters = &h->waiters[user_index(user)];
	struct guest *g, *next;

	while ((g = TAILQ_FIRST(waiters)))
		guest_reset(g);
	for (g = TAILQ_FIRST(&h->others); g; g = next) {
		next = TAILQ_NEXT(g, link);
		if (g->user == user)
			guest_reset(g);
	}
}

unsigned hall_waiting(const struct hall *h, const struct user *user)
{
	return h->waiting[user_index(user)];
}

unsigned hall_dialling(const struct hall *h)
{
	return h->dialling;
}

struct hall *hall_new(struct event_base *base, const struct config *config, const struct policy *policy,
		      struct seal *seal, struct relay_loop *relays)
{
	struct hall *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->base = base;
	h->config = config;
	h->policy = policy;
	h->seal = seal;
	h->relays = relays;
	TAILQ_INIT(&h->others);
	for (unsigned i = 0; i < CONFIG_USERS; i++)
		TAILQ_INIT(&h->waiters[i]);
	return h;
}

void hall_free(struct hall *h)
{
	struct guest *g;

	if (!h)
		return;
	while ((g = TAILQ_FIRST(&h->others)))
		guest_reset(g);
	for (unsigned i = 0; i < CONFIG_USERS; i++)
		while ((g = TAILQ_FIRST(&h->waiters[i])))
			guest_reset(g);
	free(h);
}
