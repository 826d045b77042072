/* SPDX-License-Identifier: BSD-2-Clause */
/* The destination of a request: it is dialled, gets the early data, and what it says first goes
 * inside ACCEPT. requests.c has the theory. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "counter.h"
#include "dial_status.h"
#include "log.h"
#include "requests_room.h"
#include "sock.h"
#include "timer.h"

#define FIRST_MAX (WIRE_RECORD_MAX - WIRE_ANSWER_LEN) /* of the destination's bytes, inside ACCEPT */
#define FIRST_MS 2
#define LOOK_MS 250
#define REFUSED_MS 2000
#define REFUSED_MAX 1024

/* Seals an answer of `len` bytes for this request to out, ATTACHED before it if that is still owed:
 * its length, or -1. */
static ssize_t seal_answer(struct request *r, const uint8_t *plain, size_t len, uint8_t *out)
{
	static const struct wire_answer attached = { .what = WIRE_ATTACHED, .status = WIRE_OK };
	uint8_t first[WIRE_ANSWER_LEN];
	ssize_t head = 0, n = 0;

	if (!r->attached) {
		wire_put_answer(first, &attached);
		head = record_seal(r->requests->seal, r->alg, &r->down, WIRE_OPEN, first, sizeof(first), out);
	}
	r->attached = true;
	if (head >= 0 && len)
		n = record_seal(r->requests->seal, r->alg, &r->down, WIRE_OPEN, plain, len, out + head);
	return head < 0 || n < 0 ? -1 : head + n;
}

/* A few bytes always fit into the empty queue of a connection that lives. `len` 0: ATTACHED
 * alone. */
int request_answer(struct request *r, const uint8_t *plain, size_t len)
{
	uint8_t out[2 * ANSWER_MAX];
	ssize_t n = seal_answer(r, plain, len, out);

	return n > 0 && write(r->fd, out, (size_t)n) == n ? 0 : -1;
}

static int send_refusal(struct request *r, uint16_t status)
{
	struct wire_answer a = { .what = WIRE_ACCEPT, .status = status };
	uint8_t plain[WIRE_ANSWER_LEN];

	wire_put_answer(plain, &a);
	return request_answer(r, plain, sizeof(plain));
}

/* Never leaves a refused request uncounted: the user's relay ends before the place is left. */
void request_refuse(struct request *r, uint16_t status)
{
	struct requests *h = r->requests;

	log_debug("user %s: refused: %s", user_config(r->user)->name, wire_status_name(status));
	if (h->refused >= REFUSED_MAX || send_refusal(r, status)) {
		request_reset(r);
		return;
	}
	if (request_is_granted(r))
		user_closed(r->user);
	if (r->dest >= 0) {
		event_del(&r->wr);
		sock_close_reset(r->dest);
		r->dest = -1;
	}
	request_drop_held(r);
	request_enter(r, REFUSED);
	event_add(&r->rd, NULL);
	request_set_clock(r, REFUSED_MS);
}

static void dial_failed(struct request *r, int err, const struct addr *dst)
{
	counters.dials_failed++;
	request_refuse(r, dial_status_of(err, dst));
}

static void request_relay_ended(void *arg, enum relay_end how, const uint64_t bytes[2])
{
	struct user *user = arg;

	(void)how;
	user_moved(user, bytes[RELAY_WAN], bytes[RELAY_NEAR]);
	user_closed(user);
}

/* The request becomes a relay. `owed`: the tail of ACCEPT that WAN did not take. */
void request_become_relay(struct request *r, const uint8_t *owed, size_t owed_len)
{
	struct relay_loop *relays = r->requests->relays;
	struct user *user = r->user;
	struct relay_setup s = {
		.fd = { [RELAY_NEAR] = r->dest, [RELAY_WAN] = r->fd },
		.sealed = r->mode == WIRE_SEALED,
		.closes_first = true,
		.alg = r->alg,
		.key = { [RELAY_TX] = r->down, [RELAY_RX] = r->up },
		.got = { [RELAY_WAN] = r->held ? r->held + r->early : NULL },
		.got_len = { [RELAY_WAN] = r->held_len - r->early },
		.got_reset = r->dest_reset,
		.owed = { [RELAY_NEAR] = r->held ? r->held + r->sent : NULL, [RELAY_WAN] = owed },
		.owed_len = { [RELAY_NEAR] = r->early - r->sent, [RELAY_WAN] = owed_len },
		.budget = user_budget(user),
		.group = user,
		.done = request_relay_ended,
		.arg = user,
	};
	uint8_t *held = r->held;

	counters.opens_clear += !s.sealed;
	user_moved(user, r->early, 0);
	user_budget(user)->held -= r->held_len;
	r->held = NULL;
	r->held_len = r->early = 0;
	request_leave(r);
	if (!relay_new(relays, &s))
		user_closed(user);
	free(held);
	seal_wipe(s.key, sizeof(s.key));
}

/* ACCEPT with the first `len` bytes of the destination. */
void request_accept(struct request *r, const uint8_t *said, size_t len)
{
	struct wire_answer a = { .what = WIRE_ACCEPT, .status = WIRE_OK };
	struct requests *h = r->requests;
	ssize_t made, n;

	wire_put_answer(h->raw, &a);
	memmove(h->raw + WIRE_ANSWER_LEN, said, len);
	made = seal_answer(r, h->raw, WIRE_ANSWER_LEN + len, h->accept);
	n = made < 0 ? -1 : write(r->fd, h->accept, (size_t)made);
	if (made < 0 || (n < 0 && errno != EAGAIN)) {
		if (!request_bereave(r))
			request_reset(r);
		return;
	}
	n = n < 0 ? 0 : n;
	if (r->state != KEPT || n < made)
		request_become_relay(r, h->accept + n, (size_t)(made - n));
}

/* The destination spoke, or its time is up. Its end of file stays for the relay to read. */
static void request_first_bytes(evutil_socket_t fd, short what, void *arg)
{
	struct request *r = arg;
	struct requests *h = r->requests;
	uint8_t *said = h->raw + WIRE_ANSWER_LEN;
	ssize_t n = what & EV_READ ? read(fd, said, FIRST_MAX) : 0;

	r->dest_reset = n < 0 && errno != EAGAIN;
	n = n > 0 ? n : 0;
	user_moved(r->user, 0, (size_t)n);
	if (!request_keep(r, said, (size_t)n) || r->fd >= 0)
		request_accept(r, said, (size_t)n);
	requests_sweep(h);
}

static void give_early_data(struct request *r)
{
	ssize_t n = r->early ? write(r->dest, r->held, r->early) : 0;

	r->sent = n > 0 ? (uint32_t)n : 0;
	request_enter(r, CONNECTED);
	event_assign(&r->wr, r->requests->base, r->dest, EV_READ, request_first_bytes, r);
	event_base_update_cache_time(r->requests->base); /* it stands still while the loop works */
	timer_in_ms(&r->wr, FIRST_MS);
}

static void request_connected(evutil_socket_t fd, short what, void *arg)
{
	struct request *r = arg;
	struct requests *h = r->requests;
	int err = sock_connect_error(fd);

	(void)what;
	if (err) {
		dial_failed(r, err, NULL);
	} else {
		sock_keepalive(fd, SOCK_HALF_CLOSED_S);
		give_early_data(r);
	}
	requests_sweep(h);
}

void request_dial(struct request *r, const struct addr *dst)
{
	struct requests *h = r->requests;

	request_enter(r, CONNECTING);
	user_opened(r->user);
	event_del(&r->rd);
	r->dest = sock_dial_tcp(dst, 0);
	if (r->dest < 0) {
		dial_failed(r, errno, dst);
		return;
	}
	event_assign(&r->wr, h->base, r->dest, EV_WRITE, request_connected, r);
	event_add(&r->wr, NULL);
	r->until_ms = clock_ms() + (uint64_t)h->config->dial_s * 1000;
	request_set_clock(r, LOOK_MS);
}

static bool wan_died(const struct request *r)
{
	struct pollfd p = { .fd = r->fd, .events = r->mode == WIRE_SEALED ? POLLRDHUP : 0 };

	return r->fd >= 0 && poll(&p, 1, 0) > 0 && p.revents & (POLLERR | POLLHUP | POLLRDHUP);
}

void request_look(struct request *r)
{
	if (wan_died(r) && !request_bereave(r))
		request_reset(r);
	else if (r->state == KEPT)
		request_look_kept(r);
	else if (clock_ms() >= r->until_ms)
		dial_failed(r, ETIMEDOUT, NULL);
	else
		request_set_clock(r, LOOK_MS);
}
