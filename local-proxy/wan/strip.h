/* strip: finds the lines on which Multipath TCP does not get through. See strip.c. */
#ifndef PLAIT_STRIP_H
#define PLAIT_STRIP_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "config.h"
#include "links.h"

struct strip;

struct strip *strip_new(struct event_base *base, const struct config *config, struct links *links, uint32_t mark); /* NULL: no memory */
void strip_free(struct strip *s);

/* Where the remote is, or ought to be. session: it is known to be there. */
void strip_targets(struct strip *s, const struct addr *to, size_t n, bool session);
void strip_links_changed(struct strip *s);
/* A connection from this address fell back to plain TCP. */
void strip_doubt(struct strip *s, const struct addr *from);

#endif
