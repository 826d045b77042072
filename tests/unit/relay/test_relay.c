/* SPDX-License-Identifier: BSD-2-Clause */
/* Two relays back to back over loopback TCP, as the gateway and the VPS are:
 *
 *   client <-> relay[0] <== WAN ==> relay[1] <-> server
 *
 * and single relays whose WAN peer is the test itself. Every scenario runs SEALED and CLEAR. */
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "clock.h"
#include "counter.h"
#include "record.h"
#include "relay_room.h"
#include "sock.h"
#include "sock_subflow.h"

#define MB (1024 * 1024)

struct bed {
	struct event_base *base;
	struct seal *seal;
	struct relay_loop *loop;
	int client, server;
	struct relay_budget budget[2];
	int ended[2]; /* 0: runs; else 1 + enum relay_end */
};

static void pair(int fd[2])
{
	struct addr at, peer;
	int l;

	assert_int_equal(addr_parse(&at, "127.0.0.1", 0), 0);
	l = sock_listen_lan(&at, false);
	assert_true(l >= 0);
	assert_int_equal(sock_local(l, &at), 0);
	fd[0] = sock_dial_tcp(&at, 0);
	assert_true(fd[0] >= 0);
	do
		fd[1] = sock_accept(l, &peer);
	while (fd[1] < 0 && errno == EAGAIN);
	assert_true(fd[1] >= 0);
	close(l);
}

static void on_done(void *arg, enum relay_end how, const uint64_t bytes[2])
{
	(void)bytes;
	*(int *)arg = 1 + (int)how;
}

static void bed_init(struct bed *b)
{
	struct relay_limits limits = { 3600, 3600, 3600 };

	memset(b, 0, sizeof(*b));
	b->base = event_base_new();
	b->seal = seal_new();
	b->loop = relay_loop_new(b->base, b->seal, &limits);
	assert_non_null(b->loop);
}

static struct relay *start(struct bed *b, int i, int near, int wan, bool sealed)
{
	struct relay_setup s = { .fd = { near, wan }, .sealed = sealed, .closes_first = i == 1, .done = on_done };

	s.alg = SEAL_CHACHA20_POLY1305;
	memset(s.key[RELAY_TX].key, 10 + i, SEAL_KEY);
	memset(s.key[RELAY_RX].key, 10 + !i, SEAL_KEY);
	b->budget[i].max = 64 * MB;
	s.budget = &b->budget[i];
	s.arg = &b->ended[i];
	return relay_new(b->loop, &s);
}

static void bed_up(struct bed *b, bool sealed)
{
	int lan[2], wan[2], far[2];

	bed_init(b);
	pair(lan);
	pair(wan);
	pair(far);
	b->client = lan[0];
	b->server = far[1];
	assert_non_null(start(b, 0, lan[1], wan[0], sealed));
	assert_non_null(start(b, 1, far[0], wan[1], sealed));
}

static void bed_down(struct bed *b)
{
	if (b->client >= 0)
		close(b->client);
	if (b->server >= 0)
		close(b->server);
	relay_loop_free(b->loop);
	seal_free(b->seal);
	event_base_free(b->base);
	assert_int_equal(b->budget[0].held, 0);
	assert_int_equal(b->budget[1].held, 0);
}

static void turn(struct bed *b)
{
	event_base_loop(b->base, EVLOOP_NONBLOCK);
}

static uint8_t byte_at(size_t i)
{
	return (uint8_t)(i * 31 + i / 251);
}

/* Moves `len` bytes from one fd to the other through the bed, checking each. */
static void move(struct bed *b, int from, int to, size_t len)
{
	static uint8_t buf[100000];
	size_t sent = 0, got = 0;
	uint64_t deadline = clock_ms() + 20000;

	while (got < len && clock_ms() < deadline) {
		size_t want = len - sent < sizeof(buf) ? len - sent : sizeof(buf);
		ssize_t n;

		for (size_t i = 0; i < want; i++)
			buf[i] = byte_at(sent + i);
		n = want ? write(from, buf, want) : 0;
		if (n > 0)
			sent += (size_t)n;
		turn(b);
		n = read(to, buf, sizeof(buf));
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(buf[i], byte_at(got + (size_t)i));
		if (n > 0)
			got += (size_t)n;
	}
	assert_int_equal(got, len);
}

/* 0: end of file; else the errno. */
static int wait_end(struct bed *b, int fd)
{
	static uint8_t buf[100000];
	uint64_t deadline = clock_ms() + 5000;
	ssize_t n;

	while (clock_ms() < deadline) {
		turn(b);
		n = read(fd, buf, sizeof(buf));
		if (n == 0)
			return 0;
		if (n < 0 && errno != EAGAIN)
			return errno;
	}
	return ETIMEDOUT;
}

static void wait_ended(struct bed *b, int i, enum relay_end how)
{
	uint64_t deadline = clock_ms() + 5000;

	while (!b->ended[i] && clock_ms() < deadline)
		turn(b);
	assert_int_equal(b->ended[i], 1 + (int)how);
}

static void half_close(bool sealed)
{
	struct bed b;

	bed_up(&b, sealed);
	move(&b, b.client, b.server, 3 * MB);
	sock_shut(b.client);
	assert_int_equal(wait_end(&b, b.server), 0);
	move(&b, b.server, b.client, 3 * MB); /* the other half still works */
	sock_shut(b.server);
	assert_int_equal(wait_end(&b, b.client), 0);
	wait_ended(&b, 0, RELAY_CLEAN);
	wait_ended(&b, 1, RELAY_CLEAN);
	bed_down(&b);
}

static void target_half_closes_first(bool sealed)
{
	struct bed b;

	bed_up(&b, sealed);
	sock_shut(b.server);
	assert_int_equal(wait_end(&b, b.client), 0);
	move(&b, b.client, b.server, 5 * MB);
	sock_shut(b.client);
	assert_int_equal(wait_end(&b, b.server), 0);
	wait_ended(&b, 0, RELAY_CLEAN);
	bed_down(&b);
}

static void reset_from(bool sealed, bool client)
{
	struct bed b;
	int *dies = client ? &b.client : &b.server, *sees = client ? &b.server : &b.client;

	bed_up(&b, sealed);
	move(&b, b.client, b.server, 1000);
	sock_close_reset(*dies);
	*dies = -1;
	assert_int_equal(wait_end(&b, *sees), ECONNRESET);
	wait_ended(&b, 0, RELAY_RESET);
	wait_ended(&b, 1, RELAY_RESET);
	bed_down(&b);
}

static size_t stuff(struct bed *b, int fd)
{
	static uint8_t zeros[65536];
	uint64_t deadline = clock_ms() + 700; /* until nothing moves any more */
	size_t total = 0;
	ssize_t n;

	while (clock_ms() < deadline) {
		n = write(fd, zeros, sizeof(zeros));
		if (n > 0) {
			total += (size_t)n;
			deadline = clock_ms() + 700;
		}
		turn(b);
		assert_true(b->budget[0].held <= 65536 * 2);
		assert_true(b->budget[1].held <= 65536 * 2);
	}
	return total;
}

/* Also that the end nobody reads from is found dead: the client resets while everything is
 * stuck. */
static void slow_reader_then_reset(bool sealed)
{
	struct bed b;

	bed_up(&b, sealed);
	stuff(&b, b.client);
	sock_close_reset(b.client);
	b.client = -1;
	wait_ended(&b, 0, RELAY_RESET);
	assert_int_equal(wait_end(&b, b.server), ECONNRESET);
	bed_down(&b);
}

static void slow_reader_loses_nothing(bool sealed)
{
	static uint8_t buf[100000];
	struct bed b;
	size_t sent, got = 0;
	uint64_t deadline = clock_ms() + 20000;
	ssize_t n;

	bed_up(&b, sealed);
	sent = stuff(&b, b.client);
	sock_shut(b.client);
	while (clock_ms() < deadline) {
		turn(&b);
		n = read(b.server, buf, sizeof(buf));
		if (n == 0)
			break;
		got += n > 0 ? (size_t)n : 0;
	}
	assert_int_equal(got, sent);
	bed_down(&b);
}

/* --- one relay; the test is its WAN peer --- */

static int lone_relay(struct bed *b, bool sealed)
{
	int lan[2], wan[2];

	bed_init(b);
	pair(lan);
	pair(wan);
	b->client = lan[0];
	b->server = -1;
	assert_non_null(start(b, 0, lan[1], wan[0], sealed));
	return wan[1];
}

static size_t records(struct bed *b, uint8_t *out, const enum wire_kind *kinds, size_t count)
{
	struct seal_key k = { .ctr = 0 };
	size_t len = 0;

	memset(k.key, 11, sizeof(k.key));
	for (size_t i = 0; i < count; i++)
		len += (size_t)record_seal(b->seal, SEAL_CHACHA20_POLY1305, &k, kinds[i], "hi", 2, out + len);
	return len;
}

static void run_ms(struct bed *b, unsigned ms)
{
	for (uint64_t until = clock_ms() + ms; clock_ms() < until;)
		turn(b);
}

/* The one who closes first is the last who can see to it that all arrives. */
static void test_closes_when_all_was_acknowledged(void **state)
{
	struct seal_key up = { .ctr = 0 };
	static uint8_t buf[400000];
	int near[2], wan[2];
	size_t len;
	ssize_t n;
	struct bed b;

	(void)state;
	bed_init(&b);
	pair(near);
	pair(wan);
	b.client = -1;
	b.server = near[1];
	memset(up.key, 10, sizeof(up.key));
	assert_non_null(start(&b, 1, near[0], wan[1], true));
	assert_int_equal(write(b.server, buf, sizeof(buf)), sizeof(buf));
	sock_shut(b.server);
	len = (size_t)record_seal(b.seal, SEAL_CHACHA20_POLY1305, &up, WIRE_FIN, NULL, 0, buf);
	assert_int_equal(write(wan[0], buf, len), len);
	wait_ended(&b, 1, RELAY_CLEAN);
	run_ms(&b, 500);
	assert_int_equal(relay_loop_count(b.loop), 1); /* the peer's window is full */
	do {
		turn(&b);
		n = read(wan[0], buf, sizeof(buf));
	} while (n > 0 || (n < 0 && errno == EAGAIN));
	assert_int_equal(n, 0);
	run_ms(&b, 50);
	assert_int_equal(relay_loop_count(b.loop), 0);
	close(wan[0]);
	bed_down(&b);
}

static void test_cut_without_fin(void **state)
{
	struct bed b;
	int wan = lone_relay(&b, true);

	(void)state;
	sock_close_clean(wan);
	assert_int_equal(wait_end(&b, b.client), ECONNRESET);
	wait_ended(&b, 0, RELAY_CUT);
	bed_down(&b);
}

static void test_reads_what_it_was_not_told_of(void **state)
{
	static const enum wire_kind kinds[] = { WIRE_DATA };
	uint8_t out[100], got[2];
	struct bed b;
	int wan = lone_relay(&b, true);
	struct relay *r = LIST_FIRST(&b.loop->running);

	(void)state;
	event_del(&r->end[RELAY_WAN].rd);
	assert_true(write(wan, out, records(&b, out, kinds, 1)) > 0);
	run_ms(&b, 300);
	assert_int_equal(read(b.client, got, sizeof(got)), -1);
	run_ms(&b, 700);
	assert_int_equal(read(b.client, got, sizeof(got)), 2);
	close(wan);
	bed_down(&b);
}

/* Of the WAN, and of its own group: what the client says tells nothing of the remote. */
static void test_knows_when_the_remote_was_heard(void **state)
{
	static const enum wire_kind kinds[] = { WIRE_DATA };
	uint64_t begun = clock_ms();
	uint8_t out[100];
	struct bed b;
	int wan = lone_relay(&b, true);

	(void)state;
	run_ms(&b, 500);
	assert_int_equal(write(b.client, "hi", 2), 2);
	run_ms(&b, 300);
	assert_false(relay_loop_heard_since(b.loop, NULL, begun + 1));
	assert_true(write(wan, out, records(&b, out, kinds, 1)) > 0);
	run_ms(&b, 300);
	assert_true(relay_loop_heard_since(b.loop, NULL, begun + 500));
	assert_false(relay_loop_heard_since(b.loop, &b, begun));
	assert_false(relay_loop_heard_since(b.loop, NULL, clock_ms() + 1));
	close(wan);
	bed_down(&b);
}

static void test_data_after_fin(void **state)
{
	static const enum wire_kind kinds[] = { WIRE_DATA, WIRE_FIN, WIRE_DATA };
	uint8_t out[200];
	struct bed b;
	int wan = lone_relay(&b, true);
	size_t len = records(&b, out, kinds, 3);

	(void)state;
	assert_int_equal(write(wan, out, len), len);
	assert_int_equal(wait_end(&b, b.client), ECONNRESET);
	wait_ended(&b, 0, RELAY_CUT);
	close(wan);
	bed_down(&b);
}

static void test_forged_record(void **state)
{
	static const enum wire_kind kinds[] = { WIRE_DATA };
	uint64_t before = counters.records_forged;
	uint8_t out[200];
	struct bed b;
	int wan = lone_relay(&b, true);
	size_t len = records(&b, out, kinds, 1);

	(void)state;
	out[len - 1] ^= 1;
	assert_int_equal(write(wan, out, len), len);
	assert_int_equal(wait_end(&b, b.client), ECONNRESET);
	wait_ended(&b, 0, RELAY_CUT);
	assert_int_equal(counters.records_forged, before + 1);
	close(wan);
	bed_down(&b);
}

static void test_record_byte_by_byte(void **state)
{
	static const enum wire_kind kinds[] = { WIRE_DATA, WIRE_DATA, WIRE_FIN };
	uint8_t out[200], in[8];
	struct bed b;
	int wan = lone_relay(&b, true);
	size_t len = records(&b, out, kinds, 2), got = 0;

	(void)state;
	for (size_t i = 0; i < len; i++) {
		ssize_t n;

		assert_int_equal(write(wan, out + i, 1), 1);
		for (int t = 0; t < 50; t++)
			turn(&b);
		n = read(b.client, in + got, sizeof(in) - got);
		got += n > 0 ? (size_t)n : 0;
	}
	assert_int_equal(got, 4);
	assert_memory_equal(in, "hihi", 4);
	close(wan);
	bed_down(&b);
}

/* --- the observer --- */

struct seen {
	unsigned times;
	struct sock_subflow path;
};

static void on_observed(void *arg, int wan_fd)
{
	struct seen *seen = arg;

	seen->times++;
	assert_int_equal(sock_subflows(wan_fd, &seen->path, 1), 1);
}

/* How often the observer of the client's relay was called by the end of `len` bytes up, or of all
 * that fits in. */
static unsigned observed(struct seen *seen, size_t len)
{
	struct bed b;

	memset(seen, 0, sizeof(*seen));
	bed_up(&b, true);
	relay_loop_observe(b.loop, on_observed, seen);
	if (len)
		move(&b, b.client, b.server, len);
	else
		stuff(&b, b.client);
	sock_shut(b.client);
	sock_shut(b.server);
	assert_int_equal(wait_end(&b, b.server), 0);
	wait_ended(&b, 0, RELAY_CLEAN);
	bed_down(&b);
	return seen->times;
}

/* Once a second, and at the end. */
static void test_observes_who_fills_wan(void **state)
{
	uint64_t begun_ms;
	struct seen seen;

	(void)state;
	assert_int_equal(observed(&seen, 2 * RELAY_OBSERVE), 0); /* WAN took all at once */
	begun_ms = clock_ms();
	observed(&seen, 0);
	assert_in_range(seen.times, 1, 1 + (clock_ms() - begun_ms) / 1000);
	assert_true(addr_is_loopback(&seen.path.peer));
	assert_true(seen.path.bytes_acked > RELAY_OBSERVE);
	assert_true(seen.path.delivery_rate > 0 && seen.path.min_rtt_us > 0 && seen.path.mss > 500);
}

static void test_budget_stops_reading_not_the_relay(void **state)
{
	struct bed b;

	(void)state;
	bed_up(&b, true);
	b.budget[0].max = 0; /* this user holds too much elsewhere */
	turn(&b);
	assert_true(stuff(&b, b.client) > 0);
	b.budget[0].max = 64 * MB;
	sock_shut(b.client);
	assert_int_equal(wait_end(&b, b.server), 0);
	bed_down(&b);
}

/* Only its own half record stands in the way: it must become whole, or it would be held for
 * ever. */
static void test_half_a_record_is_not_held_for_ever(void **state)
{
	static const enum wire_kind kinds[] = { WIRE_DATA };
	uint8_t out[200], in[8];
	struct bed b;
	int wan = lone_relay(&b, true);
	size_t len = records(&b, out, kinds, 1);

	(void)state;
	b.budget[0].max = 1;
	for (size_t i = 0; i < len; i++) {
		assert_int_equal(write(wan, out + i, 1), 1);
		for (int t = 0; t < 50; t++)
			turn(&b);
	}
	assert_int_equal(read(b.client, in, sizeof(in)), 2);
	assert_memory_equal(in, "hi", 2);
	assert_int_equal(b.budget[0].held, 0);
	close(wan);
	bed_down(&b);
}

#define BOTH(name, call)                                       \
	static void name##_sealed(void **state)                \
	{                                                      \
		bool sealed = true;                            \
		(void)state;                                   \
		call;                                          \
	}                                                      \
	static void name##_clear(void **state)                 \
	{                                                      \
		bool sealed = false;                           \
		(void)state;                                   \
		call;                                          \
	}
BOTH(test_half_close, half_close(sealed))
BOTH(test_target_half_closes_first, target_half_closes_first(sealed))
BOTH(test_reset_from_client, reset_from(sealed, true))
BOTH(test_reset_from_target, reset_from(sealed, false))
BOTH(test_slow_reader_then_reset, slow_reader_then_reset(sealed))
BOTH(test_slow_reader_loses_nothing, slow_reader_loses_nothing(sealed))

#define TESTS(name) cmocka_unit_test(name##_sealed), cmocka_unit_test(name##_clear)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TESTS(test_half_close),
		TESTS(test_target_half_closes_first),
		TESTS(test_reset_from_client),
		TESTS(test_reset_from_target),
		TESTS(test_slow_reader_then_reset),
		TESTS(test_slow_reader_loses_nothing),
		cmocka_unit_test(test_closes_when_all_was_acknowledged),
		cmocka_unit_test(test_cut_without_fin),
		cmocka_unit_test(test_data_after_fin),
		cmocka_unit_test(test_reads_what_it_was_not_told_of),
		cmocka_unit_test(test_knows_when_the_remote_was_heard),
		cmocka_unit_test(test_forged_record),
		cmocka_unit_test(test_record_byte_by_byte),
		cmocka_unit_test(test_observes_who_fills_wan),
		cmocka_unit_test(test_budget_stops_reading_not_the_relay),
		cmocka_unit_test(test_half_a_record_is_not_held_for_ever),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
