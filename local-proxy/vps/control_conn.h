/* SPDX-License-Identifier: BSD-2-Clause */
/* control_conn: one control connection to a VPS, from dial to its end. See control_conn.c. */
#ifndef PLAIT_CONTROL_CONN_H
#define PLAIT_CONTROL_CONN_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "control.h"
#include "links.h"
#include "session.h"
#include "sock.h"
#include "tls.h"

struct control_conn;
SLIST_HEAD(control_conn_over, control_conn);

struct control_conn_setup { /* all of it outlives the connection */
	struct event_base *base;
	struct links *links;
	struct tls_ctx *tls;
	struct sock_wan opt;
	const uint8_t *pin; /* of the VPS */
	uint8_t boot[16];   /* ours */
	bool clear;
};

/* Any of them may end it. None is called from inside a function here. */
struct control_conn_ops {
	void (*welcomed)(void *arg, struct control_conn *c);
	/* What is not answered here. */
	void (*frame)(void *arg, struct control_conn *c, uint8_t type, const uint8_t *value, size_t len);
	void (*room)(void *arg, struct control_conn *c); /* after control_conn_offer() refused: it would not, now */
	/* Its connection is over, or never came to be: why is one clause for the log. The session
	 * of one that was welcomed stays with it. */
	void (*broke)(void *arg, struct control_conn *c, const char *why);
};

/* Dials; it has patience_ms until it is connected. NULL: no memory. */
struct control_conn *control_conn_new(const struct control_conn_setup *setup, const struct addr *targets, size_t count, unsigned patience_ms,
		      const struct control_conn_ops *ops, void *arg);
/* Mark: hangs up, and calls nobody any more. NULL is fine. And sweep, when nothing of it runs. */
void control_conn_end(struct control_conn *c, struct control_conn_over *over);
void control_conn_sweep(struct control_conn_over *over);

struct session *control_conn_session(const struct control_conn *c); /* NULL before WELCOME. Not a reference */
const struct wire_welcome *control_conn_welcome(const struct control_conn *c); /* of that session */
bool control_conn_speaks(const struct control_conn *c);			       /* welcomed, and its connection is there */
uint64_t control_conn_age_ms(const struct control_conn *c);		       /* since WELCOME */

void control_conn_send(struct control_conn *c, enum wire_frame type, const void *value, size_t len);
/* What may be left out; false: not now, or not any more. */
bool control_conn_offer(struct control_conn *c, enum wire_frame type, const void *value, size_t len);
void control_conn_congestion(struct control_conn *c, const char *name); /* as sock_congestion() */
void control_conn_ping(struct control_conn *c); /* once: while an answer is owed, nothing is sent */
void control_conn_forgive(struct control_conn *c); /* it may have answered: it was we who did not listen */
uint64_t control_conn_heard_ms(const struct control_conn *c); /* clock_ms() of the last sign of life */
uint64_t control_conn_asked_ms(const struct control_conn *c); /* since when an answer is owed; 0: none is */
unsigned control_conn_rtt_ms(const struct control_conn *c);   /* of the last ping, 0: unknown */
unsigned control_conn_dial_ms(const struct control_conn *c);  /* how long it took to connect */

#endif
