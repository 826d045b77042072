/* SPDX-License-Identifier: BSD-2-Clause */
/* dial_status: what the gateway is told when a destination could not be reached. */
#ifndef PLAIT_DIAL_STATUS_H
#define PLAIT_DIAL_STATUS_H

#include <stdint.h>

#include "addr.h"

/* The wire status (RFC 8803's words) for the errno of connecting to dst; NULL: it came later than
 * from connect() itself. A port that answers with RST counts as reset. */
uint16_t dial_status_of(int err, const struct addr *dst);

#endif
