/* SPDX-License-Identifier: BSD-2-Clause */
/* hook: a program has ten seconds, to the millisecond, and then its children go with it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "virtual_time.h"

#include "hook.h"

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

static void pass(unsigned ms)
{
	event_base_loopexit(base, &(struct timeval){ .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 });
	event_base_dispatch(base);
}

/* A program needs real time for what it does; the house's clock stands meanwhile. At most a
 * minute. */
static void until(const char *want)
{
	for (int n = 0; n < 6000 && !strstr(said(), want); n++) {
		struct timespec a_moment = { 0, 10000000 };

		nanosleep(&a_moment, NULL);
		event_base_loop(base, EVLOOP_NONBLOCK);
	}
	if (!strstr(said(), want))
		fail_msg("got \"%s\", wanted \"%s\"", said(), want);
}

static void tell(const char *event, const char *link)
{
	const char *env[] = { "LINK", link, NULL };

	hook_tell(h, event, link, env);
}

/* It runs, and does not only wait to be collected by init. */
static bool lives(pid_t pid)
{
	char path[64], text[256] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "r");
	if (!f)
		return false;
	(void)!fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	return !strstr(text, ") Z ");
}

static int setup(void **state)
{
	(void)state;
	virtual_grace_ms = 0;
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
		;
	event_base_free(base);
	unlink(program);
	unlink(out);
	return rmdir(dir);
}

static void one_that_hangs_is_killed_with_its_children(void **state)
{
	pid_t child;

	(void)state;
	write_program("sleep 600 & echo $!; sleep 600; echo survived");
	tell("link-up", "adsl");
	until("\n");
	child = (pid_t)atoi(said());
	write_program("echo next $PLAIT_EVENT");
	tell("link-down", "adsl");
	pass(9999);
	event_base_loop(base, EVLOOP_NONBLOCK);
	assert_true(lives(child));
	assert_null(strstr(said(), "next"));
	pass(1);
	until("next link-down");
	assert_null(strstr(said(), "survived"));
	assert_false(lives(child));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_that_hangs_is_killed_with_its_children, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
