/* SPDX-License-Identifier: BSD-2-Clause */
/* policy: which destinations may be reached through this VPS, the same for all users. Asked for a
 * dial (request_may_open) and for a packet of the tunnel (inner_addrs_may_pass), which both know
 * the user. See policy.c for the theory. */
#ifndef PLAIT_POLICY_H
#define PLAIT_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "config.h"

struct policy;

struct policy *policy_new(const struct config *config); /* keeps the pointer; NULL: no memory */
void policy_free(struct policy *p);

/* The addresses that this VPS owns, from whoever follows the kernel. Ports are ignored; adding
 * twice is adding once. Without memory for one, everything is forbidden from then on: better no
 * service than a way in. */
void policy_add_own(struct policy *p, const struct addr *own);
void policy_del_own(struct policy *p, const struct addr *own);

/* Networks that are nobody's business whatever the config allows: the tunnel's pools. */
int policy_add_inside(struct policy *p, const struct prefix *net);

/* WIRE_OK or WIRE_FORBIDDEN, for the address that is really dialled. */
uint16_t policy_check(const struct policy *p, const struct addr *dst);
/* The same for what has no ports: a packet of ICMP, a later piece of one. */
uint16_t policy_check_host(const struct policy *p, const struct addr *dst);

/* The same for one dial, and asks besides whether the kernel's routes end here: a whole prefix can
 * be the VPS itself. */
typedef bool (*policy_here)(void *arg, const struct addr *a);
void policy_set_here(struct policy *p, policy_here here, void *arg);
uint16_t policy_check_dial(const struct policy *p, const struct addr *dst);

#endif
