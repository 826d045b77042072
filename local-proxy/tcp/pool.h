/* SPDX-License-Identifier: BSD-2-Clause */
/* pool: attached connections to the VPS that wait for a LAN connection. See pool.c. */
#ifndef PLAIT_POOL_H
#define PLAIT_POOL_H

#include <jansson.h>

#include "config.h"
#include "links.h"
#include "upstream.h"
#include "vps_choice.h"

struct pool;

struct pool *pool_new(struct event_base *base, const struct config *config, const struct links *links,
		      struct vps_choice *vps, struct seal *seal);
void pool_free(struct pool *p);

/* A warm connection (the caller becomes its owner), or NULL: dial one. */
struct upstream *pool_take(struct pool *p, upstream_cb cb, void *arg);

/* One that was taken had died without a sign: the others may have, too. */
void pool_distrust(struct pool *p);

/* For vps_choice_watch() and links_watch(); `pool` is a struct pool. */
void pool_vps_changed(void *pool);
void pool_links_changed(void *pool); /* what waits on a link that is gone is dropped */

/* Those that wait now are outdated: they are replaced little by little. */
void pool_renew(struct pool *p);

json_t *pool_status(const struct pool *p);

#endif
