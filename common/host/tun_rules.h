/* SPDX-License-Identifier: BSD-2-Clause */
/* tun_rules: has the tunnel's firewall scripts run. What they do stands in iptables/tunnel.sh and
 * beside it, for a person to read. */
#ifndef PLAIT_TUN_RULES_H
#define PLAIT_TUN_RULES_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "rtnl_own.h"
#include "script.h"

enum tun_rules_mode { TUN_RULES_BY_CHOICE, TUN_RULES_BY_NFTABLES, TUN_RULES_BY_IPTABLES };

struct tun_rules_plan {
	enum tun_rules_mode mode; /* TUN_RULES_BY_CHOICE: the first that this machine can do */
	const char *dir;	 /* of the scripts, absolute */
	const char *device;
	const char (*lan_devices)[IFNAMSIZ]; /* the gateway's */
	size_t n_lan_devices;
	bool masquerade_out;	     /* what leaves by the device gets its address: the gateway */
	const struct prefix *inner;  /* what comes from these gets the other device's: the VPS */
	size_t n_inner;
	bool reject_quic;
	const struct prefix *quic_allow;
	size_t n_quic_allow;
	const char *closed; /* "all": nothing out of the tunnel may enter this machine but to these; "new": nothing may begin; "" */
	const struct prefix *open;
	size_t n_open;
	const struct rtnl_range *undo;	/* routes and rules that `down` takes out too, when the process that made them is dead; or NULL */
	const char *held;		/* hold_print() */
};

/* The run that does it, and the run that undoes it. mode is not TUN_RULES_BY_CHOICE. 0, or -1: too
 * long. */
int tun_rules_script(const struct tun_rules_plan *plan, enum tun_rules_mode mode, const char *verb, struct script *out);

/* As rules_up() and rules_down(). */
int tun_rules_up(const struct tun_rules_plan *plan, enum tun_rules_mode *used, char *err, size_t err_len);
int tun_rules_down(const struct tun_rules_plan *plan, enum tun_rules_mode used, char *err, size_t err_len);

const char *tun_rules_name(enum tun_rules_mode mode); /* "tunnel-nftables", ... */

#endif
