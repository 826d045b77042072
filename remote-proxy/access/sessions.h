/* SPDX-License-Identifier: BSD-2-Clause */
/* sessions: the control connections of the gateways, and the sessions they agreed on. See
 * sessions.c. */
#ifndef PLAIT_SESSIONS_H
#define PLAIT_SESSIONS_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "demux.h"
#include "fallback.h"
#include "identity.h"
#include "session.h"
#include "tarpit.h"
#include "users.h"

struct sessions;

struct sessions *sessions_new(struct event_base *base, const struct config *config, const struct identity *id,
			      struct users *users, struct tarpit *tarpit, struct demux *demux,
			      struct fallback *fallback); /* NULL: no memory */
/* Who knows more for a user's WELCOME: the tunnel. */
void sessions_on_welcome(struct sessions *s, void (*fill)(const void *arg, const struct user *user, struct wire_welcome *w), const void *arg);
void sessions_free(struct sessions *s);					 /* says BYE to all */

/* A connection whose knock was right: TLS follows. Owns fd and the place: he is a stranger still. */
void sessions_control(struct sessions *s, int fd, struct place *place);

/* Ends all that this user has here. */
void sessions_drop(struct sessions *s, const struct user *user);

/* NULL: unknown. Not a reference. */
struct session *sessions_find(struct sessions *s, const uint8_t sid[WIRE_SID], struct user **user);

/* If this box once made sid: the RESET that tells the sid's owner, and nobody else, that it is
 * forgotten. */
bool sessions_forgot(const struct sessions *s, const uint8_t sid[WIRE_SID], uint8_t reset[WIRE_RESET_LEN]);

unsigned sessions_count(const struct sessions *s);

#endif
