/* SPDX-License-Identifier: BSD-2-Clause */
/* nft_monitor: somebody changes nftables' ruleset, of which iptables' is a part on today's machines.
 * Reading only. */
#ifndef PLAIT_NFT_MONITOR_H
#define PLAIT_NFT_MONITOR_H

#include <event2/event.h>

struct nft_monitor;

/* Calls changed() from the loop, delay_ms after the first of some changes: of anything in a table
 * whose name begins with `ours`, and wherever a table, a chain or a rule is taken out. NULL with
 * errno: this kernel has no nftables, or we may not listen. */
struct nft_monitor *nft_monitor_new(struct event_base *base, const char *ours, unsigned delay_ms, void (*changed)(void *arg),
				    void *arg);
void nft_monitor_free(struct nft_monitor *m); /* NULL is fine */

#endif
