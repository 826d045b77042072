/* SPDX-License-Identifier: BSD-2-Clause */
/* knocks: those that were heard, so that none opens the door twice. A value, all zero at first. */
#ifndef PLAIT_KNOCKS_H
#define PLAIT_KNOCKS_H

#include <stdbool.h>
#include <stdint.h>

#include "wire.h"

#define KNOCKS_SETS 4096
#define KNOCKS_WAYS 16

struct knocks {
	uint8_t nonce[KNOCKS_SETS][KNOCKS_WAYS][WIRE_NONCE];
	uint8_t next[KNOCKS_SETS];
};

/* Of a knock whose mac was right: it was not heard before, but is from now on. */
bool knocks_is_new(struct knocks *k, const uint8_t nonce[WIRE_NONCE]);

#endif
