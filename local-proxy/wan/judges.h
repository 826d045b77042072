/* judges: what several judges say of one line, and what the lines are used for in consequence: a value. */
#ifndef PLAIT_JUDGES_H
#define PLAIT_JUDGES_H

#include <stdbool.h>
#include <stddef.h>

#include "links.h"

struct judgement {
	enum links_standing standing;
	char why[96];
};

struct judges { /* all zero: nobody objects */
	struct judgement of[LINKS_JUDGES];
};

/* True when the standing of all together is another now. */
bool judges_hear(struct judges *j, enum links_judge who, enum links_standing standing, const char *why);

/* The judge whose word counts. */
enum links_judge judges_worst(const struct judges *j);
enum links_standing judges_standing(const struct judges *j);

/* The owner's own wish, not a finding: such a line stays unused though nothing else be left. */
bool judges_forbid(const struct judges *j);

const char *judges_name(enum links_judge who);	    /* "health", ... */
const char *judges_use_name(enum links_standing s); /* "in", "whole", "backup", "out" */

struct judges_line {
	const struct judges *judges;
	bool up;
	enum links_standing use; /* in: what it was used for until now; out: from now on */
};

/* A line is used as it stands, while one that is up stands well enough. Without those the backups are used as if they were
 * equals; without them those of the rejected that were used last, or else all that are not forbidden: a finding may be wrong. */
void judges_use(struct judges_line *line, size_t n);

#endif
