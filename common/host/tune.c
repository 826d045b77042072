/* SPDX-License-Identifier: BSD-2-Clause */
/* tune: kernel settings, changed and put back.
 *
 * Theory of operation. What a setting was and what it becomes is written to a memo before it is
 * changed, and the memo is removed after all was put back. A memo that is there at the start is of
 * a run that was killed: what still has the value that it gave is put back first, exactly as it
 * would have done itself, and so the original value is what is remembered now. The MPTCP limits are
 * raised here for all; `add_addr_accepted` may be raised later by whoever needs it, to 2. */
#include "tune.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "memo.h"
#include "mptcp_pm.h"
#include "sysctl.h"

#define SUBFLOWS "mptcp/subflows"
#define ADD_ADDR "mptcp/add_addr_accepted"
#define ADD_ADDR_MAX 2

static const struct sysctl settings[] = {
	/* One line that swallows SYNs would switch MPTCP off for an hour, and a connection after
	 * two lost SYNs. */
	{ .path = "net/mptcp/blackhole_timeout", .want = 0 },
	{ .path = "net/mptcp/syn_retrans_before_tcp_fallback", .want = 128 },
	/* Lines that swallow long packets and tell nobody: TCP finds out by itself after some
	 * timeouts, instead of never. */
	{ .path = "net/ipv4/tcp_mtu_probing", .want = 1, .least = true },
};
#define SETTINGS (sizeof(settings) / sizeof(*settings))

struct tune {
	struct sysctl settings[SETTINGS];
	struct mptcp_pm *pm; /* NULL: a kernel without MPTCP */
	struct mptcp_raised raised;
	char memo[MEMO_PATH];
};

/* --- what a killed run left --- */

static const struct memo *find(const struct memo *list, size_t n, const char *key)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(list[i].key, key))
			return &list[i];
	return NULL;
}

static void undo_limit(uint32_t *limit, const struct memo *m)
{
	if (m && *limit == (uint32_t)m->set && m->was >= 0 && m->was <= MPTCP_PM_MAX)
		*limit = (uint32_t)m->was;
}

static void recover(struct tune *t)
{
	struct memo list[MEMO_MAX];
	size_t n = memo_load(t->memo, list);
	struct mptcp_limits limits;

	for (size_t i = 0; i < SETTINGS; i++) {
		const struct memo *m = find(list, n, settings[i].path);
		struct sysctl s = { .path = settings[i].path, .changed = m != NULL };

		if (m) {
			s.was = m->was;
			s.want = m->set;
		}
		sysctl_restore(&s);
	}
	if (n && t->pm && !mptcp_pm_get_limits(t->pm, &limits)) {
		undo_limit(&limits.subflows, find(list, n, SUBFLOWS));
		undo_limit(&limits.add_addr_accepted, find(list, n, ADD_ADDR));
		mptcp_pm_set_limits(t->pm, &limits);
	}
}

/* --- what this run does --- */

static void add(struct memo *list, size_t *n, const char *key, long was, long set)
{
	struct memo *m = &list[*n];

	if (was == set)
		return;
	memcpy(m->key, key, strlen(key) + 1);
	m->was = was;
	m->set = set;
	++*n;
}

static void write_memo(const struct tune *t)
{
	struct memo list[MEMO_MAX];
	struct mptcp_limits limits;
	size_t n = 0;
	int err;

	for (size_t i = 0; i < SETTINGS; i++) {
		struct sysctl s = settings[i];

		if (!sysctl_look(&s))
			add(list, &n, s.path, s.was, s.want);
	}
	if (t->pm && !mptcp_pm_get_limits(t->pm, &limits)) {
		if (limits.subflows < MPTCP_PM_MAX)
			add(list, &n, SUBFLOWS, limits.subflows, MPTCP_PM_MAX);
		if (limits.add_addr_accepted < ADD_ADDR_MAX)
			add(list, &n, ADD_ADDR, limits.add_addr_accepted, ADD_ADDR_MAX);
	}
	err = n ? memo_save(t->memo, list, n) : 0;
	if (err)
		log_warn("%s: %s; if this process is killed, kernel settings stay changed", t->memo, strerror(-err));
}

struct tune *tune_new(const char *program)
{
	const struct mptcp_limits want = { .subflows = MPTCP_PM_MAX };
	struct tune *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	memcpy(t->settings, settings, sizeof(settings));
	memo_path(t->memo, program);
	t->pm = mptcp_pm_open();
	recover(t);
	write_memo(t);
	for (size_t i = 0; i < SETTINGS; i++) {
		int err = sysctl_apply(&t->settings[i]);

		if (err && err != -ENOENT)
			log_warn("cannot set %s to %ld: %s", settings[i].path, settings[i].want, strerror(-err));
	}
	if (t->pm && mptcp_pm_raise(t->pm, &want, &t->raised))
		log_warn("MPTCP limits: %s", mptcp_pm_error(t->pm));
	return t;
}

void tune_free(struct tune *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < SETTINGS; i++)
		sysctl_restore(&t->settings[i]);
	if (t->pm) {
		mptcp_pm_restore(t->pm, &t->raised);
		mptcp_pm_close(t->pm);
	}
	memo_remove(t->memo);
	free(t);
}
