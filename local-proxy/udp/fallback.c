/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * Datagrams may be filtered where TCP passes: on one link, and then the others carry the tunnel; or
 * on all. When no path of the association has worked for PATIENCE_MS, and the VPS has been heard
 * over the control connection meanwhile, the tunnel's packets travel as frames of that connection,
 * in both directions; when a path is well again, as datagrams again. The decision is made here
 * alone: the VPS is told by CARRIER and obeys, and is told again with every new control connection.
 *
 * That the VPS was heard is what tells filtered datagrams from dead links, where another way would
 * be no way either. So the VPS is asked when the last path died, and asked again while the stream
 * carries something, which makes the control connection as quick to be given up as it is for TCP.
 * While nothing moves, nothing is asked.
 *
 * A VPS that does not know such frames (it says so in WELCOME) is left in peace: then there is no
 * tunnel on such links. */
#include "fallback.h"

#include <event2/event_struct.h>
#include <stdlib.h>

#include "clock.h"
#include "log.h"
#include "sock.h"
#include "timer.h"

#define PATIENCE_MS 1000
#define HOPEFUL_MS 3000 /* a path is heard of again, and has to prove itself */
#define DEAD_TICK_MS 250
#define TICK_MS 1000

struct fallback {
	struct tundev *tundev;
	struct tunnel *tunnel;
	struct vps_choice *vps;
	const char *congestion;
	bool there;	  /* a session whose VPS takes packets */
	uint64_t dead_ms; /* since when no path works; 0: one does */
	uint64_t moved;	  /* by the stream, when last looked at */
	struct event tick;
};

static void fallback_wake_in(struct fallback *f, unsigned ms)
{
	timer_in_ms(&f->tick, ms);
}

static void fallback_tell(struct fallback *f)
{
	bool by_stream = tunnel_by_stream(f->tunnel);

	vps_choice_carrier(f->vps, by_stream ? WIRE_BY_STREAM : WIRE_BY_UDP, by_stream ? f->congestion : SOCK_WAITING);
}

static void turn(struct fallback *f, bool by_stream)
{
	if (tunnel_by_stream(f->tunnel) == by_stream)
		return;
	tunnel_carry(f->tunnel, by_stream);
	if (by_stream)
		log_warn("no link lets UDP through: the tunnel goes through the control connection");
	else if (f->there)
		log_info("UDP gets through again, and carries the tunnel");
	if (f->there)
		fallback_tell(f);
	tundev_paths_changed(f->tundev);
}

static void snapshot_for_paths(struct fallback *f)
{
	if (tunnel_has_path(f->tunnel)) {
		f->dead_ms = 0;
	} else if (!f->dead_ms && f->there) {
		f->dead_ms = clock_ms();
		vps_choice_suspect(f->vps);
	}
}

/* The VPS has to answer to stay in use. */
static void ask_if_moving(struct fallback *f)
{
	uint64_t moved = tunnel_stream_moved(f->tunnel);

	if (moved != f->moved)
		vps_choice_wanted(f->vps);
	f->moved = moved;
}

static void fallback_decide(struct fallback *f)
{
	snapshot_for_paths(f);
	if (!f->there || !f->dead_ms) {
		turn(f, false);
		return;
	}
	if (tunnel_by_stream(f->tunnel)) {
		ask_if_moving(f);
		fallback_wake_in(f, TICK_MS);
		return;
	}
	if (clock_ms() - f->dead_ms >= (tunnel_has_hope(f->tunnel) ? HOPEFUL_MS : PATIENCE_MS) && vps_choice_heard_since(f->vps, f->dead_ms))
		turn(f, true);
	else
		vps_choice_wanted(f->vps);
	fallback_wake_in(f, DEAD_TICK_MS);
}

static void fallback_tick(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	fallback_decide(arg);
}

/* Not in the callback that tells of it: what changes may call back. */
static void fallback_judge_soon(struct fallback *f)
{
	fallback_wake_in(f, 0);
}

void fallback_paths_changed(void *fallback)
{
	fallback_judge_soon(fallback);
}

void fallback_vps_changed(void *fallback)
{
	struct fallback *f = fallback;
	const struct wire_welcome *w = tundev_works(f->tundev) ? vps_choice_welcome(f->vps) : NULL;

	f->there = w && w->flags & WIRE_F_STREAM;
	if (f->there)
		fallback_tell(f);
	else
		f->dead_ms = 0;
	fallback_judge_soon(f);
}

/* --- packets --- */

static bool fallback_offer(void *arg, const uint8_t *packet, size_t len)
{
	struct fallback *f = arg;

	return f->there && vps_choice_offer(f->vps, packet, len);
}

void fallback_packet(void *fallback, const uint8_t *packet, size_t len)
{
	struct fallback *f = fallback;

	if (f->there)
		tunnel_stream_got(f->tunnel, packet, len);
}

void fallback_room(void *fallback)
{
	struct fallback *f = fallback;

	tunnel_stream_room(f->tunnel);
}

/* --- life --- */

struct fallback *fallback_new(struct event_base *base, struct tundev *tundev, struct vps_choice *vps, const char *congestion)
{
	struct fallback *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->tundev = tundev;
	f->tunnel = tundev_tunnel(tundev);
	f->vps = vps;
	f->congestion = congestion;
	event_assign(&f->tick, base, -1, 0, fallback_tick, f);
	tunnel_stream_way(f->tunnel, fallback_offer, f);
	return f;
}

void fallback_free(struct fallback *f)
{
	if (!f)
		return;
	event_del(&f->tick);
	tunnel_carry(f->tunnel, false);
	tunnel_stream_way(f->tunnel, NULL, NULL);
	free(f);
}
