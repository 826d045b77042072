/* SPDX-License-Identifier: BSD-2-Clause */
/* own_addrs: this host's addresses, followed, so that policy can deny them all. */
#ifndef PLAIT_OWN_ADDRS_H
#define PLAIT_OWN_ADDRS_H

#include <event2/event.h>

#include "policy.h"

struct own_addrs;

/* Tells policy what is there now, and from then on what comes and goes. NULL, and
 * a sentence in err. */
struct own_addrs *own_addrs_new(struct event_base *base, struct policy *policy, char *err, size_t err_len);
void own_addrs_free(struct own_addrs *o);

#endif
