/* Theory of operation
 *
 * A request is one attached connection on its way to become a relay:
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
 * An OPEN that asks to be KEPT outlives its connection (requests_resume.c).
 *
 * OPEN is served in this order, and the first that says no decides: the record opens and is
 * an OPEN, its number was not revoked, mode, caps, policy, connect(). The number is taken
 * before anything can be refused: so a refused OPEN is answered once too.
 *
 * Data behind OPEN is read only as far as it came in the same read; that and the early data are
 * copied, and charged to the user, until the destination is there. */
#include "requests_room.h"

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

void request_drop_held(struct request *g)
{
	user_budget(g->user)->held -= g->held_len;
	free(g->held);
	g->held = NULL;
	g->held_len = g->early = 0;
}

int request_hold(struct request *g, const uint8_t *data, size_t len)
{
	request_drop_held(g);
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

void request_leave_place(struct request *g)
{
	struct requests *h = g->requests;
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

void request_take_place(struct request *g, enum state state)
{
	struct requests *h = g->requests;
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
void request_sweep(struct request *g)
{
	event_del(&g->rd);
	if (g->dest >= 0)
		event_del(&g->wr);
	event_del(&g->clock);
	request_leave_place(g);
	request_drop_held(g);
	user_budget(g->user)->held -= g->said_len;
	free(g->said);
	session_put(g->session);
	seal_wipe(&g->up, sizeof(g->up));
	seal_wipe(&g->down, sizeof(g->down));
	free(g);
}

void request_reset(struct request *g)
{
	int fd = g->fd, dest = g->dest;

	if (g->state == DIALLING)
		user_closed(g->user);
	request_sweep(g);
	if (fd >= 0)
		sock_close_reset(fd);
	if (dest >= 0)
		sock_close_reset(dest);
}

void request_set_clock(struct request *g, uint64_t ms)
{
	struct timeval tv = { .tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000) };

	event_add(&g->clock, &tv);
}

/* --- OPEN --- */

static uint16_t may_open(struct request *g, const struct wire_open *o)
{
	uint16_t status;

	if (o->mode == WIRE_CLEAR && !g->requests->config->clear)
		return WIRE_UNSUPPORTED;
	status = user_may_open(g->user, clock_ms());
	if (status)
		return status;
	status = policy_check_dial(g->requests->policy, &o->dst);
	if (status)
		counters.refused_policy++;
	return status;
}

/* rec is OPEN, in the buffer that all requests share; `more` bytes follow it. */
static void serve_open(struct request *g, const struct record *rec, size_t more)
{
	struct wire_resume resume;
	struct wire_open o;
	uint16_t status;
	size_t early;

	if (!session_claim_open(g->session, g->ctr)) {
		log_debug("user %s: an OPEN came after it was revoked", user_config(g->user)->name);
		request_reset(g);
		return;
	}
	if (wire_get_resume(&resume, rec->data, rec->len) > 0) {
		request_resume(g, &resume, rec->data + rec->len + WIRE_TAG, more);
		return;
	}
	if (wire_get_open(&o, rec->data, rec->len) <= 0) {
		request_refuse(g, WIRE_MALFORMED);
		return;
	}
	status = may_open(g, &o);
	if (status) {
		request_refuse(g, status);
		return;
	}
	early = rec->len - WIRE_OPEN_LEN;
	memmove(rec->data + WIRE_OPEN_LEN + early, rec->data + rec->len + WIRE_TAG, more);
	if (request_hold(g, rec->data + WIRE_OPEN_LEN, early + more)) {
		request_refuse(g, WIRE_NO_RESOURCES);
		return;
	}
	g->early = (uint32_t)early;
	g->mode = o.mode;
	g->keeps = o.flags & WIRE_OPEN_KEEP;
	request_dial(g, &o.dst);
}

static void make_room(struct requests *h, unsigned user)
{
	while (h->waiting[user] > h->config->pool_cap + POOL_SLACK)
		request_reset(TAILQ_FIRST(&h->waiters[user]));
}

/* There is no whole OPEN yet. The request may be gone afterwards. */
static void wait_for_open(struct request *g)
{
	if (g->attached)
		return;
	if (request_answer(g, NULL, 0)) {
		request_reset(g);
		return;
	}
	event_add(&g->rd, NULL);
	request_set_clock(g, (uint64_t)g->requests->config->pool_age_s * 1200);
	make_room(g->requests, user_index(g->user));
}

static void open_arrived(struct request *g, uint8_t *raw, size_t len)
{
	struct record rec;
	int got = record_open(g->requests->seal, g->alg, &g->up, raw, len, &rec);

	if (got == 0) {
		if (request_hold(g, raw, len))
			request_reset(g);
		else
			wait_for_open(g);
	} else if (got < 0 || rec.kind != WIRE_OPEN) {
		counters.records_forged++;
		request_reset(g);
	} else {
		serve_open(g, &rec, len - rec.used);
	}
}

static void read_open(struct request *g)
{
	uint8_t *raw = g->requests->raw;
	size_t head = g->held_len;
	ssize_t n = read(g->fd, raw + head, OPEN_MAX - head);

	if (n < 0 && errno == EAGAIN) {
		wait_for_open(g);
		return;
	}
	if (n <= 0) {
		request_reset(g);
		return;
	}
	if (head)
		memcpy(raw, g->held, head);
	open_arrived(g, raw, head + (size_t)n);
}

/* --- the loop's events --- */

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct request *g = arg;
	ssize_t n;

	(void)what;
	if (g->state == WAITING) {
		read_open(g);
		return;
	}
	n = read(fd, g->requests->raw, sizeof(g->requests->raw));
	if (n == 0 || (n < 0 && errno != EAGAIN))
		request_reset(g);
}

void request_watch(struct request *g)
{
	event_assign(&g->rd, g->requests->base, g->fd, EV_READ | EV_PERSIST, on_readable, g);
}

static void on_clock(evutil_socket_t fd, short what, void *arg)
{
	struct request *g = arg;

	(void)fd;
	(void)what;
	if (g->state == DIALLING)
		request_look(g);
	else
		request_reset(g);
}

void requests_enter(struct requests *h, const struct requests_arrival *in)
{
	struct request *g = calloc(1, sizeof(*g));

	if (!g) {
		sock_close_reset(in->fd);
		return;
	}
	g->requests = h;
	g->fd = in->fd;
	g->dest = -1;
	g->session = session_get(in->session);
	g->alg = session_alg(in->session);
	g->user = in->user;
	g->ctr = in->ctr;
	g->up = in->up;
	g->down = in->down;
	request_watch(g);
	event_assign(&g->clock, h->base, -1, 0, on_clock, g);
	request_take_place(g, WAITING);
	read_open(g); /* without a warm connection it came with ATTACH */
}

void requests_renew(struct requests *h, const struct addr *peer)
{
	struct request *g;
	struct addr from;
	uint64_t ms = 0;

	for (unsigned i = 0; i < CONFIG_USERS; i++)
		TAILQ_FOREACH(g, &h->waiters[i], link)
			if (sock_peer(g->fd, &from) == 0 && addr_same_ip(&from, peer))
				request_set_clock(g, ms += RENEW_MS);
}

void requests_drop(struct requests *h, const struct user *user)
{
	struct request_list *waiters = &h->waiters[user_index(user)];
	struct request *g, *next;

	while ((g = TAILQ_FIRST(waiters)))
		request_reset(g);
	for (g = TAILQ_FIRST(&h->others); g; g = next) {
		next = TAILQ_NEXT(g, link);
		if (g->user == user)
			request_reset(g);
	}
}

unsigned requests_waiting(const struct requests *h, const struct user *user)
{
	return h->waiting[user_index(user)];
}

unsigned requests_dialling(const struct requests *h)
{
	return h->dialling;
}

struct requests *requests_new(struct event_base *base, const struct config *config, const struct policy *policy,
		      struct seal *seal, struct relay_loop *relays)
{
	struct requests *h = calloc(1, sizeof(*h));

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

void requests_free(struct requests *h)
{
	struct request *g;

	if (!h)
		return;
	while ((g = TAILQ_FIRST(&h->others)))
		request_reset(g);
	for (unsigned i = 0; i < CONFIG_USERS; i++)
		while ((g = TAILQ_FIRST(&h->waiters[i])))
			request_reset(g);
	free(h);
}
