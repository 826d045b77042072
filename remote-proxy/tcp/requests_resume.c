/* SPDX-License-Identifier: BSD-2-Clause */
/* RESUME: a destination that outlives the connection it was asked for on.
 *
 * Theory of operation. Between OPEN and ACCEPT a connection may die with its lines, and the gateway
 * may not ask again for what was served. So an OPEN may ask to be kept (WIRE_OPEN_KEEP; gateways do
 * while their lines are uneasy). Its request does not go when WAN dies, and when ACCEPT has gone
 * out it does not become a relay yet: the destination's first bytes stay here until the gateway's
 * kernel has acknowledged them, which costs what comes behind them a round trip. Meanwhile WAN is
 * not read, so all that the destination has got of the client is what stood inside OPEN, and the
 * gateway has the rest.
 *
 * RESUME names the OPEN by session and number, and comes on a connection of its own in the place of
 * OPEN. That connection becomes the request's WAN, the request from then on goes by its number, and
 * ACCEPT is said there, again if need be. The number of the RESUME is used up as an OPEN's would
 * be: it can be revoked, it can be resumed, and it is served once. Who has no RESUME within KEPT_MS
 * is reset. Only its own user finds a request. */
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "counter.h"
#include "log.h"
#include "requests_room.h"
#include "sock.h"

#define KEPT_MS 30000
#define LOOK_LEAST_MS 5
#define LOOK_MOST_MS 250

bool request_keep(struct request *r, const uint8_t *said, size_t len)
{
	r->said = r->keeps ? malloc(len + 1) : NULL;
	r->keeps = r->said;
	if (!r->keeps)
		return false;
	request_enter(r, KEPT);
	memcpy(r->said, said, len);
	r->said_len = (uint32_t)len;
	user_budget(r->user)->held += len;
	r->until_ms = clock_ms() + KEPT_MS;
	request_set_clock(r, LOOK_LEAST_MS);
	return true;
}

bool request_bereave(struct request *r)
{
	if (!r->keeps || r->fd < 0)
		return false;
	sock_close_reset(r->fd);
	r->fd = -1;
	request_set_clock(r, LOOK_MOST_MS);
	return true;
}

/* Often at first, since a relay waits for it. */
void request_look_kept(struct request *r)
{
	uint64_t now = clock_ms(), age = now + KEPT_MS - r->until_ms, next = age / 4;

	if (r->fd >= 0 && sock_unacked(r->fd) <= 0) {
		request_become_relay(r, NULL, 0);
		return;
	}
	if (now >= r->until_ms) {
		request_reset(r);
		return;
	}
	if (r->fd >= 0 && age >= SOCK_NUDGE_MS)
		sock_nudge(r->fd);
	request_set_clock(r, next < LOOK_LEAST_MS ? LOOK_LEAST_MS : next < LOOK_MOST_MS ? next : LOOK_MOST_MS);
}

static struct request *request_find(const struct requests *h, const struct user *user,
				    const struct wire_resume *asked)
{
	struct request *r;

	TAILQ_FOREACH(r, &h->others, link)
		if (request_is_granted(r) && r->keeps && r->user == user && r->ctr == asked->ctr && !memcmp(session_sid(r->session), asked->sid, WIRE_SID))
			return r;
	return NULL;
}

/* The early data stays, and what n had behind RESUME takes the place of what stood behind OPEN. */
static int take_raw(struct request *r, const uint8_t *raw, size_t more)
{
	uint8_t *all = malloc(r->early + more + 1);

	if (!all)
		return -1;
	if (r->early)
		memcpy(all, r->held, r->early);
	memcpy(all + r->early, raw, more);
	free(r->held);
	user_budget(r->user)->held += r->early + more;
	user_budget(r->user)->held -= r->held_len;
	r->held = all;
	r->held_len = r->early + (uint32_t)more;
	return 0;
}

static void take_wan(struct request *r, struct request *n)
{
	if (r->fd >= 0)
		sock_close_reset(r->fd);
	session_put(r->session);
	r->session = session_get(n->session);
	r->fd = n->fd;
	r->ctr = n->ctr;
	r->alg = n->alg;
	r->up = n->up;
	r->down = n->down;
	r->attached = n->attached;
	request_watch(r);
	request_leave(n);
}

void request_resume(struct request *n, const struct wire_resume *asked, const uint8_t *raw, size_t more)
{
	struct request *r = request_find(n->requests, n->user, asked);

	if (!r) {
		request_refuse(n, WIRE_WAS_RESET);
		return;
	}
	if (take_raw(r, raw, more)) {
		request_refuse(n, WIRE_NO_RESOURCES);
		return;
	}
	counters.opens_resumed++;
	take_wan(r, n);
	if (r->state != KEPT)
		return; /* still being dialled */
	r->until_ms = clock_ms() + KEPT_MS;
	request_set_clock(r, LOOK_LEAST_MS);
	request_accept(r, r->said, r->said_len);
}
