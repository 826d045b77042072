/* SPDX-License-Identifier: BSD-2-Clause */
/* listener: accepts until descriptors run out, then rests and tries again. See listener.c. */
#ifndef PLAIT_LISTENER_H
#define PLAIT_LISTENER_H

#include <event2/event.h>
#include <stdbool.h>

#include "addr.h"

struct listener;
typedef void (*listener_cb)(void *arg, int fd, const struct addr *peer); /* owns fd */

/* Owns fd, a listening socket; NULL (fd still the caller's): no memory. */
struct listener *listener_new(struct event_base *base, int fd, listener_cb cb, void *arg);
void listener_free(struct listener *l);
bool listener_paused(const struct listener *l);

#endif
