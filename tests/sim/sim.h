/* SPDX-License-Identifier: BSD-2-Clause */
/* sim: what all parts of the simulator share. See docs/simulator.md. */
#ifndef SIM_H
#define SIM_H

#include <stdbool.h>
#include <stddef.h>

/* The world is not as it has to be: tells the seed and why, and ends the process. */
__attribute__((noreturn, format(printf, 1, 2))) void sim_fail(const char *fmt, ...);

/* A line about what happens, with the time in front, where somebody wants to read it (SIM_LOG=1).
 */
__attribute__((format(printf, 1, 2))) void sim_say(const char *fmt, ...);
extern bool sim_says;

void *sim_alloc(size_t size); /* zeroed; never NULL */

#endif
