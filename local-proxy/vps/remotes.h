/* remotes: which VPS the house uses now. See remotes.c. */
#ifndef PLAIT_REMOTES_H
#define PLAIT_REMOTES_H

#include <jansson.h>

#include "config.h"
#include "remote.h"

struct remotes;

enum remotes_news {
	REMOTES_AWAY,	  /* there is no session with any */
	REMOTES_RENEWED,  /* a newer session with the same process as before */
	REMOTES_SWITCHED, /* another remote, or another process of it: what waits attached is for nothing. The first one, too */
};

struct remotes_ops {
	void (*session)(void *arg, enum remotes_news news);	 /* the one in use */
	void (*restarted)(void *arg, const struct remote *r); /* any: all that was relayed by it is void. Called before session */
	void (*addresses)(void *arg);				 /* remotes_targets() answers differently */
	void (*packet)(void *arg, const uint8_t *packet, size_t len); /* of the tunnel, from the one in use */
	void (*room)(void *arg);				 /* after remotes_offer() refused: it would not, now */
};

struct remotes *remotes_new(struct event_base *base, const struct config *config, struct links *links,
			    const struct relay_loop *relays, struct tls_ctx *tls, const struct sock_wan *opt, const struct remotes_ops *ops, void *arg);
void remotes_free(struct remotes *rs); /* NULL is fine */

/* The one in use: NULL, or it has a session. Lives until remotes_free(). */
struct remote *remotes_active(const struct remotes *rs);
struct session *remotes_session(const struct remotes *rs);	       /* of the active one; NULL */
const struct wire_welcome *remotes_welcome(const struct remotes *rs); /* likewise */

/* Of every remote, none of which is ever intercepted. */
size_t remotes_targets(const struct remotes *rs, struct addr *out, size_t max);
size_t remotes_active_targets(const struct remotes *rs, struct addr *out, size_t max);
bool remotes_is_target(const struct remotes *rs, const struct addr *a);

/* To all, or to the active one, as remote_...(). */
void remotes_links_changed(struct remotes *rs);
void remotes_wanted(struct remotes *rs);
void remotes_suspect(struct remotes *rs);
bool remotes_heard_since(const struct remotes *rs, uint64_t ms);
bool remotes_offer(struct remotes *rs, const uint8_t *packet, size_t len);
void remotes_carrier(struct remotes *rs, enum wire_carrier carrier, const char *congestion);

/* What `remote` was, of the active one (else the first), with "others": [...]. */
json_t *remotes_status(const struct remotes *rs);

#endif
