/* nat: the inner addresses: who has which, what a user may send through the tunnel, and to whom a packet belongs. See nat.c for the
 * theory. The masquerading itself is the kernel's. */
#ifndef PLAIT_NAT_H
#define PLAIT_NAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "config.h"
#include "policy.h"

struct nat;

/* Gives every user of the config his addresses, and forbids the pools to all (policy_add_inside). NULL: a sentence was logged. */
struct nat *nat_new(const struct config *config, struct policy *policy);
/* Users come and go: `next` will be what the config says. Who stays keeps his addresses. -1: they cannot be given, and nothing changed. */
int nat_renew(struct nat *n, const struct config *next);
void nat_free(struct nat *n); /* NULL is fine */

/* False: there is no pool of this family. */
bool nat_inner(const struct nat *n, unsigned user, int family, struct addr *out);
bool nat_own(const struct nat *n, int family, struct addr *out); /* this machine's end */

/* May this packet, which came from this user, go on? False: it was counted, and is to be dropped. */
bool nat_may_pass(const struct nat *n, unsigned user, const uint8_t *packet, size_t len);

/* The user to whom a packet of the kernel's goes; -1: nobody, counted. */
int nat_owner(const struct nat *n, const uint8_t *packet, size_t len);

#endif
