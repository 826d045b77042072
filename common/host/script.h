/* SPDX-License-Identifier: BSD-2-Clause */
/* script: one run of one program with a clean environment, as a plain value that can be kept or
 * handed on. */
#ifndef PLAIT_SCRIPT_H
#define PLAIT_SCRIPT_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "addr.h"
#include "rtnl_own.h"

#define SCRIPT_PATH 288
#define SCRIPT_ENV 16384 /* 64 long IPv6 prefixes and 16 devices fit well */

struct script {
	char path[SCRIPT_PATH]; /* absolute */
	char verb[16];		/* its only argument */
	uint32_t env_len;
	char env[SCRIPT_ENV]; /* "NAME=value\0" after each other; PATH is always the first */
};

/* dir must be absolute. 0, or -1: too long or relative. */
int script_init(struct script *s, const char *dir, const char *name, const char *verb);

/* Adds NAME=value. 0, or -1: no room. */
__attribute__((format(printf, 3, 4))) int script_setenv(struct script *s, const char *name, const char *fmt, ...);
/* The same with a list for the value, a blank between two. */
int script_set_prefixes(struct script *s, const char *name, const struct prefix *list, size_t n);
int script_set_addrs(struct script *s, const char *name, const struct addr *list, size_t n); /* without ports */
/* Tables and priorities of routes and rules that are to be taken out too: PLAIT_TABLE, PLAIT_PRIORITY. */
int script_set_range(struct script *s, const struct rtnl_range *r);
int script_set_devices(struct script *s, const char *name, const char (*list)[IFNAMSIZ], size_t n);

bool script_equal(const struct script *a, const struct script *b);

/* Runs it and waits, at most limit_ms (then it and its children are killed). What it printed comes
 * back as one line in out. 0 when it exited with 0; else -1, and out ends with why. */
int script_run(const struct script *s, unsigned limit_ms, char *out, size_t out_len);

/* Starts it, the leader of its own process group, its output going to `output`, and returns its id:
 * the caller waits for it. -1 with errno. */
pid_t script_start(const struct script *s, int output);

#endif
