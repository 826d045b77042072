/* talk: one control connection to a remote, from dial to its end. See talk.c. */
#ifndef PLAIT_TALK_H
#define PLAIT_TALK_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "control.h"
#include "links.h"
#include "session.h"
#include "sock.h"
#include "tls.h"

struct talk;

struct talk_setup { /* all of it outlives the talk */
	struct event_base *base;
	struct links *links;
	struct tls_ctx *tls;
	struct sock_wan opt;
	const uint8_t *pin; /* of the remote */
	uint8_t boot[16];   /* ours */
	bool clear;
};

/* Any of them may free the talk. None is called from inside a function here. */
struct talk_ops {
	void (*welcomed)(void *arg, struct talk *t);
	/* What is not answered here. */
	void (*frame)(void *arg, struct talk *t, uint8_t type, const uint8_t *value, size_t len);
	void (*room)(void *arg, struct talk *t); /* after talk_offer() refused: it would not, now */
	/* Its connection is over, or never came to be: why is one clause for the log. The session of a talk that was
	 * welcomed stays with it. */
	void (*broke)(void *arg, struct talk *t, const char *why);
};

/* Dials; it has patience_ms until it is connected. NULL: no memory. */
struct talk *talk_new(const struct talk_setup *setup, const struct addr *targets, size_t count, unsigned patience_ms,
		      const struct talk_ops *ops, void *arg);
void talk_free(struct talk *t); /* NULL is fine */

struct session *talk_session(const struct talk *t); /* NULL before WELCOME. Not a reference */
const struct wire_welcome *talk_welcome(const struct talk *t); /* of that session */
bool talk_speaks(const struct talk *t);			       /* welcomed, and its connection is there */
uint64_t talk_age_ms(const struct talk *t);		       /* since WELCOME */

void talk_send(struct talk *t, enum wire_frame type, const void *value, size_t len);
/* What may be left out; false: not now, or not any more. */
bool talk_offer(struct talk *t, enum wire_frame type, const void *value, size_t len);
void talk_congestion(struct talk *t, const char *name); /* as sock_congestion() */
void talk_ping(struct talk *t); /* once: while an answer is owed, nothing is sent */
void talk_forgive(struct talk *t); /* it may have answered: it was we who did not listen */
uint64_t talk_heard_ms(const struct talk *t); /* clock_ms() of the last sign of life */
uint64_t talk_asked_ms(const struct talk *t); /* since when an answer is owed; 0: none is */
unsigned talk_rtt_ms(const struct talk *t);   /* of the last ping, 0: unknown */
unsigned talk_dial_ms(const struct talk *t);  /* how long it took to connect */

#endif
