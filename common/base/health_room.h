/* SPDX-License-Identifier: BSD-2-Clause */
/* health_room: what health.c and health_silence.c share, and nobody else may see. */
#ifndef PLAIT_HEALTH_ROOM_H
#define PLAIT_HEALTH_ROOM_H

#include "health.h"

#define SUSPECT_US 60000 /* two of the fastest probes (25 ms), and what either end may hold one (10 ms) */
#define DOWN_US 400000 /* longer than LTE's handovers (50 to 300 ms): a suspect comes back without a trial */
#define UNKNOWN_RTT_US 200000 /* of a link that has not answered yet: to another continent */

/* health.c: the only one who changes states. */
void health_fall_silent(struct health *h, enum health_dir d, bool down, uint64_t now_us);
void health_set_lossy(struct health *h, enum health_dir d, bool lossy, uint64_t now_us);

#endif
