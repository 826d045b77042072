/* SPDX-License-Identifier: BSD-2-Clause */
/* rules: has the interception scripts run. What they do stands in iptables/, for a person to
 * read. */
#ifndef PLAIT_RULES_H
#define PLAIT_RULES_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "script.h"

enum rules_mode { RULES_BY_CHOICE, RULES_BY_NFTABLES, RULES_BY_TPROXY, RULES_BY_REDIRECT };

#define RULES_SELF_MARK 0x706c0002 /* SO_MARK of plait's own sockets when `own` is set */

struct rules_plan {
	enum rules_mode mode;		     /* RULES_BY_CHOICE: the first of the three that this machine can do */
	const char *dir;		     /* of the scripts, absolute */
	const char (*lan_devices)[IFNAMSIZ]; /* they need not exist yet */
	size_t n_lan_devices;
	uint16_t lan_port;
	const struct addr *vps; /* addresses of the VPS, never taken */
	size_t n_vps;
	const struct prefix *bypass;
	size_t n_bypass;
	bool own; /* take the gateway's own connections too */
};

/* The run that does it, and the run that undoes it. mode is not RULES_BY_CHOICE. 0, or -1: too
 * long. */
int rules_script(const struct rules_plan *plan, enum rules_mode mode, const char *verb, struct script *out);

/* Puts the rules in (again: a changed plan replaces the old one). *used tells how; with
 * RULES_BY_REDIRECT the destination of a connection is sock_original, else sock_local. 0, or -1 and
 * one line in err, and nothing is left in the kernel. Waits for the script, at most 10 s. */
int rules_up(const struct rules_plan *plan, enum rules_mode *used, char *err, size_t err_len);

/* Takes no new connections any more, while those that were taken stay. As rules_up(). */
int rules_drain(const struct rules_plan *plan, enum rules_mode used, char *err, size_t err_len);

/* Takes them out; fine when none are in. */
int rules_down(const struct rules_plan *plan, enum rules_mode used, char *err, size_t err_len);

const char *rules_name(enum rules_mode mode); /* "nftables", "tproxy", "redirect", "auto" */

#endif
