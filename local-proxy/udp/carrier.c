/* Theory of operation
 *
 * Datagrams may be filtered where TCP passes: on one line, and then the others carry the tunnel; or on all. When no path of the association
 * has worked for PATIENCE_MS, and the remote has been heard over the control connection meanwhile, the tunnel's packets travel as
 * frames of that connection, in both directions; when a path is well again, as datagrams again. The decision is made here alone: the
 * remote is told by CARRIER and obeys, and is told again with every new control connection.
 *
 * That the remote was heard is what tells filtered datagrams from dead lines, where another way would be no way either. So the remote is
 * asked when the last path died, and asked again while the stream carries something, which makes the control connection as quick to be
 * given up as it is for TCP. While nothing moves, nothing is asked.
 *
 * A remote that does not know such frames (it says so in WELCOME) is left in peace: then there is no tunnel on such lines. */
#include "carrier.h"

#include <event2/event_struct.h>
#include <stdlib.h>

#include "clock.h"
#include "log.h"
#include "sock.h"

#define PATIENCE_MS 1000
#define HOPEFUL_MS 3000 /* a path is heard of again, and has to prove itself */
#define DEAD_TICK_MS 250
#define TICK_MS 1000

struct carrier {
	struct tunnel *tunnel;
	struct remotes *remotes;
	const char *congestion;
	void (*changed)(void *arg);
	void *arg;
	bool there;	  /* a session whose remote takes packets */
	uint64_t dead_ms; /* since when no path works; 0: one does */
	uint64_t moved;	  /* by the stream, when last looked at */
	struct event tick;
};

static void wake_in(struct carrier *c, unsigned ms)
{
	struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000 };

	event_add(&c->tick, &tv);
}

static void tell(struct carrier *c)
{
	bool by_stream = tunnel_by_stream(c->tunnel);

	remotes_carrier(c->remotes, by_stream ? WIRE_BY_STREAM : WIRE_BY_UDP, by_stream ? c->congestion : SOCK_WAITING);
}

static void turn(struct carrier *c, bool by_stream)
{
	if (tunnel_by_stream(c->tunnel) == by_stream)
		return;
	tunnel_carry(c->tunnel, by_stream);
	if (by_stream)
		log_warn("no line lets UDP through: the tunnel goes through the control connection");
	else if (c->there)
		log_info("UDP gets through again, and carries the tunnel");
	if (c->there)
		tell(c);
	c->changed(c->arg);
}

static void look_for_paths(struct carrier *c)
{
	if (tunnel_has_path(c->tunnel)) {
		c->dead_ms = 0;
	} else if (!c->dead_ms && c->there) {
		c->dead_ms = clock_ms();
		remotes_suspect(c->remotes);
	}
}

/* The remote has to answer to stay in use. */
static void ask_if_moving(struct carrier *c)
{
	uint64_t moved = tunnel_stream_moved(c->tunnel);

	if (moved != c->moved)
		remotes_wanted(c->remotes);
	c->moved = moved;
}

static void judge(struct carrier *c)
{
	look_for_paths(c);
	if (!c->there || !c->dead_ms) {
		turn(c, false);
		return;
	}
	if (tunnel_by_stream(c->tunnel)) {
		ask_if_moving(c);
		wake_in(c, TICK_MS);
		return;
	}
	if (clock_ms() - c->dead_ms >= (tunnel_has_hope(c->tunnel) ? HOPEFUL_MS : PATIENCE_MS) && remotes_heard_since(c->remotes, c->dead_ms))
		turn(c, true);
	else
		remotes_wanted(c->remotes);
	wake_in(c, DEAD_TICK_MS);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	judge(arg);
}

/* Not in the callback that tells of it: what changes may call back. */
static void judge_soon(struct carrier *c)
{
	wake_in(c, 0);
}

void carrier_path(struct carrier *c)
{
	judge_soon(c);
}

void carrier_session(struct carrier *c, const struct wire_welcome *w)
{
	c->there = w && w->flags & WIRE_F_STREAM;
	if (c->there)
		tell(c);
	else
		c->dead_ms = 0;
	judge_soon(c);
}

/* --- packets --- */

static bool on_offer(void *arg, const uint8_t *packet, size_t len)
{
	struct carrier *c = arg;

	return c->there && remotes_offer(c->remotes, packet, len);
}

void carrier_packet(struct carrier *c, const uint8_t *packet, size_t len)
{
	if (c->there)
		tunnel_stream_got(c->tunnel, packet, len);
}

void carrier_room(struct carrier *c)
{
	tunnel_stream_room(c->tunnel);
}

/* --- life --- */

struct carrier *carrier_new(struct event_base *base, struct tunnel *tunnel, struct remotes *remotes, const char *congestion,
			    void (*changed)(void *arg), void *arg)
{
	struct carrier *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->tunnel = tunnel;
	c->remotes = remotes;
	c->congestion = congestion;
	c->changed = changed;
	c->arg = arg;
	event_assign(&c->tick, base, -1, 0, on_tick, c);
	tunnel_stream_way(tunnel, on_offer, c);
	return c;
}

void carrier_free(struct carrier *c)
{
	if (!c)
		return;
	event_del(&c->tick);
	tunnel_carry(c->tunnel, false);
	tunnel_stream_way(c->tunnel, NULL, NULL);
	free(c);
}
