/* opening_room: what the files of the opening share, and nobody else may see. */
#ifndef PLAIT_OPENING_ROOM_H
#define PLAIT_OPENING_ROOM_H

#include <event2/event_struct.h>

#include "opening.h"

enum state {
	FIRST,	 /* waiting for the client's first bytes */
	SESSION, /* waiting for a session */
	UP,	 /* waiting for an upstream to connect */
	OPENED,	 /* waiting for ACCEPT */
	DOUBT,	 /* waiting for REVOKED; the upstream may still be there */
};

struct opening {
	const struct lan_house *house;
	LIST_ENTRY(opening) link;
	unsigned *count;
	int fd;
	enum state state;
	bool reading, eof, reset, asked, patient, bereaved;
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

/* Of opening.c. */
void opening_go(struct opening *o); /* takes the next step towards OPEN, from whatever state */
void opening_wake_in(struct opening *o, unsigned ms);
void opening_fail(struct opening *o, const char *why); /* resets the client and frees o */

/* Of opening_again.c. All may fail, and free o. */
void opening_watch(struct opening *o);	    /* OPEN was sent just now */
void opening_be_patient(struct opening *o); /* and a while ago */
void opening_again(struct opening *o);	    /* nothing was lost with the upstream: at once, on another */
void opening_unserved(struct opening *o);   /* nothing was sent on the upstream, or nothing of it was heard */
void opening_lost(struct opening *o);	    /* the upstream died */
/* The process that OPEN was sent to is gone. Only a RESET of its successor can still help; it may come as long as a
 * line carries the connection (a host that was restarted itself answers each with a reset). */
void opening_bereave(struct opening *o);
unsigned opening_longer(const struct opening *o, unsigned ms); /* so long at this try */

#endif
