/* SPDX-License-Identifier: BSD-2-Clause */
/* What was recorded and is sent again: it is never served, whenever it comes. */
#include "caller.h"

#include <stdio.h>

#include "seal.h"

#define GRACE_MS 60000
#define TICK_MS 1000
#define RESETS_A_SECOND 50
#define LONG_AGO 65540 /* out of the window of 65536 numbers */
#define JUMP (1 << 20)

struct message {
	uint8_t bytes[MESSAGE_MAX];
	size_t len;
};

static void make(struct message *m, struct gateway *g, uint64_t ctr, const char *early)
{
	m->len = gateway_cold(g, ctr, early, m->bytes);
}

static int say(struct world *w, const struct message *m, size_t len)
{
	int fd = world_connect(w, NULL);

	world_say(fd, m->bytes, len);
	return fd;
}

/* It is as an eavesdropper has it, then. */
static void serve_number(struct world *w, struct gateway *g, uint64_t ctr, struct message *m)
{
	unsigned before = w->dialled;
	int fd;

	make(m, g, ctr, "request");
	fd = say(w, m, m->len);
	world_until(w, w->dialled == before + 1);
	world_abort(fd);
}

static void serve(struct world *w, struct gateway *g, struct message *m)
{
	serve_number(w, g, NEXT, m);
}

static void nothing_is_said(struct world *w, int fd)
{
	uint8_t byte;
	size_t len;

	assert_int_equal(world_listen(w, fd, 100, &byte, 1, &len), STILL_OPEN);
	assert_int_equal(len, 0);
}

/* Counted as that, not answered, and nobody is dialled. */
static void in_vain(struct world *w, const struct message *m, size_t len, const uint64_t *counter)
{
	uint64_t before = *counter;
	unsigned dialled = w->dialled;
	int fd = say(w, m, len);

	world_until(w, *counter == before + 1);
	nothing_is_said(w, fd);
	assert_int_equal(w->dialled, dialled);
	world_abort(fd);
}

static void replayed_in_vain(struct world *w, const struct message *m)
{
	in_vain(w, m, m->len, &counters.attach_replayed);
}

/* It meets RESET, with the token that its sender knows, and then silence. */
static void reset_in_vain(struct world *w, const struct message *m, const struct gateway *g)
{
	unsigned dialled = w->dialled;
	int fd = say(w, m, m->len);
	uint8_t raw[WIRE_RESET_LEN];
	struct wire_reset r;
	size_t len;

	world_listen(w, fd, 1000, raw, sizeof(raw), &len);
	assert_int_equal(wire_get_reset(&r, raw, len), WIRE_RESET_LEN);
	assert_memory_equal(r.token, g->welcome.token, sizeof(r.token));
	nothing_is_said(w, fd);
	assert_int_equal(w->dialled, dialled);
	world_abort(fd);
}

static void a_replay_at_once_is_not_served(void **state)
{
	struct world *w = *state;
	struct gateway *g = gateway_call(w, USER_A);
	struct message m;

	serve(w, g, &m);
	for (int i = 0; i < 5; i++)
		replayed_in_vain(w, &m);
	serve(w, g, &m);
}

static void a_replay_while_the_first_lives_does_not_disturb_it(void **state)
{
	struct world *w = *state;
	struct message m;
	struct upstream *up = upstream_cold(gateway_call(w, USER_A), "long", m.bytes, &m.len);
	uint8_t first[WIRE_RECORD_MAX];
	size_t len;

	world_say(up->fd, m.bytes, m.len);
	world_until(w, w->dialled == 1);
	replayed_in_vain(w, &m);
	assert_int_equal(upstream_answer(up, NULL, NULL).what, WIRE_ATTACHED);
	assert_int_equal(upstream_answer(up, first, &len).status, WIRE_OK);
	assert_int_equal(len, 4);
	assert_memory_equal(first, "long", 4);
	upstream_send(up, WIRE_DATA, " lived", 6);
	upstream_expect_echo(up, " lived", 6);
}

/* With nothing behind it, or with an attacker's own. */
static void a_replay_of_attach_alone_is_not_served(void **state)
{
	struct world *w = *state;
	struct gateway *g = gateway_call(w, USER_A);
	struct message m;

	serve(w, g, &m);
	in_vain(w, &m, WIRE_ATTACH_LEN, &counters.attach_replayed);
	seal_random(m.bytes + WIRE_ATTACH_LEN, 80);
	in_vain(w, &m, WIRE_ATTACH_LEN + 80, &counters.attach_replayed);
}

static void a_recorded_open_under_another_attach_is_reset(void **state)
{
	struct world *w = *state;
	struct gateway *g = gateway_call(w, USER_A);
	struct seal_key keys[2];
	struct message m;
	int fd;

	serve(w, g, &m);
	gateway_attach(g, NEXT, m.bytes, keys);
	fd = say(w, &m, m.len);
	assert_int_equal(world_ending(w, fd), AT_RESET);
	assert_int_equal(w->dialled, 1);
	world_abort(fd);
}

/* The old session is there for a minute, and it remembers. Under the new one the old message means
 * nothing. */
static void a_replay_after_a_rekey_is_not_served(void **state)
{
	struct world *w = *state;
	const uint8_t boot[16] = "the same process";
	struct gateway *old = gateway_call_as(w, USER_A, boot), *new;
	struct message m, moved;
	uint64_t since;

	serve(w, old, &m);
	new = gateway_call_as(w, USER_A, boot);
	since = world_ms();
	replayed_in_vain(w, &m);
	moved = m;
	memcpy(moved.bytes + 4, new->welcome.sid, WIRE_SID);
	in_vain(w, &moved, moved.len, &counters.attach_forged);
	world_wait(w, since + GRACE_MS - 200 - world_ms());
	replayed_in_vain(w, &m);
	world_wait(w, 200 + TICK_MS);
	reset_in_vain(w, &m, old);
}

static void a_replay_after_its_session_had_to_go_is_not_served(void **state)
{
	struct world *w = *state;
	struct gateway *g = gateway_call(w, USER_A);
	struct message m;

	serve(w, g, &m);
	for (int i = 0; i < 4; i++)
		gateway_call(w, USER_A);
	reset_in_vain(w, &m, g);
}

/* Also not a number that was never used; and the next session serves as ever. */
static void a_replay_after_a_restart_is_not_served(void **state)
{
	struct world *w = *state;
	struct gateway *g = gateway_call(w, USER_A), *again;
	struct message m, unused, other;

	serve(w, g, &m);
	make(&unused, g, NEXT, "never sent before");
	world_restart(w);
	reset_in_vain(w, &m, g);
	reset_in_vain(w, &unused, g);
	again = gateway_call(w, USER_A);
	assert_memory_not_equal(again->welcome.boot, g->welcome.boot, sizeof(g->welcome.boot));
	serve(w, again, &other);
	reset_in_vain(w, &m, g);
}

static void a_session_that_this_remote_never_made_is_met_with_silence(void **state)
{
	struct world *w = *state;
	struct gateway *g = gateway_call(w, USER_A);
	struct message m, forged;

	serve(w, g, &m);
	world_restart(w);
	for (unsigned i = 0; i < 4; i++) { /* all, the first or the last half of it by chance; nothing at all */
		forged = m;
		seal_random(forged.bytes + 4 + (i == 1 ? 8 : 0), i == 0 ? 16 : 8);
		if (i == 3)
			memset(forged.bytes + 4, 0, WIRE_SID);
		in_vain(w, &forged, forged.len, &counters.attach_unknown);
	}
	world_change_key(w);
	in_vain(w, &m, m.len, &counters.attach_unknown);
}

static unsigned resets_of(struct world *w, const struct message *m, unsigned tries)
{
	uint64_t before = counters.attach_unknown;
	uint8_t raw[WIRE_RESET_LEN];
	unsigned resets = 0;
	size_t len;
	int *fd = calloc(tries, sizeof(*fd));

	for (unsigned i = 0; i < tries; i++)
		fd[i] = say(w, m, m->len);
	world_until(w, counters.attach_unknown == before + tries);
	for (unsigned i = 0; i < tries; i++) {
		world_listen(w, fd[i], 0, raw, sizeof(raw), &len);
		assert_true(len == 0 || len == sizeof(raw));
		resets += len > 0;
		world_abort(fd[i]);
	}
	free(fd);
	return resets;
}

/* A recorded message makes no flood. The rest is silence. */
static void resets_are_fifty_a_second_and_no_more(void **state)
{
	struct world *w = *state;
	struct gateway *g = gateway_call(w, USER_A);
	struct message m;

	serve(w, g, &m);
	world_restart(w);
	for (unsigned second = 0; second < 3; second++) {
		world_wait(w, 1000 - world_ms() % 1000);
		assert_int_equal(resets_of(w, &m, 300), RESETS_A_SECOND);
		assert_in_range(world_ms() % 1000, 0, 900); /* or it was not one second */
	}
}

/* Both arrive before the remote looks at either, or are there already when they are accepted. */
static void say_twice(struct world *w, const struct message *m, bool accepted)
{
	int fd[2];

	for (unsigned i = 0; i < 2; i++)
		fd[i] = accepted ? world_connect(w, NULL) : world_knock_at(w);
	for (unsigned i = 0; i < 2; i++)
		world_say(fd[i], m->bytes, m->len);
	for (unsigned i = 0; i < 2 && !accepted; i++)
		world_admit(w, NULL);
	world_wait(w, 5);
	for (unsigned i = 0; i < 2; i++)
		world_abort(fd[i]);
}

static void of_two_at_the_same_time_one_is_served(void **state)
{
	struct world *w = *state;
	struct gateway *g = gateway_call(w, USER_A);
	struct message m;

	for (unsigned i = 0; i < 50; i++) {
		make(&m, g, NEXT, "twin");
		say_twice(w, &m, i % 2);
		world_until(w, counters.attach_replayed == i + 1);
		world_until(w, w->dialled == i + 1);
	}
	world_wait(w, 100);
	assert_int_equal(w->dialled, 50);
}

static void one_number_is_served_once_whichever_salt_comes_first(void **state)
{
	struct world *w = *state;
	struct gateway *g = gateway_call(w, USER_A);
	struct message one, two;
	int fd;

	make(&one, g, 7, "salted");
	make(&two, g, 7, "salted");
	assert_memory_not_equal(one.bytes + 28, two.bytes + 28, WIRE_SALT);
	fd = say(w, &one, one.len);
	world_until(w, w->dialled == 1);
	replayed_in_vain(w, &two);
	world_abort(fd);
}

/* A jump is refused and moves nothing: those that wait and those that come are served. */
static void a_jump_is_refused_and_costs_nobody_his_number(void **state)
{
	static const uint64_t jumps[] = { 1ULL << 60, UINT64_MAX, JUMP + 2 };
	struct world *w = *state;
	struct gateway *g = gateway_call(w, USER_A);
	struct upstream *waits = upstream_new(g);
	struct message m;

	for (unsigned i = 0; i < 3; i++) {
		make(&m, g, jumps[i], "jump");
		in_vain(w, &m, m.len, &counters.attach_forged);
	}
	serve(w, g, &m);
	assert_int_equal(upstream_open(waits, NULL, ""), WIRE_OK);
	assert_false(world_heard(w, "jump"));
}

/* And after it no number that fell out of the window. */
static void the_largest_step_that_is_allowed_is_served(void **state)
{
	struct world *w = *state;
	struct gateway *g = gateway_call(w, USER_A);
	struct upstream *waits = upstream_new(g);
	struct message m;

	serve(w, g, &m);
	serve_number(w, g, JUMP + 2, &m);
	make(&m, g, JUMP - LONG_AGO, "old");
	replayed_in_vain(w, &m);
	serve_number(w, g, JUMP - 60000, &m);
	assert_int_equal(upstream_open(waits, NULL, ""), WIRE_OK);
	assert_false(world_heard(w, "old"));
}

/* It opens nothing, and costs him nothing. */
static void a_message_under_anothers_session_is_a_forgery(void **state)
{
	struct world *w = *state;
	struct gateway *a = gateway_call(w, USER_A), *b = gateway_call(w, USER_B);
	struct message m, other;

	make(&m, a, 0, "swapped");
	memcpy(m.bytes + 4, b->welcome.sid, WIRE_SID);
	in_vain(w, &m, m.len, &counters.attach_forged);
	serve_number(w, b, 0, &other);
	serve_number(w, a, 0, &other);
	assert_false(world_heard(w, "swapped"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_replay_at_once_is_not_served),
		TEST(a_replay_while_the_first_lives_does_not_disturb_it),
		TEST(a_replay_of_attach_alone_is_not_served),
		TEST(a_recorded_open_under_another_attach_is_reset),
		TEST(a_replay_after_a_rekey_is_not_served),
		TEST(a_replay_after_its_session_had_to_go_is_not_served),
		TEST(a_replay_after_a_restart_is_not_served),
		TEST(a_session_that_this_remote_never_made_is_met_with_silence),
		TEST(resets_are_fifty_a_second_and_no_more),
		TEST(of_two_at_the_same_time_one_is_served),
		TEST(one_number_is_served_once_whichever_salt_comes_first),
		TEST(a_jump_is_refused_and_costs_nobody_his_number),
		TEST(the_largest_step_that_is_allowed_is_served),
		TEST(a_message_under_anothers_session_is_a_forgery),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
