/* SPDX-License-Identifier: BSD-2-Clause */
/* What the remote says to those who are none of its own: nothing, and the same nothing to all.
 * Whatever was wrong, the connection is reset between 10 and 15 s after it was accepted, not a byte
 * was said, and nobody was dialled. */
#include "caller.h"

#include <errno.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "seal.h"
#include "sock.h"

#define EARLIEST_MS 10000
#define LATEST_MS 15001 /* a loop counts whole milliseconds, and begins the one it waits for */
#define STAY_MS 16000 /* by then all are gone */
#define REPEAT 3
#define CROWD 330
#define LONGEST (1 << 20)
#define SWALLOWED 65536 /* and the first bytes, which were looked at */

struct stranger {
	struct crowd *crowd;
	const char *kind;
	int fd, remote_fd;
	uint64_t since, after;
	uint8_t *data;
	size_t len, said, got;
	unsigned pause_ms; /* between two bytes; 0: all at once */
	bool fin;	   /* and then the end of the stream */
	enum ending end;
	struct event *readable, *turn;
};

struct crowd {
	struct world *w;
	unsigned n;
	struct stranger s[CROWD];
};

static struct crowd *crowd_of(void **state)
{
	struct crowd *c = calloc(1, sizeof(*c));

	c->w = *state;
	return c;
}

/* --- one of them --- */

static void stranger_end(struct stranger *s, enum ending how)
{
	if (s->end != STILL_OPEN)
		return;
	s->end = how;
	s->after = world_ms() - s->since;
	event_del(s->readable);
	event_del(s->turn);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct stranger *s = arg;
	uint8_t sink[4096];
	ssize_t n = read(fd, sink, sizeof(sink));

	(void)what;
	if (n > 0)
		s->got += (size_t)n;
	else if (n == 0 || errno != EAGAIN)
		stranger_end(s, n ? AT_RESET : AT_EOF);
}

static void take_turn(struct stranger *s)
{
	struct timeval pause = { .tv_usec = (suseconds_t)s->pause_ms * 1000 };

	if (s->said < s->len)
		event_add(s->turn, s->pause_ms ? &pause : NULL);
	else if (s->fin)
		shutdown(s->fd, SHUT_WR);
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
	struct stranger *s = arg;
	ssize_t n = send(s->fd, s->data + s->said, s->pause_ms ? 1 : s->len - s->said, MSG_NOSIGNAL);

	(void)fd;
	(void)what;
	if (n < 0 && errno != EAGAIN) {
		stranger_end(s, AT_RESET);
		return;
	}
	s->said += n > 0 ? (size_t)n : 0;
	take_turn(s);
}

static struct stranger *arrive(struct crowd *c, const char *kind, int fd, int remote_fd, unsigned pause_ms)
{
	struct stranger *s = &c->s[c->n++];

	assert_true(c->n <= CROWD);
	*s = (struct stranger){ .crowd = c, .kind = kind, .fd = fd, .remote_fd = remote_fd, .since = world_ms(), .pause_ms = pause_ms };
	s->readable = event_new(c->w->base, fd, EV_READ | EV_PERSIST, on_readable, s);
	s->turn = pause_ms ? event_new(c->w->base, -1, 0, on_turn, s) : event_new(c->w->base, fd, EV_WRITE, on_turn, s);
	event_add(s->readable, NULL);
	return s;
}

static struct stranger *come(struct crowd *c, const char *kind)
{
	int remote_fd, fd = world_connect(c->w, &remote_fd);

	return arrive(c, kind, fd, remote_fd, 0);
}

static struct stranger *come_slowly(struct crowd *c, const char *kind, unsigned pause_ms)
{
	int remote_fd, fd = world_connect(c->w, &remote_fd);

	return arrive(c, kind, fd, remote_fd, pause_ms);
}

static struct stranger *say(struct stranger *s, const void *data, size_t len)
{
	s->data = malloc(len);
	memcpy(s->data, data, len);
	s->len = len;
	take_turn(s);
	return s;
}

static void and_end(struct stranger *s)
{
	s->fin = true;
}

/* --- all of them --- */

static void crowd_free(struct crowd *c)
{
	for (unsigned i = 0; i < c->n; i++) {
		event_free(c->s[i].readable);
		event_free(c->s[i].turn);
		world_abort(c->s[i].fd);
		free(c->s[i].data);
	}
	free(c);
}

static void was_met_with_silence(const struct stranger *s)
{
	if (s->got || s->end != AT_RESET || s->after < EARLIEST_MS || s->after > LATEST_MS)
		fail_msg("%s: was told %zu bytes, %s after %ju ms", s->kind, s->got,
			 s->end == AT_RESET ? "reset" : s->end == AT_EOF ? "closed" : "not reset", (uintmax_t)s->after);
}

static void all_were_met_with_silence(struct crowd *c)
{
	for (unsigned i = 0; i < c->n; i++)
		was_met_with_silence(&c->s[i]);
	assert_int_equal(counters.quiet, c->n);
	assert_int_equal(counters.quiet_overflow, 0);
	assert_int_equal(places_taken(c->w->r.places), 0);
	assert_false(world_heard(c->w, "dialled!"));
	crowd_free(c);
}

static void are_met_with_silence(struct crowd *c)
{
	world_pass(c->w, STAY_MS);
	all_were_met_with_silence(c);
}

/* --- who knows nothing --- */

static void silence_is_met_with_silence(void **state)
{
	struct crowd *c = crowd_of(state);

	for (unsigned i = 0; i < REPEAT; i++) {
		come(c, "silent");
		arrive(c, "silent, over Multipath TCP", world_connect_mptcp(c->w), -1, 0);
		shutdown(come(c, "FIN and nothing else")->fd, SHUT_WR);
	}
	are_met_with_silence(c);
	assert_int_equal(((struct world *)*state)->dialled, 0);
}

static void noise_is_met_with_silence(void **state)
{
	static uint8_t noise[LONGEST];
	struct crowd *c = crowd_of(state);

	for (unsigned i = 0; i < REPEAT; i++) {
		seal_random(noise, 65536);
		noise[0] = (uint8_t)(0x80 + i);
		say(come(c, "64 KiB of noise"), noise, 65536);
		memcpy(noise, "\1\1", 2);
		say(come(c, "noise that begins like a knock"), noise, 65536);
		memcpy(noise, "\2\1\0\x38", 4);
		say(come(c, "noise that begins like ATTACH"), noise, 65536);
		memcpy(noise, "\3\1", 2);
		say(come(c, "RESET upwards"), noise, WIRE_RESET_LEN);
		memset(noise, 0x55, LONGEST);
		say(come(c, "a megabyte"), noise, LONGEST);
	}
	are_met_with_silence(c);
}

/* The ClientHello of somebody who has not knocked. */
static size_t client_hello(struct world *w, uint8_t *out, size_t room)
{
	struct tls_ctx *ctx = tls_ctx_new(w->key[NOBODY], false);
	int fd[2];
	struct tls *tls;
	ssize_t n;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	tls = tls_new(ctx, fd[0]);
	assert_int_equal(tls_handshake(tls), TLS_WANT_READ);
	n = read(fd[1], out, room);
	assert_true(n > 100);
	tls_free(tls);
	tls_ctx_free(ctx);
	close(fd[0]);
	close(fd[1]);
	return (size_t)n;
}

static void other_protocols_are_met_with_silence(void **state)
{
	static const char http[] = "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n", ssh[] = "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n";
	struct crowd *c = crowd_of(state);
	uint8_t hello[4096];
	size_t len = client_hello(c->w, hello, sizeof(hello));

	for (unsigned i = 0; i < REPEAT; i++) {
		say(come(c, "HTTP"), http, strlen(http));
		say(come(c, "SSH"), ssh, strlen(ssh));
		say(come(c, "TLS"), hello, len);
	}
	are_met_with_silence(c);
}

/* --- who knows something --- */

struct message {
	uint8_t bytes[MESSAGE_MAX];
	size_t len;
};

static void make(struct message *m, struct gateway *g, uint64_t ctr)
{
	m->len = gateway_cold(g, ctr, "dialled!", m->bytes);
}

static void half_a_message_is_met_with_silence(void **state)
{
	struct crowd *c = crowd_of(state);
	struct gateway *g = gateway_call(c->w, USER_A);
	uint8_t knock[WIRE_KNOCK_LEN];
	struct message m;

	for (unsigned i = 0; i < REPEAT; i++) {
		make(&m, g, NEXT);
		say(come(c, "59 of 60 bytes"), m.bytes, WIRE_ATTACH_LEN - 1);
		and_end(say(come(c, "59 of 60 bytes, then FIN"), m.bytes, WIRE_ATTACH_LEN - 1));
		caller_knock(knock, c->w->pin);
		and_end(say(come(c, "33 of 34 bytes of a knock, then FIN"), knock, WIRE_KNOCK_LEN - 1));
		make(&m, g, NEXT);
		say(come_slowly(c, "a byte each 250 ms", 250), m.bytes, WIRE_ATTACH_LEN);
	}
	are_met_with_silence(c);
}

static void a_knock_that_is_not_right_is_met_with_silence(void **state)
{
	struct crowd *c = crowd_of(state);
	uint8_t knock[WIRE_KNOCK_LEN], pin[WIRE_PIN];

	identity_pin(c->w->key[USER_A], pin);
	for (unsigned i = 0; i < REPEAT; i++) {
		caller_knock(knock, c->w->pin);
		knock[WIRE_KNOCK_LEN - 1] ^= 1;
		say(come(c, "a forged knock"), knock, sizeof(knock));
		caller_knock(knock, pin);
		say(come(c, "a knock for another remote"), knock, sizeof(knock));
		caller_knock(knock, c->w->pin);
		knock[1] = 0;
		say(come(c, "knock version 0"), knock, sizeof(knock));
		knock[1] = 255;
		say(come(c, "knock version 255"), knock, sizeof(knock));
	}
	are_met_with_silence(c);
	assert_int_equal(sessions_count(((struct world *)*state)->r.sessions), 0);
}

/* A good request, but for these bytes of it. */
static void come_with(struct crowd *c, struct gateway *g, const char *kind, size_t at, const void *bytes, size_t len)
{
	struct message m;

	make(&m, g, NEXT);
	memcpy(m.bytes + at, bytes, len);
	say(come(c, kind), m.bytes, m.len);
}

static void an_attach_that_is_not_right_is_met_with_silence(void **state)
{
	struct crowd *c = crowd_of(state);
	struct gateway *a = gateway_call(c->w, USER_A), *b = gateway_call(c->w, USER_B);
	uint8_t nobodys[WIRE_SID];

	for (unsigned i = 0; i < REPEAT; i++) {
		come_with(c, a, "length 0", 2, "\0\0", 2);
		come_with(c, a, "length 55", 2, "\0\x37", 2);
		come_with(c, a, "length 57", 2, "\0\x39", 2);
		come_with(c, a, "length 65535", 2, "\xff\xff", 2);
		come_with(c, a, "ATTACH version 0", 1, "\0", 1);
		come_with(c, a, "ATTACH version 255", 1, "\xff", 1);
		come_with(c, a, "a's ATTACH under b's session", 4, b->welcome.sid, WIRE_SID);
		seal_random(nobodys, sizeof(nobodys));
		come_with(c, a, "a session that never was", 4, nobodys, sizeof(nobodys));
	}
	are_met_with_silence(c);
	assert_int_equal(counters.attach_forged, REPEAT);
	assert_int_equal(counters.attach_unknown, REPEAT);
}

#define ROUNDS 4
#define A_ROUND (8 * WIRE_ATTACH_LEN / ROUNDS)

static void every_flipped_bit_of_attach_is_met_with_silence(void **state)
{
	struct gateway *g = gateway_call(*state, USER_A);
	struct message m;

	for (unsigned round = 0; round < ROUNDS; round++) {
		struct crowd *c = crowd_of(state);

		counters.quiet = 0;
		for (unsigned bit = round; bit < 8 * WIRE_ATTACH_LEN; bit += ROUNDS) {
			make(&m, g, NEXT);
			m.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
			say(come(c, "a flipped bit"), m.bytes, m.len);
		}
		assert_int_equal(c->n, A_ROUND);
		are_met_with_silence(c);
	}
}

/* What was good once, or has a number that is not acceptable. */
static void whoever_comes_again_is_met_with_silence(void **state)
{
	struct crowd *c = crowd_of(state);
	struct world *w = *state;
	struct gateway *g = gateway_call(w, USER_A);
	uint64_t waits = upstream_new(g)->ctr, used;
	struct upstream *served;
	struct message m;

	for (unsigned i = 0; i < REPEAT; i++) {
		served = upstream_cold(g, "served", m.bytes, &m.len);
		used = served->ctr;
		world_say(served->fd, m.bytes, m.len);
		world_until(w, w->dialled == i + 1);
		say(come(c, "a replay at once"), m.bytes, m.len);
		make(&m, g, used);
		say(come(c, "the same number, other salt"), m.bytes, m.len);
		make(&m, g, waits);
		say(come(c, "the number of a waiting one"), m.bytes, m.len);
		make(&m, g, 1ULL << 60);
		say(come(c, "a jump to 2^60"), m.bytes, m.len);
		make(&m, g, g->next + SESSION_JUMP + 4096);
		say(come(c, "a jump just too far"), m.bytes, m.len);
		make(&m, g, UINT64_MAX);
		say(come(c, "the last number of all"), m.bytes, m.len);
	}
	are_met_with_silence(c);
	assert_int_equal(w->dialled, REPEAT);
	assert_int_equal(counters.attach_replayed, 3 * REPEAT);
	assert_int_equal(counters.attach_forged, 3 * REPEAT);
}

static void whoever_is_slow_but_in_time_is_served(void **state)
{
	struct world *w = *state;
	struct message m;
	struct upstream *up = upstream_cold(gateway_call(w, USER_A), "slow but whole", m.bytes, &m.len);

	for (unsigned i = 0; i < WIRE_ATTACH_LEN; i++) {
		world_say(up->fd, m.bytes + i, 1);
		world_wait(w, 166); /* 9.96 s for all of it */
	}
	world_say(up->fd, m.bytes + WIRE_ATTACH_LEN, m.len - WIRE_ATTACH_LEN);
	assert_int_equal(upstream_answer(up, NULL, NULL).what, WIRE_ATTACHED);
	assert_int_equal(upstream_answer(up, NULL, NULL).status, WIRE_OK);
	assert_true(world_heard(w, "slow but whole"));
	assert_int_equal(counters.quiet, 0);
}

/* --- who knows the pin: TLS answers them --- */

static struct stranger *knock(struct crowd *c, const char *kind)
{
	uint8_t k[WIRE_KNOCK_LEN];

	caller_knock(k, c->w->pin);
	return say(come(c, kind), k, sizeof(k));
}

/* Whoever says this after his knock. */
static void knock_and_say(struct crowd *c, const char *kind, const uint8_t *data, size_t len)
{
	uint8_t all[WIRE_KNOCK_LEN + 4096];

	caller_knock(all, c->w->pin);
	memcpy(all + WIRE_KNOCK_LEN, data, len);
	say(come(c, kind), all, WIRE_KNOCK_LEN + len);
}

static void shake_hands_as_nobody(struct crowd *c)
{
	struct wire_hello h = { .version = WIRE_VERSION, .flags = WIRE_F_AES };
	uint64_t since = world_ms();
	struct gateway *g = gateway_knock(c->w, NOBODY);
	struct stranger *s = arrive(c, "a key that is nobody's", dup(g->fd), -1, 0);
	uint8_t hello[WIRE_HELLO_LEN];

	s->since = since;
	gateway_send(g, WIRE_HELLO, hello, wire_put_hello(hello, &h));
}

static void whoever_knows_the_pin_alone_is_reset_when_all_others_are(void **state)
{
	struct crowd *c = crowd_of(state);
	uint8_t hello[4096], noise[4096];
	struct message slow = { .len = WIRE_KNOCK_LEN };

	client_hello(c->w, hello, sizeof(hello));
	for (unsigned i = 0; i < REPEAT; i++) {
		shake_hands_as_nobody(c);
		knock(c, "a knock and nothing else");
		and_end(knock(c, "a knock, then FIN"));
		knock_and_say(c, "a knock and half a ClientHello", hello, 100);
		seal_random(noise, sizeof(noise));
		noise[0] = 0x80;
		knock_and_say(c, "a knock, then noise", noise, sizeof(noise));
		caller_knock(slow.bytes, c->w->pin);
		say(come_slowly(c, "a knock that takes almost all of its time", 260), slow.bytes, slow.len);
	}
	are_met_with_silence(c);
	assert_int_equal(sessions_count(((struct world *)*state)->r.sessions), 0);
}

/* --- many --- */

/* All but 64 KiB, and the first bytes, which were looked at, stay in the kernel. */
static size_t swallowed(const struct stranger *s)
{
	int unread = 0;

	assert_int_equal(ioctl(s->remote_fd, FIONREAD, &unread), 0);
	return s->said - (size_t)sock_unacked(s->fd) - (size_t)unread;
}

static void no_more_than_64_kib_is_read_of_anybody(void **state)
{
	static const uint8_t megabyte[LONGEST] = { 0x55 };
	struct crowd *c = crowd_of(state);

	for (unsigned i = 0; i < REPEAT; i++)
		say(come(c, "a megabyte"), megabyte, sizeof(megabyte));
	world_pass(c->w, 9000);
	for (unsigned i = 0; i < REPEAT; i++) {
		assert_true(c->s[i].said > 2 * SWALLOWED); /* or nothing was proven */
		assert_in_range(swallowed(&c->s[i]), SWALLOWED, SWALLOWED + WIRE_ATTACH_LEN);
	}
	world_pass(c->w, STAY_MS - 9000);
	all_were_met_with_silence(c);
}

static void the_honest_are_served_meanwhile(void **state)
{
	struct crowd *c = crowd_of(state);
	struct world *w = *state;
	struct upstream *up;
	uint64_t begin;

	for (unsigned i = 0; i < 200; i++)
		say(come(c, "HTTP"), "GET / HTTP/1.1\r\n\r\n", i % 2 ? 18 : 0);
	world_pass(w, 3000);
	assert_int_equal(places_taken(w->r.places), 200);
	begin = world_ms();
	up = upstream_new(gateway_call(w, USER_B));
	assert_int_equal(upstream_open(up, NULL, "x"), WIRE_OK);
	assert_in_range(world_ms() - begin, 0, 100); /* nobody is waited for: what passes is what the kernel takes */
	world_pass(w, STAY_MS - 3000);
	all_were_met_with_silence(c);
}

/* Whether nothing came, or the first byte was wrong, or a tag: the times are of one distribution,
 * uniform from 10 to 15 s. */
static void are_uniform(const struct stranger *s, unsigned n, unsigned step)
{
	uint64_t sum = 0, least = UINT64_MAX, most = 0;
	unsigned count = n / step;

	for (unsigned i = 0; i < n; i += step) {
		sum += s[i].after;
		least = s[i].after < least ? s[i].after : least;
		most = s[i].after > most ? s[i].after : most;
	}
	/* five standard errors of a mean of 100: 1443 ms / 10 each */
	assert_int_equal(count, 100);
	assert_in_range(sum / count, 12500 - 722, 12500 + 722);
	assert_in_range(least, EARLIEST_MS, EARLIEST_MS + 1000);
	assert_in_range(most, LATEST_MS - 1000, LATEST_MS);
}

static void the_moment_tells_nothing(void **state)
{
	struct crowd *c = crowd_of(state);
	struct gateway *g = gateway_call(c->w, USER_A);
	struct message m;

	for (unsigned i = 0; i < 100; i++) {
		come(c, "silent");
		say(come(c, "a wrong first byte"), "\x80", 1);
		make(&m, g, NEXT);
		m.bytes[WIRE_ATTACH_LEN - 1] ^= 1;
		say(come(c, "a wrong tag"), m.bytes, m.len);
	}
	world_pass(c->w, STAY_MS);
	for (unsigned kind = 0; kind < 3; kind++)
		are_uniform(c->s + kind, c->n, 3);
	all_were_met_with_silence(c);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(silence_is_met_with_silence),
		TEST(noise_is_met_with_silence),
		TEST(other_protocols_are_met_with_silence),
		TEST(half_a_message_is_met_with_silence),
		TEST(a_knock_that_is_not_right_is_met_with_silence),
		TEST(an_attach_that_is_not_right_is_met_with_silence),
		TEST(every_flipped_bit_of_attach_is_met_with_silence),
		TEST(whoever_comes_again_is_met_with_silence),
		TEST(whoever_is_slow_but_in_time_is_served),
		TEST(whoever_knows_the_pin_alone_is_reset_when_all_others_are),
		TEST(no_more_than_64_kib_is_read_of_anybody),
		TEST(the_honest_are_served_meanwhile),
		TEST(the_moment_tells_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
