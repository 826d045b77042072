/* SPDX-License-Identifier: BSD-2-Clause */
/* guard: a real fork; a script that touches a file tells whether it ran. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "guard.h"
#include "instance.h"

static char name[32];
static char dir[64], mark[96], mark2[100], tool[96], tool2[100];

static int setup(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/plait-guard-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(mark, sizeof(mark), "%s/mark", dir);
	snprintf(tool, sizeof(tool), "%s/tool", dir);
	FILE *f = fopen(tool, "w");
	fprintf(f, "#!/bin/sh\n[ \"$WHAT\" != slow ] || until rmdir %s/go 2>/dev/null; do sleep 0.05; done\necho \"$1 $WHAT $(cat /proc/$PPID/comm)\" >%s.new\n"
		   "mv %s.new %s${0##*/tool}\n", dir, mark, mark, mark);
	fclose(f);
	snprintf(mark2, sizeof(mark2), "%s2", mark);
	snprintf(tool2, sizeof(tool2), "%s2", tool);
	return chmod(tool, 0755) || symlink(tool, tool2);
}

static int teardown(void **state)
{
	(void)state;
	unlink(mark);
	unlink(mark2);
	unlink(tool);
	unlink(tool2);
	return rmdir(dir);
}

static struct script undo(const char *what)
{
	struct script s;

	script_init(&s, dir, "tool", "down");
	script_setenv(&s, "WHAT", "%s", what);
	return s;
}

/* Waits for the file, up to a second: that is how long a house may be offline. */
static bool marked_within_a_second(char *text, size_t len)
{
	const struct timespec nap = { .tv_nsec = 5000000 };

	for (int i = 0; i < 200; i++) {
		FILE *f = fopen(mark, "r");
		if (f) {
			bool got = fgets(text, (int)len, f) != NULL;
			fclose(f);
			unlink(mark);
			return got;
		}
		nanosleep(&nap, NULL);
	}
	return false;
}

/* A daemon in a process of its own that starts a guard, arms it and then ends as `how` says. */
static void daemon_ends(void (*how)(struct guard *))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct guard *g = guard_start();
		struct script first = undo("first"), last = undo("last");
		if (!g || guard_arm(g, &first) < 0 || guard_arm(g, &last) < 0)
			_exit(9);
		how(g);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 9);
}

static void by_kill(struct guard *g)
{
	(void)g;
	kill(getpid(), SIGKILL);
}

static void by_group_term(struct guard *g)
{
	(void)g;
	setpgid(0, 0);
	kill(0, SIGTERM);
}

static void by_exit(struct guard *g)
{
	(void)g;
}

static void by_order(struct guard *g)
{
	guard_dismiss(g);
}

static void test_killed_runs_the_last(void **state)
{
	char text[64] = "";

	(void)state;
	daemon_ends(by_kill);
	assert_true(marked_within_a_second(text, sizeof(text)));
	assert_string_equal(text, "down last plait-guard\n");
}

static void by_exit_with_two(struct guard *g)
{
	struct script second;

	script_init(&second, dir, "tool2", "down");
	if (guard_arm(g, &second) < 0)
		_exit(9);
}

static void test_each_script_runs(void **state)
{
	const struct timespec nap = { .tv_nsec = 5000000 };
	char text[64] = "";

	(void)state;
	daemon_ends(by_exit_with_two);
	assert_true(marked_within_a_second(text, sizeof(text)));
	assert_string_equal(text, "down last plait-guard\n");
	for (int i = 0; i < 200 && access(mark2, F_OK); i++)
		nanosleep(&nap, NULL);
	assert_int_equal(access(mark2, F_OK), 0);
}

static void test_exit_and_term_of_the_group(void **state)
{
	char text[64] = "";

	(void)state;
	daemon_ends(by_exit);
	assert_true(marked_within_a_second(text, sizeof(text)));
	daemon_ends(by_group_term);
	assert_true(marked_within_a_second(text, sizeof(text)));
}

static void test_dismissed_runs_nothing(void **state)
{
	(void)state;
	daemon_ends(by_order); /* guard_dismiss has waited for the guard, so nothing can come later */
	assert_int_equal(access(mark, F_OK), -1);
	guard_dismiss(NULL);
}

static void by_kill_in_its_place(struct guard *g)
{
	struct script slow = undo("slow");

	guard_succeed(g, name);
	if (guard_arm(g, &slow) < 0)
		_exit(9);
	kill(getpid(), SIGKILL);
}

/* Started again at once: what the guard of the dead takes out is out before anything is put in. */
static void test_who_comes_next_waits(void **state)
{
	char place[48], go[80];
	struct guard *next;
	int fd;

	(void)state;
	snprintf(name, sizeof(name), "plait-test-%d", (int)getpid());
	snprintf(place, sizeof(place), "%s guard", name);
	snprintf(go, sizeof(go), "%s/go", dir);
	daemon_ends(by_kill_in_its_place);
	assert_int_equal(instance_wait(place, 100), -1);
	assert_int_equal(access(mark, F_OK), -1);
	next = guard_start();
	assert_non_null(next);
	assert_int_equal(mkdir(go, 0700), 0); /* only now may the script end */
	guard_succeed(next, name);
	assert_int_equal(unlink(mark), 0);
	assert_int_equal(instance_take(place), -1);
	guard_dismiss(next);
	fd = instance_take(place);
	assert_true(fd >= 0);
	close(fd);
}

static void by_unarmed_exit(struct guard *g)
{
	guard_dismiss(g);
	guard_start();
}

static void test_unarmed_runs_nothing(void **state)
{
	const struct timespec nap = { .tv_nsec = 200000000 };

	(void)state;
	daemon_ends(by_unarmed_exit);
	nanosleep(&nap, NULL);
	assert_int_equal(access(mark, F_OK), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_killed_runs_the_last),
		cmocka_unit_test(test_each_script_runs),
		cmocka_unit_test(test_exit_and_term_of_the_group),
		cmocka_unit_test(test_dismissed_runs_nothing),
		cmocka_unit_test(test_who_comes_next_waits),
		cmocka_unit_test(test_unarmed_runs_nothing),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
