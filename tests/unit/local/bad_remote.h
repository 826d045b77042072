/* SPDX-License-Identifier: BSD-2-Clause */
/* bad_remote: the rooms of plait-local that carry a connection of the LAN, and in the place of the
 * remote one that does what the test says. All in one loop, under a clock of its own; the
 * connections are TCP over the loopback, because what is asserted is a reset. Lines are no matter
 * here: the kernel's routes decide, and everything is plain TCP. A test includes this once. */
#ifndef BAD_REMOTE_H
#define BAD_REMOTE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"
#include "control.h"
#include "counter.h"
#include "identity.h"
#include "log.h"
#include "record.h"
#include "sock.h"
#include "virtual_time.h"

#define CALLS 8	    /* more are hung up on */
#define CARRIERS 64 /* likewise */
#define LONG_MS 1000
#define HANG_MS 60000 /* real */

/* --- the links, as the rooms ask for them --- */

size_t links_sources(const struct links *l, const struct addr *to, struct addr *out, size_t max)
{
	(void)l;
	(void)to;
	memset(out, 0, max ? sizeof(*out) : 0);
	return max ? 1 : 0;
}

size_t links_turn(struct links *l, const struct addr *src, size_t n)
{
	(void)l;
	(void)src;
	(void)n;
	return 0;
}

bool links_is_plain(const struct links *l, const struct addr *src)
{
	(void)l;
	(void)src;
	return true;
}

uint32_t links_rtt(const struct links *l, const struct addr *src)
{
	(void)l;
	(void)src;
	return 0;
}

bool links_mixed(const struct links *l)
{
	(void)l;
	return false;
}

bool links_uneasy(const struct links *l)
{
	(void)l;
	return false;
}

const char *links_name(const struct links *l, const struct addr *src)
{
	(void)l;
	(void)src;
	return "?";
}

/* --- the log --- */

enum log_level log_level = LOG_LVL_INFO;
static char logged[65536];

__attribute__((format(printf, 1, 0))) static void note(const char *fmt, va_list ap)
{
	size_t len = strlen(logged);

	vsnprintf(logged + len, sizeof(logged) - len, fmt, ap);
}

#define NOTES(name) \
	void name(const char *fmt, ...) \
	{ \
		va_list ap; \
\
		va_start(ap, fmt); \
		note(fmt, ap); \
		va_end(ap); \
	}
NOTES(log_error)
NOTES(log_warn)
NOTES(log_info)
NOTES(log_debug)

void log_limited(struct log_limit *l, const char *fmt, ...)
{
	va_list ap;

	(void)l;
	va_start(ap, fmt);
	note(fmt, ap);
	va_end(ap);
}

/* --- who is there --- */

enum attach { HONEST, FORGED_RESET, MUTE }; /* what ATTACH is answered with */

struct call { /* a control connection, as the remote sees it */
	struct house *house;
	struct control *control;
	struct session *session;
};

struct fallback { /* an attached connection, likewise */
	struct house *house;
	int fd;
	uint8_t in[WIRE_ATTACH_LEN + WIRE_RECORD_MAX + WIRE_RECORD_OVERHEAD];
	size_t in_len;
	bool attached, asked; /* asked: OPEN has come */
	enum seal_alg alg;
	struct seal_key up, down;
	struct event *readable, *timer;
};

struct house {
	struct event_base *base;
	struct config config;
	struct identity *key[2]; /* the gateway's, the remote's */
	struct tls_ctx *tls[2];
	struct seal *seal[2];
	struct relay_loop *relays;
	struct vps_choice *vps;
	bool session;
	struct pool *pool;
	struct lan_house lan;
	struct client_list clients;
	struct sources *sources;

	uint8_t pin[WIRE_PIN], boot[16];
	int door, lan_door; /* listening */
	struct addr door_addr, lan_addr;
	struct event *arriving;
	struct call calls[CALLS];
	struct fallback *carriers[CARRIERS];
	unsigned n_calls, n_carriers, opens, mute;
	uint8_t open_flags; /* of the last OPEN */
	bool slow;	    /* REVOKE is answered by house_answer_revoke(), not at once */
	struct call *doubter; /* who waits for that */
	struct wire_revoke doubt;
	uint8_t flags;	    /* of WELCOME */
	enum attach attach;
	struct fallback *asked; /* the one that OPEN came on last; NULL: look again */
};

static void wait_over(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	*(bool *)arg = true;
}

/* In a long wait what is on its way need not arrive before the clock's next step. */
static void house_wait(struct house *h, unsigned ms)
{
	struct timeval tv = { ms / 1000, (suseconds_t)(ms % 1000) * 1000 };
	bool over = false;

	virtual_grace_ms = ms > LONG_MS ? 0 : 1;
	event_base_once(h->base, -1, EV_TIMEOUT, wait_over, &over, &tv);
	while (!over)
		event_base_loop(h->base, EVLOOP_ONCE);
	virtual_grace_ms = 1;
}

/* Until it is so: what makes it so happens in the loop. What takes longer than that never comes. */
#define LIMIT_MS 20000
#define house_until(h, so) do { \
	uint64_t since_ = virtual_ms(); \
\
	while (!(so)) { \
		if (virtual_ms() - since_ > LIMIT_MS) \
			fail_msg("never came: %s", #so); \
		event_base_loop((h)->base, EVLOOP_ONCE); \
	} \
} while (0)

static void wait_real(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	assert_int_equal(poll(&p, 1, HANG_MS), 1);
}

/* --- the remote's side --- */

static struct seal *far_seal(struct fallback *c)
{
	return c->house->seal[1];
}

static size_t fallback_seal(struct fallback *c, enum wire_kind kind, const void *plain, size_t len, uint8_t *out)
{
	ssize_t n = record_seal(far_seal(c), c->alg, &c->down, kind, plain, len, out);

	assert_int_equal(n, len + WIRE_RECORD_OVERHEAD);
	return (size_t)n;
}

static void fallback_say(struct fallback *c, const void *data, size_t len)
{
	assert_int_equal(send(c->fd, data, len, MSG_NOSIGNAL), len);
}

static void fallback_send(struct fallback *c, enum wire_kind kind, const void *plain, size_t len)
{
	uint8_t record[WIRE_RECORD_MAX + WIRE_RECORD_OVERHEAD];

	fallback_say(c, record, fallback_seal(c, kind, plain, len, record));
}

static void fallback_accept(struct fallback *c, uint16_t status, const char *first)
{
	struct wire_answer a = { .what = WIRE_ACCEPT, .status = status };
	uint8_t plain[100];

	wire_put_answer(plain, &a);
	memcpy(plain + WIRE_ANSWER_LEN, first, strlen(first));
	fallback_send(c, WIRE_OPEN, plain, WIRE_ANSWER_LEN + strlen(first));
}

static void fallback_abort(struct fallback *c)
{
	event_del(c->readable);
	event_del(c->timer);
	sock_close_reset(c->fd);
	c->fd = -1;
}

static void forge_reset(struct fallback *c)
{
	uint8_t reset[WIRE_RESET_LEN];

	seal_random(reset, sizeof(reset));
	memcpy(reset, "\3\1", 2);
	fallback_say(c, reset, sizeof(reset));
}

static void fallback_timer(evutil_socket_t fd, short what, void *arg)
{
	struct fallback *c = arg;

	(void)fd;
	(void)what;
	c->house->opens += c->in_len > WIRE_ATTACH_LEN; /* it is a client's, not the pool's */
	forge_reset(c);
	shutdown(c->fd, SHUT_WR);
}

/* By the newest session that admits it. */
static void fallback_admit(struct fallback *c)
{
	static const struct wire_answer attached = { .what = WIRE_ATTACHED };
	uint8_t plain[WIRE_ANSWER_LEN];
	struct house *h = c->house;
	struct seal_key keys[2];
	struct wire_attach a;
	unsigned i;

	assert_int_equal(wire_get_attach(&a, c->in, WIRE_ATTACH_LEN), WIRE_ATTACH_LEN);
	for (i = 0; i < h->n_calls; i++)
		if (session_admit(h->calls[i].session, far_seal(c), &a, c->in, keys) == SESSION_OK)
			break;
	assert_true(i < h->n_calls);
	c->attached = true;
	c->alg = session_alg(h->calls[i].session);
	c->up = keys[0];
	c->down = keys[1];
	wire_put_answer(plain, &attached);
	fallback_send(c, WIRE_OPEN, plain, sizeof(plain));
}

static void fallback_attach(struct fallback *c)
{
	static const struct timeval soon = { .tv_usec = 200000 };

	if (c->house->attach == MUTE)
		c->house->mute++;
	else if (c->house->attach == FORGED_RESET)
		event_add(c->timer, &soon);
	else
		fallback_admit(c);
}

static void fallback_opened(struct fallback *c)
{
	struct record rec;

	if (record_open(far_seal(c), c->alg, &c->up, c->in + WIRE_ATTACH_LEN, c->in_len - WIRE_ATTACH_LEN, &rec) == 0)
		return;
	struct wire_open open;

	assert_int_equal(rec.kind, WIRE_OPEN);
	assert_true(wire_get_open(&open, rec.data, rec.len) > 0);
	c->house->open_flags = open.flags;
	c->asked = true;
	c->house->opens++;
	c->house->asked = c;
	event_del(c->readable); /* the rest is the test's */
}

/* All that the gateway has sent behind OPEN, as the text that it is. */
static void fallback_rest(struct fallback *c, char *text, size_t room)
{
	size_t at = 0;
	struct record rec;
	ssize_t n = read(c->fd, c->in, sizeof(c->in));

	for (size_t len = 0; n > 0 && record_open(far_seal(c), c->alg, &c->up, c->in + at, (size_t)n - at, &rec) > 0; at += rec.used) {
		assert_int_equal(rec.kind, WIRE_DATA);
		assert_true(len + rec.len < room);
		memcpy(text + len, rec.data, rec.len);
		len += rec.len;
		text[len] = 0;
	}
	assert_int_equal(at, n);
}

static void fallback_readable(evutil_socket_t fd, short what, void *arg)
{
	struct fallback *c = arg;
	size_t was = c->in_len;
	ssize_t n = read(fd, c->in + was, sizeof(c->in) - was);

	(void)what;
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		event_del(c->readable);
		return;
	}
	c->in_len += (size_t)n;
	if (was < WIRE_ATTACH_LEN && c->in_len >= WIRE_ATTACH_LEN)
		fallback_attach(c);
	if (c->attached && c->in_len > WIRE_ATTACH_LEN)
		fallback_opened(c);
}

static void fallback_new(struct house *h, int fd)
{
	struct fallback *c = calloc(1, sizeof(*c));

	assert_non_null(c);
	h->carriers[h->n_carriers++] = c;
	c->house = h;
	c->fd = fd;
	c->readable = event_new(h->base, fd, EV_READ | EV_PERSIST, fallback_readable, c);
	c->timer = event_new(h->base, -1, 0, fallback_timer, c);
	event_add(c->readable, NULL);
}

static void call_up(void *arg, const uint8_t pin[WIRE_PIN])
{
	(void)arg;
	(void)pin;
}

static void welcome(struct call *c)
{
	struct wire_welcome w = { .version = WIRE_VERSION, .aead = SEAL_AES256_GCM, .pool_cap = 64, .pool_age = 120, .rekey = 3600,
				  .relays = 2000, .opens = 200, .flags = c->house->flags };
	uint8_t exported[32], out[WIRE_WELCOME_LEN];

	seal_random(w.sid, sizeof(w.sid));
	seal_random(w.token, sizeof(w.token));
	memcpy(w.boot, c->house->boot, sizeof(w.boot));
	assert_int_equal(control_export(c->control, w.sid, exported), 0);
	c->session = session_new(w.sid, SEAL_AES256_GCM, exported);
	control_send(c->control, WIRE_WELCOME, out, wire_put_welcome(out, &w));
}

static void house_answer_revoke(struct house *h)
{
	uint8_t out[WIRE_REVOKED_LEN];

	h->doubt.verdict = WIRE_SERVED;
	control_send(h->doubter->control, WIRE_REVOKED, out, wire_put_revoked(out, &h->doubt));
	h->doubter = NULL;
}

static void call_frame(void *arg, uint8_t type, const uint8_t *value, size_t len)
{
	struct call *c = arg;

	if (type == WIRE_HELLO)
		welcome(c);
	if (type == WIRE_PING)
		control_send(c->control, WIRE_PONG, value, len);
	if (type != WIRE_REVOKE)
		return;
	assert_true(wire_get_revoke(&c->house->doubt, value, len) > 0);
	c->house->doubter = c;
	if (!c->house->slow)
		house_answer_revoke(c->house);
}

static void call_down(void *arg, const char *why)
{
	struct call *c = arg;

	(void)why;
	control_free(c->control);
	c->control = NULL;
}

static void call_new(struct house *h, int fd)
{
	static const struct control_ops ops = { .up = call_up, .frame = call_frame, .down = call_down };
	uint8_t raw[WIRE_KNOCK_LEN];
	struct wire_knock k;
	struct call *c = &h->calls[h->n_calls++];

	assert_int_equal(read(fd, raw, sizeof(raw)), sizeof(raw));
	assert_int_equal(wire_get_knock(&k, raw, sizeof(raw)), sizeof(raw));
	assert_true(session_knock_ok(&k, h->pin));
	c->house = h;
	c->control = control_new(h->base, h->tls[1], fd, NULL, &ops, c);
}

/* Its first byte tells what it is; a dial that lost its race says none. */
static void visitor_readable(evutil_socket_t fd, short what, void *arg)
{
	struct house *h = arg;
	uint8_t first;

	(void)what;
	if (recv(fd, &first, 1, MSG_PEEK) != 1 || h->n_calls == CALLS || h->n_carriers == CARRIERS)
		close(fd);
	else if (first == WIRE_CONTROL)
		call_new(h, fd);
	else
		fallback_new(h, fd);
}

static void take_visitor(evutil_socket_t listener, short what, void *arg)
{
	struct house *h = arg;
	struct addr peer;
	int fd;

	(void)what;
	while ((fd = sock_accept(listener, &peer)) >= 0)
		event_base_once(h->base, fd, EV_READ, visitor_readable, h, NULL);
}

/* --- the gateway's side --- */

static void house_vps_changed(void *arg)
{
	struct house *h = arg;
	bool up = vps_choice_session(h->vps) != NULL, lost = h->session && !up;
	struct client *o, *next;

	h->session = up;
	pool_vps_changed(h->pool);
	for (o = LIST_FIRST(&h->clients); o; o = next) {
		next = client_next(o);
		if (lost)
			client_give_up(o);
		else if (up)
			client_session(o);
	}
}

static void house_vps_restarted(void *arg, const struct vps *v)
{
	struct house *h = arg;

	relay_loop_clear(h->relays, v);
}

/* A connection of the LAN to somewhere, and the first that its client says. Its descriptor. */
static int house_client(struct house *h, const char *first)
{
	struct addr src, dst;
	int fd = sock_dial_tcp(&h->lan_addr, 0), near;

	assert_true(fd >= 0);
	wait_real(fd, POLLOUT);
	assert_int_equal(send(fd, first, strlen(first), MSG_NOSIGNAL), strlen(first));
	wait_real(h->lan_door, POLLIN);
	near = sock_accept(h->lan_door, &src);
	assert_true(near >= 0);
	assert_int_equal(addr_parse(&dst, "11.9.0.2", 7001), 0);
	h->asked = NULL;
	client_new(&h->lan, &h->clients, turn_new(h->sources, &src), near, &src, &dst);
	return fd;
}

enum ending { STILL_OPEN, AT_EOF, AT_RESET };

/* How it ends for the client, and what he has got by then. */
static enum ending house_ending(struct house *h, int fd, char *got, size_t room)
{
	uint64_t since = virtual_ms();
	size_t len = 0;
	int on = 1;

	while (virtual_ms() - since < LIMIT_MS && len < room) {
		ssize_t n = read(fd, got + len, room - len);

		setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on)); /* the kernel's delay has a clock of its own */
		len += n > 0 ? (size_t)n : 0;
		got[len] = 0;
		if (n == 0)
			return AT_EOF;
		if (n < 0 && errno != EAGAIN)
			return AT_RESET;
		if (n < 0)
			event_base_loop(h->base, EVLOOP_ONCE);
	}
	return STILL_OPEN;
}

/* --- from the beginning to the end --- */

static struct identity *make_key(void)
{
	char dir[] = "/tmp/plait-house-XXXXXX", path[64], err[256];
	struct identity *id;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/key", dir);
	assert_int_equal(identity_generate(path, err, sizeof(err)), 0);
	id = identity_load(path, err, sizeof(err));
	assert_non_null(id);
	unlink(path);
	rmdir(dir);
	return id;
}

static int listen_at(struct addr *at)
{
	int fd;

	assert_int_equal(addr_parse(at, "127.0.0.1", 0), 0);
	fd = sock_listen_lan(at, false);
	assert_true(fd >= 0);
	assert_int_equal(sock_local(fd, at), 0);
	return fd;
}

static void vps_begin(struct house *h)
{
	identity_pin(h->key[1], h->pin);
	seal_random(h->boot, sizeof(h->boot));
	h->door = listen_at(&h->door_addr);
	h->arriving = event_new(h->base, h->door, EV_READ | EV_PERSIST, take_visitor, h);
	event_add(h->arriving, NULL);
}

static void gateway_begin(struct house *h)
{
	struct config_vps *r = &h->config.vps[0];

	h->config.pool_min = 1;
	h->config.pool_max = 2;
	h->config.pool_age_s = 100;
	h->config.n_vps = 1;
	snprintf(r->host, sizeof(r->host), "127.0.0.1");
	r->port = h->door_addr.port;
	memcpy(r->pin, h->pin, WIRE_PIN);
	h->relays = relay_loop_new(h->base, h->seal[0], &(struct relay_limits){ 7440, 300, 90 });
	relay_loop_congestion(h->relays, "");
	h->vps = vps_choice_new(h->base, &h->config, NULL, h->relays, h->tls[0], &(struct sock_wan){ .plain = true });
	h->pool = pool_new(h->base, &h->config, NULL, h->vps, h->seal[0]);
	assert_non_null(h->pool);
	vps_choice_on_restart(h->vps, house_vps_restarted, h);
	vps_choice_watch(h->vps, house_vps_changed, h);
	assert_int_equal(vps_choice_start(h->vps), 0);
	h->sources = sources_new(h->base, 1000);
	h->lan_door = listen_at(&h->lan_addr);
	h->lan = (struct lan_house){ .base = h->base, .config = &h->config, .vps = h->vps, .pool = h->pool, .relays = h->relays,
				     .seal = h->seal[0] };
}

static int pool_says(const struct house *h, const char *what)
{
	json_t *status = pool_status(h->pool);
	int n = (int)json_integer_value(json_object_get(status, what));

	json_decref(status);
	return n;
}

static uint8_t welcome_flags; /* of the next house's VPS */

static int house_setup(void **state)
{
	struct house *h = calloc(1, sizeof(*h));

	assert_non_null(h);
	h->flags = welcome_flags;
	signal(SIGPIPE, SIG_IGN);
	memset(&counters, 0, sizeof(counters));
	logged[0] = 0;
	LIST_INIT(&h->clients);
	h->base = event_base_new();
	for (unsigned i = 0; i < 2; i++) {
		h->key[i] = make_key();
		h->tls[i] = tls_ctx_new(h->key[i], i == 1);
		h->seal[i] = seal_new();
	}
	vps_begin(h);
	gateway_begin(h);
	house_until(h, pool_says(h, "warm") > 0);
	*state = h;
	return 0;
}

static void vps_end(struct house *h)
{
	for (unsigned i = 0; i < h->n_calls; i++) {
		control_free(h->calls[i].control);
		session_put(h->calls[i].session);
	}
	for (unsigned i = 0; i < h->n_carriers; i++) {
		event_free(h->carriers[i]->readable);
		event_free(h->carriers[i]->timer);
		if (h->carriers[i]->fd >= 0)
			close(h->carriers[i]->fd);
		free(h->carriers[i]);
	}
	event_free(h->arriving);
	close(h->door);
}

static int house_teardown(void **state)
{
	struct house *h = *state;

	relay_loop_free(h->relays);
	while (LIST_FIRST(&h->clients))
		client_free(LIST_FIRST(&h->clients));
	assert_int_equal(sources_connections(h->sources), 0);
	sources_free(h->sources);
	pool_free(h->pool);
	vps_choice_free(h->vps);
	close(h->lan_door);
	vps_end(h);
	for (unsigned i = 0; i < 2; i++) {
		seal_free(h->seal[i]);
		tls_ctx_free(h->tls[i]);
		identity_free(h->key[i]);
	}
	event_base_free(h->base);
	free(h);
	return 0;
}

#endif
