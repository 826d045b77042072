/* remote: keeps a session with one VPS alive, and knows whether it is there.
 *
 * Theory of operation. There are at most two talks: `now`, whose session new connections attach to, and `next`, which
 * replaces it. `next` is begun when there is no `now`, when `now` has reached the age the
 * remote asked for (make before break: nothing waits for a rekey), when the remote says
 * that it does not know our session (it restarted), and when `now` is in doubt. When `next` is welcomed it becomes `now`
 * and the old one says BYE, a little later, since packets of the tunnel may still be on their way in it; relays keep their own keys and
 * never notice.
 *
 * Doubt. While connections of the LAN want the remote (WANTED_MS since the last) it is pinged every PING_MS, else every
 * PING_IDLE_MS. A ping that is not answered within a few round trips, a question that waits, or a connection that broke
 * make `next` begin, while `now` may still answer. Only when nobody has been heard
 * for GRACE_MS, nor any relay got a byte from there, is the session given up and the rest of the house told. (The remote keeps a session without connection for a
 * minute, so warm connections stay good meanwhile.) WELCOME carries a number that changes with the remote's process: if it is another one than before,
 * everything attached to the old process is void.
 *
 * A dial that takes much longer than one ever did is begun anew, since the kernel repeats a lost SYN ever more rarely. Failures are
 * retried after 200 ms, doubling to 1 s, and to 5 s when the remote has been away for LONG_MS; every failed attempt also asks the resolver again. */
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "counter.h"
#include "log.h"
#include "relay.h"
#include "remote.h"
#include "resolve.h"
#include "talk.h"

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
#define PING_IDLE_MS 60000 /* the remote hangs up after 90 s of silence */
#define WANTED_MS 5000
#define DOUBT_MIN_MS 1500
#define DOUBT_MAX_MS 3000
#define GRACE_MS 4500
#define OLD_MS 1000

struct remote {
	char host[256];
	uint16_t port;
	struct talk_setup setup;
	const struct relay_loop *relays;
	struct remote_ops ops;
	void *arg;
	struct resolve *resolve;
	struct addr targets[TARGETS_MAX];
	size_t n_targets;
	uint8_t boot[16]; /* its last one */
	bool booted, retired;
	uint64_t well_ms;   /* since when all is well; 0: it is not */
	struct talk *now, *next, *old;
	uint64_t old_ms;    /* since when `old` is */
	uint64_t lost_ms;   /* since when the connection of `now` is broken; 0: it is not */
	uint64_t begun_ms;  /* when the last attempt was */
	uint64_t away_ms;   /* since when there is no session */
	uint64_t wanted_ms; /* when a connection of the LAN last did */
	uint64_t ticked_ms;
	unsigned retry_ms, failures, dial_ms; /* dial_ms: how long a dial took that succeeded */
	struct event retry, tick;
	struct revoke_list revokes;
	struct log_limit said;
};

static void begin_talk_now(struct remote *r);

/* --- revokes --- */

static void send_revoke(void *arg, const uint8_t frame[WIRE_REVOKE_LEN])
{
	struct remote *r = arg;

	if (r->now)
		talk_send(r->now, WIRE_REVOKE, frame, WIRE_REVOKE_LEN);
}

struct revoke *remote_revoke(struct remote *r, const struct session *s, uint64_t ctr, remote_revoked cb, void *arg)
{
	struct revoke *v = revoke_new(&r->revokes, session_sid(s), ctr, cb, arg);

	if (v)
		revoke_send(v, send_revoke, r);
	remote_suspect(r);
	return v;
}

void remote_revoke_cancel(struct revoke *v)
{
	revoke_free(v);
}

/* --- talks --- */

/* An attempt that took its time was a pause already. */
static void retry_later(struct remote *r)
{
	uint64_t now = clock_ms();
	bool brief = r->now || now - r->away_ms < LONG_MS;
	unsigned max = brief ? RETRY_MAX_MS : RETRY_LONG_MS;
	unsigned ms = brief && now - r->begun_ms >= RETRY_MAX_MS ? RETRY_MIN_MS : r->retry_ms;
	struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000 };

	event_add(&r->retry, &tv);
	r->retry_ms = r->retry_ms * 2 > max ? max : r->retry_ms * 2;
}

static void drop_old(struct remote *r)
{
	if (r->old)
		talk_send(r->old, WIRE_BYE, "rekey", 5);
	talk_free(r->old);
	r->old = NULL;
}

static void next_failed(struct remote *r, const char *why)
{
	char text[ADDR_STRLEN] = "no address yet";

	if (r->n_targets)
		addr_print(&r->targets[0], text);
	log_limited(&r->said, "remote %s (%s): %s", r->host, text, why);
	talk_free(r->next);
	r->next = NULL;
	r->failures++;
	resolve_failed(r->resolve);
	retry_later(r);
}

static void on_broke(void *arg, struct talk *t, const char *why)
{
	struct remote *r = arg;

	if (t == r->next) {
		next_failed(r, why);
		return;
	}
	if (t == r->old) {
		drop_old(r);
		return;
	}
	log_info("control connection lost: %s", why);
	r->lost_ms = talk_asked_ms(t) ? talk_asked_ms(t) : clock_ms();
	begin_talk_now(r);
}

static void on_welcomed(void *arg, struct talk *t)
{
	struct remote *r = arg;
	struct talk *old = r->now;
	const struct wire_welcome *w = talk_welcome(t);
	bool restarted = r->booted && memcmp(r->boot, w->boot, sizeof(r->boot)) != 0;

	drop_old(r);
	r->old = old;
	r->old_ms = clock_ms();
	r->now = t;
	r->next = NULL;
	r->lost_ms = 0;
	r->retry_ms = RETRY_MIN_MS;
	r->failures = 0;
	r->dial_ms = talk_dial_ms(t);
	memcpy(r->boot, w->boot, sizeof(r->boot));
	r->booted = true;
	counters.sessions++;
	if (restarted)
		revoke_answer_all(&r->revokes);
	else
		revoke_send_all(&r->revokes, send_revoke, r);
	if (!old || restarted)
		log_info("session with %s: %s%s", r->host, w->aead == SEAL_AES256_GCM ? "AES-256-GCM" : "ChaCha20-Poly1305",
			 restarted ? "; it was restarted" : "");
	if (restarted)
		drop_old(r);
	if (!r->well_ms)
		r->well_ms = clock_ms();
	r->ops.session(r->arg, r, true, restarted);
}

static void on_frame(void *arg, struct talk *t, uint8_t type, const uint8_t *value, size_t len)
{
	struct remote *r = arg;

	if (type == WIRE_REVOKED)
		revoke_take_answer(&r->revokes, value, len);
	else if (type == WIRE_PACKET && (t == r->now || t == r->old))
		r->ops.packet(r->arg, r, value, len);
}

static void on_room(void *arg, struct talk *t)
{
	struct remote *r = arg;

	if (t == r->now)
		r->ops.room(r->arg, r);
}

static unsigned patience_ms(const struct remote *r)
{
	unsigned ms = 4 * r->dial_ms > PATIENCE_MS ? 4 * r->dial_ms : PATIENCE_MS;

	ms = r->failures % PATIENT_ONE == PATIENT_ONE - 1 ? 3 * ms : ms;
	return ms < PATIENCE_MAX_MS ? ms : PATIENCE_MAX_MS;
}

static void begin_talk(struct remote *r)
{
	static const struct talk_ops ops = { .welcomed = on_welcomed, .frame = on_frame, .room = on_room, .broke = on_broke };

	if (r->next || r->retired || !r->n_targets || event_pending(&r->retry, EV_TIMEOUT, NULL))
		return;
	r->begun_ms = clock_ms();
	r->next = talk_new(&r->setup, r->targets, r->n_targets, patience_ms(r), &ops, r);
	if (!r->next)
		next_failed(r, "out of memory");
}

static void begin_talk_now(struct remote *r)
{
	r->retry_ms = RETRY_MIN_MS;
	event_del(&r->retry);
	begin_talk(r);
}

/* --- time --- */

/* If `now` is well again, or was from the beginning, on_tick() knows better. */
static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct remote *r = arg;

	(void)fd, (void)what;
	if (!r->now || !talk_speaks(r->now))
		begin_talk(r);
}

static void give_up_session(struct remote *r, uint64_t now)
{
	log_warn("no session with %s any more", r->host);
	revoke_answer_all(&r->revokes);
	drop_old(r);
	talk_free(r->now);
	r->now = NULL;
	r->lost_ms = 0;
	r->well_ms = 0;
	r->away_ms = now;
	r->ops.session(r->arg, r, false, false);
	begin_talk(r);
}

/* How long an answer may take before another connection is tried. */
static unsigned doubt_ms(const struct remote *r)
{
	unsigned ms = 3 * talk_rtt_ms(r->now);

	return ms < DOUBT_MIN_MS ? DOUBT_MIN_MS : ms < DOUBT_MAX_MS ? ms : DOUBT_MAX_MS;
}

static uint64_t silent_since(const struct remote *r)
{
	return r->lost_ms ? r->lost_ms : talk_asked_ms(r->now);
}

static void tend_now(struct remote *r, uint64_t now)
{
	uint64_t since = silent_since(r);
	uint32_t rekey = talk_welcome(r->now)->rekey;
	bool doubted = since && now - since >= doubt_ms(r);

	if (since && now - since >= GRACE_MS && !relay_loop_heard_since(r->relays, r, now - GRACE_MS)) {
		give_up_session(r, now);
		return;
	}
	r->well_ms = doubted || r->lost_ms ? 0 : r->well_ms ? r->well_ms : now;
	if (doubted || revoke_has_waited(&r->revokes, now) ||
	    (rekey && talk_age_ms(r->now) / 1000 >= rekey))
		begin_talk(r);
	if (now - talk_heard_ms(r->now) >= (now - r->wanted_ms < WANTED_MS ? PING_MS : PING_IDLE_MS))
		talk_ping(r->now);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct remote *r = arg;
	uint64_t now = clock_ms();

	(void)fd, (void)what;
	if (now - r->ticked_ms > LATE_MS && r->now)
		talk_forgive(r->now);
	r->ticked_ms = now;
	revoke_answer_due(&r->revokes, now);
	if (r->old && now - r->old_ms >= OLD_MS)
		drop_old(r);
	if (r->now)
		tend_now(r, now);
}

/* --- names --- */

static void on_resolved(void *arg, const struct addr *addrs, size_t count)
{
	struct remote *r = arg;

	r->n_targets = count < TARGETS_MAX ? count : TARGETS_MAX;
	memcpy(r->targets, addrs, r->n_targets * sizeof(*addrs));
	r->ops.addresses(r->arg, r);
	if (!r->now || !talk_speaks(r->now))
		begin_talk_now(r);
}

/* --- for the rest of the house --- */

struct remote *remote_new(const struct remote_house *house, const struct config_remote *c, const char *host, uint16_t port,
			  const struct remote_ops *ops, void *arg)
{
	struct timeval often = { 0, TICK_MS * 1000 };
	struct remote *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	memcpy(r->host, host, strlen(host) + 1);
	r->port = port;
	r->relays = house->relays;
	r->setup = (struct talk_setup){ .base = house->base, .links = house->links, .tls = house->tls, .opt = house->opt,
					.pin = c->pin, .clear = house->clear };
	memcpy(r->setup.boot, house->boot, sizeof(house->boot));
	r->ops = *ops;
	r->arg = arg;
	r->retry_ms = RETRY_MIN_MS;
	r->away_ms = r->ticked_ms = clock_ms();
	LIST_INIT(&r->revokes);
	event_assign(&r->retry, house->base, -1, 0, on_retry, r);
	event_assign(&r->tick, house->base, -1, EV_PERSIST, on_tick, r);
	event_add(&r->tick, &often);
	r->resolve = resolve_new(house->base, host, port, c->resolver, c->private_ok, on_resolved, r);
	if (!r->resolve) {
		remote_free(r);
		return NULL;
	}
	return r;
}

void remote_free(struct remote *r)
{
	if (!r)
		return;
	if (r->now)
		talk_send(r->now, WIRE_BYE, "stopping", 8);
	drop_old(r);
	talk_free(r->now);
	talk_free(r->next);
	while (LIST_FIRST(&r->revokes))
		revoke_free(LIST_FIRST(&r->revokes));
	resolve_free(r->resolve);
	event_del(&r->retry);
	event_del(&r->tick);
	free(r);
}

struct session *remote_session(const struct remote *r)
{
	return r->now ? talk_session(r->now) : NULL;
}

const struct wire_welcome *remote_welcome(const struct remote *r)
{
	return r->now ? talk_welcome(r->now) : NULL;
}

const uint8_t *remote_token(const struct remote *r, const struct session *s)
{
	return s && remote_session(r) == s ? remote_welcome(r)->token : NULL;
}

size_t remote_targets(const struct remote *r, struct addr *out, size_t max)
{
	size_t n = r->n_targets < max ? r->n_targets : max;

	memcpy(out, r->targets, n * sizeof(*out));
	return n;
}

bool remote_is_target(const struct remote *r, const struct addr *a)
{
	for (size_t i = 0; i < r->n_targets; i++)
		if (addr_same_ip(&r->targets[i], a))
			return true;
	return false;
}

struct dial *remote_dial(struct remote *r, dial_cb cb, void *arg)
{
	return dial_start(r->setup.base, r->setup.links, r->targets, r->n_targets, &r->setup.opt, cb, arg);
}

void remote_session_refused(struct remote *r, const struct session *s)
{
	if (remote_session(r) == s)
		begin_talk_now(r);
}

const char *remote_host(const struct remote *r)
{
	return r->host;
}

uint16_t remote_port(const struct remote *r)
{
	return r->port;
}

unsigned remote_silent_ms(const struct remote *r)
{
	uint64_t since = r->now ? silent_since(r) : r->away_ms;

	return since ? (unsigned)(clock_ms() - since) : 0;
}

uint64_t remote_well_ms(const struct remote *r)
{
	return r->well_ms;
}

bool remote_heard_since(const struct remote *r, uint64_t ms)
{
	return r->now && talk_speaks(r->now) && talk_heard_ms(r->now) >= ms;
}

bool remote_tried(const struct remote *r)
{
	return r->failures > 0;
}

void remote_retire(struct remote *r, bool retired)
{
	r->retired = retired;
	if (!retired && !r->now)
		begin_talk(r);
}

void remote_links_changed(struct remote *r)
{
	if (r->now)
		talk_ping(r->now);
	if (r->next || (r->now && talk_speaks(r->now)))
		return;
	begin_talk_now(r);
}

void remote_wanted(struct remote *r)
{
	r->wanted_ms = clock_ms();
	if (r->now && r->wanted_ms - talk_heard_ms(r->now) >= PING_MS)
		talk_ping(r->now);
}

void remote_suspect(struct remote *r)
{
	r->wanted_ms = clock_ms();
	if (r->now)
		talk_ping(r->now);
}

bool remote_offer(struct remote *r, const uint8_t *packet, size_t len)
{
	return r->now && talk_offer(r->now, WIRE_PACKET, packet, len);
}

void remote_carrier(struct remote *r, enum wire_carrier carrier, const char *congestion)
{
	uint8_t value[WIRE_CARRIER_LEN];

	if (!r->now)
		return;
	talk_send(r->now, WIRE_CARRIER, value, wire_put_carrier(value, &carrier));
	talk_congestion(r->now, congestion);
}

json_t *remote_status(const struct remote *r)
{
	const struct wire_welcome *w = remote_welcome(r);
	json_t *list = json_array();
	char text[ADDR_STRLEN];

	for (size_t i = 0; i < r->n_targets; i++)
		json_array_append_new(list, json_string(addr_print(&r->targets[i], text)));
	return json_pack("{s:s, s:i, s:o, s:b, s:b, s:s, s:b, s:i}", "host", r->host, "port", (int)r->port, "addresses", list, "connected",
			 r->now && talk_speaks(r->now), "session", r->now != NULL, "aead",
			 !w ? "none" : w->aead == SEAL_AES256_GCM ? "AES-256-GCM" : "ChaCha20-Poly1305", "clear",
			 w && r->setup.clear && w->flags & WIRE_F_CLEAR, "rtt_ms", r->now ? (int)talk_rtt_ms(r->now) : 0);
}
