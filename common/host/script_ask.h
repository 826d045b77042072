/* SPDX-License-Identifier: BSD-2-Clause */
/* script_ask: a script that is run beside the loop, which does not wait for it, and the line that it
 * answers. */
#ifndef PLAIT_SCRIPT_ASK_H
#define PLAIT_SCRIPT_ASK_H

#include <event2/event.h>

#include "script.h"

#define SCRIPT_LINE 128

struct script_ask;

/* answered() is called once, from the loop: with the first line of what it printed, cut to
 * SCRIPT_LINE; or with NULL, when it failed or took longer than limit_ms. It does not free the
 * question.
 * NULL with errno: it could not be begun. */
struct script_ask *script_ask_new(struct event_base *base, const struct script *s, unsigned limit_ms,
				  void (*answered)(void *arg, const char *line), void *arg);
void script_ask_free(struct script_ask *a); /* ends it, unless it has ended. NULL is fine */

#endif
