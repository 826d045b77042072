/* SPDX-License-Identifier: BSD-2-Clause */
/* script_ask: see script_ask.h. Its end is the end of its output; who keeps that open beyond the
 * limit is killed with all of its process group. */
#include "script_ask.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "timer.h"

struct script_ask {
	pid_t pid;
	int fd;
	struct event readable, late;
	void (*answered)(void *arg, const char *line);
	void *arg;
	char line[SCRIPT_LINE];
	size_t len;
};

/* What it returned; -1: it was killed, or did not end well. */
static int script_ask_reap(struct script_ask *a, bool in_time)
{
	int status = -1;

	if (!in_time)
		kill(-a->pid, SIGKILL);
	while (waitpid(a->pid, &status, 0) < 0 && errno == EINTR)
		;
	a->pid = 0;
	return in_time && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void script_ask_over(struct script_ask *a, bool in_time)
{
	bool good = script_ask_reap(a, in_time) == 0;

	event_del(&a->readable);
	event_del(&a->late);
	a->line[strcspn(a->line, "\n")] = 0;
	a->answered(a->arg, good ? a->line : NULL);
}

static void script_ask_readable(evutil_socket_t fd, short what, void *arg)
{
	struct script_ask *a = arg;
	char more[512];
	ssize_t n = read(fd, more, sizeof(more));

	(void)what;
	for (ssize_t i = 0; i < n && a->len + 1 < sizeof(a->line); i++)
		a->line[a->len++] = more[i];
	if (!n || (n < 0 && errno != EAGAIN && errno != EINTR))
		script_ask_over(a, true);
}

static void script_ask_late(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	script_ask_over(arg, false);
}

struct script_ask *script_ask_new(struct event_base *base, const struct script *s, unsigned limit_ms,
				  void (*answered)(void *arg, const char *line), void *arg)
{
	struct script_ask *a = calloc(1, sizeof(*a));
	int fds[2];

	if (!a || pipe2(fds, O_CLOEXEC)) {
		free(a);
		return NULL;
	}
	a->answered = answered;
	a->arg = arg;
	a->fd = fds[0];
	evutil_make_socket_nonblocking(a->fd); /* the other end is the script's, who expects nothing of that kind */
	a->pid = script_start(s, fds[1]);
	close(fds[1]);
	event_assign(&a->readable, base, a->fd, EV_READ | EV_PERSIST, script_ask_readable, a);
	event_assign(&a->late, base, -1, 0, script_ask_late, a);
	if (a->pid < 0 || event_add(&a->readable, NULL) || timer_in_ms(&a->late, limit_ms)) {
		script_ask_free(a);
		return NULL;
	}
	return a;
}

void script_ask_free(struct script_ask *a)
{
	if (!a)
		return;
	if (a->pid > 0)
		script_ask_reap(a, false);
	event_del(&a->readable);
	event_del(&a->late);
	close(a->fd);
	free(a);
}
