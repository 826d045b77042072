/* SPDX-License-Identifier: BSD-2-Clause */
/* admin: the socket on which a running daemon is asked how it is, and the asking. See admin.c for
 * the theory. */
#ifndef PLAIT_ADMIN_H
#define PLAIT_ADMIN_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define ADMIN_ERR 256

struct admin;

/* Takes the lock beside `path` (one instance a path) and listens on it. `status` makes a new
 * reference: the whole answer. NULL and a sentence in err: no other instance was disturbed. */
struct admin *admin_new(struct event_base *base, const char *path, json_t *(*status)(void *arg), void *arg, char *err,
			size_t err_len);
/* Another request: the word `verb`, and behind a blank what `answer` gets as rest ("" without). As
 * `status`; {"error": sentence} makes the asking program fail. At most ADMIN_VERBS, the words must
 * stay. */
#define ADMIN_VERBS 8
typedef json_t *(*admin_answer)(void *arg, const char *rest);
void admin_on(struct admin *a, const char *verb, admin_answer answer, void *arg);
void admin_free(struct admin *a); /* takes the socket and the lock away */

/* {name: value} of every counter; `status` prints their explanations beside them. */
json_t *admin_counters(void);

/* Client side: the answer, or NULL and a sentence on stderr. */
json_t *admin_fetch(const char *path, const char *request);

/* Client side: one request, its answer as JSON or as a page for people. The exit code; errors go to
 * stderr. */
int admin_ask(const char *path, const char *request, bool json, FILE *out);

/* What admin_ask prints without json. */
void admin_page(const json_t *answer, FILE *out);

#endif
