/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "counter.h"
#include "log.h"

struct tap {
	int saved, pipe[2];
};

static void tap_open(struct tap *t)
{
	assert_int_equal(pipe2(t->pipe, O_CLOEXEC), 0);
	assert_int_equal(fcntl(t->pipe[0], F_SETFL, O_NONBLOCK), 0);
	t->saved = dup(STDERR_FILENO);
	assert_int_equal(dup2(t->pipe[1], STDERR_FILENO), STDERR_FILENO);
}

/* Restores stderr and returns all that was written meanwhile. */
static const char *tap_close(struct tap *t, char *buf, size_t size)
{
	ssize_t n = read(t->pipe[0], buf, size - 1);

	dup2(t->saved, STDERR_FILENO);
	close(t->saved);
	close(t->pipe[0]);
	close(t->pipe[1]);
	buf[n > 0 ? n : 0] = 0;
	return buf;
}

static void level_filters(void **state)
{
	struct tap t;
	char buf[4096];

	(void)state;
	log_level = LOG_LVL_WARN;
	tap_open(&t);
	log_info("not seen");
	log_debug("not seen");
	log_warn("seen %d", 1);
	log_error("seen %d", 2);
	tap_close(&t, buf, sizeof(buf));
	log_level = LOG_LVL_INFO;
	assert_null(strstr(buf, "not seen"));
	assert_non_null(strstr(buf, " warn: seen 1\n"));
	assert_non_null(strstr(buf, " error: seen 2\n"));
}

static void errno_survives(void **state)
{
	struct tap t;
	char buf[4096];

	(void)state;
	tap_open(&t);
	errno = ENOENT;
	log_warn("open: %m");
	assert_int_equal(errno, ENOENT);
	tap_close(&t, buf, sizeof(buf));
	assert_non_null(strstr(buf, "open: No such file or directory\n"));
}

static void peer_text_cannot_forge_a_line(void **state)
{
	struct tap t;
	char buf[4096];

	(void)state;
	tap_open(&t);
	log_info("bye: %s", "x\n2026-01-01 error: all is lost\x1b[2J");
	tap_close(&t, buf, sizeof(buf));
	assert_ptr_equal(strchr(buf, '\n'), buf + strlen(buf) - 1);
	assert_null(strchr(buf, '\x1b'));
}

static void long_line_is_cut(void **state)
{
	struct tap t;
	char buf[8192], big[5000];

	(void)state;
	memset(big, 'a', sizeof(big));
	big[sizeof(big) - 1] = 0;
	tap_open(&t);
	log_info("%s", big);
	tap_close(&t, buf, sizeof(buf));
	assert_in_range(strlen(buf), 900, 1024);
	assert_int_equal(buf[strlen(buf) - 1], '\n');
}

static void limited_counts_what_it_held(void **state)
{
	struct log_limit l = { 0 };
	struct tap t;
	char buf[4096];

	(void)state;
	tap_open(&t);
	for (int i = 0; i < 5; i++)
		log_limited(&l, "knock");
	assert_int_equal(l.held, 4);
	l.last_ms -= 1000;
	log_limited(&l, "knock");
	tap_close(&t, buf, sizeof(buf));
	assert_int_equal(l.held, 0);
	assert_non_null(strstr(buf, "knock\n"));
	assert_non_null(strstr(buf, "knock (and 4 more like it)\n"));
}

static void full_reader_does_not_block(void **state)
{
	struct tap t;
	char buf[4096];
	uint64_t lost = counters.log_lost;

	(void)state;
	tap_open(&t);
	for (int i = 0; i < 5000; i++)
		log_info("line %d of a flood that nobody reads, long enough to fill the pipe", i);
	tap_close(&t, buf, sizeof(buf));
	assert_true(counters.log_lost > lost);
}

static void journal_gets_a_priority_and_no_time(void **state)
{
	struct tap t;
	struct stat st;
	char buf[4096], stream[64];

	(void)state;
	tap_open(&t);
	fstat(STDERR_FILENO, &st);
	snprintf(stream, sizeof(stream), "%lu:%lu", (unsigned long)st.st_dev, (unsigned long)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	log_warn("short");
	unsetenv("JOURNAL_STREAM");
	tap_close(&t, buf, sizeof(buf));
	assert_string_equal(buf, "<4>short\n");
}

static void counters_are_listed(void **state)
{
	uint64_t value;
	const char *text, *name;
	unsigned i = 0, found = 0;

	(void)state;
	counters.quiet = 41;
	for (; (name = counter_get(i, &value, &text)); i++) {
		assert_true(strlen(text) > 0);
		if (!strcmp(name, "quiet")) {
			assert_int_equal(value, 41);
			found++;
		}
	}
	assert_int_equal(found, 1);
	assert_int_equal(i, sizeof(counters) / sizeof(uint64_t));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(level_filters),
		cmocka_unit_test(errno_survives),
		cmocka_unit_test(peer_text_cannot_forge_a_line),
		cmocka_unit_test(long_line_is_cut),
		cmocka_unit_test(limited_counts_what_it_held),
		cmocka_unit_test(full_reader_does_not_block),
		cmocka_unit_test(journal_gets_a_priority_and_no_time),
		cmocka_unit_test(counters_are_listed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
