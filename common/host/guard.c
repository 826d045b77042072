/* SPDX-License-Identifier: BSD-2-Clause */
/* guard: the one who turns the lights out.
 *
 * A daemon that is killed cannot take its interception rules out, and with
 * iptables TPROXY the house is then off the Internet. So, before anything else,
 * the daemon forks a child that holds one end of a socket pair and does nothing
 * but wait. The daemon sends it each script that undoes something (a message of
 * exactly one struct script; any other length is ignored); of the same program the
 * last one counts. When the daemon ends in whatever way, the kernel closes the other
 * end; the child sees the end of file, runs the scripts, and exits. One byte instead
 * of a script means: nothing to do.
 *
 * The child is its own session and ignores the signals that end a whole group
 * of processes, keeps no descriptor but stderr, and holds no key: it was forked
 * before any was read.
 *
 * Should the child be killed, the daemon sees the end of file, and a second later makes
 * another one and tells it all that was armed. That one is executed anew, so it
 * holds no key either.
 *
 * A daemon that is killed and started again at once must not put anything in while the guard of the
 * one before still takes out: that would stay out. So daemon and guard hold the name of an instance
 * (instance.h), the guard until its scripts have run, and whoever starts waits for it first. Its
 * descriptor goes to the guard as a message of two bytes with SCM_RIGHTS. */
#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <event2/event_struct.h>

#include "instance.h"
#include "log.h"
#include "timer.h"

#define GUARD_LIMIT_MS 10000
#define SUCCEED_LIMIT_MS 30000 /* several scripts, and none takes as long */
#define GUARD_SCRIPTS 6
#define GUARD_NAME "plait-guard"
#define GUARD_FD 3

struct guard {
	pid_t pid; /* -1: there is none */
	int fd, instance; /* instance: -1: none */
	struct event ended, again;
	bool watched;
	struct script armed[GUARD_SCRIPTS];
	size_t count;
};

static void guard_settle(int fd)
{
	static const int ignored[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGUSR1, SIGUSR2 };

	setsid();
	prctl(PR_SET_NAME, GUARD_NAME);
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
	if (fd == GUARD_FD)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
	else
		dup3(fd, GUARD_FD, O_CLOEXEC);
	close_range(GUARD_FD + 1, ~0U, 0);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0) {
		dup2(null, 0);
		dup2(null, 1);
		close(null);
	}
	if (chdir("/") < 0)
		log_warn("guard: /: %s", strerror(errno));
}

static bool is_whole(const struct script *s, ssize_t n)
{
	return n == sizeof(*s) && s->env_len <= sizeof(s->env) && memchr(s->path, 0, sizeof(s->path));
}

/* In the place of the one with the same path, or behind the others. */
static void guard_keep(struct script *armed, size_t *count, const struct script *s)
{
	size_t i = 0;

	while (i < *count && strcmp(armed[i].path, s->path))
		i++;
	if (i == GUARD_SCRIPTS)
		return;
	armed[i] = *s;
	if (i == *count)
		++*count;
}

union rights {
	struct cmsghdr align;
	char room[CMSG_SPACE(sizeof(int))];
};

/* A descriptor that comes with the message stays open as long as this process lives. */
static ssize_t receive(int fd, struct script *next)
{
	struct iovec iov = { .iov_base = next, .iov_len = sizeof(*next) };
	union rights rights;
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &rights, .msg_controllen = sizeof(rights) };

	return recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
}

/* Returns how many scripts are to be run. */
static size_t guard_wait(int fd, struct script *armed)
{
	static struct script next;
	size_t count = 0;

	for (;;) {
		ssize_t n = receive(fd, &next);
		if (n < 0 && errno == EINTR)
			continue;
		if (n == 1)
			return 0;
		if (n <= 0)
			return count;
		if (is_whole(&next, n))
			guard_keep(armed, &count, &next);
	}
}

static _Noreturn void guard_live(int fd)
{
	static struct script armed[GUARD_SCRIPTS];
	char out[512];
	int rc = 0;

	guard_settle(fd);
	size_t count = guard_wait(GUARD_FD, armed);
	for (size_t i = 0; i < count; i++) {
		log_warn("guard: the daemon is gone, running %s %s", armed[i].path, armed[i].verb);
		if (script_run(&armed[i], GUARD_LIMIT_MS, out, sizeof(out)) == 0)
			continue;
		log_error("guard: %s %s: %s", armed[i].path, armed[i].verb, out);
		rc = 1;
	}
	_exit(rc);
}

/* The child's side of a new pair becomes a guard; `anew`: as a program of its own. 0, or -1 with
 * errno. */
static int guard_fork(struct guard *g, bool anew)
{
	char *argv[] = { GUARD_NAME, NULL };
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return -1;
	g->pid = fork();
	if (g->pid == 0 && !anew) {
		close(fds[0]);
		guard_live(fds[1]);
	}
	if (g->pid == 0) {
		if (fds[1] == GUARD_FD)
			fcntl(GUARD_FD, F_SETFD, 0);
		else
			dup2(fds[1], GUARD_FD);
		execv("/proc/self/exe", argv);
		_exit(1);
	}
	close(fds[1]);
	g->fd = fds[0];
	if (g->pid < 0)
		close(fds[0]);
	return g->pid < 0 ? -1 : 0;
}

void guard_become(char **argv)
{
	if (argv[0] && !strcmp(argv[0], GUARD_NAME))
		guard_live(GUARD_FD);
}

struct guard *guard_start(void)
{
	struct guard *g = calloc(1, sizeof(*g));

	if (g && guard_fork(g, false)) {
		free(g);
		return NULL;
	}
	if (g)
		g->instance = -1;
	return g;
}

static void share_instance(const struct guard *g)
{
	struct iovec iov = { .iov_base = "..", .iov_len = 2 };
	union rights rights = { 0 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &rights, .msg_controllen = sizeof(rights) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &g->instance, sizeof(int));
	if (g->instance >= 0 && sendmsg(g->fd, &msg, MSG_NOSIGNAL) < 0)
		log_warn("guard: its place is not kept: %s", strerror(errno));
}

void guard_succeed(struct guard *g, const char *name)
{
	char text[64];

	if (!g)
		return;
	snprintf(text, sizeof(text), "%s guard", name);
	g->instance = instance_wait(text, SUCCEED_LIMIT_MS);
	if (g->instance < 0)
		log_warn("the guard of a %s that was killed has not ended; what it takes out may be ours", name);
	share_instance(g);
}

int guard_arm(struct guard *g, const struct script *down)
{
	if (!g)
		return -1;
	guard_keep(g->armed, &g->count, down);
	return g->pid >= 0 && send(g->fd, down, sizeof(*down), MSG_NOSIGNAL) == sizeof(*down) ? 0 : -1;
}

/* --- is it alive? --- */

static void guard_ended(evutil_socket_t fd, short what, void *arg)
{
	struct guard *g = arg;

	(void)fd, (void)what;
	log_warn("the guard was killed; there will be another one");
	event_del(&g->ended);
	close(g->fd);
	kill(g->pid, SIGKILL); /* whatever made it close its end */
	while (waitpid(g->pid, NULL, 0) < 0 && errno == EINTR)
		;
	g->pid = -1;
	timer_in_s(&g->again, 1);
}

static void guard_listen(struct guard *g, struct event_base *base)
{
	event_assign(&g->ended, base, g->fd, EV_READ | EV_PERSIST, guard_ended, g);
	event_add(&g->ended, NULL);
}

static void guard_again_due(evutil_socket_t fd, short what, void *arg)
{
	struct guard *g = arg;

	(void)fd, (void)what;
	if (guard_fork(g, true)) {
		g->pid = -1;
		timer_in_s(&g->again, 10);
		return;
	}
	share_instance(g);
	for (size_t i = 0; i < g->count; i++)
		guard_arm(g, &g->armed[i]);
	guard_listen(g, event_get_base(&g->again));
}

void guard_watch(struct guard *g, struct event_base *base)
{
	if (!g)
		return;
	event_assign(&g->again, base, -1, 0, guard_again_due, g);
	guard_listen(g, base);
	g->watched = true;
}

void guard_unwatch(struct guard *g)
{
	if (!g || !g->watched)
		return;
	if (g->pid >= 0)
		event_del(&g->ended);
	event_del(&g->again);
	g->watched = false;
}

void guard_dismiss(struct guard *g)
{
	if (g && g->pid >= 0) {
		send(g->fd, "", 1, MSG_NOSIGNAL);
		close(g->fd);
		while (waitpid(g->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	if (g && g->instance >= 0)
		close(g->instance);
	free(g);
}
