/* SPDX-License-Identifier: BSD-2-Clause */
/* stream_room: what the files of a stream share, and nobody else may see. */
#ifndef SIM_STREAM_ROOM_H
#define SIM_STREAM_ROOM_H

#include <sys/queue.h>

#include "line.h"
#include "sim_clock.h"
#include "stream.h"

#define SNDBUF (256 << 10)
#define RCVBUF (512 << 10)
#define SUBFLOWS 9
#define GAPS 64

enum side { CLIENT, SERVER };

struct segment {
	TAILQ_ENTRY(segment) entry;
	struct direction *d;
	uint64_t from, to;
	int sub;	/* the subflow that it flies on */
	uint64_t acked; /* what its acknowledgement says */
	bool arrived;
	struct alarm alarm;
};
TAILQ_HEAD(segments, segment);

struct direction {
	struct connection *c;
	enum side from;
	uint8_t *bytes; /* base .. written */
	size_t room;
	uint64_t base, acked, next, written, received, read;
	bool fin;
	struct segments flying, lost;
	struct {
		uint64_t from, to;
	} gap[GAPS]; /* what came out of order */
	unsigned n_gaps;
};

struct subflow {
	struct connection *c;
	int line;
	struct in_addr addr;
	bool up, backup;
	unsigned tries; /* SYNs of its join */
	struct alarm join;
	uint64_t joined_us;
	struct subflow_way {
		struct subflow *sub;
		enum side from;
		uint64_t flying, window, acked, heard_us, sent_us;
		unsigned backoff;
		bool stale;
		struct alarm timeout;
	} way[2];
};

struct stream {
	struct connection *c;
	enum side side;
	enum host host;
	int fd; /* -1: somebody outside has it */
	stream_event event;
	void *arg;
	struct sockaddr_in name;
	bool bound, open, linger0;
	int error; /* it died of that */
	uint32_t lowat;
	struct {
		bool on;
		unsigned idle, every, tries, lost;
		struct alarm alarm;
	} probe; /* SO_KEEPALIVE, seconds */
};

struct connection {
	LIST_ENTRY(connection) entry;
	struct stream end[2];
	struct direction d[2]; /* by the side that sends */
	struct subflow sub[SUBFLOWS];
	unsigned n_subs, tries;
	bool wants_mptcp, mptcp, connected, served;
	enum host to_host;
	uint16_t to_port; /* where it arrives, which may not be where it wants to go */
	struct alarm syn, severed;
};

struct listener {
	LIST_ENTRY(listener) entry;
	enum host host;
	int fd;
	struct sockaddr_in at;
	bool mptcp;
	stream_accept accept; /* of one outside */
	uint64_t slow_us;     /* at most, until it answers a SYN */
	void *arg;
	unsigned idle, every, tries; /* keep-alive, for who arrives */
	struct stream *queue[256];
	unsigned n;
};

/* stream.c */
struct connection *connection_new(void);
/* The client's end begins to connect; it arrives at this host's port. A negative errno. */
int connection_begin(struct connection *c, int line, const struct sockaddr_in *to, enum host at,
		     uint16_t port);
bool direction_at_eof(const struct direction *d);
uint64_t direction_readable(const struct direction *d); /* bytes */
uint64_t stream_space(const struct stream *s);		/* for so many more */
void stream_probe(struct stream *s);			/* SO_KEEPALIVE begins */
/* Who listens there; NULL: nobody. */
struct listener *listener_find(enum host host, const struct sockaddr_in *to, uint16_t port);
void listener_add(struct listener *l);
int side_way(enum side from); /* UP or DOWN */

#endif
