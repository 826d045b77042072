/* SPDX-License-Identifier: BSD-2-Clause */
/* end: one socket of a relay, with what it could not take yet and what it said in part.
 *
 * Everything it holds is charged to a budget (a user's; NULL: nobody's) and paid back when
 * dropped. */
#ifndef PLAIT_END_H
#define PLAIT_END_H

#include <event2/event_struct.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Memory held for a group of relays (a user), and what it may be. */
struct relay_budget {
	uint64_t held, max;
};

struct end {
	int fd;		       /* -1: closed */
	bool reading, writing; /* armed in the loop */
	bool eof;	       /* the end of what it sends was read */
	bool shut;	       /* it was told that its neighbour has ended */
	bool was_full;	       /* it refused some bytes since somebody last looked */
	uint32_t out_off, out_len, in_len;
	uint8_t *out; /* bytes it has not taken yet */
	uint8_t *in;  /* the head of a record that is not complete */
	uint64_t bytes; /* payload it has sent us */
	struct relay_budget *budget;
	struct event rd, wr;
};

/* Whose interest the loop should have in it. */
void end_arm(struct end *e, bool read, bool write);

/* Sends all of it, or keeps what the socket does not take (behind what waits already). -1: the
 * socket is broken (errno tells) or memory is out. */
int end_send(struct end *e, const uint8_t *data, size_t len);

/* Writes what waits: the bytes written, 0 when it takes none, -1 when it is broken. */
ssize_t end_flush(struct end *e);

/* Keeps the head of a record until the rest has come; len 0 keeps nothing. -1: no memory. */
int end_keep_partial(struct end *e, const uint8_t *data, size_t len);

/* Puts that head at the front of buf and forgets it; returns its length. */
size_t end_take_partial(struct end *e, uint8_t *buf);
void end_drop_partial(struct end *e);

/* Drops all it holds and closes it, clean or by a reset. Again is fine. */
void end_close(struct end *e, bool clean);

#endif
