/* SPDX-License-Identifier: BSD-2-Clause */
/* vps_choice: which VPS the house uses now. See vps_choice.c. */
#ifndef PLAIT_VPS_CHOICE_H
#define PLAIT_VPS_CHOICE_H

#include <jansson.h>

#include "config.h"
#include "vps.h"

struct vps_choice;

/* Makes a choice that is at rest: nobody is asked or told anything before vps_choice_start(). `opt`
 * is copied, all else outlives it. NULL: no memory. */
struct vps_choice *vps_choice_new(struct event_base *base, const struct config *config, struct links *links,
				  const struct relay_loop *relays, struct tls_ctx *tls, const struct sock_wan *opt);

/* Who is told whenever vps_choice_session(), vps_choice_targets() or vps_choice_epoch() may answer
 * differently. */
void vps_choice_watch(struct vps_choice *c, void (*told)(void *arg), void *arg);
/* Who is told, before the others are, that the process of a VPS is another one: all that was
 * relayed by it is void. */
void vps_choice_on_restart(struct vps_choice *c, void (*restarted)(void *arg, const struct vps *v), void *arg);
/* Who takes the tunnel's packets that come from the one in use; room: after vps_choice_offer()
 * refused, it would not now. */
void vps_choice_on_packets(struct vps_choice *c, void (*packet)(void *arg, const uint8_t *packet, size_t len),
			   void (*room)(void *arg), void *arg);

int vps_choice_start(struct vps_choice *c); /* -1: no memory */
void vps_choice_free(struct vps_choice *c); /* NULL is fine */

/* The one in use: NULL, or it has a session. Lives until vps_choice_free(). */
struct vps *vps_choice_active(const struct vps_choice *c);
struct session *vps_choice_session(const struct vps_choice *c);	       /* of the active one; NULL */
const struct wire_welcome *vps_choice_welcome(const struct vps_choice *c); /* likewise */
/* Another number each time that another VPS is used than before, or another process of it: what
 * waits attached is for nothing then. A mere new session with the same one leaves it. */
unsigned vps_choice_epoch(const struct vps_choice *c);

/* Of every VPS, none of which is ever intercepted. */
size_t vps_choice_targets(const struct vps_choice *c, struct addr *out, size_t max);
size_t vps_choice_active_targets(const struct vps_choice *c, struct addr *out, size_t max);
bool vps_choice_is_target(const struct vps_choice *c, const struct addr *a);

/* To all, or to the active one, as vps_...(). */
void vps_choice_links_changed(void *choice); /* for links_watch() */
void vps_choice_wanted(struct vps_choice *c);
void vps_choice_suspect(struct vps_choice *c);
bool vps_choice_heard_since(const struct vps_choice *c, uint64_t ms);
bool vps_choice_offer(struct vps_choice *c, const uint8_t *packet, size_t len);
void vps_choice_carrier(struct vps_choice *c, enum wire_carrier carrier, const char *congestion);

/* vps_status() of the active one (else of the first), with "others": [...]. */
json_t *vps_choice_status(const struct vps_choice *c);

#endif
