/* SPDX-License-Identifier: BSD-2-Clause */
/* vps: keeps a session with one VPS alive, and knows whether it is there.
 *
 * Theory of operation. There are at most two conns: `now`, whose session new connections attach to,
 * and `next`, which replaces it. `next` is begun when there is no `now`, when `now` has reached the
 * age the VPS asked for (make before break: nothing waits for a rekey), when the VPS says that it
 * does not know our session (it restarted), and when `now` is in doubt. When `next` is welcomed it
 * becomes `now` and the old one says BYE, a little later, since packets of the tunnel may still be
 * on their way in it; relays keep their own keys and never notice.
 *
 * Doubt. While connections of the LAN want the VPS (WANTED_MS since the last) it is pinged every
 * PING_MS, else every PING_IDLE_MS. A ping that is not answered within a few round trips, a
 * question that waits, or a connection that broke make `next` begin, while `now` may still answer.
 * Only when nobody has been heard for GRACE_MS, nor any relay got a byte from there, is the session
 * given up and the rest of the house told. (The VPS keeps a session without connection for a
 * minute, so warm connections stay good meanwhile.) WELCOME carries a number that changes with the
 * VPS's process: if it is another one than before, everything attached to the old process is void.
 *
 * A dial that takes much longer than one ever did is begun anew, since the kernel repeats a lost
 * SYN ever more rarely. Failures are retried after 200 ms, doubling to 1 s, and to 5 s when the VPS
 * has been away for LONG_MS; every failed attempt also asks the resolver again. */
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "control_conn.h"
#include "counter.h"
#include "log.h"
#include "relay.h"
#include "resolve.h"
#include "timer.h"
#include "vps.h"

#define TARGETS_MAX 8
#define TICK_MS 250
#define LATE_MS 1000 /* a tick that comes so late: this process slept */
#define RETRY_MIN_MS 200
#define RETRY_MAX_MS 1000
#define RETRY_LONG_MS 5000
#define LONG_MS 600000
#define PATIENCE_MS 1500 /* for a dial; every PATIENT_ONE-th has thrice that */
#define PATIENT_ONE 16
#define PATIENCE_MAX_MS 10000
#define PING_MS 1000
#define PING_IDLE_MS 60000 /* the VPS hangs up after 90 s of silence */
#define WANTED_MS 5000
#define DOUBT_MIN_MS 1500
#define DOUBT_MAX_MS 3000
#define GRACE_MS 4500
#define OLD_MS 1000

struct vps {
	char host[256];
	uint16_t port;
	struct control_conn_setup setup;
	const struct relay_loop *relays;
	struct vps_ops ops;
	void *arg;
	struct resolve *resolve;
	struct addr targets[TARGETS_MAX];
	size_t n_targets;
	uint8_t boot[16]; /* its last one */
	bool booted, retired;
	uint64_t well_ms;   /* since when all is well; 0: it is not */
	struct control_conn *now, *next, *old;
	struct control_conn_over over;
	uint64_t old_ms;    /* since when `old` is */
	uint64_t lost_ms;   /* since when the connection of `now` is broken; 0: it is not */
	uint64_t begun_ms;  /* when the last attempt was */
	uint64_t away_ms;   /* since when there is no session */
	uint64_t wanted_ms; /* when a connection of the LAN last did */
	uint64_t ticked_ms;
	unsigned retry_ms, failures, dial_ms; /* dial_ms: how long a dial took that succeeded */
	struct event retry, tick, sweep;
	struct revoke_list revokes;
	struct log_limit said;
};

static void begin_control_now(struct vps *v);

/* --- revokes --- */

static void send_revoke(void *arg, const uint8_t frame[WIRE_REVOKE_LEN])
{
	struct vps *v = arg;

	if (v->now)
		control_conn_send(v->now, WIRE_REVOKE, frame, WIRE_REVOKE_LEN);
}

struct revoke *vps_revoke(struct vps *v, const struct session *s, uint64_t ctr, vps_revoked cb, void *arg)
{
	struct revoke *question = revoke_new(&v->revokes, session_sid(s), ctr, cb, arg);

	if (question)
		revoke_send(question, send_revoke, v);
	vps_suspect(v);
	return question;
}

void vps_revoke_cancel(struct revoke *v)
{
	revoke_free(v);
}

/* --- control connections --- */

/* An attempt that took its time was a pause already. */
static void retry_later(struct vps *v)
{
	uint64_t now = clock_ms();
	bool brief = v->now || now - v->away_ms < LONG_MS;
	unsigned max = brief ? RETRY_MAX_MS : RETRY_LONG_MS;
	unsigned ms = brief && now - v->begun_ms >= RETRY_MAX_MS ? RETRY_MIN_MS : v->retry_ms;

	timer_in_ms(&v->retry, ms);
	v->retry_ms = v->retry_ms * 2 > max ? max : v->retry_ms * 2;
}

static void vps_sweep(evutil_socket_t fd, short what, void *arg)
{
	struct vps *v = arg;

	(void)fd, (void)what;
	control_conn_sweep(&v->over);
}

/* It may be the one whose callback runs. */
static void vps_part(struct vps *v, struct control_conn **c)
{
	if (!*c)
		return;
	control_conn_end(*c, &v->over);
	*c = NULL;
	event_active(&v->sweep, 0, 0);
}

static void vps_drop_old(struct vps *v)
{
	if (v->old)
		control_conn_send(v->old, WIRE_BYE, "rekey", 5);
	vps_part(v, &v->old);
}

static void next_failed(struct vps *v, const char *why)
{
	char text[ADDR_STRLEN] = "no address yet";

	if (v->n_targets)
		addr_print(&v->targets[0], text);
	log_limited(&v->said, "VPS %s (%s): %s", v->host, text, why);
	vps_part(v, &v->next);
	v->failures++;
	resolve_failed(v->resolve);
	retry_later(v);
}

static void vps_broke(void *arg, struct control_conn *c, const char *why)
{
	struct vps *v = arg;

	if (c == v->next) {
		next_failed(v, why);
		return;
	}
	if (c == v->old) {
		vps_drop_old(v);
		return;
	}
	log_info("control connection lost: %s", why);
	v->lost_ms = control_conn_asked_ms(c) ? control_conn_asked_ms(c) : clock_ms();
	begin_control_now(v);
}

static void vps_welcomed(void *arg, struct control_conn *c)
{
	struct vps *v = arg;
	struct control_conn *old = v->now;
	const struct wire_welcome *w = control_conn_welcome(c);
	bool restarted = v->booted && memcmp(v->boot, w->boot, sizeof(v->boot)) != 0;

	vps_drop_old(v);
	v->old = old;
	v->old_ms = clock_ms();
	v->now = c;
	v->next = NULL;
	v->lost_ms = 0;
	v->retry_ms = RETRY_MIN_MS;
	v->failures = 0;
	v->dial_ms = control_conn_dial_ms(c);
	memcpy(v->boot, w->boot, sizeof(v->boot));
	v->booted = true;
	counters.sessions++;
	if (restarted)
		revoke_answer_all(&v->revokes);
	else
		revoke_send_all(&v->revokes, send_revoke, v);
	if (!old || restarted)
		log_info("session with %s: %s%s", v->host, w->aead == SEAL_AES256_GCM ? "AES-256-GCM" : "ChaCha20-Poly1305",
			 restarted ? "; it was restarted" : "");
	if (restarted)
		vps_drop_old(v);
	if (!v->well_ms)
		v->well_ms = clock_ms();
	v->ops.session(v->arg, v, true, restarted);
}

static void vps_frame(void *arg, struct control_conn *c, uint8_t type, const uint8_t *value, size_t len)
{
	struct vps *v = arg;

	if (type == WIRE_REVOKED)
		revoke_take_answer(&v->revokes, value, len);
	else if (type == WIRE_PACKET && (c == v->now || c == v->old))
		v->ops.packet(v->arg, v, value, len);
}

static void vps_room(void *arg, struct control_conn *c)
{
	struct vps *v = arg;

	if (c == v->now)
		v->ops.room(v->arg, v);
}

static unsigned patience_ms(const struct vps *v)
{
	unsigned ms = 4 * v->dial_ms > PATIENCE_MS ? 4 * v->dial_ms : PATIENCE_MS;

	ms = v->failures % PATIENT_ONE == PATIENT_ONE - 1 ? 3 * ms : ms;
	return ms < PATIENCE_MAX_MS ? ms : PATIENCE_MAX_MS;
}

static void begin_control(struct vps *v)
{
	static const struct control_conn_ops ops = { .welcomed = vps_welcomed, .frame = vps_frame, .room = vps_room, .broke = vps_broke };

	if (v->next || v->retired || !v->n_targets || event_pending(&v->retry, EV_TIMEOUT, NULL))
		return;
	v->begun_ms = clock_ms();
	v->next = control_conn_new(&v->setup, v->targets, v->n_targets, patience_ms(v), &ops, v);
	if (!v->next)
		next_failed(v, "out of memory");
}

static void begin_control_now(struct vps *v)
{
	v->retry_ms = RETRY_MIN_MS;
	event_del(&v->retry);
	begin_control(v);
}

/* --- time --- */

/* If `now` is well again, or was from the beginning, vps_tick() knows better. */
static void vps_retry_due(evutil_socket_t fd, short what, void *arg)
{
	struct vps *v = arg;

	(void)fd, (void)what;
	if (!v->now || !control_conn_speaks(v->now))
		begin_control(v);
}

static void give_up_session(struct vps *v, uint64_t now)
{
	log_warn("no session with %s any more", v->host);
	revoke_answer_all(&v->revokes);
	vps_drop_old(v);
	vps_part(v, &v->now);
	v->lost_ms = 0;
	v->well_ms = 0;
	v->away_ms = now;
	v->ops.session(v->arg, v, false, false);
	begin_control(v);
}

/* How long an answer may take before another connection is tried. */
static unsigned doubt_ms(const struct vps *v)
{
	unsigned ms = 3 * control_conn_rtt_ms(v->now);

	return ms < DOUBT_MIN_MS ? DOUBT_MIN_MS : ms < DOUBT_MAX_MS ? ms : DOUBT_MAX_MS;
}

static uint64_t silent_since(const struct vps *v)
{
	return v->lost_ms ? v->lost_ms : control_conn_asked_ms(v->now);
}

static void tend_now(struct vps *v, uint64_t now)
{
	uint64_t since = silent_since(v);
	uint32_t rekey = control_conn_welcome(v->now)->rekey;
	bool doubted = since && now - since >= doubt_ms(v);

	if (since && now - since >= GRACE_MS && !relay_loop_heard_since(v->relays, v, now - GRACE_MS)) {
		give_up_session(v, now);
		return;
	}
	v->well_ms = doubted || v->lost_ms ? 0 : v->well_ms ? v->well_ms : now;
	if (doubted || revoke_has_waited(&v->revokes, now) ||
	    (rekey && control_conn_age_ms(v->now) / 1000 >= rekey))
		begin_control(v);
	if (now - control_conn_heard_ms(v->now) >= (now - v->wanted_ms < WANTED_MS ? PING_MS : PING_IDLE_MS))
		control_conn_ping(v->now);
}

static void vps_tick(evutil_socket_t fd, short what, void *arg)
{
	struct vps *v = arg;
	uint64_t now = clock_ms();

	(void)fd, (void)what;
	if (now - v->ticked_ms > LATE_MS && v->now)
		control_conn_forgive(v->now);
	v->ticked_ms = now;
	revoke_answer_due(&v->revokes, now);
	if (v->old && now - v->old_ms >= OLD_MS)
		vps_drop_old(v);
	if (v->now)
		tend_now(v, now);
}

/* --- names --- */

static void vps_resolved(void *arg, const struct addr *addrs, size_t count)
{
	struct vps *v = arg;

	v->n_targets = count < TARGETS_MAX ? count : TARGETS_MAX;
	memcpy(v->targets, addrs, v->n_targets * sizeof(*addrs));
	v->ops.addresses(v->arg, v);
	if (!v->now || !control_conn_speaks(v->now))
		begin_control_now(v);
}

/* --- for the rest of the house --- */

struct vps *vps_new(const struct vps_house *house, const struct config_vps *c, const char *host, uint16_t port,
			  const struct vps_ops *ops, void *arg)
{
	struct vps *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	memcpy(v->host, host, strlen(host) + 1);
	v->port = port;
	v->relays = house->relays;
	v->setup = (struct control_conn_setup){ .base = house->base, .links = house->links, .tls = house->tls, .opt = house->opt,
					.pin = c->pin, .clear = house->clear };
	memcpy(v->setup.boot, house->boot, sizeof(house->boot));
	v->ops = *ops;
	v->arg = arg;
	v->retry_ms = RETRY_MIN_MS;
	v->away_ms = v->ticked_ms = clock_ms();
	LIST_INIT(&v->revokes);
	event_assign(&v->retry, house->base, -1, 0, vps_retry_due, v);
	event_assign(&v->tick, house->base, -1, EV_PERSIST, vps_tick, v);
	event_assign(&v->sweep, house->base, -1, 0, vps_sweep, v);
	timer_in_ms(&v->tick, TICK_MS);
	v->resolve = resolve_new(house->base, host, port, c->resolver, c->private_ok, vps_resolved, v);
	if (!v->resolve) {
		vps_free(v);
		return NULL;
	}
	return v;
}

void vps_free(struct vps *v)
{
	if (!v)
		return;
	if (v->now)
		control_conn_send(v->now, WIRE_BYE, "stopping", 8);
	vps_drop_old(v);
	vps_part(v, &v->now);
	vps_part(v, &v->next);
	control_conn_sweep(&v->over);
	while (LIST_FIRST(&v->revokes))
		revoke_free(LIST_FIRST(&v->revokes));
	resolve_free(v->resolve);
	event_del(&v->retry);
	event_del(&v->tick);
	event_del(&v->sweep);
	free(v);
}

struct session *vps_session(const struct vps *v)
{
	return v->now ? control_conn_session(v->now) : NULL;
}

const struct wire_welcome *vps_welcome(const struct vps *v)
{
	return v->now ? control_conn_welcome(v->now) : NULL;
}

const uint8_t *vps_token(const struct vps *v, const struct session *s)
{
	return s && vps_session(v) == s ? vps_welcome(v)->token : NULL;
}

size_t vps_targets(const struct vps *v, struct addr *out, size_t max)
{
	size_t n = v->n_targets < max ? v->n_targets : max;

	memcpy(out, v->targets, n * sizeof(*out));
	return n;
}

bool vps_is_target(const struct vps *v, const struct addr *a)
{
	for (size_t i = 0; i < v->n_targets; i++)
		if (addr_same_ip(&v->targets[i], a))
			return true;
	return false;
}

struct dial *vps_dial(struct vps *v, dial_cb cb, void *arg)
{
	return dial_start(v->setup.base, v->setup.links, v->targets, v->n_targets, &v->setup.opt, cb, arg);
}

void vps_session_refused(struct vps *v, const struct session *s)
{
	if (vps_session(v) == s)
		begin_control_now(v);
}

const char *vps_host(const struct vps *v)
{
	return v->host;
}

uint16_t vps_port(const struct vps *v)
{
	return v->port;
}

unsigned vps_silent_ms(const struct vps *v)
{
	uint64_t since = v->now ? silent_since(v) : v->away_ms;

	return since ? (unsigned)(clock_ms() - since) : 0;
}

uint64_t vps_well_ms(const struct vps *v)
{
	return v->well_ms;
}

bool vps_heard_since(const struct vps *v, uint64_t ms)
{
	return v->now && control_conn_speaks(v->now) && control_conn_heard_ms(v->now) >= ms;
}

bool vps_tried(const struct vps *v)
{
	return v->failures > 0;
}

void vps_retire(struct vps *v, bool retired)
{
	v->retired = retired;
	if (!retired && !v->now)
		begin_control(v);
}

void vps_links_changed(struct vps *v)
{
	if (v->now)
		control_conn_ping(v->now);
	if (v->next || (v->now && control_conn_speaks(v->now)))
		return;
	begin_control_now(v);
}

void vps_wanted(struct vps *v)
{
	v->wanted_ms = clock_ms();
	if (v->now && v->wanted_ms - control_conn_heard_ms(v->now) >= PING_MS)
		control_conn_ping(v->now);
}

void vps_suspect(struct vps *v)
{
	v->wanted_ms = clock_ms();
	if (v->now)
		control_conn_ping(v->now);
}

bool vps_offer(struct vps *v, const uint8_t *packet, size_t len)
{
	return v->now && control_conn_offer(v->now, WIRE_PACKET, packet, len);
}

void vps_carrier(struct vps *v, enum wire_carrier carrier, const char *congestion)
{
	uint8_t value[WIRE_CARRIER_LEN];

	if (!v->now)
		return;
	control_conn_send(v->now, WIRE_CARRIER, value, wire_put_carrier(value, &carrier));
	control_conn_congestion(v->now, congestion);
}

json_t *vps_status(const struct vps *v)
{
	const struct wire_welcome *w = vps_welcome(v);
	json_t *list = json_array();
	char text[ADDR_STRLEN];

	for (size_t i = 0; i < v->n_targets; i++)
		json_array_append_new(list, json_string(addr_print(&v->targets[i], text)));
	return json_pack("{s:s, s:i, s:o, s:b, s:b, s:s, s:b, s:i}", "host", v->host, "port", (int)v->port, "addresses", list, "connected",
			 v->now && control_conn_speaks(v->now), "session", v->now != NULL, "aead",
			 !w ? "none" : w->aead == SEAL_AES256_GCM ? "AES-256-GCM" : "ChaCha20-Poly1305", "clear",
			 w && v->setup.clear && w->flags & WIRE_F_CLEAR, "rtt_ms", v->now ? (int)control_conn_rtt_ms(v->now) : 0);
}
