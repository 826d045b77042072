/* guard: a tiny process that cleans up when the daemon dies. See guard.c. */
#ifndef PLAIT_GUARD_H
#define PLAIT_GUARD_H

#include "script.h"

struct guard;

/* Call first thing in main: everything that is open then is closed in the child. NULL: errno says why. */
struct guard *guard_start(void);

/* From now on `down` is run when this process ends without guard_dismiss, instead of what was armed with the same path. 0 or -1. */
int guard_arm(struct guard *g, const struct script *down);

/* An orderly end, the rules are out: the guard goes without running anything. Waits for it and frees g. NULL is fine. */
void guard_dismiss(struct guard *g);

#endif
