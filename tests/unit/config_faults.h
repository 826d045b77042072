/* SPDX-License-Identifier: BSD-2-Clause */
/* config_faults: what an owner can write wrong in either program's file, and how it is told.
 *
 * Both programs' test_config.c include this behind their config.h. A fault is made of a good file:
 * `old` is replaced by `new` there, or, without an `old`, `new` is appended. `at` stands in the
 * line that must be named, which is the first such line or the last. */
#ifndef CONFIG_FAULTS_H
#define CONFIG_FAULTS_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_OF_ITS_OWN 500 /* what an owner reads at a glance, and a terminal shows whole */

struct config_fault {
	const char *what; /* for whom the test fails */
	const char *old, *new;
	const char *at;
	enum { FIRST, LAST } which;
	const char *said; /* behind FILE:LINE: to the end */
};

static struct config c;
static char err[320], config_path[64];

/* The path of a new file with these bytes, until the next one. */
static const char *write_config(const char *text, size_t len)
{
	int fd;

	strcpy(config_path, "/tmp/plait-config-XXXXXX");
	fd = mkstemp(config_path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), len);
	close(fd);
	return config_path;
}

static int load_bytes(const char *text, size_t len)
{
	int rc;

	err[0] = 0;
	rc = config_load(&c, write_config(text, len), err, sizeof(err));
	unlink(config_path);
	return rc;
}

static int load(const char *text)
{
	return load_bytes(text, strlen(text));
}

static void refuses(const char *text, const char *want)
{
	assert_int_equal(load(text), -1);
	if (!strstr(err, want))
		fail_msg("got \"%s\", wanted \"%s\"", err, want);
}

/* The sentence in err is this one, to the letter: PATH, :LINE unless it is 0, and what is wrong. */
static void is_told(const char *what, const char *path, unsigned line, const char *said)
{
	char want[LINE_OF_ITS_OWN], number[16] = "";

	if (line)
		snprintf(number, sizeof(number), ":%u", line);
	snprintf(want, sizeof(want), "%s%s: %s", path, number, said);
	if (strcmp(err, want))
		fail_msg("%s: got \"%s\", wanted \"%s\"", what, err, want);
	if (strchr(err, '\n') || strlen(err) >= LINE_OF_ITS_OWN - sizeof("plait-remote: "))
		fail_msg("%s: \"%s\" is more than a line", what, err);
}

/* The number of the line that has this in it. */
static unsigned line_of(const char *text, const char *at, bool last)
{
	unsigned line = 1, found = 0;

	for (; *text; line++) {
		size_t len = strcspn(text, "\n");

		if (memmem(text, len, at, strlen(at)) && (last || !found))
			found = line;
		text += len + (text[len] == '\n');
	}
	assert_int_not_equal(found, 0);
	return found;
}

static void spoil(char *out, size_t size, const char *good, const struct config_fault *f)
{
	const char *old = f->old ? strstr(good, f->old) : good + strlen(good);

	if (!old)
		fail_msg("%s: \"%s\" is not in the good file", f->what, f->old);
	snprintf(out, size, "%.*s%s%s", (int)(old - good), good, f->new, old + (f->old ? strlen(f->old) : 0));
	assert_string_not_equal(out, good);
}

static void each_is_told(const char *good, const struct config_fault *faults, size_t n)
{
	char text[2048];

	assert_int_equal(load(good), 0);
	for (const struct config_fault *f = faults; f < faults + n; f++) {
		spoil(text, sizeof(text), good, f);
		if (!load(text))
			fail_msg("%s: was taken", f->what);
		is_told(f->what, config_path, line_of(text, f->at, f->which == LAST), f->said);
	}
}

#define EACH_IS_TOLD(good, faults) each_is_told(good, faults, sizeof(faults) / sizeof(*(faults)))

#define NO_LINE "neither a [section], an option = value, nor a comment"
#define NO_NETWORK " is not a network like 192.0.2.0/24 or 2001:db8::/32"
#define NO_TIME " is not a time from 1s to 2592000s, like 90s, 2m or 1h"

/* Behind a good file of ten lines. */
static const struct config_fault faults_of_both[] = {
	{ "unknown option", NULL, "[pool]\nvolume = 11\n", "volume", FIRST,
	  "unknown option volume in [pool]" },
	{ "unknown section", NULL, "[poool]\n", "[poool]", FIRST, "unknown section [poool]" },
	{ "duplicate option", NULL, "[relay]\nidle = 5s\nidle = 6s\n", "idle = 6s", FIRST,
	  "idle = is there already, in line 12" },
	{ "duplicate section", NULL, "[relay]\nidle = 5s\n[relay]\n", "[relay]", LAST,
	  "[relay] is there already, in line 11" },
	{ "option without a value", NULL, "[relay]\nidle\n", "idle", FIRST, NO_LINE },
	{ "number that is none", NULL, "[relay]\nidle = soon\n", "soon", FIRST,
	  "idle: soon" NO_TIME },
	{ "number without its unit", NULL, "[relay]\nidle = 100\n", "100", FIRST,
	  "idle: 100" NO_TIME },
	{ "yes or no", NULL, "[relay]\nclear = perhaps\n", "perhaps", FIRST,
	  "clear: perhaps is neither yes nor no" },
	{ "too large", NULL, "[relay]\nidle = 99999999s\n", "99999999s", FIRST,
	  "idle: 99999999s" NO_TIME },
	{ "negative", NULL, "[relay]\nnotsent_lowat = -1\n", "lowat", FIRST,
	  "notsent_lowat: -1 is not a number from 0 to 1073741824 (K, M and G may follow it)" },
	{ "empty value", NULL, "[relay]\nidle =\n", "idle", FIRST, "idle: " NO_TIME },
	{ "text after the heading", NULL, "[relay] now\n", "now", FIRST, "text after ]" },
	{ "heading not closed", NULL, "[relay\n", "[relay", FIRST, NO_LINE },
	{ "carriage return inside", NULL, "[relay]\nidle = 5s\rstall = 6s\n", "idle", FIRST,
	  "carriage return inside the line" },
	{ "bell", NULL, "[relay]\nidle = 5s\a\n", "idle", FIRST,
	  "control character 7 in the line" },
};

/* What no text has: a NUL byte, and a line of a megabyte. */
static void bytes_of_no_text(const char *good)
{
	static char big[(1 << 20) + 2048];
	size_t head = (size_t)snprintf(big, sizeof(big), "%s[relay]\nidle = ", good);
	unsigned line = line_of(big, "idle = ", false);
	char want[128];

	memcpy(big + head, "5s\0\n", 4);
	assert_int_equal(load_bytes(big, head + 4), -1);
	is_told("NUL byte", config_path, line, "NUL byte in the line");
	memset(big + head, '5', 1 << 20);
	big[head + (1 << 20)] = '\n';
	assert_int_equal(load_bytes(big, head + (1 << 20) + 1), -1);
	/* than inih's buffer, whatever that is */
	snprintf(want, sizeof(want), "%s:%u: the line is longer than ", config_path, line);
	if (strncmp(err, want, strlen(want)))
		fail_msg("got \"%s\", wanted \"%s\"", err, want);
}

/* As an editor of Windows saves it: a mark at the start, and two bytes at each end of a line. */
static void from_windows(const char *good)
{
	char text[4096] = "\xef\xbb\xbf", *to = text + strlen(text);

	for (; *good; *to++ = *good++)
		if (*good == '\n')
			*to++ = '\r';
	*to = 0;
	assert_int_equal(load(text), 0);
	assert_string_equal(err, "");
}

/* None, a folder, a FIFO, which nobody waits for. */
static void files_that_are_none(void)
{
	write_config("", 0);
	unlink(config_path);
	assert_int_equal(config_load(&c, config_path, err, sizeof(err)), -1);
	is_told("absent", config_path, 0, "No such file or directory");
	assert_int_equal(mkdir(config_path, 0700), 0);
	assert_int_equal(config_load(&c, config_path, err, sizeof(err)), -1);
	is_told("folder", config_path, 0, "is not a regular file");
	rmdir(config_path);
	assert_int_equal(mkfifo(config_path, 0600), 0);
	assert_int_equal(config_load(&c, config_path, err, sizeof(err)), -1);
	is_told("fifo", config_path, 0, "is not a regular file");
	unlink(config_path);
	write_config("", 0);
	chmod(config_path, 0666);
	assert_int_equal(config_load(&c, config_path, err, sizeof(err)), -1);
	is_told("of others", config_path, 0, "others may write it (mode 0666; chmod o-w it)");
	unlink(config_path);
}

/* For config_adopt(). */
static void differs(void *arg, const char *option, bool taken)
{
	(void)taken;
	fail_msg("the example of %s has another %s than the default", (const char *)arg, option);
}

#endif
