/* SPDX-License-Identifier: BSD-2-Clause */
/* special: networks that are not the public Internet, from the IANA special-purpose registries. */
#ifndef PLAIT_SPECIAL_H
#define PLAIT_SPECIAL_H

#include "addr.h"

#define SPECIAL_NETS 30
extern const struct prefix special_nets[SPECIAL_NETS];

#endif
