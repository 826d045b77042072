/* SPDX-License-Identifier: BSD-2-Clause */
/* assoc_room: what the files of assoc share, and nobody else may see. */
#ifndef PLAIT_ASSOC_ROOM_H
#define PLAIT_ASSOC_ROOM_H

#include <event2/event_struct.h>

#include "assoc.h"
#include "udp_keys.h"

#define EPOCHS 4
#define FRAMES_MAX 880 /* waiting for the next control datagram of a path */
#define WORD 8	       /* of a CHALLENGE */

struct rival { /* remote: an address that says it is this path's */
	bool on;
	struct udp *udp;
	struct addr to, from;
	uint8_t word[WORD];
	uint64_t since_us;
};

struct path { /* a path */
	bool on;
	unsigned id;
	struct assoc_path at;
	struct health health;
	enum health_state told; /* to ops.path() */
	uint64_t probe_us;	/* when the next probe is due */
	uint32_t backoff_ms;
	struct rival rival;
	bool answers; /* owes the peer an answer at the end of this turn */
	uint8_t frames[FRAMES_MAX];
	size_t frames_len;
};

struct assoc {
	struct event_base *base;
	struct seal *seal;
	enum assoc_side side;
	struct assoc_ops ops;
	void *arg;
	struct {
		struct session *session;
		struct udp_keys *keys; /* the session's */
		uint64_t ends_us; /* 0: the newest */
	} epoch[EPOCHS];	  /* the newest first */
	struct udp_keys *tx;	  /* one of them */
	struct path path[ASSOC_PATHS];
	struct event timer;   /* probes and silences */
	struct event turn;    /* the end of this turn of the loop */
	struct health_lead lead;
	uint64_t busy_us, brisk_us, doubt_us, hint_us;
	bool busy, brisk, batch;
};

/* assoc_probe.c */
void path_send(struct assoc *a, struct path *w, bool probe, uint64_t now); /* a control datagram, now */
void path_challenge(struct assoc *a, const struct path *w);
void path_tell(struct assoc *a, struct path *w); /* calls ops.path() if the state changed */
void assoc_watch(struct assoc *a);		/* sets the timer for what is due next */
void assoc_on_timer(evutil_socket_t fd, short what, void *arg);
void assoc_on_turn(evutil_socket_t fd, short what, void *arg);

#endif
