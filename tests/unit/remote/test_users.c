/* SPDX-License-Identifier: BSD-2-Clause */
/* users: the caps of a user, and that one user's caps are not another's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "counter.h"
#include "users.h"

static struct config *two_users(void)
{
	struct config *c = calloc(1, sizeof(*c));

	assert_non_null(c);
	c->max_relays = 100;
	c->n_users = 2;
	for (size_t i = 0; i < 2; i++) {
		c->users[i] = (struct config_user){ .relays = 3, .opens = 10, .buffer = 1000 };
		memset(c->users[i].pin, (int)i + 1, WIRE_PIN);
	}
	return c;
}

struct room {
	struct config *config;
	struct users *users;
	struct user *a, *b;
};

static int setup(void **state)
{
	struct room *r = calloc(1, sizeof(*r));

	r->config = two_users();
	r->users = users_new(r->config);
	r->a = users_find(r->users, r->config->users[0].pin);
	r->b = users_find(r->users, r->config->users[1].pin);
	*state = r;
	return r->a && r->b ? 0 : -1;
}

static int teardown(void **state)
{
	struct room *r = *state;

	users_free(r->users);
	free(r->config);
	free(r);
	return 0;
}

static unsigned open_many(struct user *user, uint64_t now, unsigned tries)
{
	unsigned granted = 0;

	for (unsigned i = 0; i < tries; i++)
		granted += user_may_open(user, now) == WIRE_OK;
	return granted;
}

static void a_pin_finds_its_user_and_no_other(void **state)
{
	struct room *r = *state;
	uint8_t pin[WIRE_PIN] = { 1 };

	assert_ptr_not_equal(r->a, r->b);
	assert_int_equal(user_index(r->a), 0);
	assert_int_equal(user_index(r->b), 1);
	assert_null(users_find(r->users, pin));
}

static void a_burst_is_two_seconds_of_opens(void **state)
{
	struct room *r = *state;

	assert_int_equal(open_many(r->a, 5000, 100), 20);
	assert_int_equal(user_may_open(r->a, 5000), WIRE_NO_RESOURCES);
	assert_int_equal(open_many(r->b, 5000, 100), 20);
}

static void opens_come_back_at_their_rate(void **state)
{
	struct room *r = *state;

	open_many(r->a, 5000, 100);
	assert_int_equal(open_many(r->a, 5099, 10), 0);
	assert_int_equal(open_many(r->a, 5100, 10), 1);
	assert_int_equal(open_many(r->a, 5600, 10), 5);
	assert_int_equal(open_many(r->a, 3600000, 100), 20);
}

static void relays_are_capped_for_each_user(void **state)
{
	struct room *r = *state;

	for (int i = 0; i < 3; i++)
		user_opened(r->a);
	assert_int_equal(user_may_open(r->a, 5000), WIRE_NO_RESOURCES);
	assert_int_equal(user_may_open(r->b, 5000), WIRE_OK);
	user_closed(r->a);
	assert_int_equal(user_may_open(r->a, 5000), WIRE_OK);
}

static void relays_are_capped_for_all_users(void **state)
{
	struct room *r = *state;

	r->config->max_relays = 2;
	user_opened(r->a);
	user_opened(r->a);
	assert_int_equal(users_relays(r->users), 2);
	assert_int_equal(user_may_open(r->b, 5000), WIRE_NO_RESOURCES);
	user_closed(r->a);
	assert_int_equal(user_may_open(r->b, 5000), WIRE_OK);
}

static void a_user_at_its_buffer_cap_opens_nothing(void **state)
{
	struct room *r = *state;
	uint64_t refused = counters.refused_limit;

	user_budget(r->a)->held = 1000;
	assert_int_equal(user_may_open(r->a, 5000), WIRE_NO_RESOURCES);
	assert_int_equal(counters.refused_limit, refused + 1);
	user_budget(r->a)->held = 999;
	assert_int_equal(user_may_open(r->a, 5000), WIRE_OK);
}

static void a_refusal_spends_no_open(void **state)
{
	struct room *r = *state;

	user_budget(r->a)->held = 1000;
	open_many(r->a, 5000, 50);
	user_budget(r->a)->held = 0;
	assert_int_equal(open_many(r->a, 5000, 100), 20);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_pin_finds_its_user_and_no_other),
		T(a_burst_is_two_seconds_of_opens),
		T(opens_come_back_at_their_rate),
		T(relays_are_capped_for_each_user),
		T(relays_are_capped_for_all_users),
		T(a_user_at_its_buffer_cap_opens_nothing),
		T(a_refusal_spends_no_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
