/* SPDX-License-Identifier: BSD-2-Clause */
/* Nothing is found out here: what the judges found is added up. A new state of a link is a judge of
 * its own, or a word more in verdicts_state(). */
#include "verdicts.h"

#include <stdio.h>

bool verdicts_hear(struct verdicts *v, enum links_judge who, enum links_standing standing,
		   const char *why)
{
	enum links_standing was = verdicts_standing(v);
	bool forbidden = verdicts_forbid(v);
	struct verdict *own = &v->of[who];

	own->standing = standing;
	snprintf(own->why, sizeof(own->why), "%s", why ? why : "");
	return verdicts_standing(v) != was || verdicts_forbid(v) != forbidden;
}

enum links_judge verdicts_worst(const struct verdicts *v)
{
	int worst = 0;

	for (int i = 1; i < LINKS_JUDGES; i++)
		if (v->of[i].standing > v->of[worst].standing)
			worst = i;
	return (enum links_judge)worst;
}

enum links_standing verdicts_standing(const struct verdicts *v)
{
	return v->of[verdicts_worst(v)].standing;
}

bool verdicts_forbid(const struct verdicts *v)
{
	return v->of[LINKS_ROLE].standing == LINKS_OUT || v->of[LINKS_QUOTA].standing == LINKS_OUT;
}

const char *verdicts_judge_name(enum links_judge who)
{
	static const char *const names[LINKS_JUDGES] = {
		[LINKS_HEALTH] = "health", [LINKS_ROLE] = "role",   [LINKS_QUOTA] = "quota",
		[LINKS_ASIDE] = "aside",   [LINKS_MPTCP] = "mptcp", [LINKS_METERED] = "metered",
	};

	return names[who];
}

const char *verdicts_standing_name(enum links_standing s)
{
	static const char *const names[] = {
		[LINKS_IN] = "in",
		[LINKS_PLAIN] = "plain",
		[LINKS_BACKUP] = "backup",
		[LINKS_OUT] = "out",
	};

	return names[s];
}

const char *verdicts_state(const struct verdicts *v, bool up, enum links_standing use)
{
	enum links_judge who = verdicts_worst(v);

	if (!up)
		return "down";
	switch (use) {
	case LINKS_IN:
		return "up";
	case LINKS_PLAIN:
		return "plain";
	case LINKS_BACKUP:
		return who == LINKS_ASIDE ? "aside" : "backup";
	case LINKS_OUT:
		break;
	}
	if (who == LINKS_METERED)
		return "idle";
	return who == LINKS_ROLE || who == LINKS_QUOTA ? "off" : "down";
}

static enum links_standing verdicts_best_of(const struct verdicts_link *link, size_t n)
{
	enum links_standing best = LINKS_OUT;

	for (size_t i = 0; i < n; i++)
		if (link[i].up && verdicts_standing(link[i].verdicts) < best)
			best = verdicts_standing(link[i].verdicts);
	return best;
}

static bool is_last_resort(const struct verdicts_link *link)
{
	return link->up && !verdicts_forbid(link->verdicts);
}

/* Everything that is up was rejected. */
static void use_rejected(struct verdicts_link *link, size_t n)
{
	bool in_use = false;

	for (size_t i = 0; i < n; i++)
		in_use |= is_last_resort(&link[i]) && link[i].use != LINKS_OUT;
	for (size_t i = 0; i < n; i++)
		link[i].use = is_last_resort(&link[i]) && (!in_use || link[i].use != LINKS_OUT) ? LINKS_IN : LINKS_OUT;
}

void verdicts_use(struct verdicts_link *link, size_t n)
{
	enum links_standing best = verdicts_best_of(link, n);

	if (best == LINKS_OUT) {
		use_rejected(link, n);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		enum links_standing s = verdicts_standing(link[i].verdicts);

		link[i].use = !link[i].up ? LINKS_OUT : best == LINKS_BACKUP && s == LINKS_BACKUP ? LINKS_IN : s;
	}
}
