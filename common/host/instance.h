/* SPDX-License-Identifier: BSD-2-Clause */
/* instance: a name that one process of a network namespace can have at a time. */
#ifndef PLAIT_INSTANCE_H
#define PLAIT_INSTANCE_H

/* A descriptor, close-on-exec; the place is free again when it and its copies are closed, in
 * whatever way. -1: errno says why, EADDRINUSE that somebody has it. */
int instance_take(const char *name);

/* The same, but waits until it is free, for limit_ms at most. */
int instance_wait(const char *name, unsigned limit_ms);

#endif
