/* SPDX-License-Identifier: BSD-2-Clause */
/* users: who may use this remote: what the config says of each and what each does now (living). */
#ifndef PLAIT_USERS_H
#define PLAIT_USERS_H

#include <jansson.h>
#include <stdint.h>

#include "config.h"
#include "relay.h"

struct users;
struct user;

struct users *users_new(const struct config *config); /* config stays the caller's and must outlive it; NULL: no memory */
void users_free(struct users *u);
void users_reload(struct users *u); /* the config has others now, or other caps */

struct user *users_find(struct users *u, const uint8_t pin[WIRE_PIN]); /* NULL: a stranger */
struct user *users_at(struct users *u, unsigned place); /* 0 .. n_users - 1 */
unsigned users_relays(const struct users *u);			       /* of all */
json_t *users_status(const struct users *u);

const struct config_user *user_config(const struct user *user);
unsigned user_index(const struct user *user); /* 0 .. n_users - 1 */
struct relay_budget *user_budget(struct user *user);

/* May this user open one more connection now? WIRE_OK, and one of this second's opens is spent; or
 * WIRE_NO_RESOURCES. */
uint16_t user_may_open(struct user *user, uint64_t now_ms);
void user_opened(struct user *user);
void user_closed(struct user *user);
void user_moved(struct user *user, uint64_t up, uint64_t down);
/* Sessions agreed, so that each user has few. */
void user_session(struct user *user, int change);
unsigned user_sessions(const struct user *user);
bool user_idle(const struct user *user); /* nothing of his is left */

#endif
