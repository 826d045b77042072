/* SPDX-License-Identifier: BSD-2-Clause */
#include "caller.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "seal.h"

#define FRAME_LIMIT_MS 10000

/* --- control connections --- */

size_t caller_knock(uint8_t out[WIRE_KNOCK_LEN], const uint8_t pin[WIRE_PIN])
{
	struct wire_knock k;

	session_knock(&k, pin);
	return wire_put_knock(out, &k);
}

struct gateway *gateway_knock(struct world *w, enum world_who who)
{
	struct gateway *g = calloc(1, sizeof(*g));
	uint8_t knock[WIRE_KNOCK_LEN];

	assert_non_null(g);
	g->world = w;
	g->fd = world_connect(w, NULL);
	world_say(g->fd, knock, caller_knock(knock, w->pin));
	g->ctx = tls_ctx_new(w->key[who], false);
	g->tls = tls_new(g->ctx, g->fd);
	assert_non_null(g->tls);
	TAILQ_INSERT_TAIL(&w->gateways, g, link);
	world_until(w, tls_handshake(g->tls) == 0);
	return g;
}

void gateway_send_raw(struct gateway *g, const void *data, size_t len)
{
	assert_int_equal(tls_write(g->tls, data, len), len);
}

void gateway_send(struct gateway *g, uint8_t type, const void *value, size_t len)
{
	uint8_t frame[WIRE_FRAME_HDR + 2048];

	assert_true(len <= 2048);
	wire_put_frame_hdr(frame, type, len);
	if (len)
		memcpy(frame + WIRE_FRAME_HDR, value, len);
	gateway_send_raw(g, frame, WIRE_FRAME_HDR + len);
}

/* 1: there is more; 0: nothing now; -1: it ended. */
static int gateway_fill(struct gateway *g)
{
	ssize_t n = tls_read(g->tls, g->in + g->in_len, sizeof(g->in) - g->in_len);

	if (n == TLS_WANT_READ || n == TLS_WANT_WRITE)
		return 0;
	if (n <= 0)
		return -1;
	g->in_len += (size_t)n;
	return 1;
}

static int take_frame(struct gateway *g, uint8_t *value, size_t *len)
{
	uint8_t type;
	ssize_t hdr = wire_get_frame_hdr(&type, len, g->in, g->in_len);

	assert_true(hdr >= 0);
	if (!hdr || g->in_len - (size_t)hdr < *len)
		return -1;
	memcpy(value, g->in + hdr, *len);
	g->in_len -= (size_t)hdr + *len;
	memmove(g->in, g->in + hdr + *len, g->in_len);
	return type;
}

int gateway_recv(struct gateway *g, uint8_t *value, size_t *len)
{
	uint64_t until = world_ms() + FRAME_LIMIT_MS;
	int type, more;

	while ((type = take_frame(g, value, len)) < 0) {
		more = gateway_fill(g);
		if (more < 0)
			return -1;
		if (world_ms() > until)
			fail_msg("the remote neither spoke nor closed");
		if (!more)
			world_wait_for(g->world, g->fd, FRAME_LIMIT_MS);
	}
	return type;
}

void gateway_hello(struct gateway *g, const uint8_t boot[16], uint8_t flags)
{
	struct wire_hello h = { .version = WIRE_VERSION, .flags = flags };
	uint8_t hello[WIRE_HELLO_LEN], value[WIRE_FRAME_MAX], exported[32];
	size_t len;

	if (boot)
		memcpy(h.boot, boot, sizeof(h.boot));
	else
		seal_random(h.boot, sizeof(h.boot));
	gateway_send(g, WIRE_HELLO, hello, wire_put_hello(hello, &h));
	assert_int_equal(gateway_recv(g, value, &len), WIRE_WELCOME);
	assert_true(wire_get_welcome(&g->welcome, value, len) > 0);
	assert_int_equal(tls_export(g->tls, g->welcome.sid, WIRE_SID, exported), 0);
	g->session = session_new(g->welcome.sid, g->welcome.aead, exported);
	assert_non_null(g->session);
}

struct gateway *gateway_call_as(struct world *w, enum world_who who, const uint8_t boot[16])
{
	struct gateway *g = gateway_knock(w, who);

	gateway_hello(g, boot, WIRE_F_AES);
	return g;
}

struct gateway *gateway_call(struct world *w, enum world_who who)
{
	return gateway_call_as(w, who, NULL);
}

void gateway_ask_revoke(struct gateway *g, const uint8_t sid[WIRE_SID], uint64_t ctr)
{
	struct wire_revoke r = { .ctr = ctr };
	uint8_t ask[WIRE_REVOKE_LEN];

	memcpy(r.sid, sid ? sid : g->welcome.sid, WIRE_SID);
	gateway_send(g, WIRE_REVOKE, ask, wire_put_revoke(ask, &r));
}

enum wire_verdict gateway_verdict(struct gateway *g, const uint8_t sid[WIRE_SID], uint64_t ctr)
{
	uint8_t value[WIRE_FRAME_MAX];
	struct wire_revoke r;
	size_t len;

	assert_int_equal(gateway_recv(g, value, &len), WIRE_REVOKED);
	assert_true(wire_get_revoked(&r, value, len) > 0);
	assert_memory_equal(r.sid, sid ? sid : g->welcome.sid, WIRE_SID);
	assert_int_equal(r.ctr, ctr);
	return r.verdict;
}

enum wire_verdict gateway_revoke(struct gateway *g, const uint8_t sid[WIRE_SID], uint64_t ctr)
{
	gateway_ask_revoke(g, sid, ctr);
	return gateway_verdict(g, sid, ctr);
}

void gateway_hang_up(struct gateway *g)
{
	if (g->fd >= 0)
		world_abort(g->fd);
	g->fd = -1;
}

static void gateway_free(struct gateway *g)
{
	TAILQ_REMOVE(&g->world->gateways, g, link);
	gateway_hang_up(g);
	tls_free(g->tls);
	tls_ctx_free(g->ctx);
	if (g->session)
		session_put(g->session);
	free(g);
}

/* --- attached connections --- */

void gateway_attach(struct gateway *g, uint64_t ctr, uint8_t out[WIRE_ATTACH_LEN], struct seal_key keys[2])
{
	uint8_t salt[WIRE_SALT];

	seal_random(salt, sizeof(salt));
	session_attach_as(g->session, g->world->seal, ctr == NEXT ? g->next++ : ctr, salt, out, keys);
}

size_t open_plain(uint8_t *out, const struct addr *dst, const void *early, size_t len)
{
	struct wire_open o = { .mode = WIRE_SEALED, .dst = *dst };

	assert_int_equal(addr_parse(&o.src, "192.168.77.10", 40000), 0);
	wire_put_open(out, &o);
	if (len)
		memcpy(out + WIRE_OPEN_LEN, early, len);
	return WIRE_OPEN_LEN + len;
}

static size_t cold(struct gateway *g, uint64_t ctr, const char *early, uint8_t *out, struct seal_key keys[2])
{
	uint8_t plain[WIRE_RECORD_MAX];
	size_t len = open_plain(plain, &g->world->server_addr, early, strlen(early));
	ssize_t n;

	gateway_attach(g, ctr, out, keys);
	n = record_seal(g->world->seal, session_alg(g->session), &keys[0], WIRE_OPEN, plain, len, out + WIRE_ATTACH_LEN);
	assert_true(n > 0);
	return WIRE_ATTACH_LEN + (size_t)n;
}

size_t gateway_cold(struct gateway *g, uint64_t ctr, const char *early, uint8_t out[MESSAGE_MAX])
{
	struct seal_key keys[2];

	return cold(g, ctr, early, out, keys);
}

static struct upstream *upstream_make(struct gateway *g)
{
	struct upstream *u = calloc(1, sizeof(*u));

	assert_non_null(u);
	u->world = g->world;
	u->alg = session_alg(g->session);
	u->ctr = g->next;
	u->fd = world_connect(g->world, &u->remote_fd);
	TAILQ_INSERT_TAIL(&g->world->upstreams, u, link);
	return u;
}

struct upstream *upstream_cold(struct gateway *g, const char *early, uint8_t out[MESSAGE_MAX], size_t *len)
{
	struct upstream *u = upstream_make(g);
	struct seal_key keys[2];

	*len = cold(g, NEXT, early, out, keys);
	u->up = keys[0];
	u->down = keys[1];
	return u;
}

struct upstream *upstream_new(struct gateway *g)
{
	struct upstream *u = upstream_make(g);
	uint8_t attach[WIRE_ATTACH_LEN];
	struct seal_key keys[2];
	struct wire_answer a;

	gateway_attach(g, NEXT, attach, keys);
	u->up = keys[0];
	u->down = keys[1];
	world_say(u->fd, attach, sizeof(attach));
	a = upstream_answer(u, NULL, NULL);
	assert_int_equal(a.what, WIRE_ATTACHED);
	assert_int_equal(a.status, WIRE_OK);
	return u;
}

size_t upstream_seal(struct upstream *u, enum wire_kind kind, const void *plain, size_t len, uint8_t *out)
{
	ssize_t n = record_seal(u->world->seal, u->alg, &u->up, kind, plain, len, out);

	assert_int_equal(n, len + WIRE_RECORD_OVERHEAD);
	return (size_t)n;
}

void upstream_send(struct upstream *u, enum wire_kind kind, const void *plain, size_t len)
{
	uint8_t record[WIRE_RECORD_MAX + WIRE_RECORD_OVERHEAD];

	world_say(u->fd, record, upstream_seal(u, kind, plain, len, record));
}

enum wire_kind upstream_read(struct upstream *u, uint8_t *out, size_t *len)
{
	uint8_t raw[WIRE_RECORD_MAX + WIRE_RECORD_OVERHEAD];
	enum wire_kind kind;
	struct record r;
	size_t n;

	world_listen(u->world, u->fd, FRAME_LIMIT_MS, raw, WIRE_RECORD_HDR, &n);
	assert_int_equal(wire_get_record_hdr(&kind, len, raw, n), WIRE_RECORD_HDR);
	world_listen(u->world, u->fd, FRAME_LIMIT_MS, raw + WIRE_RECORD_HDR, *len, &n);
	assert_int_equal(n, *len);
	assert_int_equal(record_open(u->world->seal, u->alg, &u->down, raw, WIRE_RECORD_HDR + n, &r), 1);
	*len = r.len;
	if (out)
		memcpy(out, r.data, r.len);
	return r.kind;
}

struct wire_answer upstream_answer(struct upstream *u, uint8_t *first, size_t *len)
{
	uint8_t plain[WIRE_RECORD_MAX];
	struct wire_answer a;
	size_t n;

	assert_int_equal(upstream_read(u, plain, &n), WIRE_OPEN);
	assert_true(wire_get_answer(&a, plain, n) > 0);
	if (first)
		memcpy(first, plain + WIRE_ANSWER_LEN, n - WIRE_ANSWER_LEN);
	if (len)
		*len = n - WIRE_ANSWER_LEN;
	return a;
}

uint16_t upstream_open(struct upstream *u, const struct addr *dst, const char *early)
{
	uint8_t plain[WIRE_RECORD_MAX];
	struct wire_answer a;

	upstream_send(u, WIRE_OPEN, plain, open_plain(plain, dst ? dst : &u->world->server_addr, early, strlen(early)));
	a = upstream_answer(u, NULL, NULL);
	assert_int_equal(a.what, WIRE_ACCEPT);
	return a.status;
}

void upstream_expect_echo(struct upstream *u, const void *data, size_t len)
{
	uint8_t plain[WIRE_RECORD_MAX];
	const uint8_t *want = data;
	size_t n;

	for (; len; want += n, len -= n) {
		assert_int_equal(upstream_read(u, plain, &n), WIRE_DATA);
		assert_true(n <= len);
		assert_memory_equal(plain, want, n);
	}
}

enum ending upstream_ending(struct upstream *u)
{
	return world_ending(u->world, u->fd);
}

void upstream_abort(struct upstream *u)
{
	TAILQ_REMOVE(&u->world->upstreams, u, link);
	world_abort(u->fd);
	free(u);
}

void callers_free(struct world *w)
{
	while (TAILQ_FIRST(&w->upstreams))
		upstream_abort(TAILQ_FIRST(&w->upstreams));
	while (TAILQ_FIRST(&w->gateways))
		gateway_free(TAILQ_FIRST(&w->gateways));
}
