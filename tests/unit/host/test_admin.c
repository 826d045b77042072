/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "admin.h"
#include "clock.h"
#include "counter.h"

static struct event_base *base;
static char dir[] = "/tmp/plait-admin-XXXXXX", path[64], err[ADMIN_ERR];

static int setup(void **state)
{
	(void)state;
	strcpy(dir + strlen(dir) - 6, "XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/run/x.sock", dir); /* "run" is for admin to make */
	base = event_base_new();
	err[0] = 0;
	return base ? 0 : -1;
}

static int teardown(void **state)
{
	char sub[64];

	(void)state;
	event_base_free(base);
	unlink(path);
	snprintf(sub, sizeof(sub), "%s/run", dir);
	rmdir(sub);
	assert_int_equal(rmdir(dir), 0); /* and no lock is left */
	return 0;
}

static json_t *status(void *arg)
{
	return json_pack("{s:s, s:o}", "hello", (const char *)arg, "counters", admin_counters());
}

static char who[] = "world";

static struct admin *start(void)
{
	return admin_new(base, path, status, who, err, sizeof(err));
}

static int dial(void)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	strcpy(at.sun_path, path);
	assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	return fd;
}

/* Runs the loop until fd has an end or ms are over; the bytes that came. -1: still open. */
static ssize_t drain(int fd, char *buf, size_t size, unsigned ms)
{
	uint64_t until = clock_ms() + ms;
	size_t got = 0;
	ssize_t n;

	do {
		event_base_loopexit(base, &(struct timeval){ .tv_usec = 5000 });
		event_base_dispatch(base);
		while ((n = recv(fd, buf + got, size - 1 - got, 0)) > 0)
			got += (size_t)n;
		buf[got] = 0;
		if (n == 0 || errno == ECONNRESET)
			return (ssize_t)got;
	} while (clock_ms() < until);
	return -1;
}

static void ask_raw(const char *request, size_t len, char *buf, size_t size)
{
	int fd = dial();

	assert_int_equal(send(fd, request, len, MSG_NOSIGNAL), len);
	assert_true(drain(fd, buf, size, 1000) >= 0);
	close(fd);
}

static void answers_one_line(void **state)
{
	struct admin *a = start();
	char buf[8192];
	struct stat st;

	(void)state;
	assert_non_null(a);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0660);
	ask_raw("status\n", 7, buf, sizeof(buf));
	assert_non_null(strstr(buf, "\"hello\": \"world\""));
	assert_non_null(strstr(buf, "\"attach_replayed\": "));
	admin_free(a);
	assert_int_equal(stat(path, &st), -1);
}

static json_t *shout(void *arg, const char *rest)
{
	return json_pack("{s:s, s:s}", "rest", rest, "to", (const char *)arg);
}

static void verbs_get_their_rest(void **state)
{
	struct admin *a = start();
	char buf[8192];

	(void)state;
	admin_on(a, "shout", shout, who);
	ask_raw("shout a b  c\n", 13, buf, sizeof(buf));
	assert_non_null(strstr(buf, "\"rest\": \"a b  c\""));
	assert_non_null(strstr(buf, "\"to\": \"world\""));
	ask_raw("shout\n", 6, buf, sizeof(buf));
	assert_non_null(strstr(buf, "\"rest\": \"\""));
	ask_raw("shouts\n", 7, buf, sizeof(buf));
	assert_non_null(strstr(buf, "unknown request"));
	ask_raw("sho\n", 4, buf, sizeof(buf));
	assert_non_null(strstr(buf, "unknown request"));
	admin_free(a);
}

static void garbage_is_refused(void **state)
{
	struct admin *a = start();
	char buf[8192], big[100000];

	(void)state;
	ask_raw("reboot\n", 7, buf, sizeof(buf));
	assert_non_null(strstr(buf, "unknown request"));
	ask_raw("\n", 1, buf, sizeof(buf));
	assert_non_null(strstr(buf, "unknown request"));
	ask_raw("status\0x\n", 9, buf, sizeof(buf));
	assert_string_equal(buf, "");
	memset(big, 'a', sizeof(big));
	ask_raw(big, sizeof(big), buf, sizeof(buf));
	assert_string_equal(buf, "");
	ask_raw("status\n", 7, buf, sizeof(buf)); /* and it lives */
	assert_non_null(strstr(buf, "world"));
	admin_free(a);
}

static void slow_clients_are_bounded(void **state)
{
	struct admin *a = start();
	char buf[8192];
	int fd[9];

	(void)state;
	for (int i = 0; i < 8; i++) {
		fd[i] = dial();
		assert_int_equal(send(fd[i], "sta", 3, 0), 3);
	}
	assert_int_equal(drain(fd[0], buf, sizeof(buf), 50), -1);
	fd[8] = dial(); /* one too many */
	assert_int_equal(drain(fd[8], buf, sizeof(buf), 500), 0);
	for (int i = 0; i < 8; i++) /* all end together, two seconds after they came */
		assert_int_equal(drain(fd[i], buf, sizeof(buf), i ? 200 : 2500), 0);
	for (int i = 0; i < 9; i++)
		close(fd[i]);
	ask_raw("status\n", 7, buf, sizeof(buf));
	assert_non_null(strstr(buf, "world"));
	admin_free(a);
}

static void second_instance_refuses(void **state)
{
	struct admin *a = start();
	char buf[8192];

	(void)state;
	assert_non_null(a);
	assert_null(start());
	assert_non_null(strstr(err, "another instance is running"));
	ask_raw("status\n", 7, buf, sizeof(buf)); /* the first is unharmed */
	assert_non_null(strstr(buf, "world"));
	admin_free(a);
	a = start();
	assert_non_null(a);
	admin_free(a);
}

static void a_crash_leaves_no_obstacle(void **state)
{
	char buf[8192], lock[80];
	struct admin *a;
	pid_t pid = fork();
	int wstatus;

	(void)state;
	if (!pid) {
		start();
		raise(SIGKILL);
	}
	waitpid(pid, &wstatus, 0);
	assert_true(WIFSIGNALED(wstatus));
	assert_int_equal(access(path, F_OK), 0);
	a = start();
	if (!a)
		fail_msg("%s", err);
	ask_raw("status\n", 7, buf, sizeof(buf));
	assert_non_null(strstr(buf, "world"));
	/* somebody tidied the lock away under us: the live socket is still not taken */
	snprintf(lock, sizeof(lock), "%s.lock", path);
	assert_int_equal(unlink(lock), 0);
	assert_null(start());
	ask_raw("status\n", 7, buf, sizeof(buf));
	assert_non_null(strstr(buf, "world"));
	admin_free(a);
}

static void what_is_no_socket_is_kept(void **state)
{
	struct admin *a = start();
	struct stat st;
	int fd;

	(void)state;
	admin_free(a);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_null(start());
	assert_int_equal(stat(path, &st), 0);
}

static void client_prints_json_or_a_page(void **state)
{
	struct admin *a;
	char *text;
	size_t len;
	FILE *out;
	pid_t pid;

	(void)state;
	counters.quiet = 77;
	a = start();
	pid = fork();
	if (!pid) {
		event_reinit(base);
		event_base_dispatch(base);
		_exit(0);
	}
	out = open_memstream(&text, &len);
	assert_int_equal(admin_ask(path, "status", true, out), 0);
	fclose(out);
	assert_non_null(strstr(text, "\"quiet\": 77"));
	free(text);
	out = open_memstream(&text, &len);
	assert_int_equal(admin_ask(path, "status", false, out), 0);
	fclose(out);
	assert_non_null(strstr(text, "hello  world\n"));
	assert_non_null(strstr(text, "77  quiet            strangers met with silence\n"));
	free(text);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	admin_free(a);
}

static void page_of_tables(void **state)
{
	json_t *doc = json_pack("{s:i, s:[{s:s, s:b, s:[s,s]}, {s:s, s:b}], s:{s:s}}", "uptime", 5, "links", "name", "adsl", "up", 1,
				"ids", "1", "2", "name", "a\x1blte", "up", 0, "remote", "host", "vps");
	char *text;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	(void)state;
	admin_page(doc, out);
	fclose(out);
	assert_string_equal(text, "uptime  5\n\nlinks\n  name   up   ids  \n  adsl   yes  1 2  \n  a?lte  no        \n\nremote\n  host  vps\n");
	free(text);
	json_decref(doc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(answers_one_line, setup, teardown),
		cmocka_unit_test_setup_teardown(verbs_get_their_rest, setup, teardown),
		cmocka_unit_test_setup_teardown(garbage_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(slow_clients_are_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(second_instance_refuses, setup, teardown),
		cmocka_unit_test_setup_teardown(a_crash_leaves_no_obstacle, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_no_socket_is_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(client_prints_json_or_a_page, setup, teardown),
		cmocka_unit_test(page_of_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
