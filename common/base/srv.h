/* SPDX-License-Identifier: BSD-2-Clause */
/* srv: the targets of a service (RFC 2782), and the order in which they are to be tried. */
#ifndef PLAIT_SRV_H
#define PLAIT_SRV_H

#include <stddef.h>
#include <stdint.h>

#define SRV_HOST 256

struct srv {
	uint16_t priority, weight, port;
	char host[SRV_HOST];
};

/* Smallest priority first; among equals a lot is drawn, in which the heavier ones win more
 * often. */
void srv_order(struct srv *list, size_t count, uint32_t (*dice)(void *arg), void *arg);

#endif
