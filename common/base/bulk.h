/* SPDX-License-Identifier: BSD-2-Clause */
/* bulk: which bytes of a connection are of something large, that would take all the lines carry? A
 * value, all zero at first. See bulk.c. */
#ifndef PLAIT_BULK_H
#define PLAIT_BULK_H

#include <stddef.h>
#include <stdint.h>

struct bulk {
	uint64_t run[2]; /* bytes of the present run, each way */
};

/* Another len bytes this way (0 or 1): how many of them are. */
size_t bulk_moved(struct bulk *b, int way, size_t len);

#endif
