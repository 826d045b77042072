/* SPDX-License-Identifier: BSD-2-Clause */
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
 *   CONNECTING
 *             OPEN was granted; the destination is being connected. The user's relay is counted
 *             from here on. WAN is not read, so what follows OPEN waits in the kernel; its death
 *             is looked for four times a second, because a loop that does not read cannot tell.
 *   CONNECTED It gets the early data, and has FIRST_MS to answer: what it says
 *             by then goes inside ACCEPT. In a segment of its own it would go out by another
 *             line, because the kernel's scheduler spreads what follows unacknowledged data.
 *   KEPT      ACCEPT was sent to a gateway that asked for this: the request outlives its
 *             connection until ACCEPT is acknowledged (requests_resume.c).
 *   REFUSED   ACCEPT with a status was sent. The gateway closes; if it does not for two
 *             seconds, we do. Closing at once could destroy the answer on its way.
 *   OVER      A relay has its connections, or they were reset; it is freed when the event that
 *             ended it has been dealt with.
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
#include "sock_subflow.h"
#include "timer.h"

#define POOL_SLACK 16
#define RENEW_MS 500

/* --- memory and places --- */

void request_drop_held(struct request *r)
{
	user_budget(r->user)->held -= r->held_len;
	free(r->held);
	r->held = NULL;
	r->held_len = r->early = 0;
}

int request_hold(struct request *r, const uint8_t *data, size_t len)
{
	request_drop_held(r);
	if (!len)
		return 0;
	r->held = malloc(len);
	if (!r->held)
		return -1;
	memcpy(r->held, data, len);
	r->held_len = (uint32_t)len;
	user_budget(r->user)->held += len;
	return 0;
}

bool request_is_granted(const struct request *r)
{
	return r->state >= CONNECTING && r->state <= KEPT;
}

static struct request_list *place(struct request *r)
{
	struct requests *h = r->requests;

	return r->state == WAITING ? &h->waiters[user_index(r->user)] : r->state == OVER ? &h->over : &h->others;
}

static void request_count(struct request *r, int by)
{
	struct requests *h = r->requests;

	h->waiting[user_index(r->user)] += by * (r->state == WAITING);
	h->granted += by * request_is_granted(r);
	h->refused += by * (r->state == REFUSED);
}

void request_enter(struct request *r, enum state state)
{
	TAILQ_REMOVE(place(r), r, link);
	request_count(r, -1);
	r->state = state;
	TAILQ_INSERT_TAIL(place(r), r, link);
	request_count(r, 1);
}

static void request_free(struct request *r)
{
	TAILQ_REMOVE(&r->requests->over, r, link);
	request_drop_held(r);
	user_budget(r->user)->held -= r->said_len;
	free(r->said);
	session_put(r->session);
	seal_wipe(&r->up, sizeof(r->up));
	seal_wipe(&r->down, sizeof(r->down));
	free(r);
}

void requests_sweep(struct requests *h)
{
	struct request *r;

	while ((r = TAILQ_FIRST(&h->over)))
		request_free(r);
}

/* Its connections are others' now, or reset. */
void request_leave(struct request *r)
{
	event_del(&r->rd);
	if (event_initialized(&r->wr))
		event_del(&r->wr);
	event_del(&r->clock);
	r->fd = r->dest = -1;
	request_enter(r, OVER);
}

void request_reset(struct request *r)
{
	int fd = r->fd, dest = r->dest;

	if (request_is_granted(r))
		user_closed(r->user);
	request_leave(r);
	if (fd >= 0)
		sock_close_reset(fd);
	if (dest >= 0)
		sock_close_reset(dest);
}

void request_set_clock(struct request *r, uint64_t ms)
{
	timer_in_ms(&r->clock, ms);
}

/* --- OPEN --- */

static uint16_t request_may_open(struct request *r, const struct wire_open *o)
{
	uint16_t status;

	if (o->mode == WIRE_CLEAR && !r->requests->config->clear)
		return WIRE_UNSUPPORTED;
	status = user_may_open(r->user, clock_ms());
	if (status)
		return status;
	status = policy_check_dial(r->requests->policy, &o->dst);
	if (status)
		counters.refused_policy++;
	return status;
}

/* rec is OPEN, in the buffer that all requests share; `more` bytes follow it. */
static void serve_open(struct request *r, const struct record *rec, size_t more)
{
	struct wire_resume resume;
	struct wire_open o;
	uint16_t status;
	size_t early;

	if (!session_claim_open(r->session, r->ctr)) {
		log_debug("user %s: an OPEN came after it was revoked", user_config(r->user)->name);
		request_reset(r);
		return;
	}
	if (wire_get_resume(&resume, rec->data, rec->len) > 0) {
		request_resume(r, &resume, rec->data + rec->len + WIRE_TAG, more);
		return;
	}
	if (wire_get_open(&o, rec->data, rec->len) <= 0) {
		request_refuse(r, WIRE_MALFORMED);
		return;
	}
	status = request_may_open(r, &o);
	if (status) {
		request_refuse(r, status);
		return;
	}
	early = rec->len - WIRE_OPEN_LEN;
	memmove(rec->data + WIRE_OPEN_LEN + early, rec->data + rec->len + WIRE_TAG, more);
	if (request_hold(r, rec->data + WIRE_OPEN_LEN, early + more)) {
		request_refuse(r, WIRE_NO_RESOURCES);
		return;
	}
	r->early = (uint32_t)early;
	r->mode = o.mode;
	r->keeps = o.flags & WIRE_OPEN_KEEP;
	request_dial(r, &o.dst);
}

static void request_make_room(struct requests *h, unsigned user)
{
	while (h->waiting[user] > h->config->pool_cap + POOL_SLACK)
		request_reset(TAILQ_FIRST(&h->waiters[user]));
}

/* There is no whole OPEN yet. */
static void wait_for_open(struct request *r)
{
	if (r->attached)
		return;
	if (request_answer(r, NULL, 0)) {
		request_reset(r);
		return;
	}
	event_add(&r->rd, NULL);
	request_set_clock(r, (uint64_t)r->requests->config->pool_age_s * 1200);
	request_make_room(r->requests, user_index(r->user));
}

static void open_arrived(struct request *r, uint8_t *raw, size_t len)
{
	struct record rec;
	int got = record_open(r->requests->seal, r->alg, &r->up, raw, len, &rec);

	if (got == 0) {
		if (request_hold(r, raw, len))
			request_reset(r);
		else
			wait_for_open(r);
	} else if (got < 0 || rec.kind != WIRE_OPEN) {
		counters.records_forged++;
		request_reset(r);
	} else {
		serve_open(r, &rec, len - rec.used);
	}
}

static void read_open(struct request *r)
{
	uint8_t *raw = r->requests->raw;
	size_t head = r->held_len;
	ssize_t n = read(r->fd, raw + head, OPEN_MAX - head);

	if (n < 0 && errno == EAGAIN) {
		wait_for_open(r);
		return;
	}
	if (n <= 0) {
		request_reset(r);
		return;
	}
	if (head)
		memcpy(raw, r->held, head);
	open_arrived(r, raw, head + (size_t)n);
}

/* --- the loop's events --- */

/* What a refused gateway still says is nothing to us, but for its end. */
static void read_refused(struct request *r)
{
	ssize_t n = read(r->fd, r->requests->raw, sizeof(r->requests->raw));

	if (n == 0 || (n < 0 && errno != EAGAIN))
		request_reset(r);
}

static void request_readable(evutil_socket_t fd, short what, void *arg)
{
	struct request *r = arg;
	struct requests *h = r->requests;

	(void)fd;
	(void)what;
	if (r->state == WAITING)
		read_open(r);
	else
		read_refused(r);
	requests_sweep(h);
}

void request_watch(struct request *r)
{
	event_assign(&r->rd, r->requests->base, r->fd, EV_READ | EV_PERSIST, request_readable, r);
}

static void request_clock_due(evutil_socket_t fd, short what, void *arg)
{
	struct request *r = arg;
	struct requests *h = r->requests;

	(void)fd;
	(void)what;
	if (request_is_granted(r))
		request_look(r);
	else
		request_reset(r);
	requests_sweep(h);
}

void requests_enter(struct requests *h, const struct requests_arrival *in)
{
	struct request *r = calloc(1, sizeof(*r));

	if (!r) {
		sock_close_reset(in->fd);
		return;
	}
	r->requests = h;
	r->fd = in->fd;
	r->dest = -1;
	r->session = session_get(in->session);
	r->alg = session_alg(in->session);
	r->user = in->user;
	r->ctr = in->ctr;
	r->up = in->up;
	r->down = in->down;
	request_watch(r);
	event_assign(&r->clock, h->base, -1, 0, request_clock_due, r);
	TAILQ_INSERT_TAIL(place(r), r, link);
	request_count(r, 1);
	read_open(r); /* without a warm connection it came with ATTACH */
	requests_sweep(h);
}

static void renew(struct requests *h, const struct addr *peer)
{
	struct request *r;
	struct addr from;
	uint64_t ms = 0;

	for (unsigned i = 0; i < CONFIG_USERS; i++)
		TAILQ_FOREACH(r, &h->waiters[i], link)
			if (sock_peer(r->fd, &from) == 0 && addr_same_ip(&from, peer))
				request_set_clock(r, ms += RENEW_MS);
}

void requests_observed(void *requests, int wan_fd)
{
	struct sock_subflow path[SOCK_SUBFLOWS];
	size_t n = sock_subflows(wan_fd, path, SOCK_SUBFLOWS);
	struct requests *h = requests;
	bool much = false;

	for (size_t i = 0; i < n; i++)
		much |= return_routes_learn(h->routes, &path[i]);
	for (size_t i = 0; much && i < n; i++) /* they have each other's subflows */
		renew(h, &path[i].peer);
}

void requests_drop(struct requests *h, const struct user *user)
{
	struct request_list *waiters = &h->waiters[user_index(user)];
	struct request *r, *next;

	while ((r = TAILQ_FIRST(waiters)))
		request_reset(r);
	for (r = TAILQ_FIRST(&h->others); r; r = next) {
		next = TAILQ_NEXT(r, link);
		if (r->user == user)
			request_reset(r);
	}
	requests_sweep(h);
}

unsigned requests_waiting(const struct requests *h, const struct user *user)
{
	return h->waiting[user_index(user)];
}

unsigned requests_dialling(const struct requests *h)
{
	return h->granted;
}

struct requests *requests_new(struct event_base *base, const struct config *config, const struct policy *policy,
			      struct seal *seal, struct relay_loop *relays, struct return_routes *routes)
{
	struct requests *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->base = base;
	h->config = config;
	h->policy = policy;
	h->seal = seal;
	h->relays = relays;
	h->routes = routes;
	TAILQ_INIT(&h->others);
	TAILQ_INIT(&h->over);
	for (unsigned i = 0; i < CONFIG_USERS; i++)
		TAILQ_INIT(&h->waiters[i]);
	return h;
}

void requests_free(struct requests *h)
{
	struct request *r;

	if (!h)
		return;
	while ((r = TAILQ_FIRST(&h->others)))
		request_reset(r);
	for (unsigned i = 0; i < CONFIG_USERS; i++)
		while ((r = TAILQ_FIRST(&h->waiters[i])))
			request_reset(r);
	requests_sweep(h);
	free(h);
}
