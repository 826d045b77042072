/* SPDX-License-Identifier: BSD-2-Clause */
#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "clock.h"
#include "hook.h"

#define LIMIT_MS 60000 /* catches what never comes */

static struct event_base *base;
static struct hook *h;
static char dir[] = "/tmp/plait-hook-XXXXXX", program[64], out[64];

static void write_program(const char *body)
{
	FILE *f = fopen(program, "w");

	fprintf(f, "#!/bin/sh\nexec >>%s\n%s\n", out, body);
	fclose(f);
	chmod(program, 0755);
}

static int setup(void **state)
{
	(void)state;
	strcpy(dir + strlen(dir) - 6, "XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(program, sizeof(program), "%s/hook", dir);
	snprintf(out, sizeof(out), "%s/out", dir);
	base = event_base_new();
	h = hook_new(base, program);
	return h ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	hook_free(h);
	while (waitpid(-1, NULL, 0) > 0)
		; /* what said its last word and was killed before its end was seen is nobody's in the next test */
	event_base_free(base);
	unlink(program);
	unlink(out);
	rmdir(dir);
	return 0;
}

static const char *said(void)
{
	static char text[4096];
	FILE *f = fopen(out, "r");
	size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;

	if (f)
		fclose(f);
	text[n] = 0;
	return text;
}

static void run_ms(unsigned ms)
{
	event_base_loopexit(base, &(struct timeval){ .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 });
	event_base_dispatch(base);
}

static void run_until(const char *want)
{
	for (uint64_t until = clock_ms() + LIMIT_MS; !strstr(said(), want) && clock_ms() < until;)
		run_ms(10);
	if (!strstr(said(), want))
		fail_msg("got \"%s\", wanted \"%s\"", said(), want);
}

/* The last has said its word, and has still to end and be buried; a zombie would be found here for
 * ever. */
static void run_until_no_child(void)
{
	uint64_t until = clock_ms() + LIMIT_MS;
	siginfo_t info;

	while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0) {
		assert_true(clock_ms() < until);
		run_ms(10);
	}
}

static void tell(const char *event, const char *link, const char *state)
{
	const char *env[] = { "LINK", link, "STATE", state, NULL };

	hook_tell(h, event, link, env);
}

static void the_event_and_its_environment(void **state)
{
	(void)state;
	write_program("echo \"$1 $PLAIT_EVENT $PLAIT_LINK $PLAIT_STATE\"; env | grep -vc '^PLAIT_\\|^PATH=\\|^PWD=\\|^_=\\|^SHLVL='; ls /proc/$$/fd; "
		      "echo end"); /* no pipe: the shell would hold its end for a moment */
	tell("link-down", "adsl", "a b=c;$(id)");
	run_until("end");
	assert_string_equal(said(), "link-down link-down adsl a b=c;$(id)\n0\n0\n1\n10\n2\nend\n"); /* 10 is the shell's own, the script */
}

static void one_at_a_time_and_only_the_newest_waits(void **state)
{
	char line[16], go[80];

	(void)state;
	write_program("echo begin $PLAIT_STATE; until [ -e $0.go ]; do sleep 0.01; done; echo end $PLAIT_STATE");
	for (int i = 0; i < 1000; i++) {
		snprintf(line, sizeof(line), "%d", i);
		tell("link-up", "adsl", line);
	}
	tell("link-up", "lte", "other");
	assert_null(strstr(said(), "end")); /* nobody waited for it */
	snprintf(go, sizeof(go), "%s.go", program);
	fclose(fopen(go, "w"));
	run_until("end other");
	unlink(go);
	assert_string_equal(said(), "begin 0\nend 0\nbegin 999\nend 999\nbegin other\nend other\n");
}

static void too_many_topics_are_dropped(void **state)
{
	char line[16];

	(void)state;
	write_program("echo $PLAIT_LINK");
	for (int i = 0; i < 100; i++) {
		snprintf(line, sizeof(line), "l%d.", i);
		tell("link-up", line, "up");
	}
	run_until("l32."); /* the first ran, 32 waited */
	run_ms(200);
	assert_null(strstr(said(), "l33."));
	tell("link-up", "later", "up");
	run_until("later");
}

static void a_program_that_fails_or_is_missing_changes_nothing(void **state)
{
	(void)state;
	tell("link-up", "adsl", "no such program");
	run_ms(100);
	write_program("echo ran; exit 3");
	tell("link-up", "adsl", "up");
	run_until("ran");
	write_program("echo killed; kill -9 $$");
	tell("link-up", "adsl", "up");
	run_until("killed");
	write_program("echo fine");
	tell("link-up", "adsl", "up");
	run_until("fine");
}

static unsigned descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void nothing_is_leaked(void **state)
{
	unsigned before = descriptors();

	(void)state;
	write_program("echo $PLAIT_STATE");
	for (int i = 0; i < 50; i++) {
		char line[16];

		snprintf(line, sizeof(line), "n%d.", i);
		tell("link-up", "adsl", line);
		run_until(line);
	}
	run_until_no_child();
	assert_int_equal(descriptors(), before);
}

static void nobody_is_told_without_a_program(void **state)
{
	struct hook *none = hook_new(base, "");
	const char *env[] = { NULL };

	(void)state;
	hook_tell(none, "link-up", "x", env);
	run_ms(10);
	hook_free(none);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_event_and_its_environment, setup, teardown),
		cmocka_unit_test_setup_teardown(one_at_a_time_and_only_the_newest_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(too_many_topics_are_dropped, setup, teardown),
		cmocka_unit_test_setup_teardown(a_program_that_fails_or_is_missing_changes_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_is_leaked, setup, teardown),
		cmocka_unit_test_setup_teardown(nobody_is_told_without_a_program, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
