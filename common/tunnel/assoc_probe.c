/* SPDX-License-Identifier: BSD-2-Clause */
/* The clock of an association: who is probed when, and what is said. See assoc.c and health.c for
 * the theory.
 *
 * The local sets the pace. While something moves (here or in TCP, assoc_busy()) and for two seconds
 * after, it probes each path every 25 to 100 ms; then once a second for ten seconds; then once per
 * keepalive, which holds NAT's door open and is all that an idle house costs. A probe that remains
 * without answer is said again, alone; a second one puts the path in doubt and all back to the fast
 * pace. Paths that are down are tried with growing pauses, never the same ones.
 *
 * The remote answers each probe on its path. When it sees that the local probes fast, it does so,
 * too, on all paths, whatever it hears there: so a line that is dead in one direction only is seen
 * from both ends. In that time, and whenever a path is not well, every control datagram carries the
 * reports of all paths; else its own, and those that are news: a path that is probed more rarely
 * than the others must not look as if what the peer sent on it last had got lost. */
#include <errno.h>
#include <string.h>

#include "assoc_room.h"
#include "clock.h"
#include "timer.h"

#define BUSY_US 2000000u
#define EBB_US 10000000u
#define DOUBT_US 1000000u
#define SECOND_US 1000000u
#define FAST_MIN_US 25000u
#define FAST_MAX_US 100000u
#define PACE_FAST_US 450000u /* a peer that probes more often is brisk */
#define WATCH_US 10000u	     /* between looks at silence in brisk times */
#define KEEPALIVE_S 25
#define METERED_FACTOR 4
#define PATIENT 10 /* probes of a path that has not answered yet, before the pauses grow */
#define TOS_CONTROL 0xc0 /* CS6 */

/* --- the pace --- */

static bool metered(const struct path *path)
{
	return path->at.keepalive_s > KEEPALIVE_S;
}

static uint32_t fast_us(const struct path *path)
{
	uint32_t us = path->health.srtt_us ? path->health.srtt_us / 2 : FAST_MAX_US;

	us = us < FAST_MIN_US ? FAST_MIN_US : us > FAST_MAX_US ? FAST_MAX_US : us;
	return metered(path) ? us * METERED_FACTOR : us;
}

/* 75 to 125 %. */
static uint64_t jitter(uint64_t us)
{
	uint8_t r;

	seal_random(&r, 1);
	return us * 3 / 4 + us * r / 512;
}

/* Tried again after 100 ms, twice that, ... */
static uint64_t backoff_us(struct assoc *a, struct path *path)
{
	uint32_t most = a->brisk ? 250 : health_heard_us(&path->health) ? 5000 : 20000;

	if (metered(path) && !a->brisk)
		most = path->at.keepalive_s * 1000;
	path->backoff_ms = path->backoff_ms ? path->backoff_ms * 2 : 100;
	if (path->backoff_ms > most)
		path->backoff_ms = most;
	return jitter((uint64_t)path->backoff_ms * 1000);
}

static bool is_coming(const struct path *path)
{
	return path->health.state == HEALTH_PROBING && health_unanswered(&path->health) <= PATIENT;
}

static uint64_t local_interval(struct assoc *a, struct path *path, uint64_t now)
{
	enum health_state s = path->health.state;
	uint64_t keepalive = (uint64_t)(path->at.keepalive_s ? path->at.keepalive_s : KEEPALIVE_S) * SECOND_US;

	if (s == HEALTH_DOWN || (s == HEALTH_PROBING && !is_coming(path)))
		return backoff_us(a, path);
	path->backoff_ms = 0;
	if (a->brisk || s == HEALTH_PROBING || s == HEALTH_SUSPECT)
		return fast_us(path);
	if (now - a->busy_us < BUSY_US + EBB_US && !metered(path))
		return SECOND_US;
	return keepalive - jitter(keepalive / 16);
}

/* Who knows that a line is metered is the local: its pace tells. */
static uint64_t remote_fast_us(const struct path *path)
{
	uint32_t us = fast_us(path), pace = health_pace_us(&path->health);

	return pace > us && pace <= (METERED_FACTOR + 1) * us ? pace : us;
}

/* 0: not by itself. */
static uint64_t path_interval(struct assoc *a, struct path *path, uint64_t now)
{
	if (a->side == ASSOC_LOCAL)
		return local_interval(a, path, now);
	return a->brisk ? remote_fast_us(path) : 0;
}

static bool peer_is_brisk(const struct assoc *a, uint64_t now)
{
	for (const struct path *path = a->path; path < a->path + ASSOC_PATHS; path++) {
		uint32_t pace = health_pace_us(&path->health);

		if (path->on && pace && pace < PACE_FAST_US && now - health_heard_us(&path->health) < PACE_FAST_US + pace)
			return true;
	}
	return false;
}

/* A path that may come up, or that did not answer in time: all are probed together, so that they
 * can be compared. */
static bool in_doubt(struct assoc *a, uint64_t now)
{
	for (const struct path *path = a->path; path < a->path + ASSOC_PATHS; path++)
		if (path->on && (health_doubtful(&path->health, now) || is_coming(path)))
			a->doubt_us = now;
	return a->doubt_us && now - a->doubt_us < DOUBT_US;
}

/* All fall asleep with a probe at the same time: one that did so before the others would look dead
 * beside them. */
static void probe_all_at_last(struct assoc *a, uint64_t now)
{
	for (struct path *path = a->path; path < a->path + ASSOC_PATHS; path++)
		if (path->on && (health_usable(path->health.state) || path->health.state == HEALTH_SUSPECT))
			path->probe_us = now;
}

static void set_pace(struct assoc *a, uint64_t now)
{
	bool was = a->brisk;

	if (a->busy)
		a->busy_us = now;
	a->busy = false;
	if (a->side == ASSOC_LOCAL)
		a->brisk = (a->busy_us && now - a->busy_us < BUSY_US) || in_doubt(a, now);
	else
		a->brisk = peer_is_brisk(a, now);
	if (was && !a->brisk && a->side == ASSOC_LOCAL)
		probe_all_at_last(a, now);
	if (a->brisk && !was) {
		a->brisk_us = now;
		for (struct path *path = a->path; path < a->path + ASSOC_PATHS; path++)
			if (path->on && path->probe_us > now + FAST_MIN_US)
				path->probe_us = now;
	}
}

/* --- what is said --- */

static bool all_well(const struct assoc *a)
{
	for (const struct path *path = a->path; path < a->path + ASSOC_PATHS; path++)
		if (path->on && !health_usable(path->health.state))
			return false;
	return !a->brisk;
}

static size_t put_reports(struct assoc *a, struct path *on, uint8_t *out, uint64_t now)
{
	bool alone = all_well(a);
	size_t n = 0;

	for (struct path *path = a->path; path < a->path + ASSOC_PATHS; path++) {
		uint8_t value[WIRE_REPORT_LEN];
		struct wire_report r;

		if (!path->on || (alone && path != on && !health_has_news(&path->health)) || !health_heard_us(&path->health))
			continue;
		r.path = (uint8_t)path->id;
		health_make_report(&path->health, &r, now);
		wire_put_report(value, &r);
		n += wire_put_ctl(out + n, WIRE_CTL_REPORT, value, sizeof(value));
	}
	return n;
}

static size_t put_probe(struct path *path, uint8_t *out, uint64_t now)
{
	struct wire_probe p = { .path = (uint8_t)path->id, .use = (uint8_t)path->at.use };
	uint8_t value[WIRE_PROBE_LEN];

	health_make_probe(&path->health, &p, now);
	wire_put_probe(value, &p);
	return wire_put_ctl(out, WIRE_CTL_PROBE, value, sizeof(value));
}

static const char *kernel_says(int err)
{
	switch (err) {
	case ENETUNREACH:
	case EHOSTUNREACH:
		return "no route";
	case ENETDOWN:
	case ENODEV:
		return "its device is down";
	case EADDRNOTAVAIL:
	case EINVAL: /* a bound address that has gone */
		return "its address is gone";
	default:
		return NULL;
	}
}

void path_send(struct assoc *a, struct path *path, bool probe, uint64_t now)
{
	uint8_t buf[WIRE_DG_MAX], *p = buf + WIRE_DG_HDR;
	const char *dead;
	bool busy = a->busy;
	uint64_t seq;
	size_t n = 0;

	path->answers = false;
	if (!a->tx || !path->on)
		return;
	if (probe)
		n += put_probe(path, p, now);
	n += put_reports(a, path, p + n, now);
	memcpy(p + n, path->frames, path->frames_len);
	n += path->frames_len;
	path->frames_len = 0;
	if (!n || assoc_seal(a, WIRE_DG_CONTROL, WIRE_CLASS_CONTROL, buf, n, &seq))
		return;
	assoc_send(a, path->id, TOS_CONTROL, buf, WIRE_DG_OVERHEAD + n);
	a->busy = busy; /* probes alone are not business */
	dead = kernel_says(udp_flush(path->at.udp));
	if (dead && a->side == ASSOC_LOCAL)
		health_dead(&path->health, dead, now);
}

void path_challenge(struct assoc *a, const struct path *path)
{
	uint8_t buf[WIRE_DG_OVERHEAD + WIRE_CTL_HDR + WORD];
	size_t n = wire_put_ctl(buf + WIRE_DG_HDR, WIRE_CTL_CHALLENGE, path->rival.word, WORD);
	uint64_t seq;

	if (assoc_seal(a, WIRE_DG_CONTROL, WIRE_CLASS_CONTROL, buf, n, &seq))
		return;
	udp_send_from(path->rival.udp, &path->rival.from, &path->rival.to, TOS_CONTROL, buf, WIRE_DG_OVERHEAD + n);
	udp_flush(path->rival.udp);
}

void path_tell(struct assoc *a, struct path *path)
{
	enum health_state was = path->told;

	if (was == path->health.state)
		return;
	path->told = path->health.state;
	if (path->told == HEALTH_DOWN)
		path->backoff_ms = 0;
	if (a->ops.path)
		a->ops.path(a->arg, path->id, was);
}

/* --- time --- */

static void best_of_others(const struct assoc *a, const struct path *me, struct health_view *v)
{
	v->alone = true;
	v->best_loss_ppm = UINT32_MAX;
	for (const struct path *path = a->path; path < a->path + ASSOC_PATHS; path++) {
		uint32_t tx = path->health.side[HEALTH_TX].loss_ppm, rx = path->health.side[HEALTH_RX].loss_ppm;

		if (path == me || !path->on || !health_usable(path->health.state))
			continue;
		v->alone = false;
		if ((tx > rx ? tx : rx) < v->best_loss_ppm)
			v->best_loss_ppm = tx > rx ? tx : rx;
	}
}

static void probe_look(struct assoc *a, struct path *path, uint64_t now)
{
	struct health_view v = { .lead = &a->lead, .interval_us = fast_us(path), .asks = a->side == ASSOC_LOCAL };

	v.brisk = a->brisk && now - a->brisk_us > (uint64_t)2 * path->health.srtt_us + FAST_MAX_US;
	best_of_others(a, path, &v);
	health_tick(&path->health, &v, now);
}

static void probe_if_due(struct assoc *a, struct path *path, uint64_t now)
{
	uint64_t every;

	if (!a->tx || (now < path->probe_us && !(a->side == ASSOC_LOCAL && health_late(&path->health, now))))
		return;
	every = path_interval(a, path, now);
	if (!every) { /* the remote in quiet times */
		path->probe_us = UINT64_MAX;
		return;
	}
	path_send(a, path, true, now);
	path->probe_us = now + every;
}

void assoc_watch(struct assoc *a)
{
	uint64_t now = clock_us(), due = now + (a->brisk ? WATCH_US : SECOND_US);

	for (const struct path *path = a->path; path < a->path + ASSOC_PATHS; path++)
		if (path->on && path->probe_us < due)
			due = path->probe_us;
	timer_in_us(&a->timer, due > now + 1000 ? due - now : 1000);
}

void assoc_on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct assoc *a = arg;
	uint64_t now = clock_us();

	(void)fd;
	(void)what;
	if (a->hint_us == 1) {
		a->hint_us = now;
		a->ops.unknown(a->arg);
	}
	set_pace(a, now);
	for (struct path *path = a->path; path < a->path + ASSOC_PATHS; path++) {
		if (!path->on)
			continue;
		probe_look(a, path, now);
		probe_if_due(a, path, now);
	}
	for (struct path *path = a->path; path < a->path + ASSOC_PATHS; path++)
		if (path->on)
			path_tell(a, path);
	assoc_watch(a);
}

void assoc_on_turn(evutil_socket_t fd, short what, void *arg)
{
	struct assoc *a = arg;
	uint64_t now = clock_us();
	bool was = a->brisk;

	(void)fd;
	(void)what;
	assoc_batch_end(a);
	if (!was)
		set_pace(a, now);
	for (struct path *path = a->path; path < a->path + ASSOC_PATHS; path++) {
		if (path->on && path->answers && !a->brisk)
			path_send(a, path, true, now);
		else if (path->on && path->frames_len)
			path_send(a, path, false, now);
		path->answers = false;
	}
	for (struct path *path = a->path; path < a->path + ASSOC_PATHS; path++)
		if (path->on)
			path_tell(a, path);
	if (a->brisk && !was)
		assoc_watch(a);
}
