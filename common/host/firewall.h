/* SPDX-License-Identifier: BSD-2-Clause */
/* firewall: a set of our rules in this machine's firewall. See firewall.c. */
#ifndef PLAIT_FIREWALL_H
#define PLAIT_FIREWALL_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>

#include "guard.h"
#include "script.h"

struct firewall;

enum firewall_state {
	FIREWALL_OUT,
	FIREWALL_IN,
	FIREWALL_DRAINED, /* nothing new is taken, what was taken stays */
};

struct firewall_setup {
	struct event_base *base;
	const char *what;	 /* "interception": for a line of the log */
	const char *const *ways; /* names of scripts, the best first, NULL behind the last */
	const char *dir;	 /* where they are: absolute */
	struct guard *guard;	 /* may be NULL */
	/* Tells the script, in its environment, what to do; undo: it is the run that undoes it when
	 * this process is dead. 0, or -1: too long. */
	int (*describe)(void *arg, bool undo, struct script *out);
	/* From the loop: somebody else had changed the rules. why NULL: they are in again, perhaps
	 * by another way; else they are out, and why. */
	void (*changed)(void *arg, const char *why);
	void *arg;
};

/* Copies setup, but for what it points to. NULL: no memory. */
struct firewall *firewall_new(const struct firewall_setup *setup);
void firewall_free(struct firewall *f); /* takes them out; NULL is fine */

/* Puts the rules in, by the first way that this machine can do; again, what is described now
 * replaces what is in. 0 and an empty err, or -1 and one line in it, and nothing of them is in.
 * Waits for the scripts, at most 10 s for each. */
int firewall_put_in(struct firewall *f, char *err, size_t err_len);

/* From FIREWALL_IN. 0, or -1 and one line in err, and they are as they were. */
int firewall_drain(struct firewall *f, char *err, size_t err_len);

void firewall_take_out(struct firewall *f); /* fine when they are not in; what fails is logged */

/* What undoes them is described otherwise now. */
void firewall_tell_guard(const struct firewall *f);

/* They are in, and would be put in otherwise now. */
bool firewall_is_stale(const struct firewall *f);

enum firewall_state firewall_state(const struct firewall *f);
const char *firewall_way(const struct firewall *f); /* the script's name, or "out" */

/* Those of the tunnel, which both daemons have; of the ways only the one, if the config says so.
 * `what` and `ways` of the setup are filled in. */
struct firewall *tun_firewall_new(bool only_iptables, bool only_nftables,
				  struct firewall_setup *setup);

#endif
