/* SPDX-License-Identifier: BSD-2-Clause */
/* tune: kernel settings of this network namespace that plait holds while it runs. See tune.c. */
#ifndef PLAIT_TUNE_H
#define PLAIT_TUNE_H

struct tune;

/* Puts back what a killed run of this program left, changes what needs changing, and remembers;
 * what this kernel lacks is skipped. NULL: no memory. */
struct tune *tune_new(const char *program);

/* Puts back what nobody else has changed since. NULL is fine. */
void tune_free(struct tune *t);

#endif
