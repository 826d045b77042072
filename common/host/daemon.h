/* SPDX-License-Identifier: BSD-2-Clause */
/* daemon: what every long-running program needs: a loop, signals, descriptors, one instance, an
 * orderly end. */
#ifndef PLAIT_DAEMON_H
#define PLAIT_DAEMON_H

#include <event2/event.h>
#include <stddef.h>

#define DAEMON_ERR 256

struct daemon_base {
	struct event_base *base;
	size_t descriptors; /* RLIMIT_NOFILE, after raising it */

	/* Set by the caller between daemon_init and daemon_run; NULL is fine. Called from the
	 * loop. */
	void (*end)(void *arg);	   /* SIGTERM, SIGINT: begin to end; call daemon_stop() when done. NULL stops at once.
				    * A second signal stops without asking. */
	void (*reload)(void *arg); /* SIGHUP */
	void *arg;

	struct event *signals[3];
	int ending;
	int alone; /* the descriptor of daemon_alone() */
};

/* Ignores SIGPIPE, forbids core dumps and ptrace by others (keys are in memory), raises
 * RLIMIT_NOFILE to its hard limit and refuses when that is below `need`; makes the loop. 0, or -1
 * and a sentence in err. */
int daemon_init(struct daemon_base *d, size_t need, char *err, size_t err_len);

/* Tables, rules and endpoints have fixed numbers, so a network namespace has room for one daemon of
 * a name: 0 for the first, -1 and a sentence in err for the second. The place is free again when
 * the process ends, in whatever way. */
int daemon_alone(struct daemon_base *d, const char *name, char *err, size_t err_len);

/* Runs until daemon_stop(). 0, or -1 when the loop itself failed. */
int daemon_run(struct daemon_base *d);
void daemon_stop(struct daemon_base *d);

void daemon_free(struct daemon_base *d); /* after everything that hangs on the loop */

/* The descriptors that so many relays need: two each, and a reserve for all else. */
static inline size_t daemon_descriptors(size_t relays) { return 2 * relays + 256; }

#endif
