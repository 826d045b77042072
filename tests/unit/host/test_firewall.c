/* SPDX-License-Identifier: BSD-2-Clause */
/* script and firewall: what is run, with which environment, by which way, and what is said when it
 * fails. */
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

#include "firewall.h"

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

static void test_lists_become_words(void **state)
{
	static const char lan[2][IFNAMSIZ] = { "br0", "eth1" };
	struct script s = make("echo \"$LAN|$VPS|$BYPASS|$NONE|\"; exit 1");
	struct addr vps[2];
	struct prefix bypass;
	char out[128];

	(void)state;
	addr_parse(&vps[0], "11.7.0.2", 7200);
	addr_parse(&vps[1], "2a11:7::2", 7200);
	prefix_parse(&bypass, "11.9.0.0/24");
	assert_int_equal(script_set_devices(&s, "LAN", lan, 2), 0);
	assert_int_equal(script_set_addrs(&s, "VPS", vps, 2), 0);
	assert_int_equal(script_set_prefixes(&s, "BYPASS", &bypass, 1), 0);
	assert_int_equal(script_set_prefixes(&s, "NONE", NULL, 0), 0);
	assert_int_equal(script_run(&s, 5000, out, sizeof(out)), -1);
	assert_string_equal(out, "br0 eth1|11.7.0.2 2a11:7::2|11.9.0.0/24||; exit 1");
}

/* --- the firewall: three ways, each of which notes its runs --- */

static const char *word = "one"; /* what is described */

static int describe(void *arg, bool undo, struct script *out)
{
	assert_ptr_equal(arg, dir);
	return script_setenv(out, "WORD", "%s%s", word, undo ? " undo" : "");
}

static struct firewall *firewall(void)
{
	static const char *const ways[] = { "nftables", "tproxy", "redirect", NULL };
	static struct event_base *base; /* which never turns: see test_firewall_watch.c */
	struct firewall *f;

	if (!base)
		base = event_base_new();
	f = firewall_new(&(struct firewall_setup){ .base = base, .what = "a test", .ways = ways, .dir = dir, .describe = describe, .arg = dir });

	assert_non_null(f);
	word = "one";
	return f;
}

/* Those of its verbs that fail, as a pattern of the shell's. */
static void way(const char *name, const char *fails)
{
	char body[256];

	snprintf(body, sizeof(body), "echo \"%s $1 $WORD\" >>%s/ran; case $1 in %s) echo no; exit 1;; esac", name, dir, *fails ? fails : "never");
	put_script(name, body);
}

static const char *ran(void)
{
	static char text[512];
	char path[128];
	size_t n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/ran", dir);
	f = fopen(path, "r");
	if (f) {
		n = fread(text, 1, sizeof(text) - 1, f);
		fclose(f);
	}
	text[n] = 0;
	unlink(path);
	return text;
}

static void test_the_first_way_that_works_is_taken(void **state)
{
	struct firewall *f = firewall();
	char err[512];

	(void)state;
	way("nftables", "up");
	way("tproxy", "up");
	way("redirect", "");
	assert_int_equal(firewall_put_in(f, err, sizeof(err)), 0);
	assert_string_equal(err, ""); /* what the other two said is no reason why not */
	assert_string_equal(firewall_way(f), "redirect");
	assert_string_equal(ran(), "nftables up one\nnftables down one\ntproxy up one\ntproxy down one\nredirect up one\n");
	way("nftables", "");
	assert_int_equal(firewall_put_in(f, err, sizeof(err)), 0);
	assert_string_equal(firewall_way(f), "nftables");
	ran();
	firewall_free(f);
	assert_string_equal(ran(), "nftables down one\n");
}

static void test_none_works(void **state)
{
	struct firewall *f = firewall();
	char err[512];

	(void)state;
	way("nftables", "up");
	way("tproxy", "up");
	way("redirect", "up");
	assert_int_equal(firewall_put_in(f, err, sizeof(err)), -1);
	assert_non_null(strstr(err, "redirect up: no; exit 1"));
	assert_int_equal(firewall_state(f), FIREWALL_OUT);
	assert_string_equal(firewall_way(f), "out");
	ran();
	firewall_free(f);
	assert_string_equal(ran(), "");
}

static void test_drained_and_taken_out(void **state)
{
	struct firewall *f = firewall();
	char err[512];

	(void)state;
	way("nftables", "");
	assert_int_equal(firewall_put_in(f, err, sizeof(err)), 0);
	assert_int_equal(firewall_drain(f, err, sizeof(err)), 0);
	assert_int_equal(firewall_state(f), FIREWALL_DRAINED);
	assert_string_equal(firewall_way(f), "out");
	firewall_take_out(f);
	firewall_take_out(f);
	assert_string_equal(ran(), "nftables up one\nnftables drain one\nnftables down one\n");
	way("nftables", "drain");
	assert_int_equal(firewall_put_in(f, err, sizeof(err)), 0);
	assert_int_equal(firewall_drain(f, err, sizeof(err)), -1);
	assert_int_equal(firewall_state(f), FIREWALL_IN);
	firewall_free(f);
	ran();
}

static void test_what_is_described_otherwise_is_stale(void **state)
{
	struct firewall *f = firewall();
	char err[512];

	(void)state;
	way("nftables", "");
	assert_false(firewall_is_stale(f));
	assert_int_equal(firewall_put_in(f, err, sizeof(err)), 0);
	assert_false(firewall_is_stale(f));
	word = "two";
	assert_true(firewall_is_stale(f));
	assert_int_equal(firewall_put_in(f, err, sizeof(err)), 0);
	assert_false(firewall_is_stale(f));
	assert_string_equal(ran(), "nftables up one\nnftables up two\n");
	firewall_free(f);
	ran();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_environment_is_clean),
		cmocka_unit_test(test_a_good_run),
		cmocka_unit_test(test_too_slow_is_killed_with_its_children),
		cmocka_unit_test(test_much_output_and_no_such_file),
		cmocka_unit_test(test_limits_of_a_script),
		cmocka_unit_test(test_lists_become_words),
		cmocka_unit_test(test_the_first_way_that_works_is_taken),
		cmocka_unit_test(test_none_works),
		cmocka_unit_test(test_drained_and_taken_out),
		cmocka_unit_test(test_what_is_described_otherwise_is_stale),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
