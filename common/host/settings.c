/* SPDX-License-Identifier: BSD-2-Clause */
/* settings: the one owner of the kernel settings that are changed.
 *
 * Theory of operation. What a setting was and what it becomes is written to a memo before it is
 * changed, and the memo is removed after all was put back. A memo that is there at the start is of
 * a run that was killed: what still has the value that it gave is put back first, exactly as it
 * would have done itself, and so the original value is what is remembered now. What somebody else
 * has changed meanwhile is his. */
#include "settings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "memo.h"
#include "mptcp_pm.h"
#include "sysctl.h"

struct settings {
	struct memo held[MEMO_MAX];
	size_t n;
	struct mptcp_pm *pm; /* NULL: a kernel without MPTCP */
	char memo[MEMO_PATH];
	bool unsafe; /* and it was said */
};

/* --- one setting --- */

static uint32_t *limit(struct mptcp_limits *l, const char *path)
{
	if (!strcmp(path, SETTINGS_MPTCP_SUBFLOWS))
		return &l->subflows;
	return strcmp(path, SETTINGS_MPTCP_ADD_ADDR) ? NULL : &l->add_addr_accepted;
}

static int setting_read(const struct settings *s, const char *path, long *value)
{
	struct mptcp_limits l;
	const uint32_t *is = limit(&l, path);

	if (!is)
		return sysctl_read(path, value);
	if (!s->pm || mptcp_pm_get_limits(s->pm, &l))
		return -ENOENT;
	*value = *is;
	return 0;
}

static int setting_write(const struct settings *s, const char *path, long value)
{
	struct mptcp_limits l;
	uint32_t *is = limit(&l, path);
	int err;

	if (!is)
		return sysctl_write(path, value);
	err = s->pm ? mptcp_pm_get_limits(s->pm, &l) : -ENOENT;
	*is = (uint32_t)value;
	return err ? err : mptcp_pm_set_limits(s->pm, &l);
}

static void setting_restore(const struct settings *s, const struct memo *m)
{
	long is;

	if (!setting_read(s, m->key, &is) && is == m->set)
		setting_write(s, m->key, m->was);
}

/* --- all of them --- */

static void settings_save(struct settings *s)
{
	int err = memo_save(s->memo, s->held, s->n);

	if (err && !s->unsafe)
		log_warn("%s: %s; if this process is killed, kernel settings stay changed", s->memo,
			 strerror(-err));
	s->unsafe = err;
}

static struct memo *settings_find(struct settings *s, const char *path)
{
	for (size_t i = 0; i < s->n; i++)
		if (!strcmp(s->held[i].key, path))
			return &s->held[i];
	return NULL;
}

/* The place of a setting that was changed before, or a new one; NULL: there is none, or its name is
 * too long. What somebody else has set in between is what it was. */
static struct memo *settings_place(struct settings *s, const char *path, long was)
{
	struct memo *m = settings_find(s, path);

	if (!m && (s->n == MEMO_MAX || strlen(path) >= sizeof(m->key)))
		return NULL;
	if (!m) {
		m = &s->held[s->n++];
		memcpy(m->key, path, strlen(path) + 1);
		m->was = was;
	} else if (m->set != was) {
		m->was = was;
	}
	return m;
}

void settings_set(struct settings *s, const char *path, long want)
{
	struct memo *m;
	long was;
	int err = setting_read(s, path, &was);

	if (err == -ENOENT || (!err && was == want))
		return;
	m = err ? NULL : settings_place(s, path, was);
	if (m) {
		m->set = want;
		settings_save(s);
		err = setting_write(s, path, want);
	}
	if (!m || err)
		log_warn("cannot set %s to %ld: %s", path, want,
			 err ? strerror(-err) : "too many settings");
	else
		log_info("%s is %ld while this runs (it was %ld)", path, want, was);
}

void settings_raise(struct settings *s, const char *path, long least)
{
	long is;

	if (setting_read(s, path, &is) || is < least)
		settings_set(s, path, least);
}

void settings_change(struct settings *s, const char *path, long only, long want)
{
	long is;

	if (!setting_read(s, path, &is) && is == only)
		settings_set(s, path, want);
}

size_t settings_count(const struct settings *s)
{
	return s->n;
}

void settings_back_to(struct settings *s, size_t count)
{
	if (s->n <= count)
		return;
	while (s->n > count)
		setting_restore(s, &s->held[--s->n]);
	if (s->n)
		settings_save(s);
	else
		memo_remove(s->memo);
}

const char *settings_print(const struct settings *s, size_t since, char text[SETTINGS_TEXT])
{
	size_t len = 0;

	text[0] = '\0';
	for (size_t i = s->n; i-- > since && len < SETTINGS_TEXT;)
		len += (size_t)snprintf(text + len, SETTINGS_TEXT - len, "%s%s=%ld:%ld",
					len ? " " : "", s->held[i].key, s->held[i].set,
					s->held[i].was);
	return text;
}

struct settings *settings_new(const char *program)
{
	struct settings *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	memo_path(s->memo, program);
	s->pm = mptcp_pm_open();
	s->n = memo_load(s->memo, s->held);
	settings_back_to(s, 0);
	/* One line that swallows SYNs would switch MPTCP off for an hour, and a connection after
	 * two lost SYNs. */
	settings_set(s, "net/mptcp/blackhole_timeout", 0);
	settings_set(s, "net/mptcp/syn_retrans_before_tcp_fallback", 128);
	/* Lines that swallow long packets and tell nobody: TCP finds out by itself after some
	 * timeouts, instead of never. */
	settings_raise(s, "net/ipv4/tcp_mtu_probing", 1);
	settings_raise(s, SETTINGS_MPTCP_SUBFLOWS, MPTCP_PM_MAX);
	return s;
}

void settings_free(struct settings *s)
{
	if (!s)
		return;
	settings_back_to(s, 0);
	mptcp_pm_close(s->pm);
	free(s);
}
