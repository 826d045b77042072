/* SPDX-License-Identifier: BSD-2-Clause */
/* brake: see brake.h. */
#include "brake.h"

#include "clock.h"
#include "sock.h"
#include "sock_subflow.h"

#define FROM (256u << 10) /* bytes sent: from here on a stream is worth looking at */
#define PIECE 8192	  /* less room is no room: small reads cost more than they bring */

static void brake_look(struct brake *b, int fd)
{
	struct sock_pace pace[SOCK_SUBFLOWS];
	struct backlog_path path[SOCK_SUBFLOWS];
	size_t n = sock_paces(fd, pace, SOCK_SUBFLOWS), busy = 0;

	for (size_t i = 0; i < n; i++)
		if (pace[i].busy)
			path[busy++] = (struct backlog_path){pace[i].pacing, pace[i].delivery_rate, pace[i].rtt_us,
							    pace[i].min_rtt_us, pace[i].repairs};
	backlog_learn(&b->backlog, path, busy);
}

size_t brake_room(struct brake *b, int wan_fd, uint64_t sent)
{
	uint64_t now, limit;
	int waits;

	if (sent < FROM)
		return SIZE_MAX;
	now = clock_ms();
	if (now - b->looked_ms >= BACKLOG_LOOK_MS) {
		b->looked_ms = now;
		brake_look(b, wan_fd);
	}
	limit = backlog_limit(&b->backlog);
	if (limit == BACKLOG_NONE)
		return SIZE_MAX;
	waits = sock_unacked(wan_fd);
	if (waits < 0)
		return SIZE_MAX;
	return (uint64_t)waits + PIECE > limit ? 0 : (size_t)(limit - (uint64_t)waits);
}
