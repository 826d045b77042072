/* SPDX-License-Identifier: BSD-2-Clause */
/* mptcp_pm: the kernel's MPTCP path manager: which addresses make further subflows (endpoints), and
 * how many (limits).
 *
 * Endpoints and limits belong to the whole network namespace. Ours bear ids from a fixed range;
 * others' are never changed or removed. The kernel holds at most 8 endpoints. */
#ifndef PLAIT_MPTCP_PM_H
#define PLAIT_MPTCP_PM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"

#define MPTCP_PM_MAX 8 /* endpoints, and subflows beyond the first */

/* Ids of ours, first to last. */
#define MPTCP_PM_LINKS 100
#define MPTCP_PM_LINKS_END 107
#define MPTCP_PM_EGRESS 110
#define MPTCP_PM_EGRESS_END 111

enum mptcp_pm_flag { /* the kernel's numbers */
	MPTCP_PM_SIGNAL = 1,
	MPTCP_PM_SUBFLOW = 2,
	MPTCP_PM_BACKUP = 4,
	MPTCP_PM_FULLMESH = 8,
	MPTCP_PM_IMPLICIT = 16,
};

struct mptcp_endpoint {
	struct addr addr; /* port 0: any */
	uint8_t id;
	uint32_t flags;
	int index;    /* device, 0: any */
	bool foreign; /* set by mptcp_pm_sync(): somebody else had this address first; id is theirs */
};

struct mptcp_limits {
	uint32_t subflows;	    /* beyond the first */
	uint32_t add_addr_accepted; /* announced addresses of the peer that are used */
};

struct mptcp_pm;

struct mptcp_pm *mptcp_pm_open(void); /* NULL with errno; ENOTSUP: a kernel without MPTCP */
void mptcp_pm_close(struct mptcp_pm *pm);
const char *mptcp_pm_error(const struct mptcp_pm *pm); /* the kernel's words for the last refusal */

/* 0 or a negative errno. */
int mptcp_pm_add(struct mptcp_pm *pm, const struct mptcp_endpoint *e);
int mptcp_pm_del(struct mptcp_pm *pm, uint8_t id);
int mptcp_pm_set_flags(struct mptcp_pm *pm, uint8_t id, uint32_t flags); /* of them BACKUP and FULLMESH */
/* The number of endpoints, at most max, or a negative errno. */
int mptcp_pm_dump(struct mptcp_pm *pm, struct mptcp_endpoint *out, size_t max);
int mptcp_pm_get_limits(struct mptcp_pm *pm, struct mptcp_limits *l);
int mptcp_pm_set_limits(struct mptcp_pm *pm, const struct mptcp_limits *l);

/* Makes the endpoints with ids in first..last equal to want[0..n]; n 0 takes all of them out. Marks
 * those that were somebody else's as foreign and leaves them. Refusals are logged: their number, or
 * a negative errno. */
int mptcp_pm_sync(struct mptcp_pm *pm, struct mptcp_endpoint *want, size_t n, uint8_t first, uint8_t last);

#endif
