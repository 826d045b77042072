/* SPDX-License-Identifier: BSD-2-Clause */
/* proc: the daemons take turns in one process.
 *
 * Theory of operation. Each daemon's main() runs on a stack of its own. Where a real one would wait
 * in epoll_wait() it gives the turn back (proc_wait), and has it again when one of its descriptors
 * became ready (proc_wake) or its time has come. When nobody can go on the clock jumps to the next
 * moment at which something happens: waiting costs nothing, and no figure depends on how busy this
 * machine is. Computing takes no simulated time at all.
 *
 * A turn begins and ends by _longjmp(): swapcontext() asks the kernel about signals each time,
 * which was half of all the time. Only the first turn of a daemon, on its new stack, needs a
 * context.
 *
 * A daemon that is killed is a stack to which the turn never comes back; what it allocated is lost.
 * Its descriptors are closed as the kernel would do it. */
#include "proc.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "box.h"
#include "fd.h"
#include "sim.h"
#include "sim_clock.h"

#define STACK (1 << 20)
#define SPIN_MAX 200000 /* turns without the clock moving: somebody runs in a circle */

int plait_local_main(int argc, char **argv);
int plait_remote_main(int argc, char **argv);

struct proc {
	ucontext_t birth;
	jmp_buf place; /* where it goes on */
	bool born;
	char *stack;
	const char *conf;
	bool alive, runnable, terminated, stopped;
	uint64_t wake_us;
	int exit_code;
};

static struct proc procs[HOSTS];
static jmp_buf scheduler;
static enum host current = OUTSIDE;

enum host proc_current(void)
{
	return current;
}

enum host proc_borrow(enum host host)
{
	enum host was = current;

	current = host;
	return was;
}

static void life(void)
{
	static const char *const names[] = { "plait-local", "plait-remote" };
	struct proc *p = &procs[current];
	char *argv[] = { (char *)names[current != GATEWAY], "run", "-c", (char *)p->conf, NULL };

	p->exit_code = (current == GATEWAY ? plait_local_main : plait_remote_main)(4, argv);
	p->alive = false;
	_longjmp(scheduler, 1);
}

void proc_start(enum host host, const char *conf)
{
	struct proc *p = &procs[host];

	if (p->alive)
		sim_fail("started twice");
	free(p->stack);
	*p = (struct proc){ .conf = conf,
			    .alive = true,
			    .runnable = true,
			    .wake_us = NEVER,
			    .stack = sim_alloc(STACK) };
	getcontext(&p->birth);
	p->birth.uc_stack.ss_sp = p->stack;
	p->birth.uc_stack.ss_size = STACK;
	makecontext(&p->birth, life, 0);
}

static void turn(enum host host)
{
	struct proc *p = &procs[host];

	p->runnable = false;
	current = host;
	if (!_setjmp(scheduler)) {
		if (p->born)
			_longjmp(p->place, 1);
		p->born = true;
		setcontext(&p->birth);
	}
	p = &procs[host];
	current = OUTSIDE;
	if (!p->alive)
		fd_close_all(host);
}

void proc_wait(uint64_t until_us)
{
	struct proc *p = &procs[current];

	p->wake_us = until_us;
	if (!_setjmp(p->place))
		_longjmp(scheduler, 1);
	procs[current].wake_us = NEVER;
}

void proc_wake(enum host host)
{
	procs[host].runnable = true;
}

void proc_terminate(enum host host)
{
	procs[host].terminated = true;
	proc_wake(host);
}

bool proc_terminated(void)
{
	return procs[current].terminated;
}

void proc_stop(enum host host, bool stopped)
{
	procs[host].stopped = stopped;
}

void proc_kill(enum host host)
{
	procs[host].alive = false;
	fd_close_all(host);
	box_killed(host);
}

bool proc_alive(enum host host)
{
	return procs[host].alive;
}

int proc_exit_code(enum host host)
{
	return procs[host].exit_code;
}

/* --- the world goes on --- */

static bool run_procs(void)
{
	bool ran = false;

	for (enum host h = GATEWAY; h < OUTSIDE; h++) {
		struct proc *p = &procs[h];

		if (p->alive && !p->stopped && (p->runnable || p->wake_us <= clock_now())) {
			turn(h);
			ran = true;
		}
	}
	return ran;
}

static uint64_t next_moment(void)
{
	uint64_t next = alarm_next();

	for (enum host h = GATEWAY; h < OUTSIDE; h++)
		if (procs[h].alive && !procs[h].stopped && procs[h].wake_us < next)
			next = procs[h].wake_us;
	return next;
}

void world_run(uint64_t until_us)
{
	unsigned spin = 0;

	for (;;) {
		while (run_procs() || alarm_ring_due())
			if (++spin > SPIN_MAX)
				sim_fail("the clock stands still: somebody runs in a circle");
		if (next_moment() > until_us)
			break;
		if (next_moment() > clock_now())
			spin = 0;
		clock_set(next_moment());
	}
	clock_set(until_us);
}
