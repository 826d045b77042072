/* SPDX-License-Identifier: BSD-2-Clause */
/* world: all rooms of plait-remote but its main.c in the loop of the test, under a clock of the
 * test's own, and one destination behind it.
 *
 * Connections are real TCP over the loopback, because what is asserted is often a reset; but the
 * test accepts them itself and hands them to the acceptor. All that a test opens ends with its
 * world. */
#ifndef WORLD_H
#define WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <cmocka.h>
#include <event2/event.h>

#include "config.h"
#include "counter.h"
#include "identity.h"
#include "relay.h"
#include "requests.h"
#include "sessions.h"
#include "tarpit.h"
#include "users.h"

#define SERVER "127.0.0.9" /* the only destination that policy allows */

enum world_who { REMOTE, USER_A, USER_B, NOBODY, WORLD_KEYS };
enum ending { STILL_OPEN, AT_EOF, AT_RESET };

/* A connection that arrived at the destination. It echoes. */
struct arrival {
	struct world *world;
	int fd;
	struct event *readable;
	uint8_t first[128]; /* of what came */
	size_t first_len, bytes;
	enum ending end;
	TAILQ_ENTRY(arrival) link;
};

struct gateway;
struct upstream;

struct world {
	struct event_base *base;
	struct config *config;
	struct identity *key[WORLD_KEYS];
	uint8_t pin[WIRE_PIN]; /* the remote's */
	struct seal *seal;	/* of those outside; the remote has its own */
	int door, server;	/* listening: where those arrive whom the acceptor takes, and the destination */
	struct addr door_addr, server_addr;
	struct event *arriving;
	unsigned dialled;
	TAILQ_HEAD(, arrival) arrivals; /* the last one first */
	TAILQ_HEAD(, gateway) gateways;
	TAILQ_HEAD(, upstream) upstreams;
	struct {
		struct policy *policy;
		struct seal *seal;
		struct relay_loop *relays;
		struct users *users;
		struct places *places;
		struct tarpit *tarpit;
		struct demux *demux;
		struct fallback *fallback;
		struct sessions *sessions;
		struct requests *requests;
		struct acceptor *acceptor;
	} r;
};

int world_setup(void **state); /* for cmocka */
int world_teardown(void **state);

uint64_t world_ms(void);
void world_wait(struct world *w, uint64_t ms); /* so much time passes */
void world_pass(struct world *w, uint64_t ms); /* the same, and what happens meanwhile has its right time */
void world_wait_for(struct world *w, int fd, uint64_t ms); /* at most so much, until that can be read */
/* Until it is so: what makes it so happens in the loop. What takes longer than that never comes. */
#define WORLD_LIMIT_MS 5000
#define world_until(w, so) do { \
	uint64_t since_ = world_ms(); \
\
	while (!(so)) { \
		if (world_ms() - since_ > WORLD_LIMIT_MS) \
			fail_msg("never came: %s", #so); \
		event_base_loop((w)->base, EVLOOP_ONCE); \
	} \
} while (0)

/* The remote dies without a word and another one starts: it has forgotten everything but its
 * key. */
void world_restart(struct world *w);
void world_change_key(struct world *w); /* nor has it that one any more */

struct user *world_user(struct world *w, enum world_who who);

/* A connection that the acceptor has taken, not blocking; `remote_fd` (NULL: never mind) is the
 * acceptor's end of it. */
int world_connect(struct world *w, int *remote_fd);
int world_connect_mptcp(struct world *w); /* the same over Multipath TCP, if this kernel has it */
/* As above, but it waits at the door for world_admit(). */
int world_knock_at(struct world *w);
void world_admit(struct world *w, int *remote_fd);

void world_say(int fd, const void *data, size_t len); /* all of it */
/* What comes within `ms`, up to `room` bytes, and how it ends. */
enum ending world_listen(struct world *w, int fd, uint64_t ms, void *out, size_t room, size_t *len);
/* How it ends, within five seconds, whatever comes before. */
enum ending world_ending(struct world *w, int fd);
void world_abort(int fd); /* closes with RST */

/* Did any destination hear this at first? */
bool world_heard(const struct world *w, const char *text);
#define world_last(w) TAILQ_FIRST(&(w)->arrivals)

#endif
