/* SPDX-License-Identifier: BSD-2-Clause */
/* forwarding: this machine becomes a router, for as long as `hold` lives. */
#ifndef PLAIT_FORWARDING_H
#define PLAIT_FORWARDING_H

#include <stdbool.h>

#include "hold.h"

void forwarding_on(struct hold *h, bool v4, bool v6);

#endif
