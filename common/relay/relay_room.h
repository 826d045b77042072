/* SPDX-License-Identifier: BSD-2-Clause */
/* relay_room: what relay and relay_loop share, and nobody else may see. */
#ifndef PLAIT_RELAY_ROOM_H
#define PLAIT_RELAY_ROOM_H

#include <event2/event_struct.h>
#include <sys/queue.h>

#include "brake.h"
#include "bulk.h"
#include "record.h"
#include "relay.h"

#define RELAY_LINGER_MS 2000

enum phase {
	RUNNING,
	WAITING, /* all is said; WAN is kept until the peer closes it */
	DEAD,	 /* the sweep frees it */
};

struct relay {
	struct end end[2];
	struct relay_loop *loop;
	LIST_ENTRY(relay) link;
	enum phase phase;
	uint8_t alg;
	bool sealed, closes_first;
	enum relay_end how;
	struct seal_key key[2];
	bool held; /* NEAR is not read: enough is on its way on WAN */
	LIST_ENTRY(relay) held_link;
	struct brake brake;
	struct bulk bulk;
	uint64_t observed_ms; /* when WAN was looked at last */
	uint64_t heard_ms; /* WAN's last bytes */
	uint64_t severed_ms; /* since when WAN is known to have no subflow; 0: it has */
	uint64_t nudge_ms; /* when WAN is nudged next; 0: something moved */
	uint64_t moved_ms, check_ms; /* last byte moved; next look at unacknowledged bytes, or end of WAITING */
	struct relay_budget *budget;
	const void *group;
	relay_done done;
	void *arg;
};

LIST_HEAD(relay_list, relay);

struct relay_loop {
	struct event_base *base;
	struct seal *seal;
	struct relay_limits limits;
	const char *congestion;
	relay_observer observe;
	void *observe_arg;
	struct relay_list running, dead, held;
	unsigned count;
	uint64_t now, moved, bulk;
	struct event tick, sweep, again;
	uint8_t raw[RELAY_CHUNK];				  /* what was read, behind a partial record */
	uint8_t sealed[RELAY_CHUNK + 8 * WIRE_RECORD_OVERHEAD]; /* the same, sealed */
};

/* Reports, closes both sockets, and marks it for the sweep. */
void relay_finish(struct relay *r, enum relay_end how);
void relay_end_broke(struct relay *r, int i); /* end[i] was reset: so is the other */
void relay_rearm(struct relay *r);	      /* the loop's interest follows from the state */
void relay_go_on(struct relay *r);	      /* it was held: perhaps there is room now */
void relay_observe_wan(struct relay *r);
bool relay_over_budget(const struct relay *r);

#endif
