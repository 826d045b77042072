/* SPDX-License-Identifier: BSD-2-Clause */
/* script: what is to be run, as a value. See script.h. */
#include "script.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LIST 4096

int script_init(struct script *s, const char *dir, const char *name, const char *verb)
{
	memset(s, 0, sizeof(*s));
	if (dir[0] != '/' || strlen(verb) >= sizeof(s->verb))
		return -1;
	int n = snprintf(s->path, sizeof(s->path), "%s/%s", dir, name);
	if (n < 0 || (size_t)n >= sizeof(s->path))
		return -1;
	memcpy(s->verb, verb, strlen(verb) + 1);
	return script_setenv(s, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
}

bool script_equal(const struct script *a, const struct script *b)
{
	return !strcmp(a->path, b->path) && !strcmp(a->verb, b->verb) && a->env_len == b->env_len && !memcmp(a->env, b->env, a->env_len);
}

int script_setenv(struct script *s, const char *name, const char *fmt, ...)
{
	size_t room = sizeof(s->env) - s->env_len;
	char *at = s->env + s->env_len;
	int head = snprintf(at, room, "%s=", name);
	va_list ap;

	if (head < 0 || (size_t)head >= room)
		return -1;
	va_start(ap, fmt);
	int tail = vsnprintf(at + head, room - (size_t)head, fmt, ap);
	va_end(ap);
	if (tail < 0 || (size_t)head + (size_t)tail >= room)
		return -1;
	s->env_len += (uint32_t)(head + tail) + 1;
	return 0;
}

/* Appends a word to a list; -1 when it does not fit. */
static int list_add(char list[LIST], const char *word)
{
	size_t len = strlen(list);
	int n = snprintf(list + len, LIST - len, "%s%s", len ? " " : "", word);

	return n < 0 || (size_t)n >= LIST - len ? -1 : 0;
}

int script_set_prefixes(struct script *s, const char *name, const struct prefix *list, size_t n)
{
	char words[LIST] = "", text[PREFIX_STRLEN];

	for (size_t i = 0; i < n; i++)
		if (list_add(words, prefix_print(&list[i], text)))
			return -1;
	return script_setenv(s, name, "%s", words);
}

int script_set_addrs(struct script *s, const char *name, const struct addr *list, size_t n)
{
	char words[LIST] = "", text[ADDR_STRLEN];

	for (size_t i = 0; i < n; i++)
		if (list_add(words, addr_print_ip(&list[i], text)))
			return -1;
	return script_setenv(s, name, "%s", words);
}

int script_set_devices(struct script *s, const char *name, const char (*list)[IFNAMSIZ], size_t n)
{
	char words[LIST] = "";

	for (size_t i = 0; i < n; i++)
		if (list_add(words, list[i]))
			return -1;
	return script_setenv(s, name, "%s", words);
}

int script_set_range(struct script *s, const struct rtnl_range *r)
{
	return script_setenv(s, "PLAIT_TABLE", "%u %u", r->table, r->table_end) ||
	       script_setenv(s, "PLAIT_PRIORITY", "%u %u", r->priority, r->priority_end) ? -1 : 0;
}
