/* SPDX-License-Identifier: BSD-2-Clause */
/* inifile_adopt: what a file that was loaded later says otherwise. The tables know where each
 * option's value lies and how long it is, so values are compared as bytes; both structs were made
 * from the same defaults. */
#include <string.h>

#include "inifile.h"

static bool same(const struct inifile_option *o, const char *is, const char *next)
{
	return !memcmp(is + o->offset, next + o->offset, o->size) &&
	       (o->many != INIFILE_LIST || !memcmp(is + o->count, next + o->count, sizeof(size_t)));
}

static void adopt_take(const struct inifile_option *o, char *is, const char *next)
{
	memcpy(is + o->offset, next + o->offset, o->size);
	if (o->many == INIFILE_LIST)
		memcpy(is + o->count, next + o->count, sizeof(size_t));
}

void inifile_adopt_entry(const struct inifile_option *options, const char *name, void *is, const void *next, inifile_differs told,
			 void *arg)
{
	char text[128];

	for (const struct inifile_option *o = options; o->key; o++) {
		if (same(o, is, next))
			continue;
		if (o->when == INIFILE_LIVE)
			adopt_take(o, is, next);
		snprintf(text, sizeof(text), "[%.70s] %.40s", name, o->key);
		told(arg, text, o->when == INIFILE_LIVE);
	}
}

/* Entries begin with their names. */
static bool same_titles(const struct inifile_section *s, const char *is, const char *next)
{
	size_t n, m;

	memcpy(&n, is + s->count, sizeof(n));
	memcpy(&m, next + s->count, sizeof(m));
	for (size_t i = 0; n == m && i < n; i++)
		if (strcmp(is + s->offset + i * s->stride, next + s->offset + i * s->stride))
			return false;
	return n == m;
}

static void adopt_entries(const struct inifile_section *s, char *is, const char *next, inifile_differs told, void *arg)
{
	char name[80];
	size_t n;

	snprintf(name, sizeof(name), "[%.40s]", s->name);
	if (!same_titles(s, is, next)) {
		told(arg, name, false);
		return;
	}
	memcpy(&n, is + s->count, sizeof(n));
	for (size_t i = 0, at = s->offset; i < n; i++, at += s->stride) {
		bool bare = s->named == INIFILE_MAYBE_NAMED && !strcmp(is + at, s->name);

		snprintf(name, sizeof(name), bare ? "%.30s" : "%.30s %.40s", s->name, is + at);
		inifile_adopt_entry(s->options, name, is + at, next + at, told, arg);
	}
}

void inifile_adopt(const struct inifile_section *sections, void *is, const void *next, inifile_differs told, void *arg)
{
	for (const struct inifile_section *s = sections; s->name; s++) {
		if (s->apart == INIFILE_APART)
			continue;
		if (s->max)
			adopt_entries(s, is, next, told, arg);
		else
			inifile_adopt_entry(s->options, s->name, is, next, told, arg);
	}
}
