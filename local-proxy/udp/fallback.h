/* SPDX-License-Identifier: BSD-2-Clause */
/* fallback: which way the tunnel's packets travel: as datagrams, or as frames of the control
 * connection. See fallback.c for the theory. */
#ifndef PLAIT_FALLBACK_H
#define PLAIT_FALLBACK_H

#include <event2/event.h>
#include <stddef.h>
#include <stdint.h>

#include "tundev.h"
#include "vps_choice.h"

struct fallback;

/* At rest until somebody tells it of the VPS. `congestion`: how the control connection behaves while
 * it carries packets. All outlive this. NULL: no memory. */
struct fallback *fallback_new(struct event_base *base, struct tundev *tundev, struct vps_choice *vps, const char *congestion);
void fallback_free(struct fallback *f); /* NULL is fine */

/* For vps_choice_watch() and paths_watch(); `fallback` is a struct fallback. */
void fallback_vps_changed(void *fallback);
void fallback_paths_changed(void *fallback);

/* For vps_choice_on_packets(). */
void fallback_packet(void *fallback, const uint8_t *packet, size_t len);
void fallback_room(void *fallback);

#endif
