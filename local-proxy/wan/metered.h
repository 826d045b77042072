/* SPDX-License-Identifier: BSD-2-Clause */
/* metered: a metered link rests while there is little to carry. See metered.c. */
#ifndef PLAIT_METERED_H
#define PLAIT_METERED_H

#include <event2/event.h>

#include "config.h"
#include "links.h"
#include "relay.h"

struct metered;

/* NULL: no memory. */
struct metered *metered_new(struct event_base *base, const struct config *config, struct links *links,
			    const struct relay_loop *relays);
void metered_free(struct metered *m);

void metered_reload(struct metered *m); /* other links are metered now */
void metered_links_changed(struct metered *m);

#endif
