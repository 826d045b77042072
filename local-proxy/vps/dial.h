/* SPDX-License-Identifier: BSD-2-Clause */
/* dial: one connection to the VPS, over whichever link answers first. See dial.c. */
#ifndef PLAIT_DIAL_H
#define PLAIT_DIAL_H

#include <event2/event.h>
#include <stddef.h>

#include "addr.h"
#include "links.h"
#include "sock.h"

struct dial;

/* fd is connected, from src; or -1 and errno says why. The dial is gone when this is called. */
typedef void (*dial_cb)(void *arg, int fd, const struct addr *src);

/* Never calls back before it returns. NULL: no memory. */
struct dial *dial_start(struct event_base *base, struct links *links, const struct addr *targets, size_t count,
			const struct sock_wan *opt, dial_cb cb, void *arg);
void dial_cancel(struct dial *d); /* NULL is fine; the callback is not called */

#endif
