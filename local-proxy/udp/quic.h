/* SPDX-License-Identifier: BSD-2-Clause */
/* quic: should it be refused, so that browsers turn to TCP? See quic.c. */
#ifndef PLAIT_QUIC_H
#define PLAIT_QUIC_H

#include <stdbool.h>

#include "config.h"
#include "tunnel.h"

bool quic_is_refused(const struct config *config, struct tunnel *tunnel);

#endif
