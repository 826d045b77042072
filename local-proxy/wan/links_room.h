/* SPDX-License-Identifier: BSD-2-Clause */
/* links_room: what links and links_select share, and nobody else may see. */
#ifndef PLAIT_LINKS_ROOM_H
#define PLAIT_LINKS_ROOM_H

#include <event2/event_struct.h>

#include "estimate.h"
#include "link.h"
#include "links.h"
#include "mptcp_pm.h"
#include "rtnl.h"
#include "settings.h"
#include "verdicts.h"
#include "watchers.h"

struct links {
	const struct config *config;
	struct watchers watchers;
	struct netlink *nl;
	struct mptcp_pm *pm; /* NULL: a kernel without MPTCP */
	struct rtnl_monitor *monitor;
	struct settings *settings;
	struct link link[CONFIG_LINKS];
	struct verdicts verdicts[CONFIG_LINKS];
	enum links_standing use[CONFIG_LINKS];
	uint32_t rtt_us[CONFIG_LINKS];	  /* 0: not known */
	bool renew[CONFIG_LINKS];	  /* make its subflows anew */
	struct estimate up[CONFIG_LINKS]; /* of each link, towards the VPS */
	size_t n, rejoined; /* rejoined: the link that links_rejoin took last */
	uint64_t turn[CONFIG_LINKS], turns;
	bool mixed;
	uint64_t shaken_ms; /* when something changed last; 0: not yet */
	struct event decide, tell; /* a verdict is for the better; callers are to be told */
};

/* The link that has this address; l->n: none has it now. Of links_select.c. */
size_t links_index(const struct links *l, const struct addr *src);

#endif
