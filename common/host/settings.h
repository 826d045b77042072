/* SPDX-License-Identifier: BSD-2-Clause */
/* settings: kernel settings of this network namespace that plait holds while it runs. See
 * settings.c. */
#ifndef PLAIT_SETTINGS_H
#define PLAIT_SETTINGS_H

#include <stddef.h>

#define SETTINGS_MPTCP_SUBFLOWS "mptcp/subflows"	  /* limits of the path manager, */
#define SETTINGS_MPTCP_ADD_ADDR "mptcp/add_addr_accepted" /* named as if they were files, too */
#define SETTINGS_TEXT 4096

struct settings;

/* Puts back what a killed run of this program left, and sets what every plait needs. NULL: no
 * memory. */
struct settings *settings_new(const char *program);

/* Sets it (path below /proc/sys/) and remembers what it was. What this kernel lacks is skipped, a
 * refusal is logged. */
void settings_set(struct settings *s, const char *path, long want);
void settings_raise(struct settings *s, const char *path, long least); /* a larger one is left */
void settings_change(struct settings *s, const char *path, long only,
		     long want); /* if it is `only` now */

/* How many are held; and those held since then are put back, the last first, unless somebody else
 * has changed them. */
size_t settings_count(const struct settings *s);
void settings_back_to(struct settings *s, size_t count);

/* Those held since then, for the script that puts them back should this process be killed:
 * "net/ipv4/ip_forward=1:0 ...". */
const char *settings_print(const struct settings *s, size_t since, char text[SETTINGS_TEXT]);

void settings_free(struct settings *s); /* all are put back. NULL is fine. */

#endif
