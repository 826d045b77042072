/* SPDX-License-Identifier: BSD-2-Clause */
/* flow: one connection of a device of the LAN with a server of the Internet. See flow.c. */
#ifndef SIM_FLOW_H
#define SIM_FLOW_H

#include <stdbool.h>
#include <stdint.h>

enum flow_kind {
	FLOW_CLIENT_SHUTS,  /* request, half-close, answer, the server closes */
	FLOW_SERVER_CLOSES, /* request, answer, the server closes, then the client */
	FLOW_SERVER_FIRST,  /* the server speaks before it is asked */
	FLOW_CLIENT_RESETS, /* in the middle of the answer */
	FLOW_SERVER_RESETS, /* likewise */
	FLOW_REFUSED,	    /* nobody listens there */
	FLOW_HESITANT, /* a server that is slow to answer the SYN, a client that speaks in pieces */
	FLOW_KINDS
};

struct flow;

void flows_begin(void); /* the servers are there */
void flows_end(void);

/* Begins now, intercepted or not, as the gateway's rules are. */
struct flow *flow_start(enum flow_kind kind, uint32_t request, uint32_t answer);
bool flow_over(const struct flow *f);
bool flow_well(const struct flow *f);	/* over, and as it has to be when nothing goes wrong */
bool flow_direct(const struct flow *f); /* it was not taken by plait */
uint64_t flow_took_us(const struct flow *f);
void flow_describe(const struct flow *f, char out[160]);

/* All that were started: how many, and whether all are over. */
unsigned flows_open(void);
struct flow *flows_oldest_open(void); /* of those that plait has taken; NULL */

#endif
