#include "judges.h"

#include <stdio.h>

bool judges_hear(struct judges *j, enum links_judge who, enum links_standing standing, const char *why)
{
	enum links_standing was = judges_standing(j);
	struct judgement *own = &j->of[who];

	own->standing = standing;
	snprintf(own->why, sizeof(own->why), "%s", why ? why : "");
	return judges_standing(j) != was;
}

enum links_judge judges_worst(const struct judges *j)
{
	int worst = 0;

	for (int i = 1; i < LINKS_JUDGES; i++)
		if (j->of[i].standing > j->of[worst].standing)
			worst = i;
	return (enum links_judge)worst;
}

enum links_standing judges_standing(const struct judges *j)
{
	return j->of[judges_worst(j)].standing;
}

bool judges_forbid(const struct judges *j)
{
	return j->of[LINKS_ROLE].standing == LINKS_OUT || j->of[LINKS_QUOTA].standing == LINKS_OUT;
}

const char *judges_name(enum links_judge who)
{
	static const char *const names[LINKS_JUDGES] = {
		[LINKS_HEALTH] = "health", [LINKS_ROLE] = "role",   [LINKS_QUOTA] = "quota",
		[LINKS_HARM] = "harm",	   [LINKS_STRIP] = "strip",	 [LINKS_THRIFT] = "thrift",
	};

	return names[who];
}

const char *judges_use_name(enum links_standing s)
{
	static const char *const names[] = {
		[LINKS_IN] = "in",
		[LINKS_WHOLE] = "whole",
		[LINKS_BACKUP] = "backup",
		[LINKS_OUT] = "out",
	};

	return names[s];
}

static enum links_standing best_of(const struct judges_line *line, size_t n)
{
	enum links_standing best = LINKS_OUT;

	for (size_t i = 0; i < n; i++)
		if (line[i].up && judges_standing(line[i].judges) < best)
			best = judges_standing(line[i].judges);
	return best;
}

static bool is_last_resort(const struct judges_line *line)
{
	return line->up && !judges_forbid(line->judges);
}

/* Everything that is up was rejected. */
static void use_rejected(struct judges_line *line, size_t n)
{
	bool in_use = false;

	for (size_t i = 0; i < n; i++)
		in_use |= is_last_resort(&line[i]) && line[i].use != LINKS_OUT;
	for (size_t i = 0; i < n; i++)
		line[i].use = is_last_resort(&line[i]) && (!in_use || line[i].use != LINKS_OUT) ? LINKS_IN : LINKS_OUT;
}

void judges_use(struct judges_line *line, size_t n)
{
	enum links_standing best = best_of(line, n);

	if (best == LINKS_OUT) {
		use_rejected(line, n);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		enum links_standing s = judges_standing(line[i].judges);

		line[i].use = !line[i].up ? LINKS_OUT : best == LINKS_BACKUP && s == LINKS_BACKUP ? LINKS_IN : s;
	}
}
