/* SPDX-License-Identifier: BSD-2-Clause */
/* without: what tests take away from plait: PLAIT_WITHOUT=gso,gro in the environment. */
#ifndef PLAIT_WITHOUT_H
#define PLAIT_WITHOUT_H

#include <stdbool.h>

/* True when the word stands in the list. */
bool without(const char *word);

#endif
