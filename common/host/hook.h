/* SPDX-License-Identifier: BSD-2-Clause */
/* hook: a program of the owner's that is told of events. See hook.c. */
#ifndef PLAIT_HOOK_H
#define PLAIT_HOOK_H

#include <event2/event.h>

struct hook;

/* path "": nobody is told. NULL: no memory. */
struct hook *hook_new(struct event_base *base, const char *path);
void hook_free(struct hook *h); /* kills what still runs */

/* Pairs of name and value for the environment, PLAIT_ is put in front: { "LINK", "adsl", "STATE",
 * "down", NULL }. `topic` tells what the event is about: of those that wait, only the newest of a
 * topic is told. Returns at once. */
void hook_tell(struct hook *h, const char *event, const char *topic, const char *const *env);

#endif
