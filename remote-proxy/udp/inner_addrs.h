/* SPDX-License-Identifier: BSD-2-Clause */
/* inner_addrs: the inner addresses: who has which, what a user may send through the tunnel, and to
 * whom a packet belongs. See inner_addrs.c for the theory. The masquerading itself is the
 * kernel's. */
#ifndef PLAIT_INNER_ADDRS_H
#define PLAIT_INNER_ADDRS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "config.h"
#include "policy.h"

struct inner_addrs;

/* Gives every user of the config his addresses, and forbids the pools to all (policy_add_inside).
 * NULL, and a sentence in err. */
struct inner_addrs *inner_addrs_new(const struct config *config, struct policy *policy, char *err, size_t err_len);
/* Users come and go: `next` will be what the config says. Who stays keeps his addresses. -1: they
 * cannot be given, err has a sentence, and nothing changed. */
int inner_addrs_renew(struct inner_addrs *n, const struct config *next, char *err, size_t err_len);
void inner_addrs_free(struct inner_addrs *n); /* NULL is fine */

/* False: there is no pool of this family. */
bool inner_addrs_inner(const struct inner_addrs *n, unsigned user, int family, struct addr *out);
bool inner_addrs_own(const struct inner_addrs *n, int family, struct addr *out); /* this machine's end */

/* May this packet, which came from this user, go on? False: it was counted, and is to be
 * dropped. */
bool inner_addrs_may_pass(const struct inner_addrs *n, unsigned user, const uint8_t *packet, size_t len);

/* The user to whom a packet of the kernel's goes; -1: nobody, counted. */
int inner_addrs_owner(const struct inner_addrs *n, const uint8_t *packet, size_t len);

#endif
