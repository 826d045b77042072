/* SPDX-License-Identifier: BSD-2-Clause */
/* machine: what this machine's kernel has and how it feels, for `status` and the log. */
#ifndef PLAIT_MACHINE_H
#define PLAIT_MACHINE_H

#include <jansson.h>

#include "sock.h"

/* {option: "yes", or what its absence means}. */
json_t *machine_kernel(const struct sock_caps *caps);

/* One warning a missing thing that the owner should know of. */
void machine_warn(const struct sock_caps *caps);

/* TCP memory of the whole machine (pages) against its limit, from /proc: when it runs out every
 * socket fails. */
json_t *machine_memory(void);

#endif
