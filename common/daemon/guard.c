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
 * before any was read. */
#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log.h"

#define GUARD_LIMIT_MS 10000
#define GUARD_SCRIPTS 6

struct guard {
	pid_t pid;
	int fd;
};

static void guard_settle(int fd)
{
	static const int ignored[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGUSR1, SIGUSR2 };

	setsid();
	prctl(PR_SET_NAME, "plait-guard");
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
	dup3(fd, 3, O_CLOEXEC);
	close_range(4, ~0U, 0);
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
static void keep(struct script *armed, size_t *count, const struct script *s)
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

/* Returns how many scripts are to be run. */
static size_t guard_wait(int fd, struct script *armed)
{
	static struct script next;
	size_t count = 0;

	for (;;) {
		ssize_t n = recv(fd, &next, sizeof(next), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n == 1)
			return 0;
		if (n <= 0)
			return count;
		if (is_whole(&next, n))
			keep(armed, &count, &next);
	}
}

static void guard_live(int fd)
{
	static struct script armed[GUARD_SCRIPTS];
	char out[512];
	int rc = 0;

	guard_settle(fd);
	size_t count = guard_wait(3, armed);
	for (size_t i = 0; i < count; i++) {
		log_warn("guard: the daemon is gone, running %s %s", armed[i].path, armed[i].verb);
		if (script_run(&armed[i], GUARD_LIMIT_MS, out, sizeof(out)) == 0)
			continue;
		log_error("guard: %s %s: %s", armed[i].path, armed[i].verb, out);
		rc = 1;
	}
	_exit(rc);
}

struct guard *guard_start(void)
{
	struct guard *g = malloc(sizeof(*g));
	int fds[2];

	if (!g)
		return NULL;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0) {
		free(g);
		return NULL;
	}
	g->pid = fork();
	if (g->pid == 0) {
		close(fds[0]);
		guard_live(fds[1]);
	}
	close(fds[1]);
	if (g->pid < 0) {
		close(fds[0]);
		free(g);
		return NULL;
	}
	g->fd = fds[0];
	return g;
}

int guard_arm(struct guard *g, const struct script *down)
{
	return send(g->fd, down, sizeof(*down), MSG_NOSIGNAL) == sizeof(*down) ? 0 : -1;
}

void guard_dismiss(struct guard *g)
{
	if (!g)
		return;
	send(g->fd, "", 1, MSG_NOSIGNAL);
	close(g->fd);
	while (waitpid(g->pid, NULL, 0) < 0 && errno == EINTR)
		;
	free(g);
}
