/* SPDX-License-Identifier: BSD-2-Clause */
/* Endpoints and limits in a network namespace of the test's own; without root it says that it
 * skips. */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "mptcp_pm.h"

static struct mptcp_pm *open_or_skip(void)
{
	struct mptcp_pm *pm = geteuid() == 0 && unshare(CLONE_NEWNET) == 0 ? mptcp_pm_open() : NULL;

	if (!pm) {
		print_message("skipped: needs root for a network namespace, and a kernel with MPTCP\n");
		skip();
	}
	return pm;
}

static struct mptcp_endpoint endpoint(const char *text, uint8_t id)
{
	struct mptcp_endpoint e = {.id = id, .flags = MPTCP_PM_SUBFLOW, .index = 1};

	assert_int_equal(addr_parse(&e.addr, text, 0), 0);
	return e;
}

static void sync_leaves_what_is_not_ours(void **state)
{
	struct mptcp_pm *pm = open_or_skip();
	struct mptcp_endpoint theirs = endpoint("192.0.2.1", 3), out[8];
	struct mptcp_endpoint want[3] = {endpoint("192.0.2.1", 100), endpoint("192.0.2.2", 101), endpoint("2001:db8::2", 104)};

	(void)state;
	assert_int_equal(mptcp_pm_add(pm, &theirs), 0);
	assert_int_equal(mptcp_pm_sync(pm, want, 3, MPTCP_PM_LINKS, MPTCP_PM_LINKS_END), 0);
	assert_true(want[0].foreign);
	assert_int_equal(want[0].id, 3);
	assert_false(want[1].foreign);
	assert_int_equal(mptcp_pm_dump(pm, out, 8), 3);
	want[1].addr.ip[15] = 9;
	want[0].id = 100;
	assert_int_equal(mptcp_pm_sync(pm, want, 2, MPTCP_PM_LINKS, MPTCP_PM_LINKS_END), 0);
	assert_int_equal(mptcp_pm_dump(pm, out, 8), 2);
	assert_int_equal(out[1].id, 101);
	assert_int_equal(out[1].addr.ip[15], 9);
	assert_int_equal(out[1].index, 1);
	assert_int_equal(mptcp_pm_sync(pm, NULL, 0, MPTCP_PM_LINKS, MPTCP_PM_LINKS_END), 0);
	assert_int_equal(mptcp_pm_dump(pm, out, 8), 1);
	assert_int_equal(out[0].id, 3);
	mptcp_pm_close(pm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sync_leaves_what_is_not_ours),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
