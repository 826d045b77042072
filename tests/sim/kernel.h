/* SPDX-License-Identifier: BSD-2-Clause */
/* kernel: what the daemons put into the kernel's tables by netlink. See kernel.c. */
#ifndef SIM_KERNEL_H
#define SIM_KERNEL_H

#include "proc.h"

void kernel_begin(void);
/* A line of the house was plugged in or out, or renumbered: devices, addresses and routes follow,
 * and who watches them is told. */
void kernel_line_changed(int line);
/* What is left of plait in the tables of this host: routes, rules and endpoints, counted. */
unsigned kernel_left(enum host host);

#endif
