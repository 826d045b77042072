/* SPDX-License-Identifier: BSD-2-Clause */
/* sysctl: a kernel setting of this network namespace, changed and put back. */
#ifndef PLAIT_SYSCTL_H
#define PLAIT_SYSCTL_H

#include <stdbool.h>

struct sysctl {
	const char *path; /* below /proc/sys/ */
	long want, was;
	bool least; /* a larger one is left as it is */
	bool changed;
};

/* Only finds out what it `was` (and so what `least` wants). As sysctl_apply(). */
int sysctl_look(struct sysctl *s);

/* Writes `want` and remembers what was. 0; -ENOENT: this kernel has no such setting; else a
 * negative errno. */
int sysctl_apply(struct sysctl *s);

/* Is it `want` now? */
bool sysctl_is(const struct sysctl *s);

/* Puts `was` back, unless we changed nothing or somebody else did since. */
void sysctl_restore(struct sysctl *s);

#endif
