/* SPDX-License-Identifier: BSD-2-Clause */
/* relay: moves bytes between two connected sockets until both directions have ended.
 *
 * Theory of operation
 *
 * A relay is an array of two ends. Direction i takes bytes from end[i] to end[!i]; every
 * function below takes that index and there is no second code path. The NEAR end
 * speaks plain bytes. The WAN end speaks plain bytes too (CLEAR), or records (SEALED).
 *
 * Flow. A readable end is read into the loop's one large buffer, translated, and written to the
 * other end at once. What the other end does not take is copied into memory of its own (`out`), and
 * then reading stops until that is gone: so a direction never holds more than one read (RELAY_CHUNK
 * bytes and their tags, under 64 KiB), a slow reader stops its own sender and nobody else, and an
 * idle relay holds nothing. A record that arrived in part waits in `in` of the end it came from. A
 * NEAR that sends much is not read either while enough is on its way on the lines of WAN (brake.h);
 * a timer asks again, for all that are held in this way.
 *
 * End of file. Each direction ends on its own. The end that read it is `eof`; once its neighbour
 * has taken everything it is `shut`: FIN record on a sealed WAN, shutdown() elsewhere. When both
 * ends are shut the relay is done. In SEALED the TCP end of file means nothing: without a FIN
 * record before it the stream was cut, and the neighbour sees a reset. After both FINs the side
 * that `closes_first` closes, as soon as all it sent was acknowledged; the other waits for that (or
 * RELAY_LINGER_MS). Its peer's closing proves that everything has arrived, so it answers with a
 * reset: nothing is left for either kernel to remember, where an orderly end takes ten packets more
 * on two lines and leaves a TIME_WAIT.
 *
 * Reset. A reset on NEAR becomes a RST record behind whatever is on its way, and the
 * connection is then aborted when the peer has closed or after RELAY_LINGER_MS; in CLEAR it is
 * an abort (MP_FASTCLOSE) at once. A RST record, or a reset of WAN, aborts NEAR.
 * All sockets are born with linger-0, so a daemon that dies resets everything; only a
 * clean end takes it back.
 *
 * Life. Handlers mark a relay dead; the sweep (an event of its own) frees it later, so no
 * handler ever returns into freed memory. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "counter.h"
#include "relay_room.h"
#include "sock.h"
#include "timer.h"

_Static_assert(RELAY_CHUNK % WIRE_RECORD_MAX == 0, "a full read makes full records");

#define ROUNDS 4 /* reads a wake-up, then somebody else's turn */

static void relay_readable(evutil_socket_t fd, short what, void *arg);
static void relay_writable(evutil_socket_t fd, short what, void *arg);

/* --- arming --- */

bool relay_over_budget(const struct relay *r)
{
	return r->budget && r->budget->held >= r->budget->max;
}

/* The loop's interest follows from the state, here and nowhere else. */
void relay_rearm(struct relay *r)
{
	for (int i = 0; i < 2; i++) {
		struct end *e = &r->end[i];
		bool waits = r->phase == WAITING && i == RELAY_WAN;
		bool room = r->end[!i].out_len == 0 && (!relay_over_budget(r) || e->in_len) && !(r->held && i == RELAY_NEAR);

		end_arm(e, waits || (r->phase == RUNNING && !e->eof && room),
			r->phase != DEAD && e->fd >= 0 && e->out_len > 0);
	}
}

/* --- the brake --- */

static void relay_hold(struct relay *r)
{
	r->held = true;
	r->end[RELAY_WAN].was_full = true;
	if (LIST_EMPTY(&r->loop->held))
		timer_in_ms(&r->loop->again, BRAKE_AGAIN_MS);
	LIST_INSERT_HEAD(&r->loop->held, r, held_link);
}

static void relay_release(struct relay *r)
{
	if (!r->held)
		return;
	r->held = false;
	LIST_REMOVE(r, held_link);
}

/* What the record that waits in part still lacks; 0: none waits. */
static size_t relay_missing(const struct end *e)
{
	enum wire_kind kind;
	size_t len;

	if (!e->in_len)
		return 0;
	if (wire_get_record_hdr(&kind, &len, e->in, e->in_len) <= 0)
		return WIRE_RECORD_HDR - (e->in_len < WIRE_RECORD_HDR ? e->in_len : 0);
	return WIRE_RECORD_HDR + len - e->in_len;
}

/* How much may be read from end i now; 0: nothing. Without budget, a record that waits in part may
 * still become whole: nothing else gives its memory back. */
static size_t room_for(struct relay *r, int i)
{
	size_t room = i == RELAY_NEAR ? brake_room(&r->brake, r->end[RELAY_WAN].fd, r->end[RELAY_NEAR].bytes) : SIZE_MAX;

	if (!room && !r->held)
		relay_hold(r); /* the timer will ask again */
	return room && relay_over_budget(r) ? relay_missing(&r->end[i]) : room;
}

/* --- the end of a relay --- */

static void count_end(enum relay_end how)
{
	if (how == RELAY_CLEAN)
		counters.relays_clean++;
	else if (how == RELAY_RESET)
		counters.relays_reset++;
	else
		counters.relays_failed++;
	if (how == RELAY_CUT)
		counters.streams_cut++;
}

void relay_observe_wan(struct relay *r)
{
	struct relay_loop *loop = r->loop;
	struct end *wan = &r->end[RELAY_WAN];

	if (!loop->observe || !wan->was_full || wan->fd < 0 || r->end[RELAY_NEAR].bytes < RELAY_OBSERVE)
		return;
	wan->was_full = false;
	r->observed_ms = loop->now;
	loop->observe(loop->observe_arg, r->end[RELAY_WAN].fd);
}

/* Reports once; whatever follows is only about sockets. */
static void relay_report(struct relay *r, enum relay_end how)
{
	uint64_t bytes[2] = { r->end[0].bytes, r->end[1].bytes };

	if (!r->done)
		return;
	relay_observe_wan(r);
	r->how = how;
	count_end(how);
	r->done(r->arg, how, bytes);
	r->done = NULL;
}

static void mark_dead(struct relay *r)
{
	relay_release(r);
	r->phase = DEAD;
	r->loop->count--;
	LIST_REMOVE(r, link);
	LIST_INSERT_HEAD(&r->loop->dead, r, link);
	timer_in_ms(&r->loop->sweep, 0);
}

/* Ends both sockets, clean or not. */
void relay_finish(struct relay *r, enum relay_end how)
{
	if (r->phase == DEAD)
		return;
	relay_report(r, how);
	for (int i = 0; i < 2; i++)
		end_close(&r->end[i], r->how == RELAY_CLEAN);
	mark_dead(r);
}

/* NEAR is over; WAN stays until the peer has read what is on its way. */
static void wait_for_peer(struct relay *r, enum relay_end how)
{
	relay_report(r, how);
	end_close(&r->end[RELAY_NEAR], how == RELAY_CLEAN);
	end_drop_partial(&r->end[RELAY_WAN]);
	r->phase = WAITING;
	r->check_ms = r->loop->now + RELAY_LINGER_MS;
	r->nudge_ms = 0;
	relay_rearm(r);
}

static void finish_clean(struct relay *r)
{
	if (r->sealed && (!r->closes_first || sock_unacked(r->end[RELAY_WAN].fd) > 0))
		wait_for_peer(r, RELAY_CLEAN);
	else
		relay_finish(r, RELAY_CLEAN);
}

/* --- writing --- */

static int send_record(struct relay *r, enum wire_kind kind, const void *data, size_t len)
{
	uint8_t *sealed = r->loop->sealed;
	ssize_t n = record_seal(r->loop->seal, r->alg, &r->key[RELAY_TX], kind, data, len, sealed);

	return n < 0 ? -1 : end_send(&r->end[RELAY_WAN], sealed, (size_t)n);
}

/* --- reset --- */

static void reset_from_near(struct relay *r, uint16_t status)
{
	uint8_t body[WIRE_RST_LEN];

	wire_put16(body, status);
	if (!r->sealed || r->end[RELAY_WAN].shut || send_record(r, WIRE_RST, body, sizeof(body)))
		relay_finish(r, RELAY_RESET);
	else
		wait_for_peer(r, RELAY_RESET);
}

void relay_end_broke(struct relay *r, int i)
{
	if (i == RELAY_NEAR)
		reset_from_near(r, WIRE_WAS_RESET);
	else
		relay_finish(r, RELAY_RESET);
}

/* --- end of file --- */

static bool all_said(const struct relay *r)
{
	return r->end[0].shut && r->end[1].shut && !r->end[0].out_len && !r->end[1].out_len;
}

/* Tells end[!i] that end[i] has ended, once it has taken everything. */
static void pass_eof(struct relay *r, int i)
{
	struct end *to = &r->end[!i];

	if (!r->end[i].eof || to->shut || to->out_len)
		return;
	to->shut = true;
	if (r->sealed && i == RELAY_NEAR) {
		if (send_record(r, WIRE_FIN, NULL, 0))
			relay_end_broke(r, RELAY_WAN);
	} else if (!all_said(r)) { /* otherwise it is closed now, which says the same */
		sock_shut(to->fd);
	}
}

/* --- translation --- */

/* NEAR's bytes, for WAN. */
static int deliver_near(struct relay *r, const uint8_t *data, size_t len)
{
	if (r->sealed)
		return send_record(r, WIRE_DATA, data, len);
	return end_send(&r->end[RELAY_WAN], data, len);
}

/* A record that carries no data: -1 when the relay ended with it. */
static int take_mark(struct relay *r, const struct record *rec)
{
	if (rec->kind == WIRE_FIN && !rec->len && !r->end[RELAY_WAN].eof) {
		r->end[RELAY_WAN].eof = true;
		return 0;
	}
	relay_finish(r, rec->kind == WIRE_RST ? RELAY_RESET : RELAY_CUT);
	return -1;
}

/* Payloads are moved together so that one write takes them all. */
struct payload {
	uint8_t *at;
	size_t len;
};

static void gather(struct payload *all, const struct record *rec)
{
	if (all->len)
		memmove(all->at + all->len, rec->data, rec->len);
	else
		all->at = rec->data;
	all->len += rec->len;
}

static int give_near(struct relay *r, struct payload *all)
{
	int rc = end_send(&r->end[RELAY_NEAR], all->at, all->len);

	r->end[RELAY_WAN].bytes += all->len;
	all->len = 0;
	if (rc)
		relay_end_broke(r, RELAY_NEAR);
	return rc;
}

/* WAN's records, for NEAR. */
static void deliver_records(struct relay *r, uint8_t *data, size_t len)
{
	struct payload all = { data, 0 };
	struct record rec;
	int got;

	while ((got = record_open(r->loop->seal, r->alg, &r->key[RELAY_RX], data, len, &rec)) > 0) {
		data += rec.used;
		len -= rec.used;
		if (rec.kind == WIRE_DATA && !r->end[RELAY_WAN].eof)
			gather(&all, &rec);
		else if (give_near(r, &all) || take_mark(r, &rec))
			return;
	}
	if (give_near(r, &all))
		return;
	if (got < 0) {
		counters.records_forged++;
		relay_finish(r, RELAY_CUT);
	} else if (end_keep_partial(&r->end[RELAY_WAN], data, r->end[RELAY_WAN].eof ? 0 : len)) { /* behind a FIN nothing counts */
		relay_finish(r, RELAY_CLOSED);
	}
}

static void relay_deliver(struct relay *r, int i, uint8_t *data, size_t len)
{
	r->moved_ms = r->loop->now;
	if (i == RELAY_WAN)
		r->heard_ms = r->loop->now;
	r->loop->moved += len;
	r->loop->bulk += bulk_moved(&r->bulk, i, len);
	if (r->sealed && i == RELAY_WAN) {
		deliver_records(r, data, len);
		return;
	}
	r->end[i].bytes += len;
	if (i == RELAY_NEAR ? deliver_near(r, data, len) : end_send(&r->end[RELAY_NEAR], data, len))
		relay_end_broke(r, !i);
}

/* --- the loop's events --- */

/* Reads behind the partial record, if there is one, so that records are whole in memory. */
static ssize_t read_end(struct relay *r, int i, size_t room)
{
	struct end *e = &r->end[i];
	uint8_t *raw = r->loop->raw;
	size_t head = e->in_len;
	ssize_t n = read(e->fd, raw + head, room < RELAY_CHUNK - head ? room : RELAY_CHUNK - head);

	if (n <= 0)
		return n;
	end_take_partial(e, raw);
	relay_deliver(r, i, raw, head + (size_t)n);
	return n;
}

static void end_of_file(struct relay *r, int i)
{
	if (r->sealed && i == RELAY_WAN) {
		relay_finish(r, RELAY_CUT);
		return;
	}
	r->end[i].eof = true;
}

static void pump(struct relay *r, int i)
{
	for (int round = 0; round < ROUNDS && r->phase == RUNNING; round++) {
		size_t room;
		ssize_t n;

		if (r->end[i].eof || r->end[!i].out_len || !(room = room_for(r, i)))
			break;
		n = read_end(r, i, room);
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			relay_end_broke(r, i);
		else if (n == 0)
			end_of_file(r, i);
		else if (n < RELAY_CHUNK / 4)
			break; /* the socket is most likely empty: the loop will say */
	}
}

static void relay_settle(struct relay *r)
{
	for (int i = 0; i < 2 && r->phase == RUNNING; i++)
		pass_eof(r, i);
	if (r->phase == RUNNING && all_said(r))
		finish_clean(r);
	if (r->phase != DEAD)
		relay_rearm(r);
}

static int index_of(const struct relay *r, int fd)
{
	return fd == r->end[RELAY_WAN].fd ? RELAY_WAN : RELAY_NEAR;
}

/* All is said; only the peer's closing is awaited. */
static void relay_drain(struct relay *r)
{
	ssize_t n = read(r->end[RELAY_WAN].fd, r->loop->raw, RELAY_CHUNK);

	if (n > 0 || (n < 0 && errno == EAGAIN))
		return;
	end_close(&r->end[RELAY_WAN], false);
	relay_finish(r, r->how);
}

static void relay_readable(evutil_socket_t fd, short what, void *arg)
{
	struct relay *r = arg;

	(void)what;
	if (r->phase == DEAD)
		return;
	if (r->phase == WAITING) {
		relay_drain(r);
		return;
	}
	pump(r, index_of(r, fd));
	relay_settle(r);
}

static void relay_writable(evutil_socket_t fd, short what, void *arg)
{
	struct relay *r = arg;
	int i = index_of(r, fd);
	ssize_t n;

	(void)what;
	if (r->phase == DEAD)
		return;
	n = end_flush(&r->end[i]);
	if (n < 0) {
		if (r->phase == WAITING)
			relay_finish(r, r->how);
		else
			relay_end_broke(r, i);
		return;
	}
	if (n > 0)
		r->moved_ms = r->loop->now;
	if (r->phase == RUNNING && !r->end[i].out_len)
		pump(r, !i);
	relay_settle(r);
}

/* It was held: is there room now? */
void relay_go_on(struct relay *r)
{
	if (!room_for(r, RELAY_NEAR))
		return;
	relay_release(r);
	pump(r, RELAY_NEAR);
	relay_settle(r);
}

/* --- birth --- */


static void end_init(struct relay *r, int i, int fd)
{
	struct end *e = &r->end[i];

	e->fd = fd;
	e->budget = r->budget;
	event_assign(&e->rd, r->loop->base, fd, EV_READ | EV_PERSIST, relay_readable, r);
	event_assign(&e->wr, r->loop->base, fd, EV_WRITE | EV_PERSIST, relay_writable, r);
}

/* What came before the relay did: what is owed first, then what was read. */
static void take_over(struct relay *r, const struct relay_setup *s)
{
	for (int i = 0; i < 2 && r->phase == RUNNING; i++)
		if (s->owed_len[i] && end_send(&r->end[i], s->owed[i], s->owed_len[i]))
			relay_end_broke(r, i);
	for (int i = 0; i < 2 && r->phase == RUNNING; i++) {
		if (!s->got_len[i])
			continue;
		memcpy(r->loop->raw, s->got[i], s->got_len[i]);
		relay_deliver(r, i, r->loop->raw, s->got_len[i]);
	}
	if (r->phase == RUNNING && s->got_reset)
		relay_end_broke(r, RELAY_NEAR);
	else if (r->phase == RUNNING && s->got_eof)
		r->end[RELAY_NEAR].eof = true;
}

struct relay *relay_new(struct relay_loop *loop, const struct relay_setup *s)
{
	struct relay *r = calloc(1, sizeof(*r));

	if (!r) {
		sock_close_reset(s->fd[0]);
		sock_close_reset(s->fd[1]);
		return NULL;
	}
	r->loop = loop;
	r->sealed = s->sealed;
	r->closes_first = s->closes_first;
	r->alg = (uint8_t)s->alg;
	r->key[0] = s->key[0];
	r->key[1] = s->key[1];
	r->budget = s->budget;
	r->group = s->group;
	r->done = s->done;
	r->arg = s->arg;
	loop->now = clock_ms();
	r->moved_ms = r->observed_ms = loop->now;
	end_init(r, 0, s->fd[0]);
	end_init(r, 1, s->fd[1]);
	sock_congestion(s->fd[RELAY_WAN], loop->congestion);
	r->brake.backlog.fills = !loop->congestion || strcmp(loop->congestion, "bbr") != 0;
	sock_open_window(s->fd[RELAY_WAN]);
	LIST_INSERT_HEAD(&loop->running, r, link);
	loop->count++;
	counters.relays_opened++;
	take_over(r, s);
	relay_settle(r);
	return r;
}

void relay_close(struct relay *r)
{
	relay_finish(r, RELAY_CLOSED);
}
