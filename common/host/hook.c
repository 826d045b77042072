/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * The owner's program is run with the event as its only argument and the rest in its environment,
 * one run at a time, so that it never sees two events out of order or has to lock against itself.
 * Events that come meanwhile wait in a queue with one place for each topic (a line's state, a
 * line's quota, the VPS): a newer event takes the place of the older one, which the program need
 * not know any more, and goes to the end. So the queue is as long as there are topics and never
 * overflows by flapping; should there be more topics than places, the event is dropped and the log
 * says so.
 *
 * Nothing waits for the program: its end is a readable descriptor (pidfd) in the loop. After
 * LIMIT_S it is killed with all of its process group. It gets the daemon's stderr for its output,
 * /dev/null as input, no other descriptor, default signals, and a clean environment. What it
 * returns is logged when it is not 0 and changes nothing. */
#include "hook.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log.h"
#include "script.h"
#include "timer.h"

#define LIMIT_S 10
#define PLACES 32
#define TOPIC 64
#define ENV 768

struct waiting {
	char event[32], topic[TOPIC];
	char env[ENV]; /* "NAME=value\0" after each other */
	size_t env_len;
};

struct hook {
	struct event_base *base;
	const char *path;
	struct waiting queue[PLACES];
	size_t n;
	pid_t pid; /* 0: none runs */
	bool late; /* it was killed, and dies as soon as the kernel lets it */
	int fd;	   /* its pidfd */
	struct event *over;
	struct script run;
};

static void hook_start_next(struct hook *h);

static void hook_report(const struct hook *h, int status)
{
	if (h->late)
		log_warn("hook %s %s: killed after %d s", h->path, h->run.verb, LIMIT_S);
	else if (WIFSIGNALED(status))
		log_warn("hook %s %s: ended by signal %d", h->path, h->run.verb, WTERMSIG(status));
	else if (WEXITSTATUS(status))
		log_warn("hook %s %s: exit code %d", h->path, h->run.verb, WEXITSTATUS(status));
}

static void hook_forget(struct hook *h)
{
	if (h->over)
		event_free(h->over);
	if (h->fd >= 0)
		close(h->fd);
	h->over = NULL;
	h->fd = -1;
	h->pid = 0;
	h->late = false;
}

static void hook_ended(evutil_socket_t fd, short what, void *arg)
{
	struct hook *h = arg;

	int status = 0;

	(void)fd;
	if (what & EV_TIMEOUT) {
		h->late = true;
		kill(-h->pid, SIGKILL);
		event_add(h->over, NULL);
		return;
	}
	while (waitpid(h->pid, &status, 0) < 0 && errno == EINTR)
		;
	hook_report(h, status);
	hook_forget(h);
	hook_start_next(h);
}

/* A process that cannot be watched is not left alone. */
static void hook_watch(struct hook *h)
{
	h->fd = (int)syscall(SYS_pidfd_open, h->pid, 0);
	h->over = h->fd < 0 ? NULL : event_new(h->base, h->fd, EV_READ, hook_ended, h);
	if (h->over && !timer_in_s(h->over, LIMIT_S))
		return;
	log_error("hook %s: its process cannot be watched: %m", h->path);
	kill(-h->pid, SIGKILL);
	waitpid(h->pid, NULL, 0);
	hook_forget(h);
}

static bool hook_prepare(struct script *s, const char *path, const struct waiting *w)
{
	const char *at = w->env, *name = strrchr(path, '/') + 1;
	char dir[SCRIPT_PATH];

	snprintf(dir, sizeof(dir), "%.*s", name - path > 1 ? (int)(name - path - 1) : 1, path);
	if (script_init(s, dir, name, w->event) || script_setenv(s, "PLAIT_EVENT", "%s", w->event))
		return false;
	for (; at < w->env + w->env_len; at += strlen(at) + 1) {
		char key[64];
		size_t len = strcspn(at, "=");

		snprintf(key, sizeof(key), "PLAIT_%.*s", (int)len, at);
		if (script_setenv(s, key, "%s", at + len + 1))
			return false;
	}
	return true;
}

static void hook_start_next(struct hook *h)
{
	while (h->n && !h->pid) {
		bool ready = hook_prepare(&h->run, h->path, &h->queue[0]);

		memmove(h->queue, h->queue + 1, --h->n * sizeof(*h->queue));
		if (!ready)
			continue;
		h->pid = script_start(&h->run, STDERR_FILENO);
		if (h->pid < 0) {
			log_error("hook %s: %m", h->path);
			h->pid = 0;
		} else {
			hook_watch(h);
		}
	}
}

struct hook *hook_new(struct event_base *base, const char *path)
{
	struct hook *h = calloc(1, sizeof(*h));

	if (h) {
		h->base = base;
		h->path = path;
		h->fd = -1;
	}
	return h;
}

void hook_free(struct hook *h)
{
	if (!h)
		return;
	if (h->pid)
		kill(-h->pid, SIGKILL);
	hook_forget(h);
	free(h);
}

/* A place at the end of the queue, from which an older event of this topic was taken out. NULL:
 * full. */
static struct waiting *take_place(struct hook *h, const char *topic)
{
	for (size_t i = 0; i < h->n; i++) {
		if (strcmp(h->queue[i].topic, topic) == 0) {
			memmove(h->queue + i, h->queue + i + 1, (--h->n - i) * sizeof(*h->queue));
			break;
		}
	}
	return h->n < PLACES ? &h->queue[h->n++] : NULL;
}

void hook_tell(struct hook *h, const char *event, const char *topic, const char *const *env)
{
	struct waiting *w;

	if (!*h->path)
		return;
	w = take_place(h, topic);
	if (!w) {
		log_warn("hook %s: too many events wait, %s is not told", h->path, event);
		return;
	}
	snprintf(w->event, sizeof(w->event), "%s", event);
	snprintf(w->topic, sizeof(w->topic), "%s", topic);
	for (w->env_len = 0; *env; env += 2) {
		int n = snprintf(w->env + w->env_len, ENV - w->env_len, "%s=%s", env[0], env[1]);

		if (n < 0 || (size_t)n >= ENV - w->env_len)
			break;
		w->env_len += (size_t)n + 1;
	}
	hook_start_next(h);
}
