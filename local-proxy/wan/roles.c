/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * A role is the owner's word on a link. A primary is used whenever it is fit; a backup carries
 * nothing, not even a subflow that would be preferred, while any primary is; a link that is off
 * carries nothing at all, but keeps its address and its routes. The word is passed on to `links` as
 * one verdict among others and takes effect there, on running connections too.
 *
 * A role that was changed live lasts as long as the daemon, or until the config says another than
 * it did: a restart reads the config again, so that a link is not found off a year later by
 * somebody who does not know why.
 *
 * UDP has its own way to say the same (enum wire_use), and one more word: a metered link, and one
 * that is put aside, carries the small and urgent packets whose copies make the difference,
 * and no bulk. The strictest of what is known wins. */
#include "roles.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct roles {
	const struct config *config;
	struct links *links;
	void (*changed)(void *arg, size_t link);
	void *arg;
	struct one {
		enum config_role role, written; /* now; as the config has it */
		bool spent, aside;
	} link[CONFIG_LINKS];
};

const char *roles_name(enum config_role role)
{
	static const char *const names[] = { "primary", "backup", "off" };

	return names[role];
}

static void roles_verdict(struct roles *r, size_t i)
{
	static const enum links_standing standing[] = { LINKS_IN, LINKS_BACKUP, LINKS_OUT };
	static const char *const why[] = { "", "its role is backup", "its role is off" };
	enum config_role role = r->link[i].role;

	links_set_verdict(r->links, i, LINKS_ROLE, standing[role], why[role]);
}

struct roles *roles_new(const struct config *config, struct links *links, void (*changed)(void *arg, size_t link), void *arg)
{
	struct roles *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	*r = (struct roles){ .config = config, .links = links, .changed = changed, .arg = arg };
	for (size_t i = 0; i < config->n_links; i++) {
		r->link[i].role = r->link[i].written = config->links[i].role;
		roles_verdict(r, i);
	}
	return r;
}

void roles_free(struct roles *r)
{
	free(r);
}

enum config_role roles_role(const struct roles *r, size_t link)
{
	return r->link[link].role;
}

enum wire_use roles_use(const struct roles *r, size_t link)
{
	const struct one *o = &r->link[link];

	if (o->role == ROLE_OFF || o->spent)
		return WIRE_USE_NOT;
	if (o->role == ROLE_BACKUP)
		return WIRE_USE_BACKUP;
	return o->aside || r->config->links[link].metered ? WIRE_USE_COPIES : WIRE_USE_FULL;
}

static void roles_tell(struct roles *r, size_t link, enum wire_use was)
{
	if (r->changed && roles_use(r, link) != was)
		r->changed(r->arg, link);
}

void roles_spent(struct roles *r, size_t link, bool spent)
{
	enum wire_use was = roles_use(r, link);

	r->link[link].spent = spent;
	roles_tell(r, link, was);
}

void roles_aside(struct roles *r, size_t link, bool aside)
{
	enum wire_use was = roles_use(r, link);

	r->link[link].aside = aside;
	roles_tell(r, link, was);
}

void roles_reload(struct roles *r)
{
	for (size_t i = 0; i < r->config->n_links; i++) {
		struct one *o = &r->link[i];

		if (o->written != r->config->links[i].role)
			o->role = o->written = r->config->links[i].role;
		roles_verdict(r, i);
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

/* The link of that name, or n_links. */
static size_t roles_find(const struct roles *r, const char *name, size_t len)
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
	size_t len = strcspn(rest, " "), i = roles_find(r, rest, len);
	const char *word = rest + len + (rest[len] == ' ');
	enum config_role role = ROLE_PRIMARY, was;
	enum wire_use use;
	char name[40];

	snprintf(name, sizeof(name), "%.*s", len < 32 ? (int)len : 32, rest);
	if (i == r->config->n_links)
		return error("no link is called", name, "");
	while (role <= ROLE_OFF && strcmp(word, roles_name(role)))
		role++;
	if (role > ROLE_OFF)
		return error("no role is called", word, ": primary, backup or off");
	was = r->link[i].role;
	use = roles_use(r, i);
	r->link[i].role = role;
	roles_verdict(r, i);
	roles_tell(r, i, use);
	return json_pack("{s:s, s:s, s:s}", "link", r->config->links[i].name, "was", roles_name(was), "is", roles_name(role));
}
