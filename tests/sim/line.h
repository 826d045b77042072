/* SPDX-License-Identifier: BSD-2-Clause */
/* line: what packets travel on: the house's links to the Internet, its LAN, and the Internet behind
 * the VPS. See line.c. */
#ifndef SIM_LINE_H
#define SIM_LINE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "proc.h"

#define LINES 8 /* links of the house; three more stand behind them */
#define LINE_LAN LINES
#define LINE_NET (LINES + 1) /* between a VPS and any server; the second one's follows */

enum { UP, DOWN }; /* away from the house, and towards it */

struct line {
	char name[16]; /* of its device */
	int index;
	bool carrier;
	struct in_addr addr, gateway;
	struct line_way {
		uint64_t delay_us, rate, queue_us; /* rate in bytes a second, 0: no limit */
		uint32_t loss_ppm;
		bool silent;	  /* what is sent vanishes */
		uint64_t free_us; /* when the queue is empty */
		uint64_t bytes;	  /* carried so far */
	} way[2];
	bool strips_mptcp, drops_udp;
};

extern struct line lines[LINES + 3];
extern unsigned n_lines;

void lines_begin(void);
/* The line of this address of the house, by bind(); -1: none has it. */
int line_of(struct in_addr addr);
/* A VPS's own; and whose it is by its address, OUTSIDE: nobody's. */
int line_net(enum host vps);
enum host line_vps(struct in_addr addr);
/* The one that the house's own default route takes; -1: all are gone. */
int line_default(void);

/* Sends so many bytes: when they arrive; NEVER: they are lost. */
uint64_t line_send(struct line *l, int direction, uint32_t bytes);
bool line_passes(const struct line *l, int direction); /* neither unplugged nor silent */
uint64_t line_rtt(const struct line *l);

#endif
