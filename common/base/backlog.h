/* SPDX-License-Identifier: BSD-2-Clause */
/* backlog: how many bytes of one stream over several lines may be on their way, so that all lines
 * are full and nothing more waits.
 *
 * The scheduler of MPTCP keeps the lines' waiting times alike: while bytes are on their way for the
 * longest round trip, a line of a shorter one holds as many as it can carry in that time. So what
 * all lines together carry in the longest round trip, and some more, fills them. What is written
 * beyond it only waits in the kernel or in the modem, and when a line dies everything it had not
 * delivered must wait behind that on the others. The rate is the largest of the last second. The
 * round trip is the least of the last ten: that of an empty queue, since this keeps it so; but
 * where somebody else fills the queue, or the line has become a longer one, it follows. A slow line
 * takes its time for what it is given in one go, and the others must be able to go on meanwhile:
 * that time comes on top, where it is no small part of the round trip.
 *
 * Where a line loses, all that came behind the lost packet stays on its way, as the stream sees it,
 * until that was sent again: one round trip more, for as much of the time as the line is busy
 * repairing. (Not where the queue is full: that loss is of our own making.)
 *
 * A line that is new begins with too much or too little, and the others must not wait for that to
 * be over: the time begins four times as long, and shortens more slowly than the lines work off
 * what was given to them. A value; all zero is: no limit. */
#ifndef PLAIT_BACKLOG_H
#define PLAIT_BACKLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BACKLOG_LOOK_MS 50 /* between two calls of backlog_learn() */
#define BACKLOG_LOOKS 16
#define BACKLOG_NONE UINT64_MAX

struct backlog_path {
	uint64_t pacing;   /* bytes a second at which its packets leave, at most */
	uint64_t delivery; /* bytes a second that arrived lately */
	uint32_t rtt_us;   /* now */
	uint32_t least_us; /* of the last minutes */
	bool repairs;	   /* sends again what was lost */
};

struct backlog {
	uint64_t rate[BACKLOG_LOOKS]; /* of all paths together */
	uint32_t rtt_us[2];	      /* the least since the last turn, and in the turn before; 0: none yet */
	uint32_t floor_us;	      /* the round trip is certainly not less */
	uint32_t burst_us;	      /* how long the slowest line takes for one burst of the scheduler */
	uint32_t repair_us;	      /* how long everything waits for what was lost, in the mean of the last second */
	uint32_t looks, age; /* age: since there were more paths than before */
	uint32_t rtt_now_us;
	size_t paths;
	bool fills; /* set by the user: the congestion control fills queues on purpose, their time is not ours to shorten */
};

/* The paths that carry something at the moment. */
void backlog_learn(struct backlog *b, const struct backlog_path *path, size_t n);

/* Bytes; BACKLOG_NONE: as many as there are. */
uint64_t backlog_limit(const struct backlog *b);

#endif
