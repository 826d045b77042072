/* SPDX-License-Identifier: BSD-2-Clause */
/* users: who is known, what each has open, and whether he may open one more (user_may_open()
 * decides that, and with which status he is refused: the caps, the rate, the memory). */
#include "users.h"

#include <stdlib.h>
#include <string.h>

#include "counter.h"

#define TOKEN 1000 /* one open, in thousandths: a millisecond at n opens a second earns n of them */
#define BURST_S 2

struct user {
	struct users *all;
	const struct config_user *config;
	uint8_t pin[WIRE_PIN]; /* of whom the rest tells */
	struct relay_budget budget;
	uint32_t relays, sessions;
	uint64_t tokens, filled_ms;
	uint64_t opened, refused, up, down;
};

struct users {
	const struct config *config;
	uint32_t relays;
	struct user user[];
};

struct users *users_new(const struct config *config)
{
	struct users *u = calloc(1, sizeof(*u) + CONFIG_USERS * sizeof(u->user[0]));

	if (!u)
		return NULL;
	u->config = config;
	users_reload(u);
	return u;
}

static void user_settle(struct users *u, struct user *user, const struct config_user *config)
{
	*user = (struct user){ .all = u, .config = config };
	memcpy(user->pin, config->pin, sizeof(user->pin));
	user->tokens = (uint64_t)BURST_S * TOKEN * config->opens;
}

void users_reload(struct users *u)
{
	for (size_t i = 0; i < u->config->n_users; i++) {
		const struct config_user *config = &u->config->users[i];
		struct user *user = &u->user[i];

		if (!user->config || memcmp(user->pin, config->pin, sizeof(user->pin)))
			user_settle(u, user, config);
		user->budget.max = config->buffer;
	}
}

struct user *users_at(struct users *u, unsigned place)
{
	return &u->user[place];
}

void users_free(struct users *u)
{
	free(u);
}

/* Pins are no secret: comparing them may take any time. */
struct user *users_find(struct users *u, const uint8_t pin[WIRE_PIN])
{
	for (size_t i = 0; i < u->config->n_users; i++)
		if (!u->user[i].config->gone && memcmp(u->user[i].pin, pin, WIRE_PIN) == 0)
			return &u->user[i];
	return NULL;
}

unsigned users_relays(const struct users *u)
{
	return u->relays;
}

const struct config_user *user_config(const struct user *user)
{
	return user->config;
}

unsigned user_index(const struct user *user)
{
	return (unsigned)(user - user->all->user);
}

struct relay_budget *user_budget(struct user *user)
{
	return &user->budget;
}

static void user_refill(struct user *user, uint64_t now_ms)
{
	uint64_t most = (uint64_t)BURST_S * TOKEN * user->config->opens;
	uint64_t passed = now_ms - user->filled_ms;

	user->filled_ms = now_ms;
	if (passed >= (uint64_t)BURST_S * 1000)
		user->tokens = most;
	else
		user->tokens += passed * user->config->opens;
	if (user->tokens > most)
		user->tokens = most;
}

static bool has_room(const struct user *user)
{
	return user->relays < user->config->relays && user->all->relays < user->all->config->max_relays &&
	       user->budget.held < user->budget.max && user->tokens >= TOKEN;
}

uint16_t user_may_open(struct user *user, uint64_t now_ms)
{
	user_refill(user, now_ms);
	if (!has_room(user)) {
		user->refused++;
		counters.refused_limit++;
		return WIRE_NO_RESOURCES;
	}
	user->tokens -= TOKEN;
	return WIRE_OK;
}

void user_opened(struct user *user)
{
	user->relays++;
	user->all->relays++;
	user->opened++;
}

void user_closed(struct user *user)
{
	user->relays--;
	user->all->relays--;
}

void user_moved(struct user *user, uint64_t up, uint64_t down)
{
	user->up += up;
	user->down += down;
	counters.bytes_up += up;
	counters.bytes_down += down;
}

void user_session(struct user *user, int change)
{
	user->sessions = (uint32_t)((int)user->sessions + change);
}

unsigned user_sessions(const struct user *user)
{
	return user->sessions;
}

bool user_idle(const struct user *user)
{
	return !user->relays && !user->sessions && !user->budget.held;
}

static json_t *user_status(const struct user *user)
{
	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "name", user->config->name, "sessions",
			 (json_int_t)user->sessions, "relays", (json_int_t)user->relays, "relays_max",
			 (json_int_t)user->config->relays, "opens_per_second", (json_int_t)user->config->opens,
			 "buffered", (json_int_t)user->budget.held, "buffered_max", (json_int_t)user->budget.max,
			 "opened", (json_int_t)user->opened, "refused", (json_int_t)user->refused, "bytes_up",
			 (json_int_t)user->up, "bytes_down", (json_int_t)user->down);
}

json_t *users_status(const struct users *u)
{
	json_t *list = json_array();

	for (size_t i = 0; i < u->config->n_users; i++)
		if (!u->user[i].config->gone)
			json_array_append_new(list, user_status(&u->user[i]));
	return list;
}
