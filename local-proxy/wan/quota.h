/* SPDX-License-Identifier: BSD-2-Clause */
/* quota: what a link may carry in a month, and what it has. See quota.c. */
#ifndef PLAIT_QUOTA_H
#define PLAIT_QUOTA_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "config.h"
#include "links.h"

struct quota;

enum quota_event { QUOTA_WARNING, QUOTA_SPENT, QUOTA_RENEWED };

/* Counts from now on. `told` is called (from the loop) when a link's quota nears its end, ends, or
 * begins anew after that. NULL: no memory; when no link has a quota it does nothing and costs
 * nothing. */
struct quota *quota_new(struct event_base *base, const struct config *config, struct links *links,
			void (*told)(void *arg, size_t link, enum quota_event event, const char *why), void *arg);
void quota_free(struct quota *q); /* keeps what was counted */

void quota_reload(struct quota *q); /* the config may have other quotas now */

/* Into a link's object: {quota, used, again}, if it has one. */
void quota_status(const struct quota *q, size_t link, json_t *o);

#endif
