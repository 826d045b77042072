/* SPDX-License-Identifier: BSD-2-Clause */
/* client_room: what the files of a client connection share, and nobody else may see. */
#ifndef PLAIT_CLIENT_ROOM_H
#define PLAIT_CLIENT_ROOM_H

#include <event2/event_struct.h>

#include "client.h"

enum state {
	FIRST,	  /* waiting for the client's first bytes */
	TURN,	  /* for its device's turn */
	SESSION,  /* for a session, or for the next try */
	UP,	  /* for an upstream to connect, or to be attached */
	OPENED,	  /* for ACCEPT; from here on OPEN was sent */
	HEARD,	  /* likewise; OPEN has reached the VPS */
	DOUBT,	  /* for REVOKED; the upstream may still be there */
	SERVED,	  /* for ACCEPT, which has to come: REVOKED said that OPEN was served */
	BEREAVED, /* for a RESET: the process that OPEN was sent to is gone */
	OVER,	  /* to be swept */
};

enum near { NEAR_OPEN, NEAR_EOF, NEAR_RESET };

struct client {
	const struct lan_house *house;
	LIST_ENTRY(client) link;
	struct turn *turn;
	int fd;
	enum state state;
	enum near near; /* what the client's connection has come to */
	bool keeps, served; /* RESUME may ask for it; it was served, and RESUME has to */
	struct wire_resume about, resume; /* the connection that was asked about last; the one it was served on */
	enum wire_mode mode;
	size_t opened; /* of what is kept, inside OPEN */
	unsigned tries, fallbacks; /* fallbacks: upstreams that were given up for having become plain TCP */
	struct addr src, dst;
	struct upstream *up;
	struct revoke *revoke;
	uint64_t since_ms;
	uint64_t severed_ms; /* since when the upstream that OPEN went on is known to have no subflow; 0: it has */
	uint8_t *kept;
	size_t kept_len;
	struct event rd, timer;
};

/* Of client.c. */
void client_go(struct client *c); /* takes the next step towards OPEN, from whatever state */
void client_wake_in(struct client *c, unsigned ms);
void client_fail(struct client *c, const char *why); /* it is OVER */
/* Whatever the loop or another room tells a client ends with this, and nothing else frees one. */
void client_sweep(struct client *c);

/* Of client_retry.c. In each it may come to be OVER. */
void client_watch(struct client *c);	  /* OPEN was sent just now */
void client_be_patient(struct client *c); /* and a while ago */
void client_retry(struct client *c);	    /* nothing was lost with the upstream: at once, on another */
void client_unserved(struct client *c);   /* nothing was sent on the upstream, or nothing of it was heard */
void client_lost(struct client *c);	    /* the upstream died */
/* The process that OPEN was sent to is gone. Only a RESET of its successor can still help; it may
 * come as long as a link carries the connection (a host that was restarted itself answers each with
 * a reset). */
void client_bereave(struct client *c);
unsigned client_longer(const struct client *c, unsigned ms); /* so long at this try */

#endif
