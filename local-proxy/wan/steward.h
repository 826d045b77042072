/* steward: keeps the house's lines: their roles, quotas and findings, what is told of them, and the answers to their
 * owner. See steward.c. */
#ifndef PLAIT_STEWARD_H
#define PLAIT_STEWARD_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>

#include "addr.h"
#include "admin.h"
#include "config.h"
#include "health.h"
#include "links.h"
#include "roles.h"

struct steward;

struct steward_ops {
	uint32_t mark; /* SO_MARK of our own connections */
	void (*use)(void *arg, size_t line);			      /* roles_use() of this line is another now (not from inside steward_new) */
	uint64_t (*moved)(void *arg);				      /* grows by the bytes that TCP's relays move */
	const struct health *(*health)(void *arg, size_t line);	      /* what probes know of it, or NULL */
	json_t *(*datagrams)(void *arg, size_t line);		      /* tunnel_path_status() of it, or NULL; may be NULL itself */
};

struct steward *steward_new(struct event_base *base, const struct config *config, struct links *links, const struct steward_ops *ops,
			    void *arg); /* NULL: a sentence was logged */
void steward_free(struct steward *s);	/* before its links */

struct roles *steward_roles(const struct steward *s);

/* What happens. */
void steward_reload(struct steward *s); /* the config says other things of the lines now */
void steward_links_changed(struct steward *s);
/* The remote is (up) or ought to be at these addresses. Again whenever that changes. */
void steward_session(struct steward *s, bool up, const struct addr *remote, size_t n);
/* A connection to the remote that carries much. */
void steward_observed(struct steward *s, int wan_fd);

/* The requests "links" and "link NAME ROLE". */
void steward_serve(struct steward *s, struct admin *admin);

#endif
