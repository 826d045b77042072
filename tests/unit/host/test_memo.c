/* SPDX-License-Identifier: BSD-2-Clause */
/* Fear: a file that somebody made up, or that was cut, becomes a kernel setting. */
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

#include "log.h"
#include "memo.h"

static char dir[] = "/tmp/plait-memo-XXXXXX", path[MEMO_PATH];

static int begin(void **state)
{
	(void)state;
	log_level = LOG_LVL_ERROR;
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/memo", dir);
	return 0;
}

static int end(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(dir);
}

static void put(const char *text, size_t len, mode_t mode)
{
	unlink(path);
	int fd = open(path, O_CREAT | O_WRONLY | O_EXCL, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), len);
	fchmod(fd, mode);
	close(fd);
}

static size_t load_text(const char *text)
{
	struct memo got[MEMO_MAX];

	put(text, strlen(text), 0600);
	return memo_load(path, got);
}

static void test_there_and_back(void **state)
{
	const struct memo list[] = { { "net/mptcp/a", 3600, 0 }, { "mptcp/subflows", 2, 8 }, { "x", -1, 128 } };
	struct memo got[MEMO_MAX];

	(void)state;
	assert_int_equal(memo_load(path, got), 0);
	assert_int_equal(memo_save(path, list, 3), 0);
	assert_int_equal(memo_save(path, list, 3), 0); /* over the old one */
	assert_int_equal(memo_load(path, got), 3);
	for (int i = 0; i < 3; i++) {
		assert_string_equal(got[i].key, list[i].key);
		assert_int_equal(got[i].was, list[i].was);
		assert_int_equal(got[i].set, list[i].set);
	}
	memo_remove(path);
	assert_int_equal(memo_load(path, got), 0);
}

#define HEAD "plait kernel settings 1\n"

static void test_damaged(void **state)
{
	static const char *const bad[] = {
		"", HEAD, HEAD "a 1 2\n", HEAD "a 1 2\nen", HEAD "a 1\nend\n", HEAD "a 1 x\nend\n", HEAD "a 1 2 3\nend\n",
		HEAD "end\nend\n", HEAD "a 1 2\nend", "plait kernel settings 2\na 1 2\nend\n", "a 1 2\nend\n",
		HEAD "../../etc/a 1 2\nend\n", HEAD "net/../../a 1 2\nend\n",
		HEAD "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 1 2\nend\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(load_text(bad[i]), 0);
	assert_int_equal(load_text(HEAD "a 1 2\nend\n"), 1);
}

static void test_too_many(void **state)
{
	char text[2048] = HEAD;
	size_t len = strlen(text);

	(void)state;
	for (int i = 0; i < MEMO_MAX; i++)
		len += (size_t)sprintf(text + len, "%d 1 1\n", i);
	strcpy(text + len, "end\n");
	assert_int_equal(load_text(text), MEMO_MAX);
	strcpy(text + len, "more 1 1\nend\n");
	assert_int_equal(load_text(text), 0);
}

static void test_not_ours(void **state)
{
	static const char good[] = HEAD "a 1 2\nend\n", zero[] = HEAD "a 1 2\nend\n\0more";
	struct memo got[MEMO_MAX];
	char other[MEMO_PATH + 8], *large = calloc(1, 50000);

	(void)state;
	put(good, sizeof(good) - 1, 0622);
	assert_int_equal(memo_load(path, got), 0);
	put(zero, sizeof(zero) - 1, 0600);
	assert_int_equal(memo_load(path, got), 0);
	memset(large, 'a', 50000);
	put(large, 50000, 0600);
	assert_int_equal(memo_load(path, got), 0);
	free(large);
	put(good, sizeof(good) - 1, 0600);
	snprintf(other, sizeof(other), "%s.real", path);
	assert_int_equal(rename(path, other), 0);
	assert_int_equal(symlink(other, path), 0);
	assert_int_equal(memo_load(path, got), 0);
	unlink(other);
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(memo_load(path, got), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_not_ours),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
