/* SPDX-License-Identifier: BSD-2-Clause */
/* brake: keeps what a relay has on its way over several lines no longer than the lines need
 * (backlog.h), so that the death of one leaves little to wait behind on the others. Short streams
 * never meet it. */
#ifndef PLAIT_BRAKE_H
#define PLAIT_BRAKE_H

#include <stddef.h>
#include <stdint.h>

#include "backlog.h"

#define BRAKE_AGAIN_MS 5 /* when there was no room */

struct brake { /* zeroed: nothing known */
	struct backlog backlog;
	uint64_t looked_ms;
};

/* How many bytes may be written to WAN now, of a stream of which `sent` were: SIZE_MAX as many as
 * there are. */
size_t brake_room(struct brake *b, int wan_fd, uint64_t sent);

#endif
