/* SPDX-License-Identifier: BSD-2-Clause */
/* Fear: the loop waits for a script, or takes half an answer, or a failure, for one. The scripts are real ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "script_ask.h"

#define LONG_MS 60000 /* no script here takes it */

static char dir[64], said[SCRIPT_LINE + 8];
static struct event_base *base;
static unsigned n_answers;
static bool failed;

static void answered(void *arg, const char *line)
{
	assert_ptr_equal(arg, dir);
	n_answers++;
	failed = !line;
	snprintf(said, sizeof(said), "%s", line ? line : "");
}

static struct script_ask *ask(const char *body, unsigned limit_ms)
{
	char path[96];
	struct script s;
	FILE *file;

	snprintf(path, sizeof(path), "%s/script", dir);
	file = fopen(path, "w");
	assert_non_null(file);
	fprintf(file, "#!/bin/sh\n%s\n", body);
	fclose(file);
	chmod(path, 0755);
	assert_int_equal(script_init(&s, dir, "script", "state"), 0);
	n_answers = 0;
	return script_ask_new(base, &s, limit_ms, answered, dir);
}

static void until_answered(struct script_ask *a)
{
	assert_non_null(a);
	while (!n_answers)
		event_base_loop(base, EVLOOP_ONCE);
	script_ask_free(a);
	assert_int_equal(event_base_loop(base, EVLOOP_NONBLOCK), 1); /* nothing of it is left there */
	assert_int_equal(n_answers, 1);
}

static int begin(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/plait-ask-XXXXXX");
	base = event_base_new();
	return base && mkdtemp(dir) ? 0 : -1;
}

static int end(void **state)
{
	char path[96];

	(void)state;
	event_base_free(base);
	snprintf(path, sizeof(path), "%s/script", dir);
	unlink(path);
	return rmdir(dir);
}

static void the_first_line_is_the_answer(void **state)
{
	(void)state;
	until_answered(ask("echo \"$1 12 34\"; echo more", LONG_MS));
	assert_false(failed);
	assert_string_equal(said, "state 12 34");
	until_answered(ask("printf 'no end of line'", LONG_MS));
	assert_string_equal(said, "no end of line");
	until_answered(ask(":", LONG_MS));
	assert_false(failed);
	assert_string_equal(said, "");
}

static void much_output_is_cut(void **state)
{
	(void)state;
	until_answered(ask("yes | tr -d '\\n' | head -c 300000", LONG_MS));
	assert_false(failed);
	assert_int_equal(strlen(said), SCRIPT_LINE - 1);
}

static void a_failure_is_no_answer(void **state)
{
	(void)state;
	until_answered(ask("echo 12; exit 1", LONG_MS));
	assert_true(failed);
	until_answered(ask("echo 12; kill -9 $$", LONG_MS));
	assert_true(failed);
}

static void one_that_takes_too_long_is_killed_with_its_children(void **state)
{
	(void)state;
	until_answered(ask("echo 12; sleep 600 & sleep 600", 50));
	assert_true(failed);
}

static void who_is_not_waited_for_is_killed(void **state)
{
	struct script_ask *a = ask("sleep 600", LONG_MS);

	(void)state;
	assert_non_null(a);
	script_ask_free(a);
	assert_int_equal(n_answers, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		T(the_first_line_is_the_answer),
		T(much_output_is_cut),
		T(a_failure_is_no_answer),
		T(one_that_takes_too_long_is_killed_with_its_children),
		T(who_is_not_waited_for_is_killed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
