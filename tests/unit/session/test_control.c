/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control.h"
#include "session.h"

/* Two controls of one process: 0 is local, 1 is remote. What an end saw is written down; `free_in`
 * makes it free its control in that callback. */
enum { UP = 1, FRAME = 2, DOWN = 4, ROOM = 8 };
struct end {
	struct control *c;
	struct identity *id;
	struct tls_ctx *ctx;
	int seen, free_in, frames, rooms, floods;
	bool echo;
	unsigned offered, packets, since_ping; /* packets that went, that came, and that came before the ping did */
	uint8_t pin[WIRE_PIN], last[WIRE_PACKET_MAX];
	size_t last_len;
	char why[128];
};

struct world {
	struct event_base *base;
	struct end ends[2];
	int fd[2];
};

static char dir[] = "/tmp/plait-test-XXXXXX";

static void note(struct end *e, int what)
{
	e->seen |= what;
	if (e->free_in & what) {
		control_free(e->c);
		e->c = NULL;
	}
}

static void on_up(void *arg, const uint8_t pin[WIRE_PIN])
{
	struct end *e = arg;

	assert_int_equal(e->seen, 0);
	memcpy(e->pin, pin, WIRE_PIN);
	note(e, UP);
}

static void on_frame(void *arg, uint8_t type, const uint8_t *value, size_t len)
{
	struct end *e = arg;

	assert_int_equal(e->seen & (UP | DOWN), UP);
	assert_non_null(e->c);
	e->frames++;
	e->last_len = len;
	memcpy(e->last, value, len);
	if (type == WIRE_PACKET) {
		e->packets++;
		return;
	}
	e->since_ping = e->packets;
	if (e->echo)
		assert_int_equal(control_send(e->c, (enum wire_frame)type, value, len), 0);
	note(e, FRAME);
}

static void on_down(void *arg, const char *why)
{
	struct end *e = arg;

	assert_int_equal(e->seen & DOWN, 0);
	snprintf(e->why, sizeof(e->why), "%s", why);
	note(e, DOWN);
}

static unsigned flood(struct end *e)
{
	static const uint8_t packet[WIRE_PACKET_MAX] = { 0x45 };
	unsigned n = 0;

	while (control_offer(e->c, WIRE_PACKET, packet, sizeof(packet)))
		n++;
	e->offered += n;
	return n;
}

static void on_room(void *arg)
{
	struct end *e = arg;

	e->rooms++;
	if (e->rooms <= e->floods)
		flood(e);
	note(e, ROOM);
}

static const struct control_ops ops = { on_up, on_frame, on_down, on_room };

static void world_init(struct world *w)
{
	char path[128], err[256];

	memset(w, 0, sizeof(*w));
	w->base = event_base_new();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, w->fd), 0);
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%d", dir, i);
		w->ends[i].id = identity_load(path, err, sizeof(err));
		w->ends[i].ctx = tls_ctx_new(w->ends[i].id, i == 1);
		assert_non_null(w->ends[i].ctx);
	}
}

static void start(struct world *w, int i)
{
	uint8_t pin[WIRE_PIN];

	identity_pin(w->ends[1].id, pin);
	w->ends[i].c = control_new(w->base, w->ends[i].ctx, w->fd[i], i == 0 ? pin : NULL, &ops, &w->ends[i]);
	assert_non_null(w->ends[i].c);
}

/* What the remote's gate does first. */
static void take_knock(struct world *w)
{
	uint8_t b[WIRE_KNOCK_LEN], pin[WIRE_PIN];
	struct wire_knock k;

	for (int i = 0; i < 5; i++)
		event_base_loop(w->base, EVLOOP_NONBLOCK);
	assert_int_equal(read(w->fd[1], b, sizeof(b)), sizeof(b));
	assert_int_equal(wire_get_knock(&k, b, sizeof(b)), WIRE_KNOCK_LEN);
	identity_pin(w->ends[1].id, pin);
	assert_true(session_knock_ok(&k, pin));
}

static void turn(struct world *w)
{
	for (int i = 0; i < 40; i++)
		event_base_loop(w->base, EVLOOP_NONBLOCK);
}

static void world_up(struct world *w)
{
	world_init(w);
	start(w, 0);
	take_knock(w);
	start(w, 1);
	turn(w);
}

static void world_free(struct world *w)
{
	for (int i = 0; i < 2; i++) {
		control_free(w->ends[i].c);
		tls_ctx_free(w->ends[i].ctx);
		identity_free(w->ends[i].id);
	}
	event_base_free(w->base);
}

static void knock_handshake_keys_and_frames(void **st)
{
	uint8_t sid[WIRE_SID] = { 1 }, a[32], b[32], pin[32];
	struct world w;

	(void)st;
	world_up(&w);
	assert_int_equal(w.ends[0].seen | w.ends[1].seen, UP);
	for (int i = 0; i < 2; i++) {
		identity_pin(w.ends[!i].id, pin);
		assert_memory_equal(w.ends[i].pin, pin, 32);
	}
	assert_int_equal(control_export(w.ends[0].c, sid, a), 0);
	assert_int_equal(control_export(w.ends[1].c, sid, b), 0);
	assert_memory_equal(a, b, 32);
	w.ends[1].echo = true;
	assert_int_equal(control_send(w.ends[0].c, WIRE_PING, "ping", 4), 0);
	assert_int_equal(control_send(w.ends[0].c, WIRE_PING, NULL, 0), 0);
	assert_int_equal(control_send(w.ends[0].c, WIRE_PING, a, WIRE_FRAME_MAX + 1), -1);
	turn(&w);
	assert_int_equal(w.ends[1].frames, 2);
	assert_int_equal(w.ends[0].frames, 2);
	world_free(&w);
}

static void many_frames_of_the_longest_kind(void **st)
{
	uint8_t big[WIRE_FRAME_MAX];
	struct world w;
	int sent = 0;

	(void)st;
	world_up(&w);
	memset(big, 0x77, sizeof(big));
	while (control_send(w.ends[0].c, WIRE_STATS, big, sizeof(big)) == 0)
		sent++;
	assert_int_equal(sent, 65536 / (WIRE_FRAME_MAX + WIRE_FRAME_HDR)); /* the queue is bounded */
	for (int i = 0; i < 20; i++)
		turn(&w);
	assert_int_equal(w.ends[1].frames, sent);
	assert_int_equal(w.ends[1].last_len, sizeof(big));
	assert_memory_equal(w.ends[1].last, big, sizeof(big));
	world_free(&w);
}

/* However much is offered, what is sent finds little before it, and nothing is written that was not
 * asked for. */
static void a_flood_delays_nobody(void **st)
{
	struct world w;

	(void)st;
	world_up(&w);
	w.ends[0].floods = 200;
	assert_int_equal(flood(&w.ends[0]), 16384 / (WIRE_PACKET_MAX + WIRE_FRAME_HDR));
	assert_int_equal(control_send(w.ends[0].c, WIRE_PING, "ping", 4), 0);
	turn(&w);
	assert_int_equal(w.ends[1].since_ping, 11);
	assert_int_equal(w.ends[0].rooms, 201); /* the last one takes nothing */
	assert_int_equal(w.ends[0].offered, 201 * 11);
	assert_int_equal(w.ends[1].packets, w.ends[0].offered);
	world_free(&w);
}

/* A peer that does not read holds what the socket holds and one burst, and asks for no more turns
 * of the loop. */
static void a_flood_that_nobody_reads(void **st)
{
	struct world w;
	unsigned offered;
	int rooms;

	(void)st;
	world_up(&w);
	assert_int_equal(control_release(w.ends[1].c), w.fd[1]);
	w.ends[1].c = NULL;
	w.ends[0].floods = 1000;
	flood(&w.ends[0]);
	turn(&w);
	offered = w.ends[0].offered;
	rooms = w.ends[0].rooms;
	assert_true(offered > 11 && offered < 1000);
	turn(&w);
	assert_int_equal(w.ends[0].offered, offered);
	assert_int_equal(w.ends[0].rooms, rooms);
	assert_int_equal(control_send(w.ends[0].c, WIRE_BYE, "x", 1), 0); /* there is still a place for it */
	world_free(&w);
	close(w.fd[1]);
}

static void last_words_arrive_before_the_end(void **st)
{
	struct world w;

	(void)st;
	world_up(&w);
	control_send(w.ends[0].c, WIRE_BYE, "going", 5);
	control_free(w.ends[0].c);
	w.ends[0].c = NULL;
	turn(&w);
	assert_int_equal(w.ends[1].seen, UP | FRAME | DOWN);
	assert_memory_equal(w.ends[1].last, "going", 5);
	world_free(&w);
}

static void freed_inside_any_callback(void **st)
{
	(void)st;
	for (int what = UP; what <= ROOM; what <<= 1) {
		for (int i = 0; i < 2; i++) {
			struct world w;

			world_init(&w);
			w.ends[i].free_in = what;
			start(&w, 0);
			take_knock(&w);
			start(&w, 1);
			turn(&w);
			if (what == FRAME) {
				for (int n = 0; n < 3; n++)
					control_send(w.ends[!i].c, WIRE_PING, "x", 1);
				turn(&w);
				assert_int_equal(w.ends[i].frames, 1);
			} else if (what == ROOM) {
				flood(&w.ends[i]);
				turn(&w);
			} else if (what == DOWN) {
				control_free(w.ends[!i].c);
				w.ends[!i].c = NULL;
				turn(&w);
			}
			assert_null(w.ends[i].c);
			assert_true(w.ends[i].seen & what);
			world_free(&w);
		}
	}
}

static void garbage_instead_of_tls(void **st)
{
	struct world w;

	(void)st;
	world_init(&w);
	start(&w, 1);
	assert_int_equal(write(w.fd[0], "GET / HTTP/1.1\r\n\r\n", 18), 18);
	turn(&w);
	assert_int_equal(w.ends[1].seen, DOWN);
	assert_int_not_equal(strlen(w.ends[1].why), 0);
	close(w.fd[0]);
	world_free(&w);
}

static void released_sockets_stay_open(void **st)
{
	struct world w;
	int fd;

	(void)st;
	world_init(&w);
	start(&w, 1);
	fd = control_release(w.ends[1].c);
	w.ends[1].c = NULL;
	assert_int_equal(fd, w.fd[1]);
	assert_int_not_equal(fcntl(fd, F_GETFD), -1);
	close(w.fd[0]);
	close(fd);
	world_free(&w);
}

static int setup(void **st)
{
	char path[128], err[256];

	(void)st;
	if (!mkdtemp(dir))
		return -1;
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%d", dir, i);
		if (identity_generate(path, err, sizeof(err)) < 0)
			return -1;
	}
	return 0;
}

static int teardown(void **st)
{
	char path[128];

	(void)st;
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%d", dir, i);
		unlink(path);
	}
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(knock_handshake_keys_and_frames),
		cmocka_unit_test(many_frames_of_the_longest_kind),
		cmocka_unit_test(a_flood_delays_nobody),
		cmocka_unit_test(a_flood_that_nobody_reads),
		cmocka_unit_test(last_words_arrive_before_the_end),
		cmocka_unit_test(freed_inside_any_callback),
		cmocka_unit_test(garbage_instead_of_tls),
		cmocka_unit_test(released_sockets_stay_open),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
