/* SPDX-License-Identifier: BSD-2-Clause */
/* guard: a tiny process that cleans up when the daemon dies. See guard.c. */
#ifndef PLAIT_GUARD_H
#define PLAIT_GUARD_H

#include <event2/event.h>

#include "script.h"

struct guard;

/* The very first thing in main: does not return in a process that guard_watch() made. */
void guard_become(char **argv);

/* Call first thing in main: everything that is open then is closed in the child. NULL: errno says
 * why; all functions below take it, for a guard that is away. */
struct guard *guard_start(void);

/* Before anything is put in that a guard takes out: waits until the guard of a predecessor of that
 * name, who was killed in this network namespace, has ended. It takes its time: some 0.2 s, 30 s at
 * most. */
void guard_succeed(struct guard *g, const char *name);

/* From now on `down` is run when this process ends without guard_dismiss, instead of what was armed
 * with the same path. 0; or -1: the guard is away now. */
int guard_arm(struct guard *g, const struct script *down);

/* From now on a guard that was killed is replaced, until guard_unwatch(), which is before the loop
 * goes. */
void guard_watch(struct guard *g, struct event_base *base);
void guard_unwatch(struct guard *g);

/* An orderly end, the rules are out: the guard goes without running anything. Waits for it and
 * frees g. */
void guard_dismiss(struct guard *g);

#endif
