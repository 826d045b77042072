/* SPDX-License-Identifier: BSD-2-Clause */
/* How long the remote waits for somebody who is known, and how many of him: to the millisecond
 * where one timer decides, else to its tick. */
#include "caller.h"

#define AGE_MS (120 * 1200) /* [pool] age, and a fifth */
#define PLACES (64 + 16)    /* [pool] cap, and a few more */
#define SESSIONS 4
#define REFUSED_MS 2000
#define KEPT_MS 30000
#define LOOK_MS 250

/* Still there a little before that time has passed since then, and reset with it. */
static void is_reset_after(struct world *w, int fd, uint64_t since, unsigned ms)
{
	uint8_t byte;
	size_t len;

	world_wait(w, since + ms - 5 - world_ms());
	assert_int_equal(world_listen(w, fd, 0, &byte, 1, &len), STILL_OPEN);
	assert_int_equal(world_listen(w, fd, 1000, &byte, 1, &len), AT_RESET);
	assert_in_range(world_ms() - since, ms, ms + 2);
}

static void whoever_waits_is_reset_at_the_age_and_a_fifth(void **state)
{
	struct world *w = *state;
	struct gateway *g = gateway_call(w, USER_A);
	uint64_t since = world_ms();

	is_reset_after(w, upstream_new(g)->fd, since, AGE_MS);
}

static void whoever_stays_after_a_refusal_is_reset_after_two_seconds(void **state)
{
	struct world *w = *state;
	struct upstream *up = upstream_new(gateway_call(w, USER_A));
	uint64_t since = world_ms();
	struct addr inside;

	assert_int_equal(addr_parse(&inside, "127.0.0.1", 80), 0);
	assert_int_equal(upstream_open(up, &inside, ""), WIRE_FORBIDDEN);
	is_reset_after(w, up->fd, since, REFUSED_MS);
}

/* For one more the one goes that has waited longest. The other user's stay. */
static void eighty_wait_and_no_more(void **state)
{
	struct world *w = *state;
	struct gateway *a = gateway_call(w, USER_A), *b = gateway_call(w, USER_B);
	struct upstream *other = upstream_new(b), *up[PLACES + 6];
	unsigned i;

	assert_int_equal(a->welcome.pool_cap, 64);
	for (i = 0; i < PLACES + 6; i++)
		up[i] = upstream_new(a);
	assert_int_equal(requests_waiting(w->r.requests, world_user(w, USER_A)), PLACES);
	for (i = 0; i < 6; i++)
		assert_int_equal(upstream_ending(up[i]), AT_RESET);
	for (; i < PLACES + 6; i++)
		assert_int_equal(upstream_open(up[i], NULL, ""), WIRE_OK);
	assert_int_equal(upstream_open(other, NULL, ""), WIRE_OK);
}

static void the_fifth_session_of_a_user_ends_his_oldest(void **state)
{
	struct world *w = *state;
	struct gateway *g[SESSIONS + 1], *other = gateway_call(w, USER_B);
	struct upstream *attached = NULL;
	uint8_t value[WIRE_FRAME_MAX];
	size_t len;

	for (unsigned i = 0; i <= SESSIONS; i++) {
		g[i] = gateway_call(w, USER_A);
		if (i == 0)
			attached = upstream_new(g[0]);
	}
	assert_int_equal(gateway_recv(g[0], value, &len), WIRE_BYE);
	assert_non_null(memmem(value, len, "too many sessions", 17));
	assert_int_equal(gateway_recv(g[0], value, &len), -1);
	assert_int_equal(upstream_open(attached, NULL, ""), WIRE_OK); /* it keeps its keys */
	for (unsigned i = 1; i <= SESSIONS; i++)
		assert_int_equal(upstream_open(upstream_new(g[i]), NULL, ""), WIRE_OK);
	assert_int_equal(upstream_open(upstream_new(other), NULL, ""), WIRE_OK);
	assert_int_equal(sessions_count(w->r.sessions), SESSIONS + 1);
}

/* --- kept --- */

/* Asked to be kept, and its connection died before ACCEPT was heard. Since when; its number in
 * *ctr. */
static uint64_t die_after_open(struct world *w, struct gateway *g, uint64_t *ctr)
{
	struct upstream *up = upstream_new(g);
	uint8_t plain[WIRE_OPEN_LEN + 5];

	open_plain(plain, &w->server_addr, "early", 5);
	plain[1] = WIRE_OPEN_KEEP;
	upstream_send(up, WIRE_OPEN, plain, sizeof(plain));
	world_until(w, w->dialled == 1);
	*ctr = up->ctr;
	upstream_abort(up);
	return world_ms();
}

static uint16_t resume(struct gateway *g, uint64_t ctr, uint8_t *first, size_t *len)
{
	struct wire_resume r = { .ctr = ctr };
	struct upstream *up = upstream_new(g);
	uint8_t plain[WIRE_RESUME_LEN];

	memcpy(r.sid, g->welcome.sid, WIRE_SID);
	upstream_send(up, WIRE_OPEN, plain, wire_put_resume(plain, &r));
	return upstream_answer(up, first, len).status;
}

static void a_destination_is_kept_for_thirty_seconds(void **state)
{
	struct world *w = *state;
	uint8_t first[WIRE_RECORD_MAX];
	uint64_t ctr, since;
	size_t len;
	struct gateway *g = gateway_call(w, USER_A);

	since = die_after_open(w, g, &ctr);
	world_wait(w, since + KEPT_MS - LOOK_MS - world_ms());
	assert_int_equal(world_last(w)->end, STILL_OPEN);
	assert_int_equal(resume(g, ctr, first, &len), WIRE_OK);
	assert_int_equal(len, 5);
	assert_memory_equal(first, "early", 5);
	assert_int_equal(w->dialled, 1);
}

static void a_destination_is_kept_no_longer(void **state)
{
	struct world *w = *state;
	struct gateway *g = gateway_call(w, USER_A);
	uint64_t ctr, since = die_after_open(w, g, &ctr);

	world_wait(w, since + KEPT_MS - LOOK_MS - world_ms());
	world_until(w, world_last(w)->end == AT_RESET);
	assert_in_range(world_ms() - since, KEPT_MS, KEPT_MS + LOOK_MS + 5);
	assert_int_equal(resume(g, ctr, NULL, NULL), WIRE_WAS_RESET);
	assert_int_equal(users_relays(w->r.users), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(whoever_waits_is_reset_at_the_age_and_a_fifth),
		TEST(whoever_stays_after_a_refusal_is_reset_after_two_seconds),
		TEST(eighty_wait_and_no_more),
		TEST(the_fifth_session_of_a_user_ends_his_oldest),
		TEST(a_destination_is_kept_for_thirty_seconds),
		TEST(a_destination_is_kept_no_longer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
