/* SPDX-License-Identifier: BSD-2-Clause */
/* verdicts: what speaks against a link, judge by judge, what the links are used for in consequence,
 * and the word for it: a value. */
#ifndef PLAIT_VERDICTS_H
#define PLAIT_VERDICTS_H

#include <stdbool.h>
#include <stddef.h>

#include "links.h"

struct verdict {
	enum links_standing standing;
	char why[96];
};

struct verdicts { /* all zero: nobody objects */
	struct verdict of[LINKS_JUDGES];
};

/* True when the standing of all together is another now, or whether the owner forbids the link: both
 * decide what it is used for. */
bool verdicts_hear(struct verdicts *v, enum links_judge who, enum links_standing standing,
		   const char *why);

/* The judge who counts: the first of the enum among those whose verdict is worst. */
enum links_judge verdicts_worst(const struct verdicts *v);
enum links_standing verdicts_standing(const struct verdicts *v);

/* The owner's own wish, not a finding: such a link stays unused though nothing else be left. */
bool verdicts_forbid(const struct verdicts *v);

const char *verdicts_judge_name(enum links_judge who);	   /* "health", ... */
const char *verdicts_standing_name(enum links_standing s); /* "in", "plain", "backup", "out" */

/* The state of a link as people call it, a literal (README has the table): up, plain, idle, backup,
 * aside, off, down. `up`: it has a device and an address; `use`: what it is used for. */
const char *verdicts_state(const struct verdicts *v, bool up, enum links_standing use);

struct verdicts_link {
	const struct verdicts *verdicts;
	bool up;
	enum links_standing use; /* in: what it was used for until now; out: from now on */
};

/* A link is used as it stands, while one that is up stands well enough. Without those the backups
 * are used as if they were equals; without them those of the rejected that were used last, or else
 * all that are not forbidden: a finding may be wrong. */
void verdicts_use(struct verdicts_link *link, size_t n);

#endif
