/* The destination of a request: it is dialled, gets the early data, and what it says first goes inside ACCEPT. requests.c has the theory. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "counter.h"
#include "requests_room.h"
#include "log.h"
#include "dial_status.h"
#include "sock.h"

#define FIRST_MAX (WIRE_RECORD_MAX - WIRE_ANSWER_LEN) /* of the destination's bytes, inside ACCEPT */
#define FIRST_MS 2
#define LOOK_MS 250
#define REFUSED_MS 2000
#define REFUSED_MAX 1024

/* Seals an answer of `len` bytes for this request to out, ATTACHED before it if that is still owed: its length, or -1. */
static ssize_t seal_answer(struct request *g, const uint8_t *plain, size_t len, uint8_t *out)
{
	static const struct wire_answer attached = { .what = WIRE_ATTACHED, .status = WIRE_OK };
	uint8_t first[WIRE_ANSWER_LEN];
	ssize_t head = 0, n = 0;

	if (!g->attached) {
		wire_put_answer(first, &attached);
		head = record_seal(g->requests->seal, g->alg, &g->down, WIRE_OPEN, first, sizeof(first), out);
	}
	g->attached = true;
	if (head >= 0 && len)
		n = record_seal(g->requests->seal, g->alg, &g->down, WIRE_OPEN, plain, len, out + head);
	return head < 0 || n < 0 ? -1 : head + n;
}

/* A few bytes always fit into the empty queue of a connection that lives. `len` 0: ATTACHED alone. */
int request_answer(struct request *g, const uint8_t *plain, size_t len)
{
	uint8_t out[2 * ANSWER_MAX];
	ssize_t n = seal_answer(g, plain, len, out);

	return n > 0 && write(g->fd, out, (size_t)n) == n ? 0 : -1;
}

static int send_refusal(struct request *g, uint16_t status)
{
	struct wire_answer a = { .what = WIRE_ACCEPT, .status = status };
	uint8_t plain[WIRE_ANSWER_LEN];

	wire_put_answer(plain, &a);
	return request_answer(g, plain, sizeof(plain));
}

/* Never leaves a refused request uncounted: the user's relay ends before the place is left. */
void request_refuse(struct request *g, uint16_t status)
{
	struct requests *h = g->requests;

	log_debug("user %s: refused: %s", user_config(g->user)->name, wire_status_name(status));
	if (h->refused >= REFUSED_MAX || send_refusal(g, status)) {
		request_reset(g);
		return;
	}
	if (g->state == DIALLING)
		user_closed(g->user);
	if (g->dest >= 0) {
		event_del(&g->wr);
		sock_close_reset(g->dest);
		g->dest = -1;
	}
	request_drop_held(g);
	request_leave_place(g);
	request_take_place(g, REFUSED);
	event_add(&g->rd, NULL);
	request_set_clock(g, REFUSED_MS);
}

static void dial_failed(struct request *g, int err, const struct addr *dst)
{
	counters.dials_failed++;
	request_refuse(g, dial_status_of(err, dst));
}

static void on_relay_done(void *arg, enum relay_end how, const uint64_t bytes[2])
{
	struct user *user = arg;

	(void)how;
	user_moved(user, bytes[RELAY_WAN], bytes[RELAY_NEAR]);
	user_closed(user);
}

/* The request becomes a relay. `owed`: the tail of ACCEPT that WAN did not take. */
void request_become_relay(struct request *g, const uint8_t *owed, size_t owed_len)
{
	struct relay_loop *relays = g->requests->relays;
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
	request_sweep(g);
	if (!relay_new(relays, &s))
		user_closed(user);
	free(held);
	seal_wipe(s.key, sizeof(s.key));
}

/* ACCEPT with the first `len` bytes of the destination. */
void request_accept(struct request *g, const uint8_t *said, size_t len)
{
	struct wire_answer a = { .what = WIRE_ACCEPT, .status = WIRE_OK };
	struct requests *h = g->requests;
	ssize_t made, n;

	wire_put_answer(h->raw, &a);
	memmove(h->raw + WIRE_ANSWER_LEN, said, len);
	made = seal_answer(g, h->raw, WIRE_ANSWER_LEN + len, h->accept);
	n = made < 0 ? -1 : write(g->fd, h->accept, (size_t)made);
	if (made < 0 || (n < 0 && errno != EAGAIN)) {
		if (!request_bereave(g))
			request_reset(g);
		return;
	}
	n = n < 0 ? 0 : n;
	if (!g->kept || n < made)
		request_become_relay(g, h->accept + n, (size_t)(made - n));
}

/* The destination spoke, or its time is up. Its end of file stays for the relay to read. */
static void on_first_bytes(evutil_socket_t fd, short what, void *arg)
{
	struct request *g = arg;
	uint8_t *said = g->requests->raw + WIRE_ANSWER_LEN;
	ssize_t n = what & EV_READ ? read(fd, said, FIRST_MAX) : 0;

	g->dest_reset = n < 0 && errno != EAGAIN;
	n = n > 0 ? n : 0;
	user_moved(g->user, 0, (size_t)n);
	if (!request_keep(g, said, (size_t)n) || g->fd >= 0)
		request_accept(g, said, (size_t)n);
}

static void on_connected(evutil_socket_t fd, short what, void *arg)
{
	struct timeval first = { 0, FIRST_MS * 1000 };
	struct request *g = arg;
	int err = sock_connect_error(fd);
	ssize_t n;

	(void)what;
	if (err) {
		dial_failed(g, err, NULL);
		return;
	}
	sock_keepalive(fd, SOCK_HALF_CLOSED_S);
	n = g->early ? write(fd, g->held, g->early) : 0;
	g->sent = n > 0 ? (uint32_t)n : 0;
	event_assign(&g->wr, g->requests->base, fd, EV_READ, on_first_bytes, g);
	event_base_update_cache_time(g->requests->base); /* it stands still while the loop works */
	event_add(&g->wr, &first);
}

void request_dial(struct request *g, const struct addr *dst)
{
	struct requests *h = g->requests;

	request_leave_place(g);
	request_take_place(g, DIALLING);
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
	request_set_clock(g, LOOK_MS);
}

static bool wan_died(const struct request *g)
{
	struct pollfd p = { .fd = g->fd, .events = g->mode == WIRE_SEALED ? POLLRDHUP : 0 };

	return g->fd >= 0 && poll(&p, 1, 0) > 0 && p.revents & (POLLERR | POLLHUP | POLLRDHUP);
}

void request_look(struct request *g)
{
	if (wan_died(g) && !request_bereave(g))
		request_reset(g);
	else if (g->kept)
		request_look_kept(g);
	else if (clock_ms() >= g->until_ms)
		dial_failed(g, ETIMEDOUT, NULL);
	else
		request_set_clock(g, LOOK_MS);
}
