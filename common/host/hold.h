/* SPDX-License-Identifier: BSD-2-Clause */
/* hold: kernel settings that somebody needs for as long as he lives. */
#ifndef PLAIT_HOLD_H
#define PLAIT_HOLD_H

#include <stddef.h>

#define HOLD_TEXT 4096

struct hold;

struct hold *hold_new(void); /* NULL: no memory */

/* Sets it (path below /proc/sys/) and remembers what was; what this kernel lacks is skipped, a
 * refusal is logged. */
void hold_set(struct hold *h, const char *path, long want);
/* The same where it is `only` now. */
void hold_change(struct hold *h, const char *path, long only, long want);

/* What was changed, for the script that puts it back should this process be killed:
 * "net/ipv4/ip_forward=1:0 ...". */
const char *hold_print(const struct hold *h, char text[HOLD_TEXT]);

/* Puts back what nobody else has changed since, the last first. NULL is fine. */
void hold_free(struct hold *h);

#endif
