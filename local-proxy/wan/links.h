/* SPDX-License-Identifier: BSD-2-Clause */
/* links: the gateway's links to the Internet, as the kernel tells of them. See links.c for the
 * theory. */
#ifndef PLAIT_LINKS_H
#define PLAIT_LINKS_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "addr.h"
#include "config.h"
#include "settings.h"
#include "sock_subflow.h"

struct links;

/* Cleans what a crashed run left behind, then sets up tables, rules, endpoints and limits and
 * follows the kernel from then on. NULL, and a sentence in err. */
struct links *links_new(struct event_base *base, const struct config *config,
			struct settings *settings, char *err, size_t err_len);
/* Who is told, from the loop, whenever the answer of links_sources() may be another one. */
void links_watch(struct links *l, void (*told)(void *arg), void *arg);

/* Takes out exactly what was put in. */
void links_free(struct links *l);

/* In the order of the config: 0 .. count - 1. */
size_t links_count(const struct links *l);
const char *links_name_of(const struct links *l, size_t link);
/* Its address of this family (AF_INET, AF_INET6), whatever the verdicts are; false: it has none that
 * is up. */
bool links_address(const struct links *l, size_t link, int family, struct addr *out);

/* Each judge (paths.c, roles.c, quota.c, aside.c, mptcp_check.c, metered.c) has one verdict on a
 * link, which may change at any time: a standing, and why, one clause for people (copied). The
 * worst of them is the link's standing. What it is used for follows from the standings of all
 * links, since a link that is not LINKS_IN is still used when nothing better is left
 * (verdicts_use()). What people call that is its state (verdicts_state()). */
enum links_judge {
	LINKS_HEALTH,
	LINKS_ROLE,
	LINKS_QUOTA,
	LINKS_ASIDE,
	LINKS_MPTCP,
	LINKS_METERED,
	LINKS_JUDGES
};
enum links_standing {
	LINKS_IN,     /* an equal among the good ones */
	LINKS_PLAIN,  /* no subflows: connections of its own, as plain TCP, by its share */
	LINKS_BACKUP, /* only while no link is IN or PLAIN */
	LINKS_OUT,    /* not at all */
};
void links_set_verdict(struct links *l, size_t link, enum links_judge who,
		       enum links_standing standing, const char *why);
enum links_standing links_standing(const struct links *l, size_t link, const char **why); /* by all verdicts */
/* A link is away or out, and not by its owner's wish, or one was within the last minute: another
 * may follow. */
bool links_uneasy(const struct links *l);

/* Connections have lost every link: has those that a link in use can carry join it again. Each call
 * takes another link. The other connections' subflows on it are made anew as well. */
void links_rejoin(struct links *l);

/* A round trip that was measured on it: of links that stand alike the fastest is best. */
void links_note_rtt(struct links *l, size_t link, uint32_t rtt_us);

/* The addresses that a connection to `to` may be bound to, best first, at most max. 0 when no
 * configured link can reach that family now. Without any [link] section: one any-address (the
 * kernel's routes decide). */
size_t links_sources(const struct links *l, const struct addr *to, struct addr *out, size_t max);

/* The links that are up have no family in common in which the VPS is reached: connections need
 * subflows of both. */
bool links_mixed(const struct links *l);

/* Whose turn it is of n > 0 such sources: the place of the one that had it least lately, which has
 * it with this. By chance a link would be without for a while. */
size_t links_turn(struct links *l, const struct addr *src, size_t n);

/* Connections from this source are to be plain TCP: its link is LINKS_PLAIN for want of Multipath TCP. */
bool links_is_plain(const struct links *l, const struct addr *src);
/* No link has this address any more, nor is one down that might come back with it. */
bool links_has_lost(const struct links *l, const struct addr *src);

/* A round trip on the link that owns this source address, in us; 0: not known. */
uint32_t links_rtt(const struct links *l, const struct addr *src);

/* The link that owns this source address, for logs; "?" when none does. */
const char *links_name(const struct links *l, const struct addr *src);

/* What TCP measured on the way up of a connection's path: the link's first window follows it. True
 * when that doubled or halved: connections that were made before are worth replacing. */
bool links_learn(struct links *l, const struct sock_subflow *path);

/* [{name, device, up, address4, gateway4, address6, gateway6, endpoint ids, ...}] */
json_t *links_status(const struct links *l);

#endif
