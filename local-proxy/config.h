/* SPDX-License-Identifier: BSD-2-Clause */
/* config: what the gateway's owner asked for. Constant but for reload.c, which replaces it between
 * two turns of the loop. */
#ifndef PLAIT_LOCAL_CONFIG_H
#define PLAIT_LOCAL_CONFIG_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "inifile.h"
#include "log.h"
#include "tunnel.h"
#include "wire.h"

#define CONFIG_LINKS 8	    /* the kernel's limit of MPTCP endpoints */
#define CONFIG_VPS 4
#define CONFIG_AUTO UINT32_MAX /* initcwnd: learnt */
#define CONFIG_LAN_DEVICES 16
#define CONFIG_PREFIXES 64

enum config_intercept { INTERCEPT_TPROXY, INTERCEPT_REDIRECT };
enum config_rules { RULES_AUTO, RULES_IPTABLES, RULES_NFTABLES, RULES_NONE };

enum config_role { ROLE_PRIMARY, ROLE_BACKUP, ROLE_OFF };
enum config_down { DOWN_DIRECT, DOWN_REJECT };
enum config_quic { QUIC_AUTO, QUIC_TUNNEL, QUIC_REJECT };
enum config_tunnel { TUNNEL_OFF, TUNNEL_ON };

struct config_link {		 /* [link NAME] */
	char name[32];
	char device[IFNAMSIZ];	 /* device = */
	uint32_t initcwnd;	 /* initcwnd = auto | packets; 0 leaves the kernel's */
	enum config_role role;	 /* role = primary | backup | off */
	bool metered;		 /* metered = no: probe rarely, no copies of bulk */
	uint64_t rate_up, rate_down; /* rate_up = auto | bits a second (20M); 0: auto */
	uint64_t quota;		 /* quota = none | bytes both ways in a month (10G); 0: none */
	uint32_t quota_day;	 /* quota_day = 1: of the month, when it begins anew */
};

struct config_vps {		 /* [vps], [vps NAME]: the first that is well is used */
	char name[32];
	char host[256];		 /* host = name or address */
	char srv[256];		 /* srv = _plait._tcp.example.org, instead of host and port */
	uint16_t port;		 /* port = 7200 */
	uint8_t pin[WIRE_PIN];	 /* key = base64 */
	bool private_ok;	 /* allow_private = no: a name may not resolve to a private address */
	char resolver[256];	 /* resolver = (empty: /etc/resolv.conf) */
};

struct config {
	/* [local] */
	char key_file[256];		/* key_file = /etc/plait/local.key */
	char control[108];		/* control = /run/plait/local.sock */
	enum log_level log;		/* log = info */
	char hook[256];			/* hook = (none): a program that is told of events */
	char state_dir[256];		/* state_dir = /var/lib/plait: what must outlive a run (quotas) */
	enum config_down on_vps_down; /* on_vps_down = direct | reject */

	/* [tunnel] */
	enum config_tunnel tunnel;	/* enable = yes | no */
	char tunnel_device[IFNAMSIZ];	/* device = plait0 */
	enum config_quic quic;		/* quic = auto | tunnel | reject */
	struct prefix quic_allow[CONFIG_PREFIXES]; /* quic_allow = 198.51.100.0/24, ... never rejected */
	size_t n_quic_allow;
	bool nat;			/* nat = yes: the LAN hides behind the inner address */
	struct tunnel_config tunnel_how; /* redundancy = auto, fec = off, dscp = copy, deadline = 150ms, aggregate = no */

	/* [lan] */
	char lan_devices[CONFIG_LAN_DEVICES][IFNAMSIZ]; /* device = br0, eth1 */
	size_t n_lan_devices;
	uint16_t lan_port;		/* port = 7201 */
	enum config_intercept intercept; /* intercept = tproxy | redirect */
	enum config_rules rules;	/* rules = auto | iptables | nftables | none */
	char rules_dir[256];		/* rules_dir = PREFIX/lib/plait (compiled in) */
	bool own;			/* own = no: take the gateway's own connections too */
	struct prefix bypass[CONFIG_PREFIXES]; /* bypass = 203.0.113.0/24, ... never intercepted */
	size_t n_bypass;
	uint32_t max_relays;		/* max_relays = 8000 */

	/* [pool] */
	uint32_t pool_min, pool_max;	/* min = 4, max = 64 */
	uint32_t pool_age_s;		/* age = 100s */

	/* [relay] */
	bool clear;			/* clear = no */
	char congestion[16];		/* congestion = auto (bbr where present) */
	uint32_t notsent_lowat;		/* notsent_lowat = 128K */
	uint32_t idle_s;		/* idle = 7440s */
	uint32_t stall_s;		/* stall = 90s: unacknowledged for so long and nobody answers */

	struct config_vps vps[CONFIG_VPS];
	size_t n_vps;
	struct config_link links[CONFIG_LINKS];
	size_t n_links;
};

/* Parses path into *c, defaults first. 0, or -1 and "file:line: what is wrong" in err; *c is then
 * not to be used. */
int config_load(struct config *c, const char *path, char *err, size_t err_len);

/* Takes over from `next` what may change while the daemon runs, and tells of all that differs. */
void config_adopt(struct config *is, const struct config *next, inifile_differs told, void *arg);

#endif
