/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon.h"
#include "options.h"

static struct options o;

static int parse(const char *line)
{
	static char copy[256];
	char *argv[16], *save;
	int argc = 0;

	snprintf(copy, sizeof(copy), "plait-local %s", line);
	for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
		argv[argc++] = w;
	argv[argc] = NULL;
	return options_parse(&o, argc, argv, "plait-local", "/etc/plait/local.conf", true);
}

static void verbs_and_their_options(void **state)
{
	(void)state;
	assert_int_equal(parse("run"), 0);
	assert_int_equal(o.verb, OPTIONS_RUN);
	assert_string_equal(o.conf, "/etc/plait/local.conf");
	assert_int_equal(parse("check -c x.conf"), 0);
	assert_int_equal(o.verb, OPTIONS_CHECK);
	assert_string_equal(o.conf, "x.conf");
	assert_int_equal(parse("status --json -s /run/s"), 0);
	assert_true(o.json);
	assert_string_equal(o.socket, "/run/s");
	assert_int_equal(parse("status"), 0);
	assert_false(o.json);
	assert_null(o.socket);
	assert_int_equal(parse("genkey k"), 0);
	assert_string_equal(o.file, "k");
	assert_int_equal(parse("--help"), 0);
	assert_int_equal(o.verb, OPTIONS_HELP);
	assert_int_equal(parse("-V"), 0);
	assert_int_equal(o.verb, OPTIONS_VERSION);
}

static void verbs_of_lines(void **state)
{
	char *argv[] = { "plait-remote", "links", NULL };

	(void)state;
	assert_int_equal(parse("links --once --json -c x.conf"), 0);
	assert_int_equal(o.verb, OPTIONS_LINKS);
	assert_true(o.once && o.json);
	assert_string_equal(o.conf, "x.conf");
	assert_int_equal(parse("link adsl backup -s /run/s"), 0);
	assert_int_equal(o.verb, OPTIONS_LINK);
	assert_string_equal(o.link, "adsl");
	assert_string_equal(o.role, "backup");
	assert_string_equal(o.socket, "/run/s");
	assert_int_equal(options_parse(&o, 2, argv, "plait-remote", "/etc/r.conf", false), EX_USAGE);
}

static void wrong_usage_is_64(void **state)
{
	static const char *const lines[] = { "", "go", "run -c", "run x", "run --json", "run -s x", "genkey", "genkey a b", "genkey -f",
					     "pubkey", "version x", "check -c a b", "status --xml", "status --once", "links adsl", "link", "link adsl",
					     "link a off b", "link a off --json" };

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		if (parse(lines[i]) != EX_USAGE)
			fail_msg("\"%s\" was taken", lines[i]);
	}
}

/* The exit code of a simple verb; what it printed in out. */
static int simple(const char *line, char *out, size_t size)
{
	int p[2], status;
	pid_t pid;
	ssize_t n;

	assert_int_equal(parse(line), 0);
	assert_int_equal(pipe(p), 0);
	fflush(NULL);
	pid = fork();
	if (!pid) {
		dup2(p[1], STDOUT_FILENO);
		status = options_simple_verb(&o);
		fflush(NULL);
		_exit(status);
	}
	close(p[1]);
	n = read(p[0], out, size - 1);
	out[n > 0 ? n : 0] = 0;
	close(p[0]);
	waitpid(pid, &status, 0);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void keys_are_made_and_shown(void **state)
{
	char dir[] = "/tmp/plait-key-XXXXXX", line[64], made[128], shown[128];
	struct stat st;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(line, sizeof(line), "genkey %s/k", dir);
	assert_int_equal(simple(line, made, sizeof(made)), 0);
	assert_int_equal(strlen(made), 45);
	assert_int_equal(simple(line, shown, sizeof(shown)), 1); /* there already */
	assert_string_equal(shown, "");
	snprintf(line, sizeof(line), "pubkey %s/k", dir);
	assert_int_equal(simple(line, shown, sizeof(shown)), 0);
	assert_string_equal(made, shown);
	snprintf(line, sizeof(line), "%s/k", dir);
	assert_int_equal(stat(line, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(chmod(line, 0644), 0);
	snprintf(line, sizeof(line), "pubkey %s/k", dir);
	assert_int_equal(simple(line, shown, sizeof(shown)), EX_CONFIG);
	snprintf(line, sizeof(line), "%s/k", dir);
	unlink(line);
	snprintf(line, sizeof(line), "pubkey %s/k", dir);
	assert_int_equal(simple(line, shown, sizeof(shown)), EX_CONFIG);
	rmdir(dir);
}

static void help_and_version(void **state)
{
	char out[4096];

	(void)state;
	assert_int_equal(simple("version", out, sizeof(out)), 0);
	assert_string_equal(out, "plait-local " PLAIT_VERSION "\n");
	assert_int_equal(simple("help", out, sizeof(out)), 0);
	assert_non_null(strstr(out, "status  [--json]"));
	assert_int_equal(parse("run"), 0);
	assert_int_equal(options_simple_verb(&o), -1);
}

static void too_few_descriptors_refused(void **state)
{
	struct daemon_base d;
	char err[DAEMON_ERR];
	int status;
	pid_t pid = fork();

	(void)state;
	if (!pid) {
		setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 64, 512 });
		status = daemon_init(&d, 513, err, sizeof(err)) == -1 && strstr(err, "needs 513 descriptors and the limit is 512") ? 0 : 1;
		if (!status && !daemon_init(&d, 512, err, sizeof(err)))
			status = d.descriptors == 512 ? 0 : 2;
		daemon_free(&d);
		_exit(status);
	}
	waitpid(pid, &status, 0);
	assert_int_equal(status, 0);
}

struct life {
	struct daemon_base d;
	int ends, reloads;
	bool slow;
};

static void on_end(void *arg)
{
	struct life *l = arg;

	l->ends++;
	if (!l->slow)
		daemon_stop(&l->d);
	else
		raise(SIGINT);
}

static void on_reload(void *arg)
{
	struct life *l = arg;

	l->reloads++;
	raise(SIGTERM);
}

static void signals_reload_and_end(void **state)
{
	struct life l = { .slow = false };
	char err[DAEMON_ERR];

	(void)state;
	for (int slow = 0; slow < 2; slow++) { /* an end that takes its time is cut short by a second signal */
		assert_int_equal(daemon_init(&l.d, 0, err, sizeof(err)), 0);
		l.d.end = on_end;
		l.d.reload = on_reload;
		l.d.arg = &l;
		l.slow = slow;
		raise(SIGPIPE);
		raise(SIGHUP);
		assert_int_equal(daemon_run(&l.d), 0);
		daemon_free(&l.d);
		assert_int_equal(l.ends, slow + 1);
		assert_int_equal(l.reloads, slow + 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(verbs_and_their_options),
		cmocka_unit_test(verbs_of_lines),
		cmocka_unit_test(wrong_usage_is_64),
		cmocka_unit_test(keys_are_made_and_shown),
		cmocka_unit_test(help_and_version),
		cmocka_unit_test(too_few_descriptors_refused),
		cmocka_unit_test(signals_reload_and_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
