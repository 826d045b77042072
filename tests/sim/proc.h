/* SPDX-License-Identifier: BSD-2-Clause */
/* proc: the daemons as processes of the simulated world, plait-remote perhaps twice. See proc.c. */
#ifndef SIM_PROC_H
#define SIM_PROC_H

#include <stdbool.h>
#include <stdint.h>

enum host {
	GATEWAY,
	VPS,
	VPS2,
	OUTSIDE,
	HOSTS
}; /* OUTSIDE: the LAN's devices and the Internet's servers */

struct proc;

/* Starts the daemon of this host; its main() runs from the next proc_run() on. */
void proc_start(enum host host, const char *conf);
void proc_terminate(enum host host);	      /* SIGTERM */
void proc_stop(enum host host, bool stopped); /* SIGSTOP, SIGCONT */
void proc_kill(enum host host); /* SIGKILL: its descriptors end as the kernel ends them */
bool proc_alive(enum host host);
int proc_exit_code(enum host host); /* of the last one that ended by itself */

/* Whose code runs now; OUTSIDE when it is the simulator's own. */
enum host proc_current(void);
enum host proc_borrow(enum host host); /* the simulator runs a daemon's function: in its name; who
					  it was before */
/* Something that the daemon waits for may have come. */
void proc_wake(enum host host);
/* From inside a daemon: gives the turn away until it is woken or the time has come. */
void proc_wait(uint64_t until_us);
bool proc_terminated(void); /* asked by the one that runs: did SIGTERM come? */

/* Lets the world go on until this moment. */
void world_run(uint64_t until_us);

#endif
