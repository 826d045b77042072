/* SPDX-License-Identifier: BSD-2-Clause */
/* watchers: who is told that something has changed. Nobody is told what: each looks at how things
 * are now, so that to be told once too often does no harm, and no two of them can have heard
 * different things.
 *
 * Who watches what is said in one place, where a daemon is wired (its main.c), before anything
 * runs; who entered first is told first. */
#ifndef PLAIT_WATCHERS_H
#define PLAIT_WATCHERS_H

#include <assert.h>

#define WATCHERS_MAX 8

struct watchers {
	struct {
		void (*told)(void *arg);
		void *arg;
	} who[WATCHERS_MAX];
	unsigned n;
};

static inline void watchers_add(struct watchers *w, void (*told)(void *arg), void *arg)
{
	assert(w->n < WATCHERS_MAX);
	w->who[w->n].told = told;
	w->who[w->n++].arg = arg;
}

static inline void watchers_tell(const struct watchers *w)
{
	for (unsigned i = 0; i < w->n; i++)
		w->who[i].told(w->who[i].arg);
}

#endif
