/* SPDX-License-Identifier: BSD-2-Clause */
/* dgram: UDP of the simulated world. See dgram.c. */
#ifndef SIM_DGRAM_H
#define SIM_DGRAM_H

int dgram_socket(void); /* for fd.c: a socket of the daemon that runs */
void dgrams_begin(void);

#endif
