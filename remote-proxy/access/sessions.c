/* SPDX-License-Identifier: BSD-2-Clause */
/* sessions: what the control connections of the users agreed on, and who may attach.
 *
 * Theory of operation. A control connection is first a STRANGER in the TLS handshake, then a user
 * whose HELLO is due (HELLO_DUE) within five seconds. The answer is WELCOME; he is GREETED, and with it
 * a session exists: an entry in the table by sid. Whoever is no user, or fails the handshake, is
 * handed to `tarpit`.
 *
 * A session outlives its control by GRACE: the gateway may have lost one line only, and its
 * attached connections and its REVOKEs are still good when it comes back with a new
 * control (and so a new session). When a control says HELLO with the boot id of an older
 * one, it replaces that one: the old session and its control have GRACE left, so nothing in
 * flight is lost. A connection that is attached keeps its own reference and needs the table no
 * more. A user has at most four sessions; the oldest goes for the fifth.
 *
 * One tick a second looks at all clocks: controls without HELLO, silent controls (the
 * gateway pings), and sessions whose grace is over. */
#include "sessions.h"

#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <uthash.h>

#include "clock.h"
#include "control.h"
#include "counter.h"
#include "log.h"
#include "sock.h"
#include "timer.h"

#define HANDSHAKE_MS 10000 /* from the accept on */
#define HELLO_MS 5000
#define HELLOS_DUE 8
#define SILENT_MS 90000
#define GRACE_MS 60000
#define SESSIONS_A_USER 4

enum state { STRANGER, HELLO_DUE, GREETED };

struct control_conn {
	struct sessions *all;
	struct control *control;
	enum state state;
	struct place *place; /* a stranger's */
	struct user *user;   /* NULL: a stranger's */
	struct known_session *entry; /* NULL: no HELLO yet, or its session went */
	uint64_t heard_ms;
	TAILQ_ENTRY(control_conn) link;
};

struct known_session {
	uint8_t sid[WIRE_SID];
	uint8_t boot[16];
	struct session *session;
	uint32_t index; /* of its datagrams */
	struct user *user;
	struct control_conn *control; /* NULL: gone */
	uint64_t ends_ms;      /* 0: not while its control lives */
	UT_hash_handle hh;     /* in order of birth */
};

struct sessions {
	struct event_base *base;
	const struct config *config;
	struct users *users;
	struct tarpit *tarpit;
	struct demux *demux;
	struct fallback *fallback;
	struct tls_ctx *tls;
	struct known_session *by_sid;
	TAILQ_HEAD(, control_conn) controls, over; /* in order of arrival */
	struct event tick, sweep;
	struct log_limit said;
	uint8_t secret[32], boot[16];
	void (*fill)(const void *arg, const struct user *user, struct wire_welcome *w);
	const void *fill_arg;
};

/* --- sessions --- */

static void known_session_free(struct sessions *s, struct known_session *e)
{
	HASH_DEL(s->by_sid, e);
	if (e->control)
		e->control->entry = NULL;
	user_session(e->user, -1);
	demux_leave(s->demux, e->index);
	session_put(e->session);
	free(e);
}

static void known_session_orphan(struct known_session *e)
{
	e->control = NULL;
	if (!e->ends_ms)
		e->ends_ms = clock_ms() + GRACE_MS;
}

/* --- controls --- */

/* Marked only: what calls it may be its own callback. */
static void control_conn_part(struct control_conn *c)
{
	TAILQ_REMOVE(&c->all->controls, c, link);
	TAILQ_INSERT_TAIL(&c->all->over, c, link);
	event_active(&c->all->sweep, 0, 0);
	if (c->user)
		fallback_left(c->all->fallback, c->user, c->control);
	if (c->entry)
		known_session_orphan(c->entry);
	c->entry = NULL;
}

static void sessions_sweep(evutil_socket_t fd, short what, void *sessions)
{
	struct sessions *s = sessions;
	struct control_conn *c;

	(void)fd, (void)what;
	while ((c = TAILQ_FIRST(&s->over))) {
		TAILQ_REMOVE(&s->over, c, link);
		free(c);
	}
}

static void control_conn_bye(struct control_conn *c, const char *why)
{
	control_send(c->control, WIRE_BYE, why, strlen(why));
	control_free(c->control);
	control_conn_part(c);
}

/* A stranger after all: it learns nothing from that. */
static void control_conn_hush(struct control_conn *c)
{
	tarpit_take(c->all->tarpit, control_release(c->control), c->place);
	control_conn_part(c);
}

static void known_session_end(struct sessions *s, struct known_session *e, const char *why)
{
	struct control_conn *c = e->control;

	known_session_free(s, e);
	if (c)
		control_conn_bye(c, why);
}

/* --- HELLO --- */

static void replace_older(struct sessions *s, const struct user *user, const uint8_t boot[16])
{
	struct known_session *e, *next, *oldest = NULL;

	HASH_ITER(hh, s->by_sid, e, next) {
		if (e->user != user)
			continue;
		oldest = oldest ? oldest : e;
		if (memcmp(e->boot, boot, sizeof(e->boot)) == 0 && !e->ends_ms)
			e->ends_ms = clock_ms() + GRACE_MS;
	}
	if (oldest && user_sessions(user) >= SESSIONS_A_USER)
		known_session_end(s, oldest, "too many sessions of one user");
}

static struct known_session *known_session_new(struct control_conn *c, const struct wire_hello *h)
{
	bool aes = h->flags & WIRE_F_AES && seal_has_aes();
	struct known_session *e = calloc(1, sizeof(*e));
	uint8_t exported[32];

	if (!e)
		return NULL;
	session_make_sid(e->sid, c->all->secret);
	if (control_export(c->control, e->sid, exported) == 0)
		e->session = session_new(e->sid, aes ? SEAL_AES256_GCM : SEAL_CHACHA20_POLY1305, exported);
	seal_wipe(exported, sizeof(exported));
	if (!e->session) {
		free(e);
		return NULL;
	}
	memcpy(e->boot, h->boot, sizeof(e->boot));
	e->user = c->user;
	e->control = c;
	c->entry = e;
	user_session(c->user, 1);
	e->index = demux_admit(c->all->demux, c->user, h->boot, e->session);
	HASH_ADD(hh, c->all->by_sid, sid, WIRE_SID, e);
	return e;
}

static void fill_welcome(const struct control_conn *c, struct wire_welcome *w)
{
	const struct config *config = c->all->config;
	const struct config_user *user = user_config(c->user);

	w->version = WIRE_VERSION;
	w->flags = (uint8_t)(WIRE_F_RESUME | (config->clear ? WIRE_F_CLEAR : 0));
	w->aead = (uint8_t)session_alg(c->entry->session);
	memcpy(w->sid, c->entry->sid, WIRE_SID);
	session_reset_token(w->token, c->entry->sid, c->all->secret);
	memcpy(w->boot, c->all->boot, sizeof(w->boot));
	w->pool_cap = (uint16_t)config->pool_cap;
	w->pool_age = (uint16_t)config->pool_age_s;
	w->rekey = (uint16_t)config->rekey_s;
	w->relays = user->relays;
	w->opens = user->opens;
	w->index = c->entry->index;
	if (c->all->fill)
		c->all->fill(c->all->fill_arg, c->user, w);
}

static void control_conn_greet(struct control_conn *c, const uint8_t *value, size_t len)
{
	struct wire_welcome w = { 0 };
	uint8_t out[WIRE_WELCOME_LEN];
	struct wire_hello h;

	if (c->state == GREETED || wire_get_hello(&h, value, len) <= 0 || h.version != WIRE_VERSION) {
		control_conn_bye(c, "unexpected HELLO or version");
		return;
	}
	replace_older(c->all, c->user, h.boot);
	if (!known_session_new(c, &h)) {
		control_conn_bye(c, "out of memory");
		return;
	}
	c->state = GREETED;
	fill_welcome(c, &w);
	wire_put_welcome(out, &w);
	control_send(c->control, WIRE_WELCOME, out, sizeof(out));
	counters.sessions++;
	log_info("user %s: session agreed, %s", user_config(c->user)->name,
		 w.aead == SEAL_AES256_GCM ? "AES-256-GCM" : "ChaCha20-Poly1305");
}

/* --- REVOKE --- */

/* Whatever we cannot vouch for counts as served. */
static void control_conn_revoke(struct control_conn *c, const uint8_t *value, size_t len)
{
	uint8_t out[WIRE_REVOKED_LEN];
	struct wire_revoke r;
	struct known_session *e;

	if (wire_get_revoke(&r, value, len) <= 0) {
		control_conn_bye(c, "malformed REVOKE");
		return;
	}
	HASH_FIND(hh, c->all->by_sid, r.sid, WIRE_SID, e);
	r.verdict = WIRE_SERVED;
	if (e && e->user == c->user && session_claim_revoke(e->session, r.ctr))
		r.verdict = WIRE_NOT_SERVED;
	wire_put_revoked(out, &r);
	if (control_send(c->control, WIRE_REVOKED, out, sizeof(out)) < 0)
		control_conn_bye(c, "answers are not read");
}

/* --- callbacks of a control connection --- */

/* Who has more connections whose HELLO is due than he could ever need loses the oldest. */
static void shed_hello_due(struct sessions *s, const struct user *user)
{
	struct control_conn *c, *oldest = NULL;
	unsigned n = 0;

	TAILQ_FOREACH(c, &s->controls, link) {
		if (c->state != HELLO_DUE || c->user != user)
			continue;
		oldest = oldest ? oldest : c;
		n++;
	}
	if (n > HELLOS_DUE)
		control_conn_bye(oldest, "too many connections without HELLO");
}

static void sessions_up(void *arg, const uint8_t pin[WIRE_PIN])
{
	struct control_conn *c = arg;
	char text[SEAL_B64_LEN];

	c->user = users_find(c->all->users, pin);
	c->heard_ms = clock_ms();
	if (c->user) {
		c->state = HELLO_DUE;
		place_free(c->place);
		c->place = NULL;
		shed_hello_due(c->all, c->user);
		return;
	}
	seal_b64(text, pin);
	log_limited(&c->all->said, "control: no user has the key %s", text);
	control_conn_hush(c);
}

static void sessions_frame(void *arg, uint8_t type, const uint8_t *value, size_t len)
{
	struct control_conn *c = arg;

	c->heard_ms = clock_ms();
	if (type == WIRE_HELLO)
		control_conn_greet(c, value, len);
	else if (c->state != GREETED)
		control_conn_bye(c, "HELLO comes first");
	else if (type == WIRE_PING && control_send(c->control, WIRE_PONG, value, len) < 0)
		control_conn_bye(c, "answers are not read");
	else if (type == WIRE_REVOKE)
		control_conn_revoke(c, value, len);
	else if (type == WIRE_PACKET || type == WIRE_CARRIER)
		fallback_frame(c->all->fallback, c->user, c->control, type, value, len);
	else if (type == WIRE_BYE)
		control_conn_bye(c, "bye");
	/* Others are for a later version. */
}

static void sessions_room(void *arg)
{
	struct control_conn *c = arg;

	fallback_room(c->all->fallback, c->user, c->control);
}

static void sessions_down(void *arg, const char *why)
{
	struct control_conn *c = arg;

	if (c->state == STRANGER) {
		log_limited(&c->all->said, "control: a stranger failed the handshake: %s", why);
		control_conn_hush(c);
		return;
	}
	log_info("user %s: control connection ended: %s", user_config(c->user)->name, why);
	control_free(c->control);
	control_conn_part(c);
}

static void control_conn_turn_out(void *control_conn)
{
	struct control_conn *c = control_conn;

	place_free(c->place);
	sock_close_reset(control_release(c->control));
	control_conn_part(c);
}

void sessions_control(struct sessions *s, int fd, struct place *place)
{
	static const struct control_ops ops = { .up = sessions_up, .frame = sessions_frame, .down = sessions_down, .room = sessions_room };
	struct control_conn *c = calloc(1, sizeof(*c));
	uint64_t passed = clock_ms() - place_since_ms(place);

	if (!c) {
		tarpit_take(s->tarpit, fd, place);
		return;
	}
	c->all = s;
	c->place = place;
	place_give(place, false, control_conn_turn_out, c);
	c->control = control_new(s->base, s->tls, fd, NULL, &ops, c);
	if (!c->control) {
		place_free(place);
		free(c);
		return;
	}
	control_hurry(c->control, passed < HANDSHAKE_MS ? HANDSHAKE_MS - passed : 0);
	TAILQ_INSERT_TAIL(&s->controls, c, link);
}

void sessions_drop(struct sessions *s, const struct user *user)
{
	struct control_conn *c, *after;
	struct known_session *e, *next;

	HASH_ITER(hh, s->by_sid, e, next)
		if (e->user == user)
			known_session_end(s, e, "not a user any more");
	for (c = TAILQ_FIRST(&s->controls); c; c = after) {
		after = TAILQ_NEXT(c, link);
		if (c->user == user)
			control_conn_bye(c, "not a user any more");
	}
}

/* --- time --- */

static void check_callers(struct sessions *s, uint64_t now)
{
	struct control_conn *c, *next;

	for (c = TAILQ_FIRST(&s->controls); c; c = next) {
		next = TAILQ_NEXT(c, link);
		if (c->state == STRANGER)
			continue; /* its handshake has a clock of its own */
		if (c->state == HELLO_DUE && now - c->heard_ms > HELLO_MS)
			control_conn_bye(c, "no HELLO in time");
		else if (now - c->heard_ms > SILENT_MS)
			control_conn_bye(c, "nothing heard for 90 s");
	}
}

static void sessions_tick(evutil_socket_t fd, short what, void *arg)
{
	struct sessions *s = arg;
	struct known_session *e, *next;
	uint64_t now = clock_ms();

	(void)fd;
	(void)what;
	check_callers(s, now);
	HASH_ITER(hh, s->by_sid, e, next)
		if (e->ends_ms && now >= e->ends_ms)
			known_session_end(s, e, "replaced");
}

/* --- the table --- */

struct session *sessions_find(struct sessions *s, const uint8_t sid[WIRE_SID], struct user **user)
{
	struct known_session *e;

	HASH_FIND(hh, s->by_sid, sid, WIRE_SID, e);
	if (!e)
		return NULL;
	*user = e->user;
	return e->session;
}

bool sessions_forgot(const struct sessions *s, const uint8_t sid[WIRE_SID], uint8_t reset[WIRE_RESET_LEN])
{
	struct wire_reset r;

	if (!session_is_our_sid(sid, s->secret))
		return false;
	seal_random(r.random, sizeof(r.random));
	session_reset_token(r.token, sid, s->secret);
	wire_put_reset(reset, &r);
	return true;
}

unsigned sessions_count(const struct sessions *s)
{
	return HASH_COUNT(s->by_sid);
}

struct sessions *sessions_new(struct event_base *base, const struct config *config, const struct identity *id,
			      struct users *users, struct tarpit *tarpit, struct demux *demux,
			      struct fallback *fallback)
{
	struct sessions *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->tls = tls_ctx_new(id, true);
	if (!s->tls) {
		free(s);
		return NULL;
	}
	s->base = base;
	s->config = config;
	s->users = users;
	s->tarpit = tarpit;
	s->demux = demux;
	s->fallback = fallback;
	TAILQ_INIT(&s->controls);
	TAILQ_INIT(&s->over);
	identity_secret(id, "plait sid", s->secret);
	seal_random(s->boot, sizeof(s->boot));
	event_assign(&s->tick, base, -1, EV_PERSIST, sessions_tick, s);
	event_assign(&s->sweep, base, -1, 0, sessions_sweep, s);
	timer_in_s(&s->tick, 1);
	return s;
}

void sessions_on_welcome(struct sessions *s, void (*fill)(const void *arg, const struct user *user, struct wire_welcome *w), const void *arg)
{
	s->fill = fill;
	s->fill_arg = arg;
}

void sessions_free(struct sessions *s)
{
	struct control_conn *c;

	if (!s)
		return;
	while ((c = TAILQ_FIRST(&s->controls))) {
		place_free(c->place);
		control_conn_bye(c, "the remote is stopping");
	}
	while (s->by_sid)
		known_session_free(s, s->by_sid);
	sessions_sweep(-1, 0, s);
	event_del(&s->sweep);
	event_del(&s->tick);
	tls_ctx_free(s->tls);
	seal_wipe(s->secret, sizeof(s->secret));
	free(s);
}
