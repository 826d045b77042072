/* SPDX-License-Identifier: BSD-2-Clause */
/* strip: a middlebox that knows no MPTCP. */
#ifndef STRIP_H
#define STRIP_H

#include <stddef.h>
#include <stdint.h>

/* Overwrites every MPTCP option of a TCP segment in an Ethernet frame with no-operations, the
 * checksum following. How many there were. */
unsigned strip_mptcp(uint8_t *frame, size_t len);

#endif
