/* SPDX-License-Identifier: BSD-2-Clause */
/* config: what the VPS's owner asked for. Constant but for a reload, which replaces it between two
 * turns of the loop. */
#ifndef PLAIT_REMOTE_CONFIG_H
#define PLAIT_REMOTE_CONFIG_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "inifile.h"
#include "log.h"
#include "tunnel.h"
#include "wire.h"

#define CONFIG_USERS 256
#define CONFIG_PREFIXES 64
#define CONFIG_PORTS 64
#define CONFIG_AUTO UINT32_MAX /* initcwnd: learnt */

#define CONFIG_ROUTES 8

enum config_rules { RULES_AUTO, RULES_IPTABLES, RULES_NFTABLES, RULES_NONE };

struct config_user {	/* [user NAME] */
	char name[32];
	bool gone;		/* his section is not there any more: an empty place */
	uint8_t pin[WIRE_PIN];	/* key = base64 */
	uint32_t relays;	/* relays = 8000 */
	uint32_t opens;		/* opens = 2000 a second, burst twice that */
	uint64_t buffer;	/* buffer = 64M, bytes held in user space for this user */
	struct addr inner[2];	/* inner = one IPv4 and/or IPv6 address of the pools, instead of the next free one */
	size_t n_inner;
	struct prefix routes[CONFIG_ROUTES]; /* routes = 192.168.5.0/24: networks behind this gateway, reached without NAT */
	size_t n_routes;
};

struct config {
	/* [listen] */
	struct addr listen;	/* address = :: , port = 7200 */
	struct addr announce[2]; /* announce = one IPv4 and/or IPv6 address for the other family's lines */
	size_t n_announce;

	/* [remote] */
	char key_file[256];	/* key_file = /etc/plait/remote.key */
	char control[108];	/* control = /run/plait/remote.sock */
	enum log_level log;	/* log = info */
	uint32_t max_relays;	/* max_relays = 8000 */

	/* [pool] */
	uint32_t pool_cap;	/* cap = 64 attached connections waiting, a user */
	uint32_t pool_age_s;	/* age = 120s */
	uint32_t rekey_s;	/* rekey = 3600s */

	/* [policy] */
	struct prefix allow[CONFIG_PREFIXES]; /* allow = 10.8.0.0/24: exceptions from the default deny */
	size_t n_allow;
	struct prefix deny[CONFIG_PREFIXES];  /* deny = more */
	size_t n_deny;
	uint16_t deny_ports[CONFIG_PORTS];    /* deny_ports = 25 */
	size_t n_deny_ports;

	/* [tunnel] */
	bool tunnel;		/* enable = yes */
	char tunnel_device[IFNAMSIZ]; /* device = plait0 */
	struct prefix pools[2];	/* pool = 10.78.0.0/16, fd78:6c61:6974::/64: one IPv4 and/or IPv6 prefix */
	size_t n_pools;
	bool nat;		/* nat = yes: the pools are masqueraded */
	enum config_rules rules; /* rules = auto | iptables | nftables | none */
	char rules_dir[256];	/* rules_dir = PREFIX/lib/plait (compiled in) */
	struct tunnel_config tunnel_how; /* redundancy = auto, fec = off, dscp = copy, deadline = 150ms, aggregate = no */

	/* [relay] */
	bool clear;		/* clear = no */
	char congestion[16];	/* congestion = auto (bbr where present) */
	uint32_t notsent_lowat; /* notsent_lowat = 128K */
	uint32_t initcwnd;	/* initcwnd = auto | packets, on the routes back to the gateways; 0 leaves the kernel's */
	uint32_t idle_s, stall_s; /* idle = 7440s, stall = 90s */
	uint32_t dial_s;	/* dial = 15s */

	struct config_user users[CONFIG_USERS];
	size_t n_users;
};

/* Parses path into *c, defaults first. 0, or -1 and "file:line: what is wrong" in err; *c is then
 * not to be used. */
int config_load(struct config *c, const char *path, char *err, size_t err_len);

/* Takes over from `next` what may change while the daemon runs, and tells of all that differs.
 * Users are told apart by their keys and keep their places; who comes gets an empty one that is not
 * `busy`: somebody who went may have left something there. */
void config_adopt(struct config *is, const struct config *next, const bool busy[CONFIG_USERS], inifile_differs told, void *arg);

#endif
