/* SPDX-License-Identifier: BSD-2-Clause */
/* forwarding: this machine becomes a router, until the settings are put back. */
#ifndef PLAIT_FORWARDING_H
#define PLAIT_FORWARDING_H

#include <stdbool.h>

#include "settings.h"

void forwarding_on(struct settings *s, bool v4, bool v6);

#endif
