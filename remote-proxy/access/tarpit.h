/* SPDX-License-Identifier: BSD-2-Clause */
/* tarpit: strangers are met with silence. See tarpit.c for the theory. */
#ifndef PLAIT_TARPIT_H
#define PLAIT_TARPIT_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

struct tarpit;

struct tarpit *tarpit_new(struct event_base *base);
void tarpit_free(struct tarpit *t); /* resets those that hang */

/* Every connection is a stranger until it authenticates. false: there are too many (counted here);
 * make room. */
bool tarpit_enter(struct tarpit *t);
void tarpit_leave(struct tarpit *t); /* it authenticated, or it is gone */
unsigned tarpit_strangers(const struct tarpit *t);

/* Resets the stranger that has hung longest; false: none hangs. */
bool tarpit_evict(struct tarpit *t);

/* Lets a stranger hang: it entered, and never leaves. Owns fd. */
void tarpit_take(struct tarpit *t, int fd, uint64_t accepted_ms);

#endif
