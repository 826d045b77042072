/* SPDX-License-Identifier: BSD-2-Clause */
/* caller: those who speak to the remote of a world, made of the floors below: a gateway's control
 * connection, and its attached connections. They can say what no honest gateway would. Whatever is
 * not forged on purpose is honest. */
#ifndef CALLER_H
#define CALLER_H

#include "record.h"
#include "session.h"
#include "tls.h"
#include "world.h"

#define NEXT (1ULL << 63) /* a number that no test uses: the next one */
#define MESSAGE_MAX (WIRE_ATTACH_LEN + WIRE_RECORD_MAX + WIRE_RECORD_OVERHEAD)

/* --- control connections --- */

struct gateway {
	struct world *world;
	int fd;
	struct tls_ctx *ctx;
	struct tls *tls;
	struct session *session;
	struct wire_welcome welcome;
	uint64_t next; /* number of an ATTACH */
	uint8_t in[4096];
	size_t in_len;
	TAILQ_ENTRY(gateway) link;
};

size_t caller_knock(uint8_t out[WIRE_KNOCK_LEN], const uint8_t pin[WIRE_PIN]);
/* The knock, and TLS; no HELLO yet. With somebody else's key the handshake ends here too: TLS 1.3
 * tells nothing. */
struct gateway *gateway_knock(struct world *w, enum world_who who);
/* HELLO and WELCOME. `boot` NULL: another process. */
void gateway_hello(struct gateway *g, const uint8_t boot[16], uint8_t flags);
struct gateway *gateway_call(struct world *w, enum world_who who); /* all of it */
struct gateway *gateway_call_as(struct world *w, enum world_who who, const uint8_t boot[16]);
void gateway_send(struct gateway *g, uint8_t type, const void *value, size_t len); /* any length */
void gateway_send_raw(struct gateway *g, const void *data, size_t len);
/* The next frame's type, its value in `value` (WIRE_FRAME_MAX); -1: the connection ended. */
int gateway_recv(struct gateway *g, uint8_t *value, size_t *len);
void gateway_ask_revoke(struct gateway *g, const uint8_t sid[WIRE_SID], uint64_t ctr);
enum wire_verdict gateway_verdict(struct gateway *g, const uint8_t sid[WIRE_SID], uint64_t ctr);
/* Both. `sid` NULL: of its own session. */
enum wire_verdict gateway_revoke(struct gateway *g, const uint8_t sid[WIRE_SID], uint64_t ctr);
void gateway_hang_up(struct gateway *g); /* with RST; its session's numbers can still be used */

/* --- attached connections --- */

struct upstream {
	struct world *world;
	int fd, remote_fd;
	enum seal_alg alg;
	struct seal_key up, down;
	uint64_t ctr;
	TAILQ_ENTRY(upstream) link;
};

/* An ATTACH message. */
void gateway_attach(struct gateway *g, uint64_t ctr, uint8_t out[WIRE_ATTACH_LEN], struct seal_key keys[2]);
/* ATTACH, and an OPEN to the destination behind it: its length. */
size_t gateway_cold(struct gateway *g, uint64_t ctr, const char *early, uint8_t out[MESSAGE_MAX]);
/* A connection that waits: ATTACH was sent, and ATTACHED has come. */
struct upstream *upstream_new(struct gateway *g);
/* A connection on which gateway_cold(NEXT) is about to be sent. */
struct upstream *upstream_cold(struct gateway *g, const char *early, uint8_t out[MESSAGE_MAX], size_t *len);

size_t open_plain(uint8_t *out, const struct addr *dst, const void *early, size_t len);
size_t upstream_seal(struct upstream *u, enum wire_kind kind, const void *plain, size_t len, uint8_t *out); /* one record */
void upstream_send(struct upstream *u, enum wire_kind kind, const void *plain, size_t len);
/* The next record's kind, its plaintext in `out` (WIRE_RECORD_MAX); fails when there is none. */
enum wire_kind upstream_read(struct upstream *u, uint8_t *out, size_t *len);
/* The next record is an answer. */
struct wire_answer upstream_answer(struct upstream *u, uint8_t *first, size_t *len);
/* OPEN to that address (NULL: the destination), and the status of ACCEPT. */
uint16_t upstream_open(struct upstream *u, const struct addr *dst, const char *early);
void upstream_expect_echo(struct upstream *u, const void *data, size_t len); /* in DATA, however it is cut */
enum ending upstream_ending(struct upstream *u);
void upstream_abort(struct upstream *u);

void callers_free(struct world *w);

#endif
