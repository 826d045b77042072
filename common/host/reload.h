/* SPDX-License-Identifier: BSD-2-Clause */
/* reload: what came of reading the config again, for the log and for who asked for it. */
#ifndef PLAIT_RELOAD_H
#define PLAIT_RELOAD_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* {"changed": [], "restart": []}, to be filled. NULL: no memory. */
json_t *reload_begin(void);
void reload_told(void *answer, const char *option, bool taken); /* as an inifile_differs */

json_t *reload_done(json_t *answer); /* logs it */

/* Nothing changed, and this is why: {"error": why}. */
json_t *reload_refused(const char *why);

/* Client side: has the daemon at this socket do it, and tells what came of it. The exit code. */
int reload_ask(const char *path, FILE *out);

#endif
