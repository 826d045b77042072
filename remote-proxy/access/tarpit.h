/* SPDX-License-Identifier: BSD-2-Clause */
/* tarpit: strangers are met with silence. See tarpit.c for the theory. */
#ifndef PLAIT_TARPIT_H
#define PLAIT_TARPIT_H

#include <event2/event.h>
#include "places.h"

struct tarpit;

struct tarpit *tarpit_new(struct event_base *base);
void tarpit_free(struct tarpit *t); /* resets those that hang */

/* Lets a stranger hang. Owns fd and his place. */
void tarpit_take(struct tarpit *t, int fd, struct place *place);

#endif
