/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * emulator: theory of operation
 *
 * Each line is a pair of TAP devices, one in the namespace of the gateway ("near"), one in that of
 * the provider ("far"). What the kernel sends into one device is read here as an Ethernet frame,
 * given to a `direction` (queue, rate, distance, faults: see direction.c), and written to the other
 * device when it is due. "up" is near to far. TAPs offer no offloads, so the frames are those a
 * cable would carry: 1514 bytes at most, checksummed, with ARP and neighbour discovery.
 *
 * One thread, one ppoll() with a nanosecond timeout over all devices, all lines. The timer slack is
 * 1 ns and the scheduling class real-time where allowed, since the line stands for hardware, which
 * does not wait for a busy processor. Under load a wake-up for each frame would cost more than the
 * frame: above 6,000 frames a second the loop naps for 0.1 ms between two rounds, which is as late
 * as a frame can then be noticed or delivered. The rate is not touched by it.
 *
 * Commands come as lines on stdin, each answered on stdout by "ok" or "error: ...":
 *
 *   NAME up|down|both KEY VALUE     rate 786k | delay 10ms | jitter 2 | loss 1 | queue 200ms |
 *                                   queue 30000b | hole on | strip on (MPTCP options) | duplicate, reorder,
 *                                   corrupt % | outage 40ms (mean; loss is its share) | mtu 1400 | seed N
 *   stats                           a line of counters for each direction, then "ok"
 *
 * The end of stdin ends the emulator, so it never outlives whoever started it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "direction.h"

#define LINES 16
#define BATCH 64 /* frames read from a device before the others get their turn */
#define NAP 100000u /* ns */
#define NAP_ABOVE 6 /* frames in the last millisecond */

struct line {
	char name[32];
	int fd[2];		/* near, far */
	struct direction way[2]; /* way[i] carries what is read from fd[i]: up, down */
};

struct emulator {
	struct line line[LINES];
	size_t n;
	char command[256];
	size_t n_command;
	uint64_t since; /* the millisecond being counted began */
	unsigned frames, frames_before; /* handled in it, and in the one before */
};

static const char *const way_name[2] = { "up", "down" };

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int die(const char *what, const char *name)
{
	fprintf(stderr, "emulator: %s %s: %s\n", what, name, strerror(errno));
	exit(1);
}

static void enter_netns(const char *path)
{
	int fd;

	if (!strcmp(path, "-"))
		return;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
		die("cannot enter", path);
	close(fd);
}

static int tap_open(const char *netns, const char *device)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI };
	int fd;

	enter_netns(netns);
	fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		die("cannot open", "/dev/net/tun");
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", device);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0 || ioctl(fd, TUNSETOFFLOAD, 0) < 0)
		die("cannot create", device);
	return fd;
}

/* NAME:NETNS:DEVICE:NETNS:DEVICE */
static void line_open(struct line *l, char *spec, uint64_t seed)
{
	char *field[5];

	for (int i = 0; i < 5; i++) {
		field[i] = strsep(&spec, ":");
		if (!field[i] || !*field[i]) {
			fprintf(stderr, "emulator: a line is NAME:NETNS:DEVICE:NETNS:DEVICE\n");
			exit(2);
		}
	}
	snprintf(l->name, sizeof(l->name), "%s", field[0]);
	for (int i = 0; i < 2; i++) {
		l->fd[i] = tap_open(field[1 + 2 * i], field[2 + 2 * i]);
		direction_init(&l->way[i], seed + (uint64_t)i);
	}
}

/* How many frames there were. */
static unsigned line_read(struct line *l, int i)
{
	uint8_t frame[FRAME_MAX];
	unsigned n;

	for (n = 0; n < BATCH; n++) {
		ssize_t len = read(l->fd[i], frame, sizeof(frame));

		if (len <= 0)
			break;
		direction_put(&l->way[i], frame, (size_t)len, now_ns());
	}
	return n;
}

/* Delivers what is due; returns when to look again. */
static uint64_t line_write(struct line *l, int i)
{
	struct frame *f;

	while ((f = direction_take(&l->way[i], now_ns()))) {
		/* A device that is down refuses the frame; a cable would not know either. */
		ssize_t ignored = write(l->fd[!i], f->data, f->len);

		(void)ignored;
		free(f);
	}
	return direction_next(&l->way[i]);
}

static struct line *line_find(struct emulator *e, const char *name)
{
	for (size_t i = 0; i < e->n; i++)
		if (!strcmp(e->line[i].name, name))
			return &e->line[i];
	return NULL;
}

static int line_set(struct line *l, const char *way, const char *key, const char *value)
{
	bool both = !strcmp(way, "both");
	int done = 0;

	for (int i = 0; i < 2; i++) {
		if (!both && strcmp(way, way_name[i]))
			continue;
		if (direction_set(&l->way[i], key, value, now_ns()) < 0)
			return -1;
		done++;
	}
	return done ? 0 : -1;
}

static void print_stats(const struct emulator *e)
{
	for (size_t i = 0; i < 2 * e->n; i++) {
		const struct direction *d = &e->line[i / 2].way[i % 2];
		const struct direction_counters *c = &d->count;

		printf("%s %s in_frames=%" PRIu64 " in_bytes=%" PRIu64 " out_frames=%" PRIu64
		       " out_bytes=%" PRIu64 " tail_drops=%" PRIu64 " losses=%" PRIu64
		       " hole_drops=%" PRIu64 " duplicates=%" PRIu64 " reordered=%" PRIu64
		       " corrupted=%" PRIu64 " stripped=%" PRIu64 " mtu_drops=%" PRIu64 " waiting=%" PRIu64 "\n",
		       e->line[i / 2].name, way_name[i % 2], c->in_frames, c->in_bytes,
		       c->out_frames, c->out_bytes, c->tail_drops, c->losses, c->hole_drops,
		       c->duplicates, c->reordered, c->corrupted, c->stripped,
		       c->mtu_drops, d->waiting);
	}
}

static void command_run(struct emulator *e, char *text)
{
	char name[32], way[8], key[16], value[32], rest;
	struct line *l;

	if (!strcmp(text, "stats")) {
		print_stats(e);
		puts("ok");
	} else if (sscanf(text, "%31s %7s %15s %31s %c", name, way, key, value, &rest) != 4) {
		puts("error: NAME up|down|both KEY VALUE, or stats");
	} else if (!(l = line_find(e, name))) {
		puts("error: no such line");
	} else if (line_set(l, way, key, value) < 0) {
		puts("error: no such property or value");
	} else {
		puts("ok");
	}
	fflush(stdout);
}

/* Runs every whole line that has come. 0, or -1 at the end of stdin. */
static int commands_read(struct emulator *e)
{
	size_t room = sizeof(e->command) - 1 - e->n_command;
	ssize_t n = read(STDIN_FILENO, e->command + e->n_command, room);
	char *end;

	if (n <= 0)
		return n < 0 && errno == EINTR ? 0 : -1;
	e->n_command += (size_t)n;
	e->command[e->n_command] = 0;
	while ((end = strchr(e->command, '\n'))) {
		*end++ = 0;
		command_run(e, e->command);
		e->n_command -= (size_t)(end - e->command);
		memmove(e->command, end, e->n_command + 1);
	}
	if (e->n_command == sizeof(e->command) - 1)
		e->n_command = 0; /* no command is so long */
	return 0;
}

static uint64_t deliver(struct emulator *e)
{
	uint64_t next = UINT64_MAX;

	for (size_t i = 0; i < 2 * e->n; i++) {
		uint64_t t = line_write(&e->line[i / 2], (int)(i % 2));

		if (t < next)
			next = t;
	}
	return next;
}

static void nap_when_busy(struct emulator *e)
{
	struct timespec t = { 0, NAP };
	uint64_t now = now_ns();

	if (now - e->since > 1000000u) {
		e->frames_before = now - e->since < 2000000u ? e->frames : 0;
		e->frames = 0;
		e->since = now;
	}
	if (e->frames_before > NAP_ABOVE)
		nanosleep(&t, NULL);
}

static void wait_until(struct pollfd *p, size_t n, uint64_t next)
{
	uint64_t now = now_ns(), left = next > now ? next - now : 0;
	struct timespec t = { (time_t)(left / 1000000000u), (long)(left % 1000000000u) };

	if (ppoll(p, n, next == UINT64_MAX ? NULL : &t, NULL) < 0)
		for (size_t i = 0; i < n; i++)
			p[i].revents = 0;
}

static void emulator_run(struct emulator *e)
{
	struct pollfd p[1 + 2 * LINES];

	p[0] = (struct pollfd){ .fd = STDIN_FILENO, .events = POLLIN };
	for (size_t i = 0; i < 2 * e->n; i++)
		p[1 + i] = (struct pollfd){ .fd = e->line[i / 2].fd[i % 2], .events = POLLIN };
	for (;;) {
		wait_until(p, 1 + 2 * e->n, deliver(e));
		for (size_t i = 0; i < 2 * e->n; i++)
			if (p[1 + i].revents & POLLIN)
				e->frames += line_read(&e->line[i / 2], (int)(i % 2));
		nap_when_busy(e);
		if (p[0].revents && commands_read(e) < 0)
			return;
	}
}

int main(int argc, char **argv)
{
	static struct emulator e;
	struct sched_param fifo = { .sched_priority = 1 };

	if (argc < 2 || argc > 1 + LINES) {
		fprintf(stderr, "usage: emulator NAME:NETNS:DEVICE:NETNS:DEVICE ...\n");
		return 2;
	}
	for (; e.n + 1 < (size_t)argc; e.n++)
		line_open(&e.line[e.n], argv[1 + e.n], 2 * e.n + 1);
	prctl(PR_SET_TIMERSLACK, 1UL);
	sched_setscheduler(0, SCHED_FIFO, &fifo); /* without the right: as everybody else */
	puts("ready");
	fflush(stdout);
	emulator_run(&e);
	for (size_t i = 0; i < 2 * e.n; i++)
		direction_clear(&e.line[i / 2].way[i % 2]);
	return 0;
}
