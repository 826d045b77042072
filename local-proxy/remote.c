/* remote: keeps a session with the VPS alive.
 *
 * Theory of operation. A `talk` is one control connection on its way from dial to
 * WELCOME. There are at most two: `now`, whose session new connections attach to, and `next`, which
 * replaces it. `next` is begun when there is no `now`, when `now` has reached the age the
 * remote asked for (make before break: nothing waits for a rekey), and when the remote says
 * that it does not know our session (it restarted). When `next` is welcomed it becomes `now`
 * and the old one says BYE; relays keep their own keys and never notice.
 *
 * A control connection that breaks does not end its session: the remote keeps that for a
 * minute, so warm connections stay good while we come back. Only if that takes longer than
 * GRACE_MS is the session given up, and the rest of the house told. WELCOME carries a
 * number that changes with the remote's process: if it is another one than before,
 * everything attached to the old process is void.
 *
 * Pings find out a connection that died silently. Failures are retried after 200 ms,
 * doubling to 5 s; every failed attempt also asks the resolver again.
 *
 * REVOKE. A connection that died between OPEN and ACCEPT leaves a doubt: was the request
 * served? The remote is asked over the control connection, and its answer binds it: what was
 * not served then never will be. With no answer in REASK_MS the control connection is in doubt
 * itself (it may have died with the other one) and a new one is made, which asks again. With no
 * answer in REVOKE_MS, or after a restart, the doubt counts as served. */
#include <errno.h>
#include <event2/event_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "clock.h"
#include "control.h"
#include "counter.h"
#include "log.h"
#include "remote.h"
#include "resolve.h"

#define TARGETS_MAX 8
#define RETRY_MIN_MS 200
#define RETRY_MAX_MS 5000
#define PING_MS 5000
#define SILENCE_MS 12000 /* nothing heard for so long: the connection is dead */
#define WELCOME_MS 5000
#define GRACE_MS 20000
#define REVOKE_MS 5000
#define REASK_MS 1000

struct talk {
	struct remote *remote;
	struct dial *dial;
	struct control *control;
	struct session *session; /* after WELCOME */
	struct wire_welcome welcome;
	uint64_t since_ms, heard_ms;
	bool greeted;
};

struct revoke {
	struct remote *remote;
	LIST_ENTRY(revoke) link;
	struct wire_revoke ask;
	uint64_t deadline;
	remote_revoked cb;
	void *arg;
};

struct remote {
	struct event_base *base;
	const struct config *config;
	const struct links *links;
	struct tls_ctx *tls;
	struct sock_wan opt;
	struct remote_ops ops;
	void *arg;
	struct resolve *resolve;
	struct addr targets[TARGETS_MAX];
	size_t n_targets;
	uint8_t boot[16], remote_boot[16];
	struct talk *now, *next;
	uint64_t lost_ms; /* since when `now` has no connection; 0: it has one */
	unsigned retry_ms;
	struct event retry, tick;
	LIST_HEAD(, revoke) revokes;
	struct log_limit said;
};

static void begin_talk(struct remote *r);

static struct timeval in_ms(unsigned ms)
{
	return (struct timeval){ .tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000 };
}

/* --- revokes --- */

static void answer_revoke(struct revoke *v, bool served)
{
	remote_revoked cb = v->cb;
	void *arg = v->arg;

	LIST_REMOVE(v, link);
	free(v);
	cb(arg, served);
}

static void ask_revoke(const struct remote *r, const struct revoke *v)
{
	uint8_t out[WIRE_REVOKE_LEN];

	wire_put_revoke(out, &v->ask);
	if (r->now && r->now->control)
		control_send(r->now->control, WIRE_REVOKE, out, sizeof(out));
}

static void ask_all_again(const struct remote *r)
{
	const struct revoke *v;

	LIST_FOREACH(v, &r->revokes, link)
		ask_revoke(r, v);
}

/* Callbacks may cancel other revokes, so the walk begins again after each. */
static void answer_due(struct remote *r, uint64_t now)
{
	struct revoke *v;

	do {
		LIST_FOREACH(v, &r->revokes, link)
			if (now >= v->deadline)
				break;
		if (v)
			answer_revoke(v, true);
	} while (v);
}

static void take_revoked(struct remote *r, const uint8_t *value, size_t len)
{
	struct wire_revoke answer;
	struct revoke *v;

	if (wire_get_revoked(&answer, value, len) <= 0)
		return;
	LIST_FOREACH(v, &r->revokes, link)
		if (v->ask.ctr == answer.ctr && !memcmp(v->ask.sid, answer.sid, WIRE_SID))
			break;
	if (v)
		answer_revoke(v, answer.verdict != WIRE_NOT_SERVED);
}

static bool has_waited(const struct remote *r, uint64_t now)
{
	const struct revoke *v;

	LIST_FOREACH(v, &r->revokes, link)
		if (now + REVOKE_MS >= v->deadline + REASK_MS)
			return true;
	return false;
}

struct revoke *remote_revoke(struct remote *r, const struct session *s, uint64_t ctr, remote_revoked cb, void *arg)
{
	struct revoke *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->remote = r;
	memcpy(v->ask.sid, session_sid(s), WIRE_SID);
	v->ask.ctr = ctr;
	v->deadline = clock_ms() + REVOKE_MS;
	v->cb = cb;
	v->arg = arg;
	LIST_INSERT_HEAD(&r->revokes, v, link);
	ask_revoke(r, v);
	return v;
}

void remote_revoke_cancel(struct revoke *v)
{
	if (!v)
		return;
	LIST_REMOVE(v, link);
	free(v);
}

/* --- a talk --- */

static void talk_free(struct talk *t)
{
	if (!t)
		return;
	dial_cancel(t->dial);
	if (t->control)
		control_free(t->control);
	session_put(t->session);
	free(t);
}

static void retry_later(struct remote *r)
{
	struct timeval tv = in_ms(r->retry_ms);

	event_add(&r->retry, &tv);
	r->retry_ms = r->retry_ms * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : r->retry_ms * 2;
}

static void next_failed(struct remote *r, const char *why)
{
	char text[ADDR_STRLEN] = "no address yet";

	if (r->n_targets)
		addr_print(&r->targets[0], text);
	log_limited(&r->said, "remote %s (%s): %s", r->config->host, text, why);
	talk_free(r->next);
	r->next = NULL;
	resolve_failed(r->resolve);
	retry_later(r);
}

static void talk_broke(struct talk *t, const char *why)
{
	struct remote *r = t->remote;

	if (t == r->next) {
		next_failed(r, why);
		return;
	}
	log_info("control connection lost: %s", why);
	control_free(t->control);
	t->control = NULL;
	r->lost_ms = clock_ms();
	r->retry_ms = RETRY_MIN_MS;
	begin_talk(r);
}

static void on_control_up(void *arg, const uint8_t pin[WIRE_PIN])
{
	struct talk *t = arg;
	struct remote *r = t->remote;
	struct wire_hello hello = { .version = WIRE_VERSION };
	uint8_t out[WIRE_HELLO_LEN];

	if (!seal_equal(pin, r->config->pin, WIRE_PIN)) {
		talk_broke(t, "its key is not the one in our configuration ([remote] key)");
		return;
	}
	hello.flags = (uint8_t)((seal_has_aes() ? WIRE_F_AES : 0) | (r->config->clear ? WIRE_F_CLEAR : 0));
	memcpy(hello.boot, r->boot, sizeof(hello.boot));
	wire_put_hello(out, &hello);
	control_send(t->control, WIRE_HELLO, out, sizeof(out));
	t->greeted = true;
	t->since_ms = clock_ms();
}

static void become_now(struct talk *t)
{
	struct remote *r = t->remote;
	struct talk *old = r->now;
	bool known = old != NULL;
	bool restarted = known && memcmp(r->remote_boot, t->welcome.boot, 16) != 0;

	if (old && old->control)
		control_send(old->control, WIRE_BYE, "rekey", 5);
	r->now = t;
	r->next = NULL;
	r->lost_ms = 0;
	r->retry_ms = RETRY_MIN_MS;
	memcpy(r->remote_boot, t->welcome.boot, 16);
	counters.sessions++;
	if (restarted)
		answer_due(r, UINT64_MAX);
	else
		ask_all_again(r);
	if (!known || restarted)
		log_info("session with %s: %s%s", r->config->host,
			 t->welcome.aead == SEAL_AES256_GCM ? "AES-256-GCM" : "ChaCha20-Poly1305",
			 restarted ? "; it was restarted" : "");
	talk_free(old);
	r->ops.session(r->arg, true, restarted);
}

static void take_welcome(struct talk *t, const uint8_t *value, size_t len)
{
	uint8_t exported[32];

	if (t->session || !t->greeted)
		return;
	if (wire_get_welcome(&t->welcome, value, len) <= 0 || t->welcome.version != WIRE_VERSION ||
	    control_export(t->control, t->welcome.sid, exported)) {
		talk_broke(t, "its WELCOME makes no sense to this version");
		return;
	}
	t->session = session_new(t->welcome.sid, t->welcome.aead, exported);
	seal_wipe(exported, sizeof(exported));
	if (t->session)
		become_now(t);
	else
		talk_broke(t, "out of memory");
}

static void on_control_frame(void *arg, uint8_t type, const uint8_t *value, size_t len)
{
	struct talk *t = arg;

	t->heard_ms = clock_ms();
	switch (type) {
	case WIRE_WELCOME:
		take_welcome(t, value, len);
		break;
	case WIRE_PING:
		control_send(t->control, WIRE_PONG, value, len);
		break;
	case WIRE_REVOKED:
		take_revoked(t->remote, value, len);
		break;
	case WIRE_BYE:
		talk_broke(t, "the remote said goodbye");
		break;
	default: /* of a later version */
		break;
	}
}

/* A remote is silent to who knocks with another key than its own. */
static void on_control_down(void *arg, const char *why)
{
	struct talk *t = arg;
	char text[256];

	if (t->greeted && !t->session)
		why = "it did not welcome us: is our key (plait-local pubkey) among its users?";
	else if (!t->greeted)
		snprintf(text, sizeof(text), "%s: is it a plait-remote, and its key (plait-remote pubkey) the one in [remote] key?",
			 why);
	talk_broke(t, t->greeted ? why : text);
}

static void on_dialled(void *arg, int fd, const struct addr *src)
{
	static const struct control_ops ops = { on_control_up, on_control_frame, on_control_down };
	struct talk *t = arg;
	struct remote *r = t->remote;

	t->dial = NULL;
	if (fd < 0) {
		next_failed(r, strerror(errno));
		return;
	}
	log_debug("control connection by line %s", links_name(r->links, src));
	t->since_ms = t->heard_ms = clock_ms();
	t->control = control_new(r->base, r->tls, fd, r->config->pin, &ops, t);
	if (!t->control)
		next_failed(r, "out of memory");
}

static void begin_talk(struct remote *r)
{
	if (r->next || !r->n_targets)
		return;
	r->next = calloc(1, sizeof(*r->next));
	if (!r->next) {
		retry_later(r);
		return;
	}
	r->next->remote = r;
	r->next->dial = remote_dial(r, on_dialled, r->next);
	if (!r->next->dial)
		next_failed(r, "out of memory");
}

/* --- time --- */

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	begin_talk(arg);
}

static void give_up_session(struct remote *r)
{
	log_warn("no session with %s any more", r->config->host);
	answer_due(r, UINT64_MAX);
	talk_free(r->now);
	r->now = NULL;
	r->lost_ms = 0;
	r->ops.session(r->arg, false, false);
}

static void tend_now(struct remote *r, uint64_t now)
{
	struct talk *t = r->now;

	if (!t->control) {
		if (now - r->lost_ms >= GRACE_MS)
			give_up_session(r);
	} else if (now - t->heard_ms >= SILENCE_MS) {
		talk_broke(t, "nothing heard from it");
	} else {
		if (now - t->heard_ms >= PING_MS)
			control_send(t->control, WIRE_PING, "plait!?", 8);
		if (has_waited(r, now) || (t->welcome.rekey && (now - t->since_ms) / 1000 >= t->welcome.rekey))
			begin_talk(r);
	}
}

static void tend_next(struct remote *r, uint64_t now)
{
	const struct talk *t = r->next;

	if (t->greeted && now - t->since_ms >= WELCOME_MS)
		next_failed(r, "it did not welcome us: is our key (plait-local pubkey) among its users?");
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct remote *r = arg;
	uint64_t now = clock_ms();

	(void)fd;
	(void)what;
	answer_due(r, now);
	if (r->next)
		tend_next(r, now);
	if (r->now)
		tend_now(r, now);
}

/* --- names --- */

static void on_resolved(void *arg, const struct addr *addrs, size_t count)
{
	struct remote *r = arg;

	r->n_targets = count < TARGETS_MAX ? count : TARGETS_MAX;
	memcpy(r->targets, addrs, r->n_targets * sizeof(*addrs));
	r->ops.addresses(r->arg);
	if (!r->now || !r->now->control)
		begin_talk(r);
}

/* --- for the rest of the house --- */

struct remote *remote_new(struct event_base *base, const struct config *config, const struct links *links,
			  struct tls_ctx *tls, const struct sock_wan *opt, const struct remote_ops *ops, void *arg)
{
	struct timeval second = { 1, 0 };
	struct remote *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->base = base;
	r->config = config;
	r->links = links;
	r->tls = tls;
	r->opt = *opt;
	r->ops = *ops;
	r->arg = arg;
	r->retry_ms = RETRY_MIN_MS;
	LIST_INIT(&r->revokes);
	seal_random(r->boot, sizeof(r->boot));
	event_assign(&r->retry, base, -1, 0, on_retry, r);
	event_assign(&r->tick, base, -1, EV_PERSIST, on_tick, r);
	event_add(&r->tick, &second);
	r->resolve = resolve_new(base, config->host, config->port, config->resolver, config->private_ok, on_resolved, r);
	if (!r->resolve) {
		remote_free(r);
		return NULL;
	}
	return r;
}

void remote_free(struct remote *r)
{
	struct revoke *v;

	if (!r)
		return;
	if (r->now && r->now->control)
		control_send(r->now->control, WIRE_BYE, "stopping", 8);
	talk_free(r->now);
	talk_free(r->next);
	while ((v = LIST_FIRST(&r->revokes)))
		remote_revoke_cancel(v);
	resolve_free(r->resolve);
	event_del(&r->retry);
	event_del(&r->tick);
	free(r);
}

struct session *remote_session(const struct remote *r)
{
	return r->now ? r->now->session : NULL;
}

const struct wire_welcome *remote_welcome(const struct remote *r)
{
	return r->now ? &r->now->welcome : NULL;
}

const uint8_t *remote_token(const struct remote *r, const struct session *s)
{
	return r->now && r->now->session == s ? r->now->welcome.token : NULL;
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
	return dial_start(r->base, r->links, r->targets, r->n_targets, &r->opt, cb, arg);
}

void remote_session_refused(struct remote *r, const struct session *s)
{
	if (r->now && r->now->session == s)
		begin_talk(r);
}

void remote_links_changed(struct remote *r)
{
	if (r->next || (r->now && r->now->control))
		return;
	r->retry_ms = RETRY_MIN_MS;
	begin_talk(r);
}

json_t *remote_status(const struct remote *r)
{
	json_t *list = json_array();
	char text[ADDR_STRLEN];

	for (size_t i = 0; i < r->n_targets; i++)
		json_array_append_new(list, json_string(addr_print(&r->targets[i], text)));
	return json_pack("{s:s, s:o, s:b, s:b, s:s, s:b}", "host", r->config->host, "addresses", list, "connected",
			 r->now && r->now->control, "session", r->now != NULL, "aead",
			 !r->now				   ? "none"
			 : r->now->welcome.aead == SEAL_AES256_GCM ? "AES-256-GCM"
								   : "ChaCha20-Poly1305",
			 "clear", r->now && r->config->clear && r->now->welcome.flags & WIRE_F_CLEAR);
}
