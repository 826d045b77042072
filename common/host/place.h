/* place: a name that one process of a network namespace can have at a time. */
#ifndef PLAIT_PLACE_H
#define PLAIT_PLACE_H

/* A descriptor, close-on-exec; the place is free again when it and its copies are closed, in whatever way. -1: errno says why, EADDRINUSE
 * that somebody has it. */
int place_take(const char *name);

/* The same, but waits until it is free, for limit_ms at most. */
int place_wait(const char *name, unsigned limit_ms);

#endif
