/* SPDX-License-Identifier: BSD-2-Clause */
/* mptcp_check: finds the links on which Multipath TCP does not get through. See mptcp_check.c. */
#ifndef PLAIT_MPTCP_CHECK_H
#define PLAIT_MPTCP_CHECK_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "config.h"
#include "links.h"

struct mptcp_check;

struct mptcp_check *mptcp_check_new(struct event_base *base, const struct config *config, struct links *links, uint32_t mark); /* NULL: no memory */
void mptcp_check_free(struct mptcp_check *m);

/* Where the VPS is, or ought to be. session: it is known to be there. */
void mptcp_check_targets(struct mptcp_check *m, const struct addr *to, size_t n, bool session);
void mptcp_check_links_changed(struct mptcp_check *m);
/* A connection from this address fell back to plain TCP. */
void mptcp_check_doubt(struct mptcp_check *m, const struct addr *from);

#endif
