/* Theory of operation
 *
 * A role is the owner's word on a line. A primary is used whenever it is fit; a backup carries nothing, not even a
 * subflow that would be preferred, while any primary is; a line that is off carries nothing at all, but keeps its
 * address and its routes. The word is passed on to `links` as one judge among others and takes effect there, on
 * running connections too.
 *
 * A role that was changed live lasts as long as the daemon, or until the config says another than it did: a restart reads the
 * config again, so that a line is not found off a year later by somebody who does not know why.
 *
 * UDP has its own way to say the same (enum wire_use), and one more word: a metered line, and one on which bulk does
 * harm, carries the small and urgent packets whose copies make the difference, and no bulk. The strictest of what is
 * known wins. */
#include "roles.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct roles {
	const struct config *config;
	struct links *links;
	void (*changed)(void *arg, size_t line);
	void *arg;
	struct one {
		enum config_role role, written; /* now; as the config has it */
		bool spent, aside;
	} line[CONFIG_LINKS];
};

const char *roles_name(enum config_role role)
{
	static const char *const names[] = { "primary", "backup", "off" };

	return names[role];
}

static void judge(struct roles *r, size_t i)
{
	static const enum links_standing standing[] = { LINKS_IN, LINKS_BACKUP, LINKS_OUT };
	static const char *const why[] = { "", "its role is backup", "its role is off" };
	enum config_role role = r->line[i].role;

	links_judge(r->links, i, LINKS_ROLE, standing[role], why[role]);
}

struct roles *roles_new(const struct config *config, struct links *links, void (*changed)(void *arg, size_t line), void *arg)
{
	struct roles *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	*r = (struct roles){ .config = config, .links = links, .changed = changed, .arg = arg };
	for (size_t i = 0; i < config->n_links; i++) {
		r->line[i].role = r->line[i].written = config->links[i].role;
		judge(r, i);
	}
	return r;
}

void roles_free(struct roles *r)
{
	free(r);
}

enum config_role roles_role(const struct roles *r, size_t line)
{
	return r->line[line].role;
}

enum wire_use roles_use(const struct roles *r, size_t line)
{
	const struct one *o = &r->line[line];

	if (o->role == ROLE_OFF || o->spent)
		return WIRE_USE_NOT;
	if (o->role == ROLE_BACKUP)
		return WIRE_USE_BACKUP;
	return o->aside || r->config->links[line].metered ? WIRE_USE_COPIES : WIRE_USE_FULL;
}

static void tell(struct roles *r, size_t line, enum wire_use was)
{
	if (r->changed && roles_use(r, line) != was)
		r->changed(r->arg, line);
}

void roles_spent(struct roles *r, size_t line, bool spent)
{
	enum wire_use was = roles_use(r, line);

	r->line[line].spent = spent;
	tell(r, line, was);
}

void roles_aside(struct roles *r, size_t line, bool aside)
{
	enum wire_use was = roles_use(r, line);

	r->line[line].aside = aside;
	tell(r, line, was);
}

void roles_reload(struct roles *r)
{
	for (size_t i = 0; i < r->config->n_links; i++) {
		struct one *o = &r->line[i];

		if (o->written != r->config->links[i].role)
			o->role = o->written = r->config->links[i].role;
		judge(r, i);
		if (r->changed)
			r->changed(r->arg, i); /* what was metered may not be any more */
	}
}

static json_t *error(const char *what, const char *which, const char *known)
{
	char text[160];

	snprintf(text, sizeof(text), "%s %.40s%s", what, which, known);
	return json_pack("{s:s}", "error", text);
}

/* The line of that name, or n_links. */
static size_t find(const struct roles *r, const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < r->config->n_links; i++) {
		const char *known = r->config->links[i].name;

		if (strlen(known) == len && !strncmp(known, name, len))
			break;
	}
	return i;
}

json_t *roles_answer(void *arg, const char *rest)
{
	struct roles *r = arg;
	size_t len = strcspn(rest, " "), i = find(r, rest, len);
	const char *word = rest + len + (rest[len] == ' ');
	enum config_role role = ROLE_PRIMARY, was;
	enum wire_use use;
	char name[40];

	snprintf(name, sizeof(name), "%.*s", len < 32 ? (int)len : 32, rest);
	if (i == r->config->n_links)
		return error("no line is called", name, "");
	while (role <= ROLE_OFF && strcmp(word, roles_name(role)))
		role++;
	if (role > ROLE_OFF)
		return error("no role is called", word, ": primary, backup or off");
	was = r->line[i].role;
	use = roles_use(r, i);
	r->line[i].role = role;
	judge(r, i);
	tell(r, i, use);
	return json_pack("{s:s, s:s, s:s}", "link", r->config->links[i].name, "was", roles_name(was), "is", roles_name(role));
}
