/* hall_room: what the files of the hall share, and nobody else may see. */
#ifndef PLAIT_HALL_ROOM_H
#define PLAIT_HALL_ROOM_H

#include <event2/event_struct.h>
#include <sys/queue.h>

#include "hall.h"
#include "record.h"

#define OPEN_MAX (WIRE_RECORD_MAX + WIRE_RECORD_OVERHEAD)
#define ANSWER_MAX (WIRE_ANSWER_LEN + WIRE_RECORD_OVERHEAD)

enum state { WAITING, DIALLING, REFUSED };

struct guest {
	struct hall *hall;
	TAILQ_ENTRY(guest) link;
	enum state state;
	int fd, dest; /* fd -1: WAN is gone, and RESUME may bring another */
	struct user *user;
	struct session *session;
	uint64_t ctr, until_ms;
	struct seal_key up, down;
	enum seal_alg alg;
	enum wire_mode mode;
	uint8_t *held; /* WAITING: a part of OPEN; DIALLING: early data, then raw bytes behind OPEN */
	uint32_t early, held_len, sent; /* sent: of the early data, to the destination */
	uint8_t *said; /* kept: the destination's first bytes, which went out inside ACCEPT */
	uint32_t said_len;
	bool attached; /* ATTACHED was sent, or at least stands in front of what is being sent */
	bool dest_reset;
	bool keeps, kept; /* keeps: RESUME may ask for it; kept: ACCEPT waits for its acknowledgement, or for RESUME */
	struct event rd, wr, clock; /* WAN, destination, time */
};

TAILQ_HEAD(guests, guest);

struct hall {
	struct event_base *base;
	const struct config *config;
	const struct policy *policy;
	struct seal *seal;
	struct relay_loop *relays;
	unsigned waiting[CONFIG_USERS], dialling, refused;
	struct guests waiters[CONFIG_USERS], others;
	uint8_t raw[OPEN_MAX];
	uint8_t accept[ANSWER_MAX + OPEN_MAX];
};

/* hall.c */
void guest_reset(struct guest *g); /* the end of it, and of both its connections */
void guest_sweep(struct guest *g); /* frees all but the sockets */
void guest_leave_place(struct guest *g);
void guest_take_place(struct guest *g, enum state state);
void guest_watch(struct guest *g); /* g->fd is another one */
void guest_set_clock(struct guest *g, uint64_t ms);
int guest_hold(struct guest *g, const uint8_t *data, size_t len); /* a copy, in the place of what was held */
void guest_drop_held(struct guest *g);

/* hall_dial.c */
int guest_answer(struct guest *g, const uint8_t *plain, size_t len); /* `len` 0: ATTACHED alone */
void guest_refuse(struct guest *g, uint16_t status);
void guest_dial(struct guest *g, const struct addr *dst);
void guest_look(struct guest *g); /* DIALLING, from time to time */
void guest_accept(struct guest *g, const uint8_t *said, size_t len); /* says ACCEPT with these first bytes */
/* `owed`: the tail of ACCEPT that WAN did not take. */
void guest_become_relay(struct guest *g, const uint8_t *owed, size_t owed_len);

/* hall_resume.c */
bool guest_keep(struct guest *g, const uint8_t *said, size_t len); /* ACCEPT is about to go out with these bytes; false: do not */
void guest_look_kept(struct guest *g);
bool guest_bereave(struct guest *g); /* WAN has died; false: then it is over */
/* RESUME came on n, and `more` raw bytes behind it. n is gone afterwards, or refused. */
void guest_resume(struct guest *n, const struct wire_resume *r, const uint8_t *raw, size_t more);

#endif
