/* SPDX-License-Identifier: BSD-2-Clause */
/* requests_room: what the files of a request share, and nobody else may see. */
#ifndef PLAIT_REQUESTS_ROOM_H
#define PLAIT_REQUESTS_ROOM_H

#include <event2/event_struct.h>
#include <sys/queue.h>

#include "record.h"
#include "requests.h"

#define OPEN_MAX (WIRE_RECORD_MAX + WIRE_RECORD_OVERHEAD)
#define ANSWER_MAX (WIRE_ANSWER_LEN + WIRE_RECORD_OVERHEAD)

enum state { /* requests.c says what each is */
	WAITING,
	CONNECTING,
	CONNECTED,
	KEPT,
	REFUSED,
	OVER,
};

struct request {
	struct requests *requests;
	TAILQ_ENTRY(request) link;
	enum state state;
	int fd, dest; /* fd -1: WAN is gone, and RESUME may bring another */
	struct user *user;
	struct session *session;
	uint64_t ctr, until_ms;
	struct seal_key up, down;
	enum seal_alg alg;
	enum wire_mode mode;
	uint8_t *held; /* WAITING: a part of OPEN; granted: early data, then raw bytes behind OPEN */
	uint32_t early, held_len, sent; /* sent: of the early data, to the destination */
	uint8_t *said; /* KEPT: the destination's first bytes, which went out inside ACCEPT */
	uint32_t said_len;
	bool attached; /* ATTACHED was sent, or at least stands in front of what is being sent */
	bool dest_reset;
	bool keeps; /* RESUME may ask for it */
	struct event rd, wr, clock; /* WAN, destination, time */
};

TAILQ_HEAD(request_list, request);

struct requests {
	struct event_base *base;
	const struct config *config;
	const struct policy *policy;
	struct seal *seal;
	struct relay_loop *relays;
	struct return_routes *routes;
	unsigned waiting[CONFIG_USERS], granted, refused;
	struct request_list waiters[CONFIG_USERS], others, over;
	uint8_t raw[OPEN_MAX];
	uint8_t accept[ANSWER_MAX + OPEN_MAX];
};

/* requests.c */
void request_reset(struct request *r); /* the end of it, and of both its connections */
void request_leave(struct request *r); /* the end of it, but its connections go on */
void request_enter(struct request *r, enum state state);
bool request_is_granted(const struct request *r);
/* Frees whoever is OVER: the last thing that an event of the loop does, and nothing else frees. */
void requests_sweep(struct requests *h);
void request_watch(struct request *r); /* r->fd is another one */
void request_set_clock(struct request *r, uint64_t ms);
int request_hold(struct request *r, const uint8_t *data, size_t len); /* a copy, in the place of what was held */
void request_drop_held(struct request *r);

/* requests_dial.c */
int request_answer(struct request *r, const uint8_t *plain, size_t len); /* `len` 0: ATTACHED alone */
void request_refuse(struct request *r, uint16_t status);
void request_dial(struct request *r, const struct addr *dst);
void request_look(struct request *r); /* granted; from time to time */
void request_accept(struct request *r, const uint8_t *said, size_t len); /* says ACCEPT with these first bytes */
/* `owed`: the tail of ACCEPT that WAN did not take. */
void request_become_relay(struct request *r, const uint8_t *owed, size_t owed_len);

/* requests_resume.c */
bool request_keep(struct request *r, const uint8_t *said, size_t len); /* ACCEPT is about to go out with these bytes; false: do not */
void request_look_kept(struct request *r);
bool request_bereave(struct request *r); /* WAN has died; false: then it is over */
/* RESUME came on n, and `more` raw bytes behind it. n is OVER afterwards, or REFUSED. */
void request_resume(struct request *n, const struct wire_resume *r, const uint8_t *raw, size_t more);

#endif
