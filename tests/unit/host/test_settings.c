/* SPDX-License-Identifier: BSD-2-Clause */
/* Fear: a kernel setting stays as plait made it, or plait takes back what somebody else has made of
 * it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "log.h"
#include "memo.h"
#include "mptcp_pm.h"
#include "settings.h"
#include "sysctl.h"

/* --- a kernel of five settings, and a memo that is kept in memory --- */

#define BLACKHOLE "net/mptcp/blackhole_timeout"
#define SYN_RETRANS "net/mptcp/syn_retrans_before_tcp_fallback"
#define PROBING "net/ipv4/tcp_mtu_probing"
#define FORWARD "net/ipv4/ip_forward"
#define RA "net/ipv6/conf/eth0/accept_ra"

static struct {
	const char *path;
	long value;
	bool missing, refused;
} kernel[5];

static struct mptcp_limits limits;
static bool without_mptcp;
static struct memo memo[MEMO_MAX];
static size_t n_memo;
static int memo_error;
static bool memo_must_know; /* a value may only be written when the memo has what it was */

static int at(const char *path)
{
	for (int i = 0; i < 5; i++)
		if (!strcmp(kernel[i].path, path))
			return i;
	fail_msg("%s", path);
	return -1;
}

int sysctl_read(const char *path, long *value)
{
	int i = at(path);

	*value = kernel[i].value;
	return kernel[i].missing ? -ENOENT : 0;
}

int sysctl_write(const char *path, long value)
{
	int i = at(path);

	if (kernel[i].refused)
		return -EACCES;
	if (memo_must_know) {
		size_t m = 0;

		while (m < n_memo && strcmp(memo[m].key, path))
			m++;
		assert_true(m < n_memo && memo[m].was == kernel[i].value && memo[m].set == value);
	}
	kernel[i].value = value;
	return 0;
}

struct mptcp_pm *mptcp_pm_open(void)
{
	return without_mptcp ? NULL : (struct mptcp_pm *)&limits;
}

void mptcp_pm_close(struct mptcp_pm *pm)
{
	(void)pm;
}

int mptcp_pm_get_limits(struct mptcp_pm *pm, struct mptcp_limits *l)
{
	(void)pm;
	*l = limits;
	return 0;
}

int mptcp_pm_set_limits(struct mptcp_pm *pm, const struct mptcp_limits *l)
{
	(void)pm;
	limits = *l;
	return 0;
}

void memo_path(char path[MEMO_PATH], const char *program)
{
	snprintf(path, MEMO_PATH, "%s", program);
}

size_t memo_load(const char *path, struct memo out[MEMO_MAX])
{
	(void)path;
	memcpy(out, memo, sizeof(memo));
	return n_memo;
}

int memo_save(const char *path, const struct memo *list, size_t count)
{
	(void)path;
	if (memo_error)
		return memo_error;
	memcpy(memo, list, count * sizeof(*list));
	n_memo = count;
	return 0;
}

void memo_remove(const char *path)
{
	(void)path;
	n_memo = 0;
}

static int fresh(void **state)
{
	static const char *const paths[] = { BLACKHOLE, SYN_RETRANS, PROBING, FORWARD, RA };
	static const long values[] = { 3600, 2, 0, 0, 1 };

	(void)state;
	log_level = LOG_LVL_ERROR;
	memset(kernel, 0, sizeof(kernel));
	for (int i = 0; i < 5; i++) {
		kernel[i].path = paths[i];
		kernel[i].value = values[i];
	}
	limits = (struct mptcp_limits){ .subflows = 2 };
	without_mptcp = false;
	memo_must_know = false;
	memo_error = 0;
	n_memo = 0;
	return 0;
}

static void all_is_as_before(void)
{
	static const long values[] = { 3600, 2, 0, 0, 1 };

	for (int i = 0; i < 5; i++)
		assert_int_equal(kernel[i].value, values[i]);
	assert_int_equal(limits.subflows, 2);
	assert_int_equal(limits.add_addr_accepted, 0);
	assert_int_equal(n_memo, 0);
}

/* --- */

static void what_is_set_is_put_back_and_the_memo_goes(void **state)
{
	struct settings *s = settings_new("plait-x");
	char text[SETTINGS_TEXT];
	size_t before = settings_count(s);

	(void)state;
	assert_int_equal(kernel[at(BLACKHOLE)].value, 0);
	assert_int_equal(kernel[at(PROBING)].value, 1);
	assert_int_equal(limits.subflows, MPTCP_PM_MAX);
	settings_set(s, FORWARD, 1);
	settings_change(s, RA, 1, 2);
	settings_change(s, RA, 0, 7);
	settings_raise(s, SETTINGS_MPTCP_ADD_ADDR, 2);
	settings_raise(s, SETTINGS_MPTCP_ADD_ADDR, 1);
	assert_int_equal(kernel[at(RA)].value, 2);
	assert_int_equal(limits.add_addr_accepted, 2);
	assert_string_equal(settings_print(s, before, text),
			    SETTINGS_MPTCP_ADD_ADDR "=2:0 " RA "=2:1 " FORWARD "=1:0");
	settings_back_to(s, before);
	assert_int_equal(kernel[at(FORWARD)].value, 0);
	assert_int_equal(kernel[at(BLACKHOLE)].value, 0);
	assert_int_equal(n_memo, before);
	settings_free(s);
	all_is_as_before();
}

static void the_memo_knows_before_the_kernel_does(void **state)
{
	struct settings *s;

	(void)state;
	memo_must_know = true;
	s = settings_new("plait-x");
	settings_set(s, FORWARD, 1);
	memo_must_know = false;
	settings_free(s);
	all_is_as_before();
}

static void what_a_killed_run_left_is_put_back_first(void **state)
{
	struct settings *killed = settings_new("plait-x"), *s;

	(void)state;
	settings_set(killed, FORWARD, 1);
	free(killed); /* and the kernel stays as it is */
	s = settings_new("plait-x");
	assert_int_equal(kernel[at(FORWARD)].value, 0);
	settings_free(s);
	all_is_as_before();
}

static void what_somebody_else_has_changed_is_his(void **state)
{
	struct settings *s = settings_new("plait-x");

	(void)state;
	settings_set(s, FORWARD, 1);
	kernel[at(BLACKHOLE)].value = 60;
	kernel[at(FORWARD)].value = 2;
	settings_set(s, FORWARD, 1); /* once more: what it was is what he made of it */
	settings_free(s);
	assert_int_equal(kernel[at(BLACKHOLE)].value, 60);
	assert_int_equal(kernel[at(FORWARD)].value, 2);
}

static void what_is_missing_or_refused_changes_nothing_else(void **state)
{
	struct settings *s;

	(void)state;
	without_mptcp = true;
	kernel[at(BLACKHOLE)].missing = true;
	kernel[at(FORWARD)].refused = true;
	memo_error = -EROFS;
	s = settings_new("plait-x");
	settings_set(s, FORWARD, 1);
	settings_raise(s, SETTINGS_MPTCP_ADD_ADDR, 2);
	assert_int_equal(kernel[at(SYN_RETRANS)].value, 128);
	settings_free(s);
	assert_int_equal(kernel[at(SYN_RETRANS)].value, 2);
	assert_int_equal(limits.subflows, 2);
}

static void a_name_too_long_is_refused(void **state)
{
	struct settings *s = settings_new("plait-x");
	char *path = strdup(FORWARD
			    "-and-a-name-that-is-longer-than-anything-that-the-memo-could-keep");

	(void)state;
	kernel[at(FORWARD)].path = path;
	settings_set(s, path, 1);
	assert_int_equal(kernel[at(path)].value, 0);
	settings_free(s);
	free(path);
	assert_int_equal(n_memo, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup(name, fresh)
	const struct CMUnitTest tests[] = {
		T(what_is_set_is_put_back_and_the_memo_goes),
		T(the_memo_knows_before_the_kernel_does),
		T(what_a_killed_run_left_is_put_back_first),
		T(what_somebody_else_has_changed_is_his),
		T(what_is_missing_or_refused_changes_nothing_else),
		T(a_name_too_long_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
