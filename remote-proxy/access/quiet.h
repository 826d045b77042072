/* quiet: strangers are met with silence. See quiet.c for the theory. */
#ifndef PLAIT_QUIET_H
#define PLAIT_QUIET_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

struct quiet;

struct quiet *quiet_new(struct event_base *base);
void quiet_free(struct quiet *q); /* resets those that hang */

/* Every connection is a stranger until it authenticates. false: there are too many (counted here); make room. */
bool quiet_enter(struct quiet *q);
void quiet_leave(struct quiet *q); /* it authenticated, or it is gone */
unsigned quiet_strangers(const struct quiet *q);

/* Resets the stranger that has hung longest; false: none hangs. */
bool quiet_evict(struct quiet *q);

/* Lets a stranger hang: it entered, and never leaves. Owns fd. */
void quiet_take(struct quiet *q, int fd, uint64_t accepted_ms);

#endif
