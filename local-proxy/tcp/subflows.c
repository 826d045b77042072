/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation. A link's endpoint makes the kernel join one subflow to each connection when
 * it is put in, and not a second time when that one dies by itself: a box on the way resets it, or
 * forgets it. While other links carry the connection nobody notices; when they go it has none left,
 * although a sound link is there, and ends by the kernel's limit of a minute, or never, since each
 * endpoint that is put in begins that minute anew.
 *
 * So while the links are uneasy, relays in which nothing moves, and client connections that wait
 * for their ACCEPT, are looked at every second. As soon as one has been without any subflow for
 * SEVERED_MS, longer than a link that comes back takes to join, a link that is in use is joined
 * anew, which costs the others on it a round trip. That is tried every AGAIN_MS, with one link
 * after the other, until it is TRIED_MS without: then its other end is gone; a relay is reset at
 * the stall limit, a client connection when it has waited long enough.
 *
 * A connection that fell back to plain TCP has no link but the one that it began on: when the house
 * has that address no more it is ended at once, so that its client need not wait for the stall
 * limit.
 *
 * And each link learns from the subflows on it: when a relay has sent much, what TCP measured on
 * each is told to `links`, and to `wan` that looks for connections that fell back. */
#include "subflows.h"

#include <event2/event_struct.h>
#include <stdlib.h>

#include "clock.h"
#include "sock.h"
#include "sock_subflow.h"
#include "timer.h"

#define LOOK_S 1
#define SEVERED_MS 2000
#define TRIED_MS 32000
#define AGAIN_MS 10000

struct subflows {
	struct relay_loop *relays;
	struct lan *lan;
	struct pool *pool;
	struct links *links;
	struct wan *wan;
	uint64_t tried_ms;
	struct event look;
};

static void look_soon(struct subflows *s)
{
	if (!event_pending(&s->look, EV_TIMEOUT, NULL))
		timer_in_s(&s->look, LOOK_S);
}

static unsigned count_severed(const struct subflows *s)
{
	return relay_loop_severed(s->relays, SEVERED_MS, TRIED_MS) + lan_severed(s->lan, SEVERED_MS, TRIED_MS);
}

static void subflows_look_due(evutil_socket_t fd, short what, void *arg)
{
	struct subflows *s = arg;
	uint64_t now = clock_ms();

	(void)fd, (void)what;
	if (count_severed(s) && (!s->tried_ms || now - s->tried_ms >= AGAIN_MS)) {
		s->tried_ms = now;
		links_rejoin(s->links);
	}
	if (links_uneasy(s->links))
		look_soon(s);
}

struct subflows *subflows_new(struct event_base *base, struct relay_loop *relays, struct lan *lan, struct pool *pool,
			      struct links *links, struct wan *wan)
{
	struct subflows *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->relays = relays;
	s->lan = lan;
	s->pool = pool;
	s->links = links;
	s->wan = wan;
	event_assign(&s->look, base, -1, 0, subflows_look_due, s);
	return s;
}

static bool is_stranded(void *arg, int wan_fd)
{
	struct subflows *s = arg;
	struct addr src;

	return !sock_is_mptcp(wan_fd) && sock_local(wan_fd, &src) == 0 && links_has_lost(s->links, &src);
}

void subflows_links_changed(void *subflows)
{
	struct subflows *s = subflows;

	relay_loop_prune(s->relays, is_stranded, s);
	look_soon(s);
}

void subflows_observed(void *subflows, int wan_fd)
{
	struct sock_subflow path[SOCK_SUBFLOWS];
	size_t n = sock_subflows(wan_fd, path, SOCK_SUBFLOWS);
	struct subflows *s = subflows;
	bool much = false;

	for (size_t i = 0; i < n; i++)
		much |= links_learn(s->links, &path[i]);
	if (much)
		pool_renew(s->pool);
	wan_observed(s->wan, wan_fd);
}

void subflows_free(struct subflows *s)
{
	if (!s)
		return;
	event_del(&s->look);
	free(s);
}
