/* Theory of operation. A line's endpoint makes the kernel join one subflow to each connection when it is put in, and not a second time
 * when that one dies by itself: a box on the way resets it, or forgets it. While other lines carry the connection nobody notices; when they
 * go it has none left, although a sound line is there, and ends by the kernel's limit of a minute, or never, since each endpoint that is
 * put in begins that minute anew.
 *
 * So while the lines are uneasy, relays in which nothing moves, and openings that wait for their ACCEPT, are looked at every second. As
 * soon as one has been without any subflow for SEVERED_MS, longer than a line that comes back takes to join, a line that is in use is
 * joined anew, which costs the others on it a round trip. That is tried every AGAIN_MS, with one line after the other, until it is
 * TRIED_MS without: then its other end is gone; a relay is reset at the stall limit, an opening when it has waited long enough. */
#include "rescue.h"

#include <event2/event_struct.h>
#include <stdlib.h>

#include "clock.h"

#define LOOK_S 1
#define SEVERED_MS 2000
#define TRIED_MS 32000
#define AGAIN_MS 10000

struct rescue {
	struct relay_loop *relays;
	struct lan *lan;
	struct links *links;
	uint64_t tried_ms;
	struct event look;
};

static void look_soon(struct rescue *r)
{
	const struct timeval tv = { LOOK_S, 0 };

	if (!event_pending(&r->look, EV_TIMEOUT, NULL))
		event_add(&r->look, &tv);
}

static unsigned count_severed(const struct rescue *r)
{
	return relay_loop_severed(r->relays, SEVERED_MS, TRIED_MS) + lan_severed(r->lan, SEVERED_MS, TRIED_MS);
}

static void on_look(evutil_socket_t fd, short what, void *arg)
{
	struct rescue *r = arg;
	uint64_t now = clock_ms();

	(void)fd, (void)what;
	if (count_severed(r) && (!r->tried_ms || now - r->tried_ms >= AGAIN_MS)) {
		r->tried_ms = now;
		links_rejoin(r->links);
	}
	if (links_uneasy(r->links))
		look_soon(r);
}

struct rescue *rescue_new(struct event_base *base, struct relay_loop *relays, struct lan *lan, struct links *links)
{
	struct rescue *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->relays = relays;
	r->lan = lan;
	r->links = links;
	event_assign(&r->look, base, -1, 0, on_look, r);
	return r;
}

void rescue_links_changed(struct rescue *r)
{
	look_soon(r);
}

void rescue_free(struct rescue *r)
{
	if (!r)
		return;
	event_del(&r->look);
	free(r);
}
