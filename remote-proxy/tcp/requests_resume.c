/* RESUME: a destination that outlives the connection it was asked for on.
 *
 * Theory of operation. Between OPEN and ACCEPT a connection may die with its lines, and the gateway may not ask again for what was
 * served. So an OPEN may ask to be kept (WIRE_OPEN_KEEP; gateways do while their lines are uneasy). Its request does not go when
 * WAN dies, and when ACCEPT has gone out it does not become a relay yet: the destination's first bytes stay here until the gateway's
 * kernel has acknowledged them, which costs what comes behind them a round trip. Meanwhile WAN is not read, so all that
 * the destination has got of the client is what stood inside OPEN, and the gateway has the rest.
 *
 * RESUME names the OPEN by session and number, and comes on a connection of its own in the place of OPEN. That connection becomes
 * the request's WAN, the request from then on goes by its number, and ACCEPT is said there, again if need be. The number of
 * the RESUME is used up as an OPEN's would be: it can be revoked, it can be resumed, and it is served once. Who has no RESUME within
 * KEPT_MS is reset. Only its own user finds a request. */
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "counter.h"
#include "requests_room.h"
#include "log.h"
#include "sock.h"

#define KEPT_MS 30000
#define LOOK_LEAST_MS 5
#define LOOK_MOST_MS 250

bool request_keep(struct request *g, const uint8_t *said, size_t len)
{
	g->said = g->keeps ? malloc(len + 1) : NULL;
	g->keeps = g->kept = g->said;
	if (!g->kept)
		return false;
	memcpy(g->said, said, len);
	g->said_len = (uint32_t)len;
	user_budget(g->user)->held += len;
	g->until_ms = clock_ms() + KEPT_MS;
	request_set_clock(g, LOOK_LEAST_MS);
	return true;
}

bool request_bereave(struct request *g)
{
	if (!g->keeps || g->fd < 0)
		return false;
	sock_close_reset(g->fd);
	g->fd = -1;
	request_set_clock(g, LOOK_MOST_MS);
	return true;
}

/* Often at first, since a relay waits for it. */
void request_look_kept(struct request *g)
{
	uint64_t now = clock_ms(), age = now + KEPT_MS - g->until_ms, next = age / 4;

	if (g->fd >= 0 && sock_unacked(g->fd) <= 0) {
		request_become_relay(g, NULL, 0);
		return;
	}
	if (now >= g->until_ms) {
		request_reset(g);
		return;
	}
	if (g->fd >= 0 && age >= SOCK_NUDGE_MS)
		sock_nudge(g->fd);
	request_set_clock(g, next < LOOK_LEAST_MS ? LOOK_LEAST_MS : next < LOOK_MOST_MS ? next : LOOK_MOST_MS);
}

static struct request *find(const struct requests *h, const struct user *user, const struct wire_resume *r)
{
	struct request *g;

	TAILQ_FOREACH(g, &h->others, link)
		if (g->state == DIALLING && g->keeps && g->user == user && g->ctr == r->ctr && !memcmp(session_sid(g->session), r->sid, WIRE_SID))
			return g;
	return NULL;
}

/* The early data stays, and what n had behind RESUME takes the place of what stood behind OPEN. */
static int take_raw(struct request *g, const uint8_t *raw, size_t more)
{
	uint8_t *all = malloc(g->early + more + 1);

	if (!all)
		return -1;
	if (g->early)
		memcpy(all, g->held, g->early);
	memcpy(all + g->early, raw, more);
	free(g->held);
	user_budget(g->user)->held += g->early + more;
	user_budget(g->user)->held -= g->held_len;
	g->held = all;
	g->held_len = g->early + (uint32_t)more;
	return 0;
}

static void take_wan(struct request *g, struct request *n)
{
	if (g->fd >= 0)
		sock_close_reset(g->fd);
	session_put(g->session);
	g->session = session_get(n->session);
	g->fd = n->fd;
	g->ctr = n->ctr;
	g->alg = n->alg;
	g->up = n->up;
	g->down = n->down;
	g->attached = n->attached;
	request_watch(g);
	request_sweep(n);
}

void request_resume(struct request *n, const struct wire_resume *r, const uint8_t *raw, size_t more)
{
	struct request *g = find(n->requests, n->user, r);

	if (!g) {
		request_refuse(n, WIRE_WAS_RESET);
		return;
	}
	if (take_raw(g, raw, more)) {
		request_refuse(n, WIRE_NO_RESOURCES);
		return;
	}
	counters.opens_resumed++;
	take_wan(g, n);
	if (!g->kept)
		return; /* still being dialled */
	g->until_ms = clock_ms() + KEPT_MS;
	request_set_clock(g, LOOK_LEAST_MS);
	request_accept(g, g->said, g->said_len);
}
