/* SPDX-License-Identifier: BSD-2-Clause */
/* forwarding: which settings make a router of a machine that was none, and keep it reachable
 * itself. */
#include "forwarding.h"

#include <dirent.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

/* A machine that forwards ignores router advertisements, unless accept_ra is 2. */
static void keep_advertisements(struct settings *s)
{
	DIR *d = opendir("/proc/sys/net/ipv6/conf");
	char path[96];
	struct dirent *e;

	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.' || !strcmp(e->d_name, "lo") || strlen(e->d_name) >= IFNAMSIZ)
			continue;
		snprintf(path, sizeof(path), "net/ipv6/conf/%.15s/accept_ra", e->d_name);
		settings_change(s, path, 1, 2);
	}
	if (d)
		closedir(d);
}

void forwarding_on(struct settings *s, bool v4, bool v6)
{
	if (v4)
		settings_set(s, "net/ipv4/ip_forward", 1);
	if (!v6)
		return;
	keep_advertisements(s);
	settings_set(s, "net/ipv6/conf/all/forwarding", 1);
}
