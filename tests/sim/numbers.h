/* SPDX-License-Identifier: BSD-2-Clause */
/* numbers: no number twice under a key. */
#ifndef SIM_NUMBERS_H
#define SIM_NUMBERS_H

#include <stddef.h>
#include <stdint.h>

#include "proc.h"

void numbers_begin(void);

/* A datagram of plait's, as it leaves this host: its header names the key and the number, so
 * another one with the same header has to have the same bytes; else it fails. */
void numbers_seen(enum host from, const uint8_t *dgram, size_t len);

#endif
