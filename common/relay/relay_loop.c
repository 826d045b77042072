/* SPDX-License-Identifier: BSD-2-Clause */
/* relay_loop: what all relays of one event loop share.
 *
 * Time. One tick serves all relays. An end that is not being read because its neighbour is slow
 * cannot report its death through the loop, so paused ends are polled each tick. Bytes
 * unacknowledged while the peer stays silent for stall_s end a relay; a slow reader that still
 * acknowledges never does. Before that, whenever nothing moves, the kernel is nudged to send what
 * it may have forgotten (sock_nudge), and asked whether it has something to read and did not say
 * so: in a soak 1.6 MB filled a buffer, and the 1.4 MB in its subflow, with the piece that was
 * missing, found no room (sock_make_room). The same tick lets an observer look at WANs that send
 * much.
 *
 * Relays that are held by the brake are asked again every BRAKE_AGAIN_MS. Those that ended are
 * freed by the sweep, an event of its own. */
#include <poll.h>
#include <stdlib.h>

#include "clock.h"
#include "relay_room.h"
#include "sock.h"
#include "sock_subflow.h"
#include "timer.h"

#define TICK_MS 200
#define STALL_CHECK_MS 15000
#define OBSERVE_MS 1000
#define QUIET_MS 1000
#define NUDGE_MAX_MS 2000 /* between two nudges while something is not acknowledged */
#define WAIT_MAX_MS 30000 /* for the last bytes to be acknowledged */

/* Bytes that the kernel has not taken yet, or the peer not acknowledged. */
static bool owes(const struct end *e)
{
	return e->out_len || sock_unacked(e->fd) > 0;
}

static bool has_stalled(struct relay *r, const struct end *e)
{
	if (e->fd < 0 || !owes(e))
		return false;
	return sock_last_ack_ms(e->fd) / 1000 >= r->loop->limits.stall_s;
}

/* Nothing moves: did the kernel forget to send, or to say that there is something to read? */
static void nudge(struct relay *r, uint64_t quiet_ms)
{
	struct end *wan = &r->end[RELAY_WAN];
	bool owed;

	if (quiet_ms < SOCK_NUDGE_MS)
		r->nudge_ms = 0;
	if (quiet_ms < SOCK_NUDGE_MS || r->loop->now < r->nudge_ms)
		return;
	owed = owes(wan);
	if (owed)
		sock_nudge(wan->fd);
	if (wan->reading) {
		sock_make_room(wan->fd);
		event_active(&wan->rd, EV_READ, 0);
	}
	r->nudge_ms = r->loop->now + (owed && quiet_ms > NUDGE_MAX_MS ? NUDGE_MAX_MS : quiet_ms);
}

/* All is said. What the peer has not acknowledged would be lost with the connection, and the end of
 * the stream with it. */
static void check_waiting(struct relay *r)
{
	if (owes(&r->end[RELAY_WAN]) && r->loop->now < r->check_ms + WAIT_MAX_MS)
		nudge(r, r->loop->now - r->moved_ms);
	else if (r->closes_first || r->loop->now >= r->check_ms)
		relay_finish(r, r->how);
}

static void check_time(struct relay *r)
{
	const struct relay_limits *lim = &r->loop->limits;
	uint64_t quiet_s = (r->loop->now - r->moved_ms) / 1000;
	bool waits = r->end[0].out_len || r->end[1].out_len; /* for a slow reader: that is not silence */
	bool half = !waits && (r->end[0].eof || r->end[1].eof);

	if (r->phase == WAITING) {
		check_waiting(r);
		return;
	}
	nudge(r, r->loop->now - r->moved_ms);
	if (quiet_s >= (half ? lim->half_idle_s : lim->idle_s)) {
		relay_finish(r, RELAY_STALLED);
		return;
	}
	if (r->loop->now < r->check_ms || quiet_s * 1000 < STALL_CHECK_MS)
		return;
	r->check_ms = r->loop->now + STALL_CHECK_MS;
	if (quiet_s < lim->stall_s)
		return;
	if (has_stalled(r, &r->end[0]) || has_stalled(r, &r->end[1]))
		relay_finish(r, RELAY_STALLED);
}

/* An end that is not read, because its neighbour is slow, still may have died. */
static void check_paused(struct relay *r)
{
	for (int i = 0; i < 2 && r->phase == RUNNING; i++) {
		struct pollfd p = { .fd = r->end[i].fd, .events = 0 };

		if (r->end[i].reading || r->end[i].writing)
			continue; /* the loop will tell */
		if (poll(&p, 1, 0) > 0 && p.revents & POLLERR)
			relay_end_broke(r, i);
	}
	if (r->phase == RUNNING && !relay_over_budget(r))
		relay_rearm(r);
}

/* Those that were held: is there room now? */
static void relay_loop_again_due(evutil_socket_t fd, short what, void *arg)
{
	struct relay_loop *loop = arg;
	struct relay *r, *next;

	(void)fd;
	(void)what;
	for (r = LIST_FIRST(&loop->held); r; r = next) {
		next = LIST_NEXT(r, held_link);
		relay_go_on(r);
	}
	if (!LIST_EMPTY(&loop->held))
		timer_in_ms(&loop->again, BRAKE_AGAIN_MS);
}

static void relay_loop_tick(evutil_socket_t fd, short what, void *arg)
{
	struct relay_loop *loop = arg;
	struct relay *r, *next;

	(void)fd;
	(void)what;
	loop->now = clock_ms();
	for (r = LIST_FIRST(&loop->running); r; r = next) {
		next = LIST_NEXT(r, link);
		if (r->end[RELAY_WAN].was_full && loop->now - r->observed_ms >= OBSERVE_MS)
			relay_observe_wan(r);
		check_time(r);
		if (r->phase == RUNNING && !(r->end[0].reading && r->end[1].reading))
			check_paused(r);
	}
}

static void relay_loop_sweep_due(evutil_socket_t fd, short what, void *arg)
{
	struct relay_loop *loop = arg;
	struct relay *r;

	(void)fd;
	(void)what;
	while ((r = LIST_FIRST(&loop->dead))) {
		LIST_REMOVE(r, link);
		seal_wipe(r->key, sizeof(r->key));
		free(r);
	}
}

struct relay_loop *relay_loop_new(struct event_base *base, struct seal *seal, const struct relay_limits *limits)
{
	struct relay_loop *loop = calloc(1, sizeof(*loop));

	if (!loop)
		return NULL;
	loop->base = base;
	loop->seal = seal;
	loop->limits = *limits;
	LIST_INIT(&loop->running);
	LIST_INIT(&loop->dead);
	LIST_INIT(&loop->held);
	loop->now = clock_ms();
	event_assign(&loop->tick, base, -1, EV_PERSIST, relay_loop_tick, loop);
	event_assign(&loop->sweep, base, -1, 0, relay_loop_sweep_due, loop);
	event_assign(&loop->again, base, -1, 0, relay_loop_again_due, loop);
	timer_in_ms(&loop->tick, TICK_MS);
	return loop;
}

void relay_loop_congestion(struct relay_loop *loop, const char *name)
{
	loop->congestion = name;
}

void relay_loop_observe(struct relay_loop *loop, relay_observer observer, void *arg)
{
	loop->observe = observer;
	loop->observe_arg = arg;
}

void relay_loop_clear(struct relay_loop *loop, const void *group)
{
	struct relay *r, *next;

	for (r = LIST_FIRST(&loop->running); r; r = next) {
		next = LIST_NEXT(r, link);
		if (!group || r->group == group)
			relay_finish(r, RELAY_CLOSED);
	}
}

void relay_loop_prune(struct relay_loop *loop, relay_verdict hopeless, void *arg)
{
	struct relay *r, *next;

	for (r = LIST_FIRST(&loop->running); r; r = next) {
		next = LIST_NEXT(r, link);
		if (hopeless(arg, r->end[RELAY_WAN].fd))
			relay_finish(r, RELAY_CUT);
	}
}

/* For how long in ms. Only where nothing moves is it worth asking. */
static uint64_t severed_for(struct relay *r, uint64_t now)
{
	return clock_held_ms(&r->severed_ms, now - r->moved_ms >= QUIET_MS && sock_severed(r->end[RELAY_WAN].fd), now);
}

unsigned relay_loop_severed(struct relay_loop *loop, unsigned least_ms, unsigned most_ms)
{
	uint64_t now = clock_ms();
	struct relay *r, *next;
	unsigned n = 0;

	for (r = LIST_FIRST(&loop->running); r; r = next) {
		uint64_t ms = severed_for(r, now);

		next = LIST_NEXT(r, link);
		n += ms >= least_ms && ms < most_ms;
		if (ms / 1000 >= loop->limits.stall_s)
			relay_finish(r, RELAY_STALLED);
	}
	return n;
}

void relay_loop_free(struct relay_loop *loop)
{
	if (!loop)
		return;
	relay_loop_clear(loop, NULL);
	relay_loop_sweep_due(-1, 0, loop);
	event_del(&loop->tick);
	event_del(&loop->sweep);
	event_del(&loop->again);
	free(loop);
}

unsigned relay_loop_count(const struct relay_loop *loop)
{
	return loop->count;
}

uint64_t relay_loop_moved(const struct relay_loop *loop)
{
	return loop->moved;
}

uint64_t relay_loop_bulk(const struct relay_loop *loop)
{
	return loop->bulk;
}

bool relay_loop_heard_since(const struct relay_loop *loop, const void *group, uint64_t ms)
{
	const struct relay *r;

	LIST_FOREACH(r, &loop->running, link)
		if (r->group == group && r->heard_ms >= ms)
			return true;
	return false;
}
