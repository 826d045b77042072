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
 * OPEN is served in this order, and the first that says no decides: the record opens and is
 * an OPEN, its number was not revoked, mode, caps, policy, connect(). The number is taken
 * before anything can be refused: so a refused OPEN is answered once too.
 *
 * Data behind OPEN is read only as far as it came in the same read; that and the early data are
 * copied, and charged to the user, until the destination is there. */
#include "hall.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "clock.h"
#include "counter.h"
#include "log.h"
#include "record.h"
#include "refusal.h"
#include "sock.h"

#define OPEN_MAX (WIRE_RECORD_MAX + WIRE_RECORD_OVERHEAD)
#define ANSWER_MAX (WIRE_ANSWER_LEN + WIRE_RECORD_OVERHEAD)
#define FIRST_MAX (WIRE_RECORD_MAX - WIRE_ANSWER_LEN) /* of the destination's bytes, inside ACCEPT */
#define FIRST_MS 2
#define POOL_SLACK 16
#define LOOK_MS 250
#define REFUSED_MS 2000
#define RENEW_MS 500
#define REFUSED_MAX 1024
#define DEST_KEEPALIVE_S 60

enum state { WAITING, DIALLING, REFUSED };

struct guest {
	struct hall *hall;
	TAILQ_ENTRY(guest) link;
	enum state state;
	int fd, dest;
	struct user *user;
	struct session *session;
	uint64_t ctr, until_ms;
	struct seal_key up, down;
	enum seal_alg alg;
	enum wire_mode mode;
	uint8_t *held; /* WAITING: a part of OPEN; DIALLING: early data, then raw bytes behind OPEN */
	uint32_t early, held_len, sent; /* sent: of the early data, to the destination */
	bool attached; /* ATTACHED was sent, or at least stands in front of what is being sent */
	bool dest_reset;
	struct event rd, wr, clock; /* WAN, destination, time */
};

TAILQ_HEAD(guests, guest);

struct hall {
	struct event_base *base;
	const struct config *config;
	const struct policy *policy;
	struct seal *seal;
	struct relay_loop *relays;
	unsigned waiting[CONFIG_USERS], dialling, refused;
	struct guests waiters[CONFIG_USERS], others;
	uint8_t raw[OPEN_MAX];
	uint8_t accept[ANSWER_MAX + OPEN_MAX];
};

/* --- memory and places --- */

static void drop_held(struct guest *g)
{
	user_budget(g->user)->held -= g->held_len;
	free(g->held);
	g->held = NULL;
	g->held_len = g->early = 0;
}

static int hold(struct guest *g, const uint8_t *data, size_t len)
{
	drop_held(g);
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

static void leave_place(struct guest *g)
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

static void take_place(struct guest *g, enum state state)
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
static void guest_sweep(struct guest *g)
{
	event_del(&g->rd);
	if (g->dest >= 0)
		event_del(&g->wr);
	event_del(&g->clock);
	leave_place(g);
	drop_held(g);
	session_put(g->session);
	seal_wipe(&g->up, sizeof(g->up));
	seal_wipe(&g->down, sizeof(g->down));
	free(g);
}

static void guest_reset(struct guest *g)
{
	int fd = g->fd, dest = g->dest;

	if (g->state == DIALLING)
		user_closed(g->user);
	guest_sweep(g);
	sock_close_reset(fd);
	if (dest >= 0)
		sock_close_reset(dest);
}

static void set_clock(struct guest *g, uint64_t ms)
{
	struct timeval tv = { .tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000) };

	event_add(&g->clock, &tv);
}

/* --- answers --- */

/* Seals an answer of `len` bytes for this guest to out, ATTACHED before it if that is still owed: its length, or -1. */
static ssize_t seal_answer(struct guest *g, const uint8_t *plain, size_t len, uint8_t *out)
{
	static const struct wire_answer attached = { .what = WIRE_ATTACHED, .status = WIRE_OK };
	uint8_t first[WIRE_ANSWER_LEN];
	ssize_t head = 0, n = 0;

	if (!g->attached) {
		wire_put_answer(first, &attached);
		head = record_seal(g->hall->seal, g->alg, &g->down, WIRE_OPEN, first, sizeof(first), out);
	}
	g->attached = true;
	if (head >= 0 && len)
		n = record_seal(g->hall->seal, g->alg, &g->down, WIRE_OPEN, plain, len, out + head);
	return head < 0 || n < 0 ? -1 : head + n;
}

/* A few bytes always fit into the empty queue of a connection that lives. `len` 0: ATTACHED alone. */
static int send_answer(struct guest *g, const uint8_t *plain, size_t len)
{
	uint8_t out[2 * ANSWER_MAX];
	ssize_t n = seal_answer(g, plain, len, out);

	return n > 0 && write(g->fd, out, (size_t)n) == n ? 0 : -1;
}

static int send_refusal(struct guest *g, uint16_t status)
{
	struct wire_answer a = { .what = WIRE_ACCEPT, .status = status };
	uint8_t plain[WIRE_ANSWER_LEN];

	wire_put_answer(plain, &a);
	return send_answer(g, plain, sizeof(plain));
}

/* Never leaves a refused guest uncounted: the user's relay ends before the place is left. */
static void refuse(struct guest *g, uint16_t status)
{
	struct hall *h = g->hall;

	log_debug("user %s: refused: %s", user_config(g->user)->name, wire_status_name(status));
	if (h->refused >= REFUSED_MAX || send_refusal(g, status)) {
		guest_reset(g);
		return;
	}
	if (g->state == DIALLING)
		user_closed(g->user);
	if (g->dest >= 0) {
		event_del(&g->wr);
		sock_close_reset(g->dest);
		g->dest = -1;
	}
	drop_held(g);
	leave_place(g);
	take_place(g, REFUSED);
	event_add(&g->rd, NULL);
	set_clock(g, REFUSED_MS);
}

/* --- the destination --- */

static void dial_failed(struct guest *g, int err, const struct addr *dst)
{
	counters.dials_failed++;
	refuse(g, refusal_of(err, dst));
}

static void on_relay_done(void *arg, enum relay_end how, const uint64_t bytes[2])
{
	struct user *user = arg;

	(void)how;
	user_moved(user, bytes[RELAY_WAN], bytes[RELAY_NEAR]);
	user_closed(user);
}

/* The guest becomes a relay. `owed`: the tail of ACCEPT that WAN did not take. */
static void become_relay(struct guest *g, const uint8_t *owed, size_t owed_len)
{
	struct relay_loop *relays = g->hall->relays;
	struct user *user = g->user;
	struct relay_setup s = {
		.fd = { [RELAY_NEAR] = g->dest, [RELAY_WAN] = g->fd },
		.sealed = g->mode == WIRE_SEALED,
		.closes_first = true,
		.alg = g->alg,
		.key = { [RELAY_TX] = g->down, [RELAY_RX] = g->up },
		.got = { [RELAY_WAN] = g->held ? g->held + g->early : NULL },
		.got_len = { [RELAY_WAN] = g->held_len - g->early },
		.got_reset = g->dest_reset,
		.owed = { [RELAY_NEAR] = g->held ? g->held + g->sent : NULL, [RELAY_WAN] = owed },
		.owed_len = { [RELAY_NEAR] = g->early - g->sent, [RELAY_WAN] = owed_len },
		.budget = user_budget(user),
		.group = user,
		.done = on_relay_done,
		.arg = user,
	};
	uint8_t *held = g->held;

	counters.opens_clear += !s.sealed;
	user_moved(user, g->early, 0);
	user_budget(user)->held -= g->held_len;
	g->held = NULL;
	g->held_len = g->early = 0;
	guest_sweep(g);
	if (!relay_new(relays, &s))
		user_closed(user);
	free(held);
	seal_wipe(s.key, sizeof(s.key));
}

/* ACCEPT with the first `len` bytes of the destination, which stand in hall->raw behind the answer. */
static void accept_open(struct guest *g, size_t len)
{
	struct wire_answer a = { .what = WIRE_ACCEPT, .status = WIRE_OK };
	struct hall *h = g->hall;
	ssize_t made, n;

	wire_put_answer(h->raw, &a);
	user_moved(g->user, 0, len);
	made = seal_answer(g, h->raw, WIRE_ANSWER_LEN + len, h->accept);
	n = made < 0 ? -1 : write(g->fd, h->accept, (size_t)made);
	if (made < 0 || (n < 0 && errno != EAGAIN)) {
		guest_reset(g);
		return;
	}
	n = n < 0 ? 0 : n;
	become_relay(g, h->accept + n, (size_t)(made - n));
}

/* The destination spoke, or its time is up. Its end of file stays for the relay to read. */
static void on_first_bytes(evutil_socket_t fd, short what, void *arg)
{
	struct guest *g = arg;
	ssize_t n = what & EV_READ ? read(fd, g->hall->raw + WIRE_ANSWER_LEN, FIRST_MAX) : 0;

	g->dest_reset = n < 0 && errno != EAGAIN;
	accept_open(g, n > 0 ? (size_t)n : 0);
}

static void on_connected(evutil_socket_t fd, short what, void *arg)
{
	struct timeval first = { 0, FIRST_MS * 1000 };
	struct guest *g = arg;
	int err = sock_connect_error(fd);
	ssize_t n;

	(void)what;
	if (err) {
		dial_failed(g, err, NULL);
		return;
	}
	sock_keepalive(fd, DEST_KEEPALIVE_S);
	n = g->early ? write(fd, g->held, g->early) : 0;
	g->sent = n > 0 ? (uint32_t)n : 0;
	event_assign(&g->wr, g->hall->base, fd, EV_READ, on_first_bytes, g);
	event_base_update_cache_time(g->hall->base); /* it stands still while the loop works */
	event_add(&g->wr, &first);
}

static void dial(struct guest *g, const struct addr *dst)
{
	struct hall *h = g->hall;

	leave_place(g);
	take_place(g, DIALLING);
	user_opened(g->user);
	event_del(&g->rd);
	g->dest = sock_dial_tcp(dst, 0);
	if (g->dest < 0) {
		dial_failed(g, errno, dst);
		return;
	}
	event_assign(&g->wr, h->base, g->dest, EV_WRITE, on_connected, g);
	event_add(&g->wr, NULL);
	g->until_ms = clock_ms() + (uint64_t)h->config->dial_s * 1000;
	set_clock(g, LOOK_MS);
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
	struct wire_open o;
	uint16_t status;
	size_t early;

	if (!session_claim_open(g->session, g->ctr)) {
		log_debug("user %s: an OPEN came after it was revoked", user_config(g->user)->name);
		guest_reset(g);
		return;
	}
	if (wire_get_open(&o, rec->data, rec->len) <= 0) {
		refuse(g, WIRE_MALFORMED);
		return;
	}
	status = may_open(g, &o);
	if (status) {
		refuse(g, status);
		return;
	}
	early = rec->len - WIRE_OPEN_LEN;
	memmove(rec->data + WIRE_OPEN_LEN + early, rec->data + rec->len + WIRE_TAG, more);
	if (hold(g, rec->data + WIRE_OPEN_LEN, early + more)) {
		refuse(g, WIRE_NO_RESOURCES);
		return;
	}
	g->early = (uint32_t)early;
	g->mode = o.mode;
	dial(g, &o.dst);
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
	if (send_answer(g, NULL, 0)) {
		guest_reset(g);
		return;
	}
	event_add(&g->rd, NULL);
	set_clock(g, (uint64_t)g->hall->config->pool_age_s * 1200);
	make_room(g->hall, user_index(g->user));
}

static void open_arrived(struct guest *g, uint8_t *raw, size_t len)
{
	struct record rec;
	int got = record_open(g->hall->seal, g->alg, &g->up, raw, len, &rec);

	if (got == 0) {
		if (hold(g, raw, len))
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

static bool wan_died(const struct guest *g)
{
	struct pollfd p = { .fd = g->fd, .events = g->mode == WIRE_SEALED ? POLLRDHUP : 0 };

	return poll(&p, 1, 0) > 0 && p.revents & (POLLERR | POLLHUP | POLLRDHUP);
}

static void on_clock(evutil_socket_t fd, short what, void *arg)
{
	struct guest *g = arg;

	(void)fd;
	(void)what;
	if (g->state != DIALLING || wan_died(g))
		guest_reset(g);
	else if (clock_ms() >= g->until_ms)
		dial_failed(g, ETIMEDOUT, NULL);
	else
		set_clock(g, LOOK_MS);
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
	event_assign(&g->rd, h->base, g->fd, EV_READ | EV_PERSIST, on_readable, g);
	event_assign(&g->clock, h->base, -1, 0, on_clock, g);
	take_place(g, WAITING);
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
				set_clock(g, ms += RENEW_MS);
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
