/* SPDX-License-Identifier: BSD-2-Clause */
/* netlink: one request to the kernel and its answer, over libmnl.
 *
 * Requests are few and the kernel answers them at once, so a call blocks; a kernel
 * that stays silent for two seconds is an error. */
#ifndef PLAIT_NETLINK_H
#define PLAIT_NETLINK_H

#include <libmnl/libmnl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct netlink;

struct netlink *netlink_open(int protocol); /* NETLINK_ROUTE, NETLINK_GENERIC; NULL with errno */
void netlink_close(struct netlink *nl);

/* Sends req (its flags and type are the caller's, sequence and ACK are set here) and hands every
 * message of the answer to cb, which returns MNL_CB_OK or MNL_CB_ERROR with errno set. cb may be
 * NULL. 0 or a negative errno; -EINTR: a dump was overtaken by a change and is to be repeated. */
int netlink_call(struct netlink *nl, struct nlmsghdr *req, mnl_cb_t cb, void *arg);

/* The kernel's own words for the last refusal, or strerror of it. Never NULL. */
const char *netlink_error(const struct netlink *nl);

/* Is there a whole message at the front of so many bytes? (libmnl's own answer is yes for lengths
 * of 2 GiB and more.) */
bool netlink_ok(const struct nlmsghdr *msg, size_t len);

/* Attributes from `offset` on (after the family's header) into tb[0..max]; unknown ones are left
 * out. -1: malformed. */
int netlink_attrs(const struct nlmsghdr *msg, size_t offset, const struct nlattr **tb, uint16_t max);
int netlink_nested(const struct nlattr *nest, const struct nlattr **tb, uint16_t max);

/* Values that are there and long enough, else `otherwise`. */
uint32_t netlink_u32(const struct nlattr *a, uint32_t otherwise);
uint16_t netlink_u16(const struct nlattr *a, uint16_t otherwise);
uint8_t netlink_u8(const struct nlattr *a, uint8_t otherwise);

#endif
