/* SPDX-License-Identifier: BSD-2-Clause */
/* aside: puts a link aside that slows the others down. See aside.c and weigh.c. */
#ifndef PLAIT_ASIDE_H
#define PLAIT_ASIDE_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "links.h"
#include "paths.h"
#include "relay.h"
#include "roles.h"

struct aside;

struct aside *aside_new(struct event_base *base, const struct config *config, struct links *links, struct roles *roles,
			const struct paths *paths, const struct relay_loop *relays); /* NULL with errno */
void aside_free(struct aside *a);

void aside_reload(struct aside *a); /* the config may have other rates now */
void aside_links_changed(struct aside *a);

/* Into a link's object: {share_percent, trial}, once something is known. */
void aside_status(const struct aside *a, size_t link, json_t *o);

#endif
