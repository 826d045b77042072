/* SPDX-License-Identifier: BSD-2-Clause */
/* events: what happened to the links and the VPS, told to the owner's program once per change. See
 * events.c. */
#ifndef PLAIT_EVENTS_H
#define PLAIT_EVENTS_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "config.h"
#include "links.h"

struct events;

struct events *events_new(struct event_base *base, const struct config *config); /* NULL: no memory */
void events_free(struct events *e);

/* Perhaps some link is another now. */
void events_links(struct events *e, const struct links *links);
void events_vps(struct events *e, bool up, const char *address, const char *why);
/* "quota-warning", "quota-spent", "quota-renewed" */
void events_quota(struct events *e, size_t link, const char *event, const char *why);

#endif
