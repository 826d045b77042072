/* remote: one VPS as the gateway knows it: its addresses, and the session with it. See remote.c. */
#ifndef PLAIT_REMOTE_H
#define PLAIT_REMOTE_H

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
struct remote;

struct remote_ops {
	/* A session began, or the last one is gone; restarted: it was another process, what was attached to it is void. */
	void (*session)(void *arg, struct remote *r, bool up, bool restarted);
	void (*addresses)(void *arg, struct remote *r); /* remote_targets() answers differently */
	void (*packet)(void *arg, struct remote *r, const uint8_t *packet, size_t len); /* of the tunnel */
	void (*room)(void *arg, struct remote *r); /* after remote_offer() refused: it would not, now */
};

/* What all remotes share; links and tls outlive them. */
struct remote_house {
	struct event_base *base;
	struct links *links;
	const struct relay_loop *relays; /* a remote's have it as their group */
	struct tls_ctx *tls;
	struct sock_wan opt;
	uint8_t boot[16]; /* ours */
	bool clear;
};

/* host and port are those of c, unless it names a service: then they are one of its targets. */
struct remote *remote_new(const struct remote_house *house, const struct config_remote *c, const char *host, uint16_t port,
			  const struct remote_ops *ops, void *arg);
void remote_free(struct remote *r); /* says BYE */

struct session *remote_session(const struct remote *r); /* the newest; NULL while there is none. Not a reference */
const struct wire_welcome *remote_welcome(const struct remote *r); /* of that session */
size_t remote_targets(const struct remote *r, struct addr *out, size_t max);
bool remote_is_target(const struct remote *r, const struct addr *a); /* same IP as the VPS */
const uint8_t *remote_token(const struct remote *r, const struct session *s); /* what a RESET for it must carry */

/* Connects to the VPS over the best line. As dial_start(). */
struct dial *remote_dial(struct remote *r, dial_cb cb, void *arg);

/* The remote says that it does not know our session: get a new one now. */
void remote_session_refused(struct remote *r, const struct session *s);

/* A connection of the LAN wants it: from now on it has to be known whether the remote is there. */
void remote_wanted(struct remote *r);

/* Somebody doubts that the remote is there: it is asked now, and another control connection begun if it does not answer soon. */
void remote_suspect(struct remote *r);

/* Asks whether the OPEN of this counter was served, and forbids it if not. The answer comes once, also when it cannot be
 * known (then: served). */
struct revoke *remote_revoke(struct remote *r, const struct session *s, uint64_t ctr, remote_revoked cb, void *arg);
void remote_revoke_cancel(struct revoke *v); /* NULL is fine */

/* For the choice between several. */
const char *remote_host(const struct remote *r);
uint16_t remote_port(const struct remote *r);
unsigned remote_silent_ms(const struct remote *r); /* how long an answer is owed, or its connection broken; 0: all is well */
uint64_t remote_well_ms(const struct remote *r);   /* clock_ms() since when all is well; 0: it is not */
bool remote_heard_since(const struct remote *r, uint64_t ms); /* clock_ms() */
bool remote_tried(const struct remote *r);	   /* an attempt has failed since the last session */
void remote_retire(struct remote *r, bool retired);	   /* while it is, no new connection to it is begun */

/* The lines changed: perhaps one can be reached now. */
void remote_links_changed(struct remote *r);

/* For a remote whose WELCOME says WIRE_F_STREAM only: a packet of the tunnel (false: not now), which way its packets are to come, and
 * how the control connection behaves meanwhile. */
bool remote_offer(struct remote *r, const uint8_t *packet, size_t len);
void remote_carrier(struct remote *r, enum wire_carrier carrier, const char *congestion);

json_t *remote_status(const struct remote *r);

#endif
