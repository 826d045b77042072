/* SPDX-License-Identifier: BSD-2-Clause */
/* estimate: how many packets one line holds in one direction, learnt from what TCP measured there,
 * and so the first window that fills it without overflowing it.
 *
 * packets = delivery rate * smallest round trip / packet size. It rises at once, since a rate that
 * was delivered is possible; it falls by an eighth of the difference, since one low sample may be
 * another's traffic. A sample that only shows how little the application had to send never lowers
 * it. All zero is: nothing known. */
#ifndef PLAIT_ESTIMATE_H
#define PLAIT_ESTIMATE_H

#include <stdbool.h>
#include <stdint.h>

#define ESTIMATE_MIN 10 /* what the kernel does by itself */
#define ESTIMATE_MAX 160
/* What is installed is no more than a window without scale: a subflow that joins a busy connection
 * may send as much as the whole connection's window allows, but a NAT on the way knows only what
 * its handshake said, 64 KB. Linux's takes acknowledgements for invalid when more than that is on
 * its way, then the data, and resets the subflow. */
#define ESTIMATE_MOST 44

struct estimate {
	uint32_t packets;   /* 0: nothing known */
	uint32_t installed; /* what estimate_install() took last; 0: the kernel's */
	uint32_t stock;	    /* what was installed when it said so last; 0: the kernel's */
};

struct estimate_sample {
	uint64_t rate; /* bytes a second */
	uint32_t rtt_us, mss;
	bool app_limited;
};

void estimate_observe(struct estimate *e, const struct estimate_sample *s);

/* ESTIMATE_MIN to ESTIMATE_MAX; 0: nothing known. */
uint32_t estimate_packets(const struct estimate *e);

/* Does what would be installed differ by more than a quarter, and by four packets at least? */
bool estimate_changed(const struct estimate *e);

/* Takes the answer as installed; true when that is twice or half, or beyond, of what was installed
 * when it was true last: connections that began with that are worth replacing. */
bool estimate_install(struct estimate *e);

#endif
