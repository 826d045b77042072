/* SPDX-License-Identifier: BSD-2-Clause */
/* script and rules: what is run, with which environment, and what is said when it fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "rules.h"

static char dir[64];

static void put_script(const char *name, const char *body)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f, "#!/bin/sh\n%s\n", body);
	fclose(f);
	chmod(path, 0755);
}

static int setup(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/plait-rules-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	static const char *const files[] = { "nftables", "tproxy", "redirect", "x" };
	char path[128];

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
		unlink(path);
	}
	return rmdir(dir);
}

static struct script make(const char *body)
{
	struct script s;

	put_script("x", body);
	assert_int_equal(script_init(&s, dir, "x", "up"), 0);
	return s;
}

static void test_environment_is_clean(void **state)
{
	struct script s = make("env | grep -v -e ^PWD= -e ^SHLVL= -e ^_= | sort; echo \"$1\"; ls /proc/self/fd | wc -l; exit 3");
	char out[512];

	(void)state;
	setenv("LD_PRELOAD_NOT", "secret", 1);
	assert_int_equal(script_setenv(&s, "A", "%s", "b c; $(touch no)"), 0);
	assert_int_equal(script_run(&s, 5000, out, sizeof(out)), -1);
	/* 0, 1, 2 and the one that ls itself opened */
	assert_string_equal(out, "A=b c; $(touch no) PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin up 4; exit 3");
}

static void test_a_good_run(void **state)
{
	struct script s = make("echo fine");
	char out[64];

	(void)state;
	assert_int_equal(script_run(&s, 5000, out, sizeof(out)), 0);
	assert_string_equal(out, "fine");
}

static void test_too_slow_is_killed_with_its_children(void **state)
{
	struct script s = make("(sleep 30; echo late) & echo begun; sleep 30");
	struct timespec a, b;
	char out[128];

	(void)state;
	clock_gettime(CLOCK_MONOTONIC, &a);
	assert_int_equal(script_run(&s, 200, out, sizeof(out)), -1);
	clock_gettime(CLOCK_MONOTONIC, &b);
	assert_string_equal(out, "begun; killed after ms 200");
	assert_true(b.tv_sec - a.tv_sec < 5);
}

static void test_much_output_and_no_such_file(void **state)
{
	struct script s = make("yes | head -c 1000000; exit 1");
	char out[128];

	(void)state;
	assert_int_equal(script_run(&s, 5000, out, sizeof(out)), -1);
	assert_non_null(strstr(out, "; exit 1"));
	assert_int_equal(script_init(&s, dir, "missing", "up"), 0);
	assert_int_equal(script_run(&s, 5000, out, sizeof(out)), -1);
	assert_non_null(strstr(out, "No such file"));
}

static void test_limits_of_a_script(void **state)
{
	static char big[SCRIPT_ENV];
	struct script s;

	(void)state;
	memset(big, 'x', sizeof(big) - 1);
	assert_int_equal(script_init(&s, "relative", "x", "up"), -1);
	assert_int_equal(script_init(&s, "/a", big, "up"), -1);
	assert_int_equal(script_init(&s, "/a", "x", "a verb that is too long"), -1);
	assert_int_equal(script_init(&s, "/a", "x", "up"), 0);
	assert_int_equal(script_setenv(&s, "A", "%s", big), -1);
	assert_int_equal(script_setenv(&s, "A", "%s", "small"), 0);
}

static struct rules_plan plan(enum rules_mode mode)
{
	static const char lan[2][IFNAMSIZ] = { "br0", "eth1" };
	static struct addr vps[2];
	static struct prefix bypass[1];

	addr_parse(&vps[0], "11.7.0.2", 7200);
	addr_parse(&vps[1], "2a11:7::2", 7200);
	prefix_parse(&bypass[0], "11.9.0.0/24");
	return (struct rules_plan){ .mode = mode, .dir = dir, .lan_devices = lan, .n_lan_devices = 2, .lan_port = 7201,
				    .vps = vps, .n_vps = 2, .bypass = bypass, .n_bypass = 1, .own = true };
}

static void test_the_plan_becomes_words(void **state)
{
	struct rules_plan p = plan(RULES_BY_TPROXY);
	enum rules_mode used;
	char err[512];

	(void)state;
	put_script("tproxy", "echo \"$1|$PLAIT_LAN|$PLAIT_REMOTE|$PLAIT_BYPASS|$PLAIT_PORT|$PLAIT_OWN|$PLAIT_SELF_MARK\"; exit 1");
	assert_int_equal(rules_up(&p, &used, err, sizeof(err)), -1);
	assert_non_null(strstr(err, "up|br0 eth1|11.7.0.2 2a11:7::2|11.9.0.0/24|7201|1|0x706c0002"));
}

static void test_95_without_nft_the_next_is_tried(void **state)
{
	struct rules_plan p = plan(RULES_BY_CHOICE);
	enum rules_mode used = RULES_BY_CHOICE;
	char err[512];

	(void)state;
	put_script("nftables", "[ $1 = down ]");
	put_script("tproxy", "[ $1 = down ]");
	put_script("redirect", "exit 0");
	assert_int_equal(rules_up(&p, &used, err, sizeof(err)), 0);
	assert_int_equal(used, RULES_BY_REDIRECT);
	put_script("tproxy", "exit 0");
	assert_int_equal(rules_up(&p, &used, err, sizeof(err)), 0);
	assert_int_equal(used, RULES_BY_TPROXY);
	put_script("nftables", "exit 0");
	assert_int_equal(rules_up(&p, &used, err, sizeof(err)), 0);
	assert_int_equal(used, RULES_BY_NFTABLES);
	assert_int_equal(rules_down(&p, used, err, sizeof(err)), 0);
}

static void test_95_none_works(void **state)
{
	struct rules_plan p = plan(RULES_BY_CHOICE);
	enum rules_mode used;
	char err[512];

	(void)state;
	put_script("nftables", "exit 1");
	put_script("tproxy", "exit 1");
	put_script("redirect", "echo no nat here; exit 1");
	assert_int_equal(rules_up(&p, &used, err, sizeof(err)), -1);
	assert_non_null(strstr(err, "no nat here; exit 1"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_environment_is_clean),
		cmocka_unit_test(test_a_good_run),
		cmocka_unit_test(test_too_slow_is_killed_with_its_children),
		cmocka_unit_test(test_much_output_and_no_such_file),
		cmocka_unit_test(test_limits_of_a_script),
		cmocka_unit_test(test_the_plan_becomes_words),
		cmocka_unit_test(test_95_without_nft_the_next_is_tried),
		cmocka_unit_test(test_95_none_works),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
