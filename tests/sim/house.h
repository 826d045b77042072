/* SPDX-License-Identifier: BSD-2-Clause */
/* house: a household, from its first moment to its last. See house.c. */
#ifndef SIM_HOUSE_H
#define SIM_HOUSE_H

#include <stdint.h>

void house_prepare(void); /* a folder for its files */
void house_clean(void);

/* Lives through the household of this seed, or fails. */
void house_live(uint64_t seed);

#endif
