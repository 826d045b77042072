/* SPDX-License-Identifier: BSD-2-Clause */
/* vps: one VPS as the gateway knows it: its addresses, and the session with it. See vps.c. */
#ifndef PLAIT_VPS_H
#define PLAIT_VPS_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "config.h"
#include "dial.h"
#include "links.h"
#include "revoke.h"
#include "seal.h"
#include "session.h"
#include "tls.h"

struct relay_loop;
struct vps;

struct vps_ops {
	/* A session began, or the last one is gone; restarted: it was another process, what was
	 * attached to it is void. */
	void (*session)(void *arg, struct vps *v, bool up, bool restarted);
	void (*addresses)(void *arg, struct vps *v); /* vps_targets() answers differently */
	void (*packet)(void *arg, struct vps *v, const uint8_t *packet, size_t len); /* of the tunnel */
	void (*room)(void *arg, struct vps *v); /* after vps_offer() refused: it would not, now */
};

/* What all VPSs share; links and tls outlive them. */
struct vps_house {
	struct event_base *base;
	struct links *links;
	const struct relay_loop *relays; /* a VPS's have it as their group */
	struct tls_ctx *tls;
	struct sock_wan opt;
	uint8_t boot[16]; /* ours */
	bool clear;
};

/* host and port are those of c, unless it names a service: then they are one of its targets. */
struct vps *vps_new(const struct vps_house *house, const struct config_vps *c, const char *host, uint16_t port,
			  const struct vps_ops *ops, void *arg);
void vps_free(struct vps *v); /* says BYE */

struct session *vps_session(const struct vps *v); /* the newest; NULL while there is none. Not a reference */
const struct wire_welcome *vps_welcome(const struct vps *v); /* of that session */
size_t vps_targets(const struct vps *v, struct addr *out, size_t max);
bool vps_is_target(const struct vps *v, const struct addr *a); /* same IP as the VPS */
const uint8_t *vps_token(const struct vps *v, const struct session *s); /* what a RESET for it must carry */

/* Connects to the VPS over the best link. As dial_start(). */
struct dial *vps_dial(struct vps *v, dial_cb cb, void *arg);

/* The VPS says that it does not know our session: get a new one now. */
void vps_session_refused(struct vps *v, const struct session *s);

/* A connection of the LAN wants it: from now on it has to be known whether the VPS is there. */
void vps_wanted(struct vps *v);

/* Somebody doubts that the VPS is there: it is asked now, and another control connection begun if
 * it does not answer soon. */
void vps_suspect(struct vps *v);

/* Asks whether the OPEN of this counter was served, and forbids it if not. The answer comes once,
 * also when it cannot be known (then: served). */
struct revoke *vps_revoke(struct vps *v, const struct session *s, uint64_t ctr, vps_revoked cb, void *arg);
void vps_revoke_cancel(struct revoke *v); /* NULL is fine */

/* For the choice between several. */
const char *vps_host(const struct vps *v);
uint16_t vps_port(const struct vps *v);
unsigned vps_silent_ms(const struct vps *v); /* how long an answer is owed, or its connection broken; 0: all is well */
uint64_t vps_well_ms(const struct vps *v);   /* clock_ms() since when all is well; 0: it is not */
bool vps_heard_since(const struct vps *v, uint64_t ms); /* clock_ms() */
bool vps_tried(const struct vps *v);	   /* an attempt has failed since the last session */
void vps_retire(struct vps *v, bool retired);	   /* while it is, no new connection to it is begun */

/* The links changed: perhaps one can be reached now. */
void vps_links_changed(struct vps *v);

/* For a VPS whose WELCOME says WIRE_F_STREAM only: a packet of the tunnel (false: not now), which
 * way its packets are to come, and how the control connection behaves meanwhile. */
bool vps_offer(struct vps *v, const uint8_t *packet, size_t len);
void vps_carrier(struct vps *v, enum wire_carrier carrier, const char *congestion);

json_t *vps_status(const struct vps *v);

#endif
