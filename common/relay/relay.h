/* SPDX-License-Identifier: BSD-2-Clause */
/* relay: two ends and a pump. Both daemons are made of this; they differ only in how an
 * end comes to be. See relay.c for the theory. */
#ifndef PLAIT_RELAY_H
#define PLAIT_RELAY_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "end.h"
#include "seal.h"

/* The two ends of every relay. NEAR speaks plain bytes: the LAN client at home, the destination
 * at the VPS. WAN is the connection to the other plait. */
enum { RELAY_NEAR, RELAY_WAN };
enum { RELAY_TX, RELAY_RX }; /* keys, as this daemon uses them on the WAN end */

enum relay_end {
	RELAY_CLEAN,  /* both ends of file were relayed */
	RELAY_RESET,  /* one end was reset, and so the other was */
	RELAY_CUT,    /* the sealed stream ended without FIN, or did not open */
	RELAY_STALLED, /* nothing acknowledged, or nothing said, for too long */
	RELAY_CLOSED, /* relay_close() */
};

/* What all relays of one event loop share: the ciphers, one large buffer, the clock. */
struct relay_loop;

/* Bytes read at a time, and the most a direction ever holds in user space (sealed: plus the
 * tags). */
#define RELAY_CHUNK 64000

struct relay_limits {
	uint32_t idle_s;      /* nothing moved either way: end it */
	uint32_t half_idle_s; /* the same when one side has ended already */
	uint32_t stall_s;     /* bytes unacknowledged and the peer silent: end it */
};

struct relay_loop *relay_loop_new(struct event_base *base, struct seal *seal, const struct relay_limits *limits);
/* Congestion control that WAN gets when its relay begins ("" leaves it); the string must live as
 * long as the loop. */
void relay_loop_congestion(struct relay_loop *loop, const char *name);
/* What WAN's TCP measured is worth a look: of a relay that has sent RELAY_OBSERVE bytes on WAN and,
 * since the last time, had more than WAN took (the kernel does not tell of MPTCP's subflows whether
 * only the application was slow). At most once a second while WAN is full, and when the relay ends,
 * its sockets still open. NULL: nobody looks any more. */
#define RELAY_OBSERVE (256 << 10)
typedef void (*relay_observer)(void *arg, int wan_fd);
void relay_loop_observe(struct relay_loop *loop, relay_observer observe, void *arg);
void relay_loop_clear(struct relay_loop *loop, const void *group); /* resets what runs now, of one group; NULL: of all */
/* Resets those of whose WAN `hopeless` says so. */
typedef bool (*relay_verdict)(void *arg, int wan_fd);
void relay_loop_prune(struct relay_loop *loop, relay_verdict hopeless, void *arg);
/* How many have a WAN without any subflow, and had it in all calls of at least `least_ms` and less
 * than `most_ms`. Those that had it for the stall limit are reset: MPTCP may never say so. */
unsigned relay_loop_severed(struct relay_loop *loop, unsigned least_ms, unsigned most_ms);
void relay_loop_free(struct relay_loop *loop); /* resets whatever still runs */
unsigned relay_loop_count(const struct relay_loop *loop);
uint64_t relay_loop_moved(const struct relay_loop *loop); /* bytes read from any end so far */
uint64_t relay_loop_bulk(const struct relay_loop *loop);  /* those of them that are bulk.h's */

/* Did bytes come from the WAN of a relay of this group since then (clock_ms(), give or take a tick
 * of 200 ms)? */
bool relay_loop_heard_since(const struct relay_loop *loop, const void *group, uint64_t ms);

struct relay;
typedef void (*relay_done)(void *arg, enum relay_end how, const uint64_t bytes[2]);

struct relay_setup {
	int fd[2];
	bool sealed;
	bool closes_first; /* remote: ends the WAN connection once both FINs passed, and so keeps TIME_WAIT */
	enum seal_alg alg;
	struct seal_key key[2];
	/* Read from an end already and not relayed yet (on WAN: raw bytes of the stream). At most
	 * RELAY_CHUNK. */
	const void *got[2];
	size_t got_len[2];
	bool got_eof;	/* NEAR's end of file was read already */
	bool got_reset; /* NEAR was reset already */
	/* Owed to an end already and not taken by it yet, as it is to be written. */
	const void *owed[2];
	size_t owed_len[2];
	struct relay_budget *budget; /* may be NULL */
	const void *group;	     /* only compared */
	relay_done done;	     /* bytes[RELAY_NEAR]: payload read from NEAR; called from the loop, once */
	void *arg;
};

/* Takes over both fds; on NULL (no memory) they were reset. */
struct relay *relay_new(struct relay_loop *loop, const struct relay_setup *setup);

/* Resets both ends now; done() is called with RELAY_CLOSED before this returns. */
void relay_close(struct relay *r);

#endif
