/* SPDX-License-Identifier: BSD-2-Clause */
/* script_run: runs a script. No shell reads any of the strings: execve gets them as they are. */
#include "script.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ENV_VARS 32

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* In the child: its own group (so that all of it can be killed), default signals, no descriptor but
 * the three. */
static void become(const struct script *s, int output)
{
	char *env[ENV_VARS + 1], *argv[] = { (char *)s->path, (char *)s->verb, NULL };
	size_t n = 0;
	sigset_t none;

	for (uint32_t i = 0; i < s->env_len && n < ENV_VARS; i += (uint32_t)strlen(s->env + i) + 1)
		env[n++] = (char *)s->env + i;
	env[n] = NULL;
	setpgid(0, 0);
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	int null = open("/dev/null", O_RDWR);
	if (null < 0 || dup2(null, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0)
		_exit(126);
	close_range(3, ~0U, 0);
	execve(s->path, argv, env);
	dprintf(2, "%s: %s", s->path, strerror(errno));
	_exit(127);
}

pid_t script_start(const struct script *s, int output)
{
	pid_t pid = fork();

	if (pid == 0)
		become(s, output);
	if (pid > 0)
		setpgid(pid, pid); /* both sides: whoever is first */
	return pid;
}

/* Reads until the end or the deadline; keeps what fits. Returns -1 at the deadline. */
static int collect(int fd, uint64_t deadline, char *out, size_t room)
{
	size_t len = 0;

	for (;;) {
		uint64_t now = now_ms();
		struct pollfd p = { .fd = fd, .events = POLLIN };
		char buf[512];

		if (now >= deadline)
			return -1;
		if (poll(&p, 1, (int)(deadline - now)) <= 0)
			continue;
		ssize_t n = read(fd, buf, sizeof(buf));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return 0;
		for (ssize_t i = 0; i < n && len + 1 < room; i++)
			out[len++] = buf[i];
		out[len] = 0;
	}
}

/* Newlines and control characters become spaces; a log line stays one line. */
static void one_line(char *text)
{
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 127)
			*p = ' ';
	for (size_t n = strlen(text); n && text[n - 1] == ' '; n--)
		text[n - 1] = 0;
}

/* Whoever closes the output early is still waited for, within the same limit. */
static int reap(pid_t pid, uint64_t deadline, int *status)
{
	const struct timespec nap = { .tv_nsec = 2000000 };

	while (now_ms() < deadline) {
		pid_t got = waitpid(pid, status, WNOHANG);
		if (got == pid)
			return 0;
		if (got < 0 && errno != EINTR)
			return -1;
		nanosleep(&nap, NULL);
	}
	return -1;
}

static void add_reason(char *out, size_t room, const char *what, int number)
{
	size_t len = strlen(out);

	snprintf(out + len, room - len, "%s%s %d", len ? "; " : "", what, number);
}

int script_run(const struct script *s, unsigned limit_ms, char *out, size_t out_len)
{
	uint64_t deadline = now_ms() + limit_ms;
	size_t room = out_len > 96 ? out_len - 48 :
				     out_len / 2; /* what it printed leaves room for the reason */
	int fds[2], status = 0;

	out[0] = 0;
	if (pipe2(fds, O_CLOEXEC) < 0) {
		add_reason(out, out_len, "no pipe, error", errno);
		return -1;
	}
	pid_t pid = script_start(s, fds[1]);
	close(fds[1]);
	if (pid < 0) {
		close(fds[0]);
		add_reason(out, out_len, "no process, error", errno);
		return -1;
	}
	bool late = collect(fds[0], deadline, out, room) < 0 || reap(pid, deadline, &status) < 0;
	close(fds[0]);
	one_line(out);
	if (late) {
		kill(-pid, SIGKILL);
		waitpid(pid, &status, 0);
		add_reason(out, out_len, "killed after ms", (int)limit_ms);
		return -1;
	}
	if (WIFSIGNALED(status))
		add_reason(out, out_len, "signal", WTERMSIG(status));
	else if (WEXITSTATUS(status))
		add_reason(out, out_len, "exit", WEXITSTATUS(status));
	return status ? -1 : 0;
}
