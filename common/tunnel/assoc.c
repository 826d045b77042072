/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * An association is what the datagrams between one local and one remote have in common. It lives in
 * three files: this one has its life and the way out, assoc_input.c the way in, assoc_probe.c the
 * clock: who is probed when, and what silence means. udp_keys.c has the numbers and the sealing,
 * health.c (a value) what a path is like.
 *
 * Keys. The control connection agrees on keys and on an index, which stands in every datagram, both
 * ways. With new keys the local sends under them at once; the remote does when the first datagram
 * under them has come, so it never sends what cannot be opened yet. What comes under older keys is
 * taken for a minute more, of three sets at most. Paths and what is known of them do not notice.
 * The keys are the session's (udp_keys.c), so it may be left and come back to.
 *
 * Paths. The local makes them, one a line, each with its socket; the remote learns them from
 * PROBEs. An address that the remote has not heard of is sent a CHALLENGE and nothing else; only
 * when the same eight bytes come back from there does the path move, and until then it stays where
 * it was. So whoever repeats our datagrams from elsewhere moves nothing (a repeated number is
 * dropped before anything is believed, and an overtaking copy does not bring the answer).
 *
 * Frames wait until the end of the loop's turn and leave in one datagram, with the reports that are
 * due. A control datagram is never resent: what matters is said again by the next one. */
#include "assoc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "assoc_room.h"
#include "clock.h"

#define OLD_KEYS_US 60000000u
#define MANY ((uint64_t)1 << 27) /* datagrams under one key: time for another */

struct assoc *assoc_new(struct event_base *base, struct seal *seal, enum assoc_side side, const struct assoc_ops *ops, void *arg)
{
	struct assoc *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->base = base;
	a->seal = seal;
	a->side = side;
	a->ops = *ops;
	a->arg = arg;
	for (unsigned i = 0; i < ASSOC_PATHS; i++)
		a->path[i].id = i;
	event_assign(&a->timer, base, -1, 0, assoc_on_timer, a);
	event_assign(&a->turn, base, -1, 0, assoc_on_turn, a);
	return a;
}

static void drop_keys(struct assoc *a)
{
	a->tx = NULL;
	for (int i = 0; i < EPOCHS; i++) {
		session_put(a->epoch[i].session);
		a->epoch[i].session = NULL;
		a->epoch[i].keys = NULL;
	}
}

static bool has_keys(const struct assoc *a, const struct udp_keys *k)
{
	for (int i = 0; i < EPOCHS; i++)
		if (a->epoch[i].keys == k)
			return true;
	return false;
}

void assoc_free(struct assoc *a)
{
	if (!a)
		return;
	event_del(&a->timer);
	event_del(&a->turn);
	drop_keys(a);
	free(a);
}

/* The oldest makes room. */
void assoc_rekey(struct assoc *a, struct session *s, uint32_t index)
{
	struct udp_keys *k = session_udp_keys(s, a->seal, a->side == ASSOC_REMOTE, index);
	struct udp_keys *last = a->epoch[EPOCHS - 1].keys;

	if (!k || has_keys(a, k))
		return; /* without, the old ones go on as long as they may, and the next session tries again */
	if (a->tx == last || !a->tx || a->side == ASSOC_LOCAL)
		a->tx = k;
	session_put(a->epoch[EPOCHS - 1].session);
	memmove(&a->epoch[1], &a->epoch[0], sizeof(a->epoch) - sizeof(a->epoch[0]));
	a->epoch[0].session = session_get(s);
	a->epoch[0].keys = k;
	a->epoch[0].ends_us = 0;
	if (a->epoch[1].keys)
		a->epoch[1].ends_us = clock_us() + OLD_KEYS_US;
	assoc_watch(a);
}

void assoc_restart(struct assoc *a)
{
	uint64_t now = clock_us();

	drop_keys(a);
	memset(&a->lead, 0, sizeof(a->lead));
	for (unsigned i = 0; i < ASSOC_PATHS; i++) {
		struct path *path = &a->path[i];

		if (!path->on)
			continue;
		if (a->side == ASSOC_REMOTE) /* its addresses are asked for again */
			path->on = false;
		health_again(&path->health, now);
		path->rival.on = false;
		path->frames_len = 0;
		path_tell(a, path);
	}
}

bool assoc_keyed(const struct assoc *a)
{
	return a->tx != NULL;
}

/* --- paths --- */

void assoc_set_path(struct assoc *a, unsigned id, const struct assoc_path *p)
{
	struct path *path = &a->path[id];
	uint64_t now = clock_us();

	path->on = true;
	path->at = *p;
	path->frames_len = 0;
	path->backoff_ms = 0;
	path->probe_us = now;
	path->rival.on = false;
	health_again(&path->health, now);
	path->told = path->health.state;
	assoc_watch(a);
}

void assoc_del_path(struct assoc *a, unsigned id)
{
	a->path[id].on = false;
}

void assoc_set_use(struct assoc *a, unsigned id, enum wire_use use)
{
	struct path *path = &a->path[id];

	if (!path->on || path->at.use == use)
		return;
	path->at.use = use;
	if (a->side == ASSOC_LOCAL)
		path->probe_us = clock_us();
	assoc_watch(a);
}

bool assoc_has_path(const struct assoc *a, unsigned id)
{
	return a->path[id].on;
}

const struct health *assoc_health(const struct assoc *a, unsigned id)
{
	return &a->path[id].health;
}

enum wire_use assoc_use(const struct assoc *a, unsigned id)
{
	return a->path[id].at.use;
}

void assoc_busy(struct assoc *a)
{
	a->busy = true;
	if (!a->brisk)
		event_active(&a->timer, 0, 0);
}

/* --- the way out --- */

int assoc_seal(struct assoc *a, enum wire_dgram_type type, uint8_t class, uint8_t *buf, size_t len, uint64_t *seq)
{
	if (!a->tx || udp_keys_seal(a->tx, type, class, buf, len, seq))
		return -1;
	if (udp_keys_sealed(a->tx) == MANY && a->ops.unknown)
		a->hint_us = 1; /* the timer passes it on */
	return 0;
}

bool assoc_send(struct assoc *a, unsigned id, uint8_t tos, const uint8_t *dgram, size_t len)
{
	struct path *path = &a->path[id];

	if (!path->on)
		return false;
	if (a->side == ASSOC_LOCAL)
		udp_send(path->at.udp, NULL, tos, dgram, len);
	else
		udp_send_from(path->at.udp, &path->at.from, &path->at.to, tos, dgram, len);
	health_sent(&path->health, len);
	a->busy = true;
	return true;
}

void assoc_flush(struct assoc *a)
{
	for (unsigned i = 0; i < ASSOC_PATHS; i++)
		if (a->path[i].on)
			udp_flush(a->path[i].at.udp);
	if (a->busy && !a->brisk)
		event_active(&a->timer, 0, 0);
}

static void add_frame(struct assoc *a, struct path *path, enum wire_ctl type, const void *value, size_t len)
{
	if (!path->on || len > 255)
		return;
	if (path->frames_len + WIRE_CTL_HDR + len > FRAMES_MAX)
		path_send(a, path, false, clock_us());
	if (path->frames_len + WIRE_CTL_HDR + len > FRAMES_MAX)
		return; /* no keys, so nowhere to go */
	path->frames_len += wire_put_ctl(path->frames + path->frames_len, type, value, len);
	event_active(&a->turn, 0, 0);
}

void assoc_control(struct assoc *a, unsigned path, enum wire_ctl type, const void *value, size_t len)
{
	for (unsigned i = 0; i < ASSOC_PATHS; i++)
		if (path == ASSOC_ALL || path == i)
			add_frame(a, &a->path[i], type, value, len);
}

/* PAD frames hold up to 255 bytes; a rest of one byte is spread over the two last. */
static size_t pad(uint8_t *out, size_t have, size_t want)
{
	static const uint8_t nothing[255];

	while (have < want) {
		size_t n = want - have - WIRE_CTL_HDR;

		if (n > 255)
			n = want - have - WIRE_CTL_HDR - 255 < WIRE_CTL_HDR ? 200 : 255;
		have += wire_put_ctl(out + have, WIRE_CTL_PAD, nothing, n);
	}
	return have;
}

int assoc_control_sized(struct assoc *a, unsigned id, enum wire_ctl type, const void *value, size_t len, size_t size)
{
	size_t want = size - WIRE_DG_OVERHEAD, have;
	struct path *path = &a->path[id];
	uint8_t buf[WIRE_DG_MAX];
	uint64_t seq;

	if (!path->on || size > WIRE_DG_MAX || len > 255 || size < WIRE_DG_OVERHEAD + 2 * WIRE_CTL_HDR + len)
		return EINVAL;
	have = wire_put_ctl(buf + WIRE_DG_HDR, type, value, len);
	pad(buf + WIRE_DG_HDR, have, want);
	if (assoc_seal(a, WIRE_DG_CONTROL, WIRE_CLASS_CONTROL, buf, want, &seq))
		return ENOKEY;
	assoc_send(a, id, 0, buf, size);
	return udp_flush(path->at.udp);
}
