/* SPDX-License-Identifier: BSD-2-Clause */
/* admin: the daemon's ear.
 *
 * Theory of operation. One stream socket in the file system, mode 0660. A client sends one line,
 * gets one JSON document and the end of the stream. Whoever runs first holds a lock on PATH.lock
 * for as long as it lives, so a second instance learns that it is second before it touches the
 * socket, and a socket that a crash left behind is known to be nobody's and replaced. Clients are
 * few (8) and short (2 s from the first byte to the last, whichever way it is slow); one too many
 * is closed at once. Nothing here can hold the loop: every descriptor is non-blocking. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "admin.h"
#include "clock.h"
#include "log.h"
#include "timer.h"

#define CLIENTS 8
#define CLIENT_MS 2000
#define REQUEST 64

struct client {
	struct admin *admin;
	struct event *ev;
	int fd; /* -1: a free place */
	uint64_t deadline;
	char request[REQUEST];
	size_t got;
	char *reply;
	size_t len, sent;
};

struct admin {
	struct event_base *base;
	struct event *accept_ev, *rest_ev;
	int fd, lock;
	struct sockaddr_un at;
	char lock_path[sizeof(((struct sockaddr_un *)0)->sun_path) + 8];
	json_t *(*status)(void *arg);
	void *arg;
	struct verb {
		const char *word;
		admin_answer answer;
		void *arg;
	} verbs[ADMIN_VERBS];
	size_t n_verbs;
	struct client clients[CLIENTS];
};

static void client_end(struct client *c)
{
	if (c->ev)
		event_free(c->ev);
	if (c->fd >= 0)
		close(c->fd);
	free(c->reply);
	*c = (struct client){ .admin = c->admin, .fd = -1 };
}

static void admin_client(evutil_socket_t fd, short what, void *arg);

/* Waits for readiness, but never beyond the client's deadline. */
static void client_wait(struct client *c, short what)
{
	uint64_t now = clock_ms(), left = now < c->deadline ? c->deadline - now : 0;

	if (event_assign(c->ev, c->admin->base, c->fd, what, admin_client, c) || timer_in_ms(c->ev, left))
		client_end(c);
}

static void client_write(struct client *c)
{
	ssize_t n = send(c->fd, c->reply + c->sent, c->len - c->sent, MSG_NOSIGNAL);

	if (n > 0)
		c->sent += (size_t)n;
	if ((n < 0 && errno != EAGAIN) || c->sent == c->len)
		client_end(c);
	else
		client_wait(c, EV_WRITE);
}

static json_t *answer_to(struct admin *a, const char *request)
{
	size_t len = strcspn(request, " ");

	if (!strcmp(request, "status"))
		return a->status(a->arg);
	for (const struct verb *v = a->verbs; v < a->verbs + a->n_verbs; v++) {
		if (strlen(v->word) == len && !strncmp(v->word, request, len))
			return v->answer(v->arg, request + len + (request[len] == ' '));
	}
	return json_pack("{s:s}", "error", "unknown request");
}

void admin_on(struct admin *a, const char *verb, admin_answer answer, void *arg)
{
	if (a->n_verbs < ADMIN_VERBS)
		a->verbs[a->n_verbs++] = (struct verb){ verb, answer, arg };
}

static void client_serve(struct client *c)
{
	json_t *doc = answer_to(c->admin, c->request);

	c->reply = doc ? json_dumps(doc, JSON_INDENT(2)) : NULL;
	json_decref(doc);
	if (!c->reply) {
		client_end(c);
		return;
	}
	c->len = strlen(c->reply);
	c->reply[c->len++] = '\n'; /* in the place of the NUL: from now on it is bytes */
	client_write(c);
}

static void client_read(struct client *c)
{
	ssize_t n = recv(c->fd, c->request + c->got, sizeof(c->request) - c->got, 0);
	char *end;

	if (n > 0)
		c->got += (size_t)n;
	end = memchr(c->request, '\n', c->got);
	if (end) {
		*end = 0;
		if (strlen(c->request) == (size_t)(end - c->request))
			client_serve(c);
		else
			client_end(c); /* a NUL inside */
	} else if (n > 0 ? c->got == sizeof(c->request) : n == 0 || errno != EAGAIN) {
		client_end(c); /* gone, or no request is that long */
	} else {
		client_wait(c, EV_READ);
	}
}

static void admin_client(evutil_socket_t fd, short what, void *arg)
{
	struct client *c = arg;

	(void)fd;
	if (what & EV_TIMEOUT)
		client_end(c);
	else if (what & EV_WRITE)
		client_write(c);
	else
		client_read(c);
}

static void client_begin(struct admin *a, int fd)
{
	struct client *c = a->clients;

	while (c < a->clients + CLIENTS && c->fd >= 0)
		c++;
	if (c == a->clients + CLIENTS) {
		close(fd);
		return;
	}
	c->fd = fd;
	c->deadline = clock_ms() + CLIENT_MS;
	c->ev = event_new(a->base, fd, EV_READ, admin_client, c);
	if (c->ev)
		client_wait(c, EV_READ);
	else
		client_end(c);
}

static void admin_accept(evutil_socket_t fd, short what, void *arg)
{
	struct admin *a = arg;
	int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)what;
	if (client >= 0)
		client_begin(a, client);
	else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
		/* out of descriptors: the listener stays readable, so it must not be watched for a
		 * while */
		event_del(a->accept_ev);
		timer_in_s(a->rest_ev, 1);
	}
}

static void admin_rested(evutil_socket_t fd, short what, void *arg)
{
	struct admin *a = arg;

	(void)fd;
	(void)what;
	event_add(a->accept_ev, NULL);
}

/* The lock, and on the file that is there under that name now: a leaving instance unlinks it. -1
 * with errno. */
static int take_lock(const char *path)
{
	struct stat mine, there;
	int fd;

	for (;;) {
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (fd < 0)
			return -1;
		if (flock(fd, LOCK_EX | LOCK_NB)) {
			close(fd);
			errno = EWOULDBLOCK;
			return -1;
		}
		if (!fstat(fd, &mine) && !stat(path, &there) && mine.st_ino == there.st_ino && mine.st_dev == there.st_dev)
			return fd;
		close(fd);
	}
}

/* Takes a dead socket out of the way. -1 with errno: it is alive, or no socket. */
static int clear_stale(int fd, const struct sockaddr_un *at)
{
	struct stat st;

	if (lstat(at->sun_path, &st))
		return errno == ENOENT ? 0 : -1;
	if (!S_ISSOCK(st.st_mode)) {
		errno = ENOTSOCK;
		return -1;
	}
	if (!connect(fd, (const struct sockaddr *)at, sizeof(*at)) || errno == EAGAIN) {
		errno = EADDRINUSE;
		return -1;
	}
	return unlink(at->sun_path);
}

static int new_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static int listen_at(const struct sockaddr_un *at)
{
	int fd = new_socket(), rc;
	mode_t mask;

	if (fd < 0)
		return -1;
	rc = clear_stale(fd, at);
	mask = umask(0117);
	if (!rc)
		rc = bind(fd, (const struct sockaddr *)at, sizeof(*at));
	umask(mask);
	if (!rc && !listen(fd, CLIENTS))
		return fd;
	rc = errno;
	close(fd);
	errno = rc;
	return -1;
}

/* /run is empty after a boot: the last folder of the path is made when it is missing. */
static void make_folder(const char *path)
{
	char folder[sizeof(((struct sockaddr_un *)0)->sun_path)];
	char *slash;

	snprintf(folder, sizeof(folder), "%s", path);
	slash = strrchr(folder, '/');
	if (slash && slash != folder) {
		*slash = 0;
		mkdir(folder, 0755);
	}
}

static int admin_open(struct admin *a, char *err, size_t err_len)
{
	const char *path = a->at.sun_path;

	make_folder(path);
	a->lock = take_lock(a->lock_path);
	if (a->lock < 0) {
		if (errno == EWOULDBLOCK)
			snprintf(err, err_len, "another instance is running: it holds %s", a->lock_path);
		else
			snprintf(err, err_len, "%s: %s", a->lock_path, strerror(errno));
		return -1;
	}
	a->fd = listen_at(&a->at);
	if (a->fd < 0)
		snprintf(err, err_len, "%s: %s", path, strerror(errno));
	return a->fd < 0 ? -1 : 0;
}

struct admin *admin_new(struct event_base *base, const char *path, json_t *(*status)(void *arg), void *arg, char *err,
			size_t err_len)
{
	struct admin *a = calloc(1, sizeof(*a));

	snprintf(err, err_len, "out of memory");
	if (!a)
		return NULL;
	*a = (struct admin){ .base = base, .fd = -1, .lock = -1, .status = status, .arg = arg, .at = { .sun_family = AF_UNIX } };
	for (size_t i = 0; i < CLIENTS; i++)
		a->clients[i] = (struct client){ .admin = a, .fd = -1 };
	snprintf(a->at.sun_path, sizeof(a->at.sun_path), "%s", path);
	snprintf(a->lock_path, sizeof(a->lock_path), "%s.lock", a->at.sun_path);
	if (strlen(path) >= sizeof(a->at.sun_path))
		snprintf(err, err_len, "%.200s: longer than a socket's path may be", path);
	else if (!admin_open(a, err, err_len)) {
		a->accept_ev = event_new(base, a->fd, EV_READ | EV_PERSIST, admin_accept, a);
		a->rest_ev = evtimer_new(base, admin_rested, a);
		if (a->accept_ev && a->rest_ev && !event_add(a->accept_ev, NULL))
			return a;
	}
	admin_free(a);
	return NULL;
}

void admin_free(struct admin *a)
{
	if (!a)
		return;
	for (size_t i = 0; i < CLIENTS; i++)
		client_end(&a->clients[i]);
	if (a->accept_ev)
		event_free(a->accept_ev);
	if (a->rest_ev)
		event_free(a->rest_ev);
	if (a->fd >= 0) {
		unlink(a->at.sun_path);
		close(a->fd);
	}
	if (a->lock >= 0) {
		unlink(a->lock_path);
		close(a->lock);
	}
	free(a);
}
