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

static bool metered(const struct way *w)
{
	return w->at.keepalive_s > KEEPALIVE_S;
}

static uint32_t fast_us(const struct way *w)
{
	uint32_t us = w->health.srtt_us ? w->health.srtt_us / 2 : FAST_MAX_US;

	us = us < FAST_MIN_US ? FAST_MIN_US : us > FAST_MAX_US ? FAST_MAX_US : us;
	return metered(w) ? us * METERED_FACTOR : us;
}

/* 75 to 125 %. */
static uint64_t jitter(uint64_t us)
{
	uint8_t r;

	seal_random(&r, 1);
	return us * 3 / 4 + us * r / 512;
}

/* Tried again after 100 ms, twice that, ... */
static uint64_t backoff_us(struct assoc *a, struct way *w)
{
	uint32_t most = a->brisk ? 250 : health_heard_us(&w->health) ? 5000 : 20000;

	if (metered(w) && !a->brisk)
		most = w->at.keepalive_s * 1000;
	w->backoff_ms = w->backoff_ms ? w->backoff_ms * 2 : 100;
	if (w->backoff_ms > most)
		w->backoff_ms = most;
	return jitter((uint64_t)w->backoff_ms * 1000);
}

static bool is_coming(const struct way *w)
{
	return w->health.state == HEALTH_PROBING && health_unanswered(&w->health) <= PATIENT;
}

static uint64_t local_interval(struct assoc *a, struct way *w, uint64_t now)
{
	enum health_state s = w->health.state;
	uint64_t keepalive = (uint64_t)(w->at.keepalive_s ? w->at.keepalive_s : KEEPALIVE_S) * SECOND_US;

	if (s == HEALTH_DOWN || (s == HEALTH_PROBING && !is_coming(w)))
		return backoff_us(a, w);
	w->backoff_ms = 0;
	if (a->brisk || s == HEALTH_PROBING || s == HEALTH_SUSPECT)
		return fast_us(w);
	if (now - a->busy_us < BUSY_US + EBB_US && !metered(w))
		return SECOND_US;
	return keepalive - jitter(keepalive / 16);
}

/* Who knows that a line is metered is the local: its pace tells. */
static uint64_t remote_fast_us(const struct way *w)
{
	uint32_t us = fast_us(w), pace = health_pace_us(&w->health);

	return pace > us && pace <= (METERED_FACTOR + 1) * us ? pace : us;
}

/* 0: not by itself. */
static uint64_t way_interval(struct assoc *a, struct way *w, uint64_t now)
{
	if (a->side == ASSOC_LOCAL)
		return local_interval(a, w, now);
	return a->brisk ? remote_fast_us(w) : 0;
}

static bool peer_is_brisk(const struct assoc *a, uint64_t now)
{
	for (const struct way *w = a->way; w < a->way + ASSOC_PATHS; w++) {
		uint32_t pace = health_pace_us(&w->health);

		if (w->on && pace && pace < PACE_FAST_US && now - health_heard_us(&w->health) < PACE_FAST_US + pace)
			return true;
	}
	return false;
}

/* A path that may come up, or that did not answer in time: all are probed together, so that they
 * can be compared. */
static bool in_doubt(struct assoc *a, uint64_t now)
{
	for (const struct way *w = a->way; w < a->way + ASSOC_PATHS; w++)
		if (w->on && (health_doubtful(&w->health, now) || is_coming(w)))
			a->doubt_us = now;
	return a->doubt_us && now - a->doubt_us < DOUBT_US;
}

/* All fall asleep with a probe at the same time: one that did so before the others would look dead
 * beside them. */
static void probe_all_at_last(struct assoc *a, uint64_t now)
{
	for (struct way *w = a->way; w < a->way + ASSOC_PATHS; w++)
		if (w->on && (health_usable(w->health.state) || w->health.state == HEALTH_SUSPECT))
			w->probe_us = now;
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
		for (struct way *w = a->way; w < a->way + ASSOC_PATHS; w++)
			if (w->on && w->probe_us > now + FAST_MIN_US)
				w->probe_us = now;
	}
}

/* --- what is said --- */

static bool all_well(const struct assoc *a)
{
	for (const struct way *w = a->way; w < a->way + ASSOC_PATHS; w++)
		if (w->on && !health_usable(w->health.state))
			return false;
	return !a->brisk;
}

static size_t put_reports(struct assoc *a, struct way *on, uint8_t *out, uint64_t now)
{
	bool alone = all_well(a);
	size_t n = 0;

	for (struct way *w = a->way; w < a->way + ASSOC_PATHS; w++) {
		uint8_t value[WIRE_REPORT_LEN];
		struct wire_report r;

		if (!w->on || (alone && w != on && !health_has_news(&w->health)) || !health_heard_us(&w->health))
			continue;
		r.path = (uint8_t)w->id;
		health_make_report(&w->health, &r, now);
		wire_put_report(value, &r);
		n += wire_put_ctl(out + n, WIRE_CTL_REPORT, value, sizeof(value));
	}
	return n;
}

static size_t put_probe(struct way *w, uint8_t *out, uint64_t now)
{
	struct wire_probe p = { .path = (uint8_t)w->id, .use = (uint8_t)w->at.use };
	uint8_t value[WIRE_PROBE_LEN];

	health_make_probe(&w->health, &p, now);
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

void way_send(struct assoc *a, struct way *w, bool probe, uint64_t now)
{
	uint8_t buf[WIRE_DG_MAX], *p = buf + WIRE_DG_HDR;
	const char *dead;
	bool busy = a->busy;
	uint64_t seq;
	size_t n = 0;

	w->answers = false;
	if (!a->tx || !w->on)
		return;
	if (probe)
		n += put_probe(w, p, now);
	n += put_reports(a, w, p + n, now);
	memcpy(p + n, w->frames, w->frames_len);
	n += w->frames_len;
	w->frames_len = 0;
	if (!n || assoc_seal(a, WIRE_DG_CONTROL, WIRE_CLASS_CONTROL, buf, n, &seq))
		return;
	assoc_send(a, w->id, TOS_CONTROL, buf, WIRE_DG_OVERHEAD + n);
	a->busy = busy; /* probes alone are not business */
	dead = kernel_says(udp_flush(w->at.udp));
	if (dead && a->side == ASSOC_LOCAL)
		health_dead(&w->health, dead, now);
}

void way_challenge(struct assoc *a, const struct way *w)
{
	uint8_t buf[WIRE_DG_OVERHEAD + WIRE_CTL_HDR + WORD];
	size_t n = wire_put_ctl(buf + WIRE_DG_HDR, WIRE_CTL_CHALLENGE, w->rival.word, WORD);
	uint64_t seq;

	if (assoc_seal(a, WIRE_DG_CONTROL, WIRE_CLASS_CONTROL, buf, n, &seq))
		return;
	udp_send_from(w->rival.udp, &w->rival.from, &w->rival.to, TOS_CONTROL, buf, WIRE_DG_OVERHEAD + n);
	udp_flush(w->rival.udp);
}

void way_tell(struct assoc *a, struct way *w)
{
	enum health_state was = w->told;

	if (was == w->health.state)
		return;
	w->told = w->health.state;
	if (w->told == HEALTH_DOWN)
		w->backoff_ms = 0;
	if (a->ops.path)
		a->ops.path(a->arg, w->id, was);
}

/* --- time --- */

static void best_of_others(const struct assoc *a, const struct way *me, struct health_view *v)
{
	v->alone = true;
	v->best_loss_ppm = UINT32_MAX;
	for (const struct way *w = a->way; w < a->way + ASSOC_PATHS; w++) {
		uint32_t tx = w->health.side[HEALTH_TX].loss_ppm, rx = w->health.side[HEALTH_RX].loss_ppm;

		if (w == me || !w->on || !health_usable(w->health.state))
			continue;
		v->alone = false;
		if ((tx > rx ? tx : rx) < v->best_loss_ppm)
			v->best_loss_ppm = tx > rx ? tx : rx;
	}
}

static void look(struct assoc *a, struct way *w, uint64_t now)
{
	struct health_view v = { .lead = &a->lead, .interval_us = fast_us(w), .asks = a->side == ASSOC_LOCAL };

	v.brisk = a->brisk && now - a->brisk_us > (uint64_t)2 * w->health.srtt_us + FAST_MAX_US;
	best_of_others(a, w, &v);
	health_tick(&w->health, &v, now);
}

static void probe_if_due(struct assoc *a, struct way *w, uint64_t now)
{
	uint64_t every;

	if (!a->tx || (now < w->probe_us && !(a->side == ASSOC_LOCAL && health_late(&w->health, now))))
		return;
	every = way_interval(a, w, now);
	if (!every) { /* the remote in quiet times */
		w->probe_us = UINT64_MAX;
		return;
	}
	way_send(a, w, true, now);
	w->probe_us = now + every;
}

void assoc_watch(struct assoc *a)
{
	uint64_t now = clock_us(), due = now + (a->brisk ? WATCH_US : SECOND_US);

	for (const struct way *w = a->way; w < a->way + ASSOC_PATHS; w++)
		if (w->on && w->probe_us < due)
			due = w->probe_us;
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
	for (struct way *w = a->way; w < a->way + ASSOC_PATHS; w++) {
		if (!w->on)
			continue;
		look(a, w, now);
		probe_if_due(a, w, now);
	}
	for (struct way *w = a->way; w < a->way + ASSOC_PATHS; w++)
		if (w->on)
			way_tell(a, w);
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
	for (struct way *w = a->way; w < a->way + ASSOC_PATHS; w++) {
		if (w->on && w->answers && !a->brisk)
			way_send(a, w, true, now);
		else if (w->on && w->frames_len)
			way_send(a, w, false, now);
		w->answers = false;
	}
	for (struct way *w = a->way; w < a->way + ASSOC_PATHS; w++)
		if (w->on)
			way_tell(a, w);
	if (a->brisk && !was)
		assoc_watch(a);
}
