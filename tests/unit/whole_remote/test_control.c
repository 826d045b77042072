/* SPDX-License-Identifier: BSD-2-Clause */
/* The control connection of one who is known, but says what makes no sense; and REVOKE: for each
 * number either an OPEN is served or a promise is given that none ever will be. */
#include "caller.h"

#include "seal.h"

#define GRACE_MS 60000
#define TICK_MS 1000 /* of the room that looks at the clocks */
#define HELLO_MS 5000
#define SILENT_MS 90000

static void expect_bye(struct gateway *g, const char *why)
{
	uint8_t value[WIRE_FRAME_MAX];
	size_t len;

	assert_int_equal(gateway_recv(g, value, &len), WIRE_BYE);
	if (!memmem(value, len, why, strlen(why)))
		fail_msg("BYE because \"%.*s\", not \"%s\"", (int)len, (char *)value, why);
	assert_int_equal(gateway_recv(g, value, &len), -1);
}

static void expect_pong(struct gateway *g, const char *text)
{
	uint8_t value[WIRE_FRAME_MAX];
	size_t len;

	gateway_send(g, WIRE_PING, text, strlen(text));
	assert_int_equal(gateway_recv(g, value, &len), WIRE_PONG);
	assert_int_equal(len, strlen(text));
	assert_memory_equal(value, text, len);
}

/* --- frames --- */

static void unknown_frames_are_ignored(void **state)
{
	static const uint8_t unknown[] = { 0, 5, 6, 10, 77, 255 };
	struct gateway *g = gateway_call(*state, USER_A);
	uint8_t value[WIRE_FRAME_MAX];

	for (size_t i = 0; i < sizeof(unknown); i++) {
		seal_random(value, sizeof(value));
		gateway_send(g, unknown[i], value, sizeof(value));
	}
	expect_pong(g, "still there?");
}

static void a_frame_of_1025_bytes_ends_the_connection(void **state)
{
	struct gateway *g = gateway_call(*state, USER_A);
	uint8_t value[WIRE_FRAME_MAX + 1] = { 0 };
	size_t len;

	gateway_send(g, 77, value, sizeof(value));
	assert_int_equal(gateway_recv(g, value, &len), -1);
}

static void a_second_hello_is_a_farewell(void **state)
{
	struct gateway *g = gateway_call(*state, USER_A);
	static const uint8_t hello[WIRE_HELLO_LEN] = { WIRE_VERSION, WIRE_F_AES };

	gateway_send(g, WIRE_HELLO, hello, sizeof(hello));
	expect_bye(g, "HELLO");
}

static void a_hello_that_makes_no_sense_makes_no_session(void **state)
{
	static const struct { uint8_t version; size_t len; } bad[] = { { 1, 0 }, { 1, 17 }, { 0, 18 }, { 2, 18 } };
	struct world *w = *state;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct gateway *g = gateway_knock(w, USER_A);
		uint8_t hello[WIRE_HELLO_LEN] = { bad[i].version, WIRE_F_AES };

		gateway_send(g, WIRE_HELLO, hello, bad[i].len);
		expect_bye(g, "HELLO or version");
		assert_int_equal(sessions_count(w->r.sessions), 0);
	}
}

/* A later version may say more. */
static void a_longer_hello_with_unknown_flags_is_welcome(void **state)
{
	struct gateway *g = gateway_knock(*state, USER_A);
	uint8_t hello[WIRE_HELLO_LEN + 8] = { WIRE_VERSION, 0xfd }, value[WIRE_FRAME_MAX];
	struct wire_welcome welcome;
	size_t len;

	gateway_send(g, WIRE_HELLO, hello, sizeof(hello));
	assert_int_equal(gateway_recv(g, value, &len), WIRE_WELCOME);
	assert_true(wire_get_welcome(&welcome, value, len) > 0);
	assert_int_equal(welcome.version, WIRE_VERSION);
}

static void anything_before_hello_is_a_farewell(void **state)
{
	struct gateway *g = gateway_knock(*state, USER_A);

	gateway_send(g, WIRE_PING, "x", 1);
	expect_bye(g, "HELLO comes first");
}

static void a_gateway_without_aes_gets_chacha_for_everything(void **state)
{
	struct gateway *g = gateway_knock(*state, USER_A);
	struct upstream *up;

	gateway_hello(g, NULL, 0);
	assert_int_equal(g->welcome.aead, SEAL_CHACHA20_POLY1305);
	up = upstream_new(g);
	assert_int_equal(upstream_open(up, NULL, "by ChaCha"), WIRE_OK);
	assert_true(world_heard(*state, "by ChaCha"));
	upstream_send(up, WIRE_FIN, "", 0);
	assert_int_equal(upstream_ending(up), AT_EOF);
}

/* --- time --- */

static void a_user_has_five_seconds_for_hello(void **state)
{
	struct gateway *g = gateway_knock(*state, USER_A);
	uint64_t since = world_ms();

	expect_bye(g, "no HELLO in time");
	assert_in_range(world_ms() - since, HELLO_MS + 1 - 5, HELLO_MS + TICK_MS);
}

static void a_user_has_eight_connections_without_hello(void **state)
{
	struct gateway *first = gateway_knock(*state, USER_A), *other = gateway_knock(*state, USER_B), *last = NULL;

	for (unsigned i = 1; i < 9; i++)
		last = gateway_knock(*state, USER_A);
	expect_bye(first, "too many connections without HELLO");
	gateway_hello(last, NULL, WIRE_F_AES);
	gateway_hello(other, NULL, WIRE_F_AES);
}

static void a_gateway_that_falls_silent_is_given_up_after_ninety_seconds(void **state)
{
	struct world *w = *state;
	struct gateway *g = gateway_call(w, USER_A);

	world_wait(w, SILENT_MS - TICK_MS);
	expect_pong(g, "x");
	world_wait(w, SILENT_MS - 1);
	expect_pong(g, "x");
	world_wait(w, SILENT_MS - TICK_MS);
	expect_bye(g, "nothing heard for 90 s");
}

/* --- REVOKE --- */

static void a_number_never_seen_comes_too_late_once_revoked(void **state)
{
	struct world *w = *state;
	struct gateway *g = gateway_call(w, USER_A);
	uint8_t message[MESSAGE_MAX];
	size_t len = gateway_cold(g, 0, "too late", message);
	int fd;

	assert_int_equal(gateway_revoke(g, NULL, 0), WIRE_NOT_SERVED);
	fd = world_connect(w, NULL);
	world_say(fd, message, len);
	world_until(w, counters.attach_replayed == 1);
	assert_int_equal(w->dialled, 0);
	world_abort(fd);
}

/* Its OPEN is still on its way. */
static void one_that_waits_is_not_served_once_revoked(void **state)
{
	struct world *w = *state;
	struct gateway *g = gateway_call(w, USER_A);
	struct upstream *up = upstream_new(g);
	uint8_t plain[WIRE_OPEN_LEN], byte;
	size_t len;

	assert_int_equal(gateway_revoke(g, NULL, 0), WIRE_NOT_SERVED);
	upstream_send(up, WIRE_OPEN, plain, open_plain(plain, &w->server_addr, "", 0));
	assert_int_equal(world_listen(w, up->fd, 5000, &byte, 1, &len), AT_RESET);
	assert_int_equal(len, 0);
	assert_int_equal(w->dialled, 0);
}

static void one_that_is_served_stays_so(void **state)
{
	struct gateway *g = gateway_call(*state, USER_A);
	struct upstream *up = upstream_new(g);

	assert_int_equal(upstream_open(up, NULL, ""), WIRE_OK);
	assert_int_equal(gateway_revoke(g, NULL, 0), WIRE_SERVED);
	upstream_send(up, WIRE_DATA, "on", 2);
	upstream_expect_echo(up, "on", 2);
}

static void the_right_to_be_served_is_spent_on_a_refusal(void **state)
{
	struct gateway *g = gateway_call(*state, USER_A);
	struct addr inside;

	assert_int_equal(addr_parse(&inside, "127.0.0.1", 80), 0);
	assert_int_equal(upstream_open(upstream_new(g), &inside, ""), WIRE_FORBIDDEN);
	assert_int_equal(gateway_revoke(g, NULL, 0), WIRE_SERVED);
}

/* The first answer may have been lost with its control connection; what it promised still holds. */
static void a_promise_is_given_again(void **state)
{
	struct gateway *g = gateway_call(*state, USER_A);

	assert_int_equal(gateway_revoke(g, NULL, 0), WIRE_NOT_SERVED);
	assert_int_equal(gateway_revoke(g, NULL, 0), WIRE_NOT_SERVED);
}

static void anothers_session_is_not_known_and_not_harmed(void **state)
{
	struct gateway *a = gateway_call(*state, USER_A), *b = gateway_call(*state, USER_B);
	struct upstream *up = upstream_new(b);
	uint8_t nobodys[WIRE_SID];

	seal_random(nobodys, sizeof(nobodys));
	assert_int_equal(gateway_revoke(a, b->welcome.sid, 0), WIRE_SERVED);
	assert_int_equal(upstream_open(up, NULL, ""), WIRE_OK);
	assert_int_equal(gateway_revoke(a, nobodys, 0), WIRE_SERVED);
}

static void a_number_far_ahead_is_not_known_and_pushes_none_out(void **state)
{
	static const uint64_t far[] = { (1 << 20) + 70000, 1ULL << 60, UINT64_MAX };
	struct gateway *g = gateway_call(*state, USER_A);

	for (size_t i = 0; i < 3; i++) {
		struct upstream *up = upstream_new(g);

		assert_int_equal(gateway_revoke(g, NULL, far[i]), WIRE_SERVED);
		assert_int_equal(upstream_open(up, NULL, ""), WIRE_OK);
	}
}

static void an_old_sessions_numbers_are_answered_for_on_the_next_connection(void **state)
{
	struct world *w = *state;
	const uint8_t boot[16] = "the same process";
	struct gateway *old = gateway_call_as(w, USER_A, boot), *new;
	struct upstream *served = upstream_new(old), *waits = upstream_new(old);
	uint8_t plain[WIRE_OPEN_LEN], byte;
	size_t len;

	assert_int_equal(upstream_open(served, NULL, ""), WIRE_OK);
	new = gateway_call_as(w, USER_A, boot);
	assert_int_equal(gateway_revoke(new, old->welcome.sid, 0), WIRE_SERVED);
	assert_int_equal(gateway_revoke(new, old->welcome.sid, 1), WIRE_NOT_SERVED);
	upstream_send(waits, WIRE_OPEN, plain, open_plain(plain, &w->server_addr, "", 0));
	assert_int_equal(world_listen(w, waits->fd, 5000, &byte, 1, &len), AT_RESET);
	assert_int_equal(len, 0);
}

static void an_old_session_is_answered_for_a_minute_and_no_longer(void **state)
{
	struct world *w = *state;
	const uint8_t boot[16] = "the same process";
	struct gateway *old = gateway_call_as(w, USER_A, boot), *new = gateway_call_as(w, USER_A, boot);
	uint64_t since = world_ms();

	world_wait(w, since + GRACE_MS - 10 - world_ms());
	assert_int_equal(gateway_revoke(new, old->welcome.sid, 1), WIRE_NOT_SERVED);
	expect_bye(old, "replaced");
	assert_in_range(world_ms() - since, GRACE_MS - 10, GRACE_MS + TICK_MS);
	assert_int_equal(gateway_revoke(new, old->welcome.sid, 2), WIRE_SERVED);
	assert_int_equal(gateway_revoke(new, NULL, 2), WIRE_NOT_SERVED);
}

/* It may have lost one line only. */
static void a_session_outlives_its_lost_connection_by_a_minute(void **state)
{
	struct world *w = *state;
	struct gateway *g = gateway_call(w, USER_A);
	uint64_t since = world_ms();

	gateway_hang_up(g);
	world_wait(w, since + GRACE_MS - 10 - world_ms());
	assert_int_equal(upstream_open(upstream_new(g), NULL, ""), WIRE_OK);
	assert_int_equal(sessions_count(w->r.sessions), 1);
	world_wait(w, 10 + TICK_MS);
	assert_int_equal(sessions_count(w->r.sessions), 0);
}

static void a_malformed_revoke_is_a_farewell(void **state)
{
	struct gateway *g = gateway_call(*state, USER_A);
	uint8_t ask[WIRE_REVOKE_LEN - 1] = { 0 };

	gateway_send(g, WIRE_REVOKE, ask, sizeof(ask));
	expect_bye(g, "REVOKE");
}

/* Both set out before the remote has seen one of them. */
static enum wire_verdict race(struct gateway *g, struct upstream *up, bool open_first)
{
	uint8_t plain[WIRE_OPEN_LEN];

	open_plain(plain, &g->world->server_addr, "", 0);
	if (open_first)
		upstream_send(up, WIRE_OPEN, plain, sizeof(plain));
	gateway_ask_revoke(g, NULL, up->ctr);
	if (!open_first)
		upstream_send(up, WIRE_OPEN, plain, sizeof(plain));
	return gateway_verdict(g, NULL, up->ctr);
}

static void either_the_open_wins_or_the_revoke(void **state)
{
	struct world *w = *state;
	struct gateway *g = gateway_call(w, USER_A);
	unsigned won[2] = { 0 };

	for (unsigned i = 0; i < 100; i++) {
		struct upstream *up = upstream_new(g);
		enum wire_verdict verdict = race(g, up, i % 2);
		unsigned before = won[WIRE_SERVED]++;

		if (verdict == WIRE_SERVED) {
			assert_int_equal(upstream_answer(up, NULL, NULL).status, WIRE_OK);
		} else {
			won[WIRE_SERVED] = before;
			won[WIRE_NOT_SERVED]++;
			assert_int_equal(upstream_ending(up), AT_RESET);
		}
		assert_int_equal(w->dialled, won[WIRE_SERVED]);
		upstream_abort(up);
	}
	assert_true(won[0] && won[1]); /* or nothing was proven */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(unknown_frames_are_ignored),
		TEST(a_frame_of_1025_bytes_ends_the_connection),
		TEST(a_second_hello_is_a_farewell),
		TEST(a_hello_that_makes_no_sense_makes_no_session),
		TEST(a_longer_hello_with_unknown_flags_is_welcome),
		TEST(anything_before_hello_is_a_farewell),
		TEST(a_gateway_without_aes_gets_chacha_for_everything),
		TEST(a_user_has_five_seconds_for_hello),
		TEST(a_user_has_eight_connections_without_hello),
		TEST(a_gateway_that_falls_silent_is_given_up_after_ninety_seconds),
		TEST(a_number_never_seen_comes_too_late_once_revoked),
		TEST(one_that_waits_is_not_served_once_revoked),
		TEST(one_that_is_served_stays_so),
		TEST(the_right_to_be_served_is_spent_on_a_refusal),
		TEST(a_promise_is_given_again),
		TEST(anothers_session_is_not_known_and_not_harmed),
		TEST(a_number_far_ahead_is_not_known_and_pushes_none_out),
		TEST(an_old_sessions_numbers_are_answered_for_on_the_next_connection),
		TEST(an_old_session_is_answered_for_a_minute_and_no_longer),
		TEST(a_session_outlives_its_lost_connection_by_a_minute),
		TEST(a_malformed_revoke_is_a_farewell),
		TEST(either_the_open_wins_or_the_revoke),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
