/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * loadgen: theory of operation
 *
 *   loadgen serve PORT
 *   loadgen bulk HOST PORT down|up STREAMS BYTES [tls]   BYTES on each stream
 *   loadgen rate HOST PORT CONCURRENCY SECONDS           connect, one byte there and back, close
 *   loadgen idle HOST PORT COUNT                         open COUNT, one byte each, hold until stdin
 *                                                        ends, then one more byte each
 *   loadgen relay PORT HOST PORT near|far                copies between PORT and the next host,
 *                                                        Multipath TCP on the side that is named
 *
 * A client verb runs one epoll loop over slots, a slot being one connection and where it stands,
 * and prints one JSON object. With "tls" the first bytes have the shape of a TLS record, so that a
 * relay which may pass TLS on as it is does so.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "load.h"

char load_buffer[LOAD_BUFFER];

struct slot {
	int fd;
	bool said, done;
	uint64_t begin, left;
};

struct load {
	struct sockaddr_storage to;
	socklen_t to_len;
	int ep;
	struct slot *slot;
	size_t n, finished, failed;
	uint64_t bytes, until;
	double *ms;
	size_t n_ms, room;
};

uint64_t load_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int load_die(const char *what)
{
	fprintf(stderr, "loadgen: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void load_init(struct load *l, const char *host, const char *port, size_t n)
{
	struct addrinfo hint = { .ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM }, *ai;

	if (getaddrinfo(host, port, &hint, &ai))
		load_die(host);
	memcpy(&l->to, ai->ai_addr, ai->ai_addrlen);
	l->to_len = ai->ai_addrlen;
	freeaddrinfo(ai);
	l->ep = epoll_create1(EPOLL_CLOEXEC);
	l->slot = calloc(n, sizeof(*l->slot));
	l->n = n;
	if (!l->slot)
		load_die("out of memory");
}

static void slot_connect(struct load *l, struct slot *s)
{
	struct epoll_event ev = { .events = EPOLLOUT, .data.ptr = s };
	int one = 1;

	s->fd = socket(l->to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s->fd < 0)
		load_die("socket");
	setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	s->said = false;
	s->begin = load_now_ns();
	if (connect(s->fd, (struct sockaddr *)&l->to, l->to_len) < 0 && errno != EINPROGRESS)
		load_die("connect");
	epoll_ctl(l->ep, EPOLL_CTL_ADD, s->fd, &ev);
}

static void slot_events(struct load *l, struct slot *s, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = s };

	epoll_ctl(l->ep, EPOLL_CTL_MOD, s->fd, &ev);
}

static void slot_finish(struct load *l, struct slot *s, bool good)
{
	close(s->fd);
	s->fd = -1;
	s->done = true;
	l->finished++;
	l->failed += !good;
}

static void load_sample(struct load *l, uint64_t begin)
{
	if (l->n_ms == l->room) {
		l->room = l->room ? 2 * l->room : 4096;
		l->ms = realloc(l->ms, l->room * sizeof(*l->ms));
		if (!l->ms)
			load_die("out of memory");
	}
	l->ms[l->n_ms++] = (double)(load_now_ns() - begin) / 1e6;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double percentile(struct load *l, double p)
{
	if (!l->n_ms)
		return 0;
	qsort(l->ms, l->n_ms, sizeof(*l->ms), by_value);
	return l->ms[(size_t)(p * (double)(l->n_ms - 1))];
}

static void load_run(struct load *l, void (*ready)(struct load *, struct slot *), size_t until_finished)
{
	struct epoll_event ev[LOAD_EVENTS];
	uint64_t last = load_now_ns();

	while (l->finished < until_finished) {
		int n = epoll_wait(l->ep, ev, LOAD_EVENTS, 1000);

		for (int i = 0; i < n; i++)
			ready(l, ev[i].data.ptr);
		if (n)
			last = load_now_ns();
		else if (load_now_ns() - last > 20000000000u) {
			l->failed += until_finished - l->finished; /* 20 s of nothing: they hang */
			return;
		}
	}
}

/* --- bulk --- */

static bool bulk_up;
static char bulk_head[128];
static size_t bulk_head_len;

static void bulk_header(const char *command, bool tls)
{
	size_t n = strlen(command);

	bulk_head[0] = tls ? 0x16 : 'P';
	bulk_head[1] = 3;
	bulk_head[2] = 1;
	bulk_head[4] = (char)(n + 4);
	bulk_head[5] = 1;
	bulk_head[8] = (char)n;
	memcpy(bulk_head + 9, command, n);
	bulk_head_len = 9 + n;
}

static void bulk_send(struct load *l, struct slot *s)
{
	size_t want = s->left < LOAD_BUFFER ? (size_t)s->left : LOAD_BUFFER;
	ssize_t n = send(s->fd, load_buffer, want, MSG_NOSIGNAL);

	if (n < 0) {
		if (errno != EAGAIN)
			slot_finish(l, s, false);
		return;
	}
	l->bytes += (uint64_t)n;
	s->left -= (uint64_t)n;
	if (!s->left) {
		shutdown(s->fd, SHUT_WR);
		slot_events(l, s, EPOLLIN);
	}
}

static void bulk_receive(struct load *l, struct slot *s)
{
	ssize_t n = recv(s->fd, load_buffer, LOAD_BUFFER, 0);

	if (n < 0 && errno == EAGAIN)
		return;
	if (bulk_up) { /* the server's count is the end of an upload */
		slot_finish(l, s, n > 0);
	} else if (n <= 0) {
		slot_finish(l, s, n == 0 && !s->left);
	} else {
		l->bytes += (uint64_t)n;
		s->left -= (uint64_t)n < s->left ? (uint64_t)n : s->left;
	}
}

static void bulk_ready(struct load *l, struct slot *s)
{
	if (!s->said) {
		s->said = true;
		if (send(s->fd, bulk_head, bulk_head_len, MSG_NOSIGNAL) != (ssize_t)bulk_head_len)
			slot_finish(l, s, false);
		else if (!bulk_up)
			slot_events(l, s, EPOLLIN);
	} else if (bulk_up && s->left) {
		bulk_send(l, s);
	} else {
		bulk_receive(l, s);
	}
}

static int bulk(char **a, bool tls)
{
	struct load l = { 0 };
	char command[64];
	uint64_t begin = load_now_ns(), size = strtoull(a[4], NULL, 10);
	double seconds;

	load_init(&l, a[0], a[1], strtoul(a[3], NULL, 10));
	bulk_up = !strcmp(a[2], "up");
	snprintf(command, sizeof(command), "%s %llu 0", bulk_up ? "up" : "down", (unsigned long long)size);
	bulk_header(command, tls);
	for (size_t i = 0; i < l.n; i++) {
		l.slot[i].left = size;
		slot_connect(&l, &l.slot[i]);
	}
	load_run(&l, bulk_ready, l.n);
	seconds = (double)(load_now_ns() - begin) / 1e9;
	printf("{\"bytes\": %llu, \"seconds\": %.6f, \"failed\": %zu}\n", (unsigned long long)l.bytes,
	       seconds, l.failed);
	return l.failed != 0;
}

/* --- rate --- */

static void rate_next(struct load *l, struct slot *s, bool good)
{
	if (good)
		load_sample(l, s->begin);
	else
		l->failed++;
	close(s->fd);
	s->fd = -1;
	if (load_now_ns() < l->until)
		slot_connect(l, s);
	else
		l->finished++;
}

static void rate_ready(struct load *l, struct slot *s)
{
	char byte;
	ssize_t n;

	if (!s->said) {
		s->said = true;
		if (send(s->fd, "x", 1, MSG_NOSIGNAL) != 1)
			rate_next(l, s, false);
		else
			slot_events(l, s, EPOLLIN);
		return;
	}
	n = recv(s->fd, &byte, 1, 0);
	if (n < 0 && errno == EAGAIN)
		return;
	rate_next(l, s, n == 1);
}

static int rate(char **a)
{
	struct load l = { 0 };
	uint64_t begin = load_now_ns();
	double seconds;

	load_init(&l, a[0], a[1], strtoul(a[2], NULL, 10));
	l.until = begin + (uint64_t)(strtod(a[3], NULL) * 1e9);
	for (size_t i = 0; i < l.n; i++)
		slot_connect(&l, &l.slot[i]);
	load_run(&l, rate_ready, l.n);
	seconds = (double)(load_now_ns() - begin) / 1e9;
	printf("{\"connections\": %zu, \"seconds\": %.3f, \"per_second\": %.1f, \"failed\": %zu, "
	       "\"p50\": %.3f, \"p99\": %.3f}\n", l.n_ms, seconds, (double)l.n_ms / seconds, l.failed,
	       percentile(&l, 0.5), percentile(&l, 0.99));
	return 0;
}

/* --- idle --- */

static void idle_ready(struct load *l, struct slot *s)
{
	char byte;
	ssize_t n;

	if (!s->said) {
		s->said = true;
		if (send(s->fd, "x", 1, MSG_NOSIGNAL) == 1)
			slot_events(l, s, EPOLLIN);
		else
			slot_finish(l, s, false);
		return;
	}
	n = recv(s->fd, &byte, 1, 0);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n != 1) {
		slot_finish(l, s, false);
	} else {
		l->finished++;
		slot_events(l, s, 0);
	}
}

/* One more byte on each that lives; how many answered. */
static size_t idle_again(struct load *l)
{
	size_t failed = l->failed, expected = 0;

	l->finished = l->failed = 0;
	for (size_t i = 0; i < l->n; i++) {
		struct slot *s = &l->slot[i];

		if (s->fd < 0)
			continue;
		s->said = false;
		slot_events(l, s, EPOLLOUT);
		expected++;
	}
	load_run(l, idle_ready, expected);
	return l->n - failed - l->failed;
}

static int idle(char **a)
{
	struct load l = { 0 };
	size_t alive, step = 64;

	load_init(&l, a[0], a[1], strtoul(a[2], NULL, 10));
	for (size_t i = 0; i < l.n; i++) {
		slot_connect(&l, &l.slot[i]);
		if ((i + 1) % step == 0)
			load_run(&l, idle_ready, i + 1);
	}
	load_run(&l, idle_ready, l.n);
	printf("{\"held\": %zu, \"failed\": %zu}\n", l.n - l.failed, l.failed);
	fflush(stdout);
	while (getchar() != EOF)
		;
	alive = idle_again(&l);
	printf("{\"alive\": %zu}\n", alive);
	return alive != l.n;
}

int main(int argc, char **argv)
{
	struct rlimit files;

	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	if (argc == 3 && !strcmp(argv[1], "serve"))
		return load_serve((uint16_t)atoi(argv[2]));
	if (argc >= 7 && !strcmp(argv[1], "bulk"))
		return bulk(argv + 2, argc == 8 && !strcmp(argv[7], "tls"));
	if (argc == 6 && !strcmp(argv[1], "rate"))
		return rate(argv + 2);
	if (argc == 5 && !strcmp(argv[1], "idle"))
		return idle(argv + 2);
	if (argc == 6 && !strcmp(argv[1], "relay"))
		return load_relay(argv + 2);
	fprintf(stderr, "usage: see the top of loadgen.c\n");
	return 2;
}
