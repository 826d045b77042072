/* SPDX-License-Identifier: BSD-2-Clause */
/* vps_choice: which VPS the house uses now. See vps_choice.c. */
#ifndef PLAIT_VPS_CHOICE_H
#define PLAIT_VPS_CHOICE_H

#include <jansson.h>

#include "config.h"
#include "vps.h"

struct vps_choice;

enum vps_choice_news {
	VPS_CHOICE_AWAY,	  /* there is no session with any */
	VPS_CHOICE_RENEWED,  /* a newer session with the same process as before */
	VPS_CHOICE_SWITCHED, /* another VPS, or another process of it: what waits attached is for nothing. The first one, too */
};

struct vps_choice_ops {
	void (*session)(void *arg, enum vps_choice_news news);	 /* the one in use */
	void (*restarted)(void *arg, const struct vps *v); /* any: all that was relayed by it is void. Called before session */
	void (*addresses)(void *arg);				 /* vps_choice_targets() answers differently */
	void (*packet)(void *arg, const uint8_t *packet, size_t len); /* of the tunnel, from the one in use */
	void (*room)(void *arg);				 /* after vps_choice_offer() refused: it would not, now */
};

struct vps_choice *vps_choice_new(struct event_base *base, const struct config *config, struct links *links,
			    const struct relay_loop *relays, struct tls_ctx *tls, const struct sock_wan *opt, const struct vps_choice_ops *ops, void *arg);
void vps_choice_free(struct vps_choice *c); /* NULL is fine */

/* The one in use: NULL, or it has a session. Lives until vps_choice_free(). */
struct vps *vps_choice_active(const struct vps_choice *c);
struct session *vps_choice_session(const struct vps_choice *c);	       /* of the active one; NULL */
const struct wire_welcome *vps_choice_welcome(const struct vps_choice *c); /* likewise */

/* Of every VPS, none of which is ever intercepted. */
size_t vps_choice_targets(const struct vps_choice *c, struct addr *out, size_t max);
size_t vps_choice_active_targets(const struct vps_choice *c, struct addr *out, size_t max);
bool vps_choice_is_target(const struct vps_choice *c, const struct addr *a);

/* To all, or to the active one, as vps_...(). */
void vps_choice_links_changed(struct vps_choice *c);
void vps_choice_wanted(struct vps_choice *c);
void vps_choice_suspect(struct vps_choice *c);
bool vps_choice_heard_since(const struct vps_choice *c, uint64_t ms);
bool vps_choice_offer(struct vps_choice *c, const uint8_t *packet, size_t len);
void vps_choice_carrier(struct vps_choice *c, enum wire_carrier carrier, const char *congestion);

/* vps_status() of the active one (else of the first), with "others": [...]. */
json_t *vps_choice_status(const struct vps_choice *c);

#endif
