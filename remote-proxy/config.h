/* config: what the VPS's owner asked for, constant after load. */
#ifndef PLAIT_REMOTE_CONFIG_H
#define PLAIT_REMOTE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "log.h"
#include "wire.h"

#define CONFIG_USERS 256
#define CONFIG_PREFIXES 64
#define CONFIG_PORTS 64
#define CONFIG_AUTO UINT32_MAX /* initcwnd: learnt */

struct config_user {	/* [user NAME] */
	char name[32];
	uint8_t pin[WIRE_PIN];	/* key = base64 */
	uint32_t relays;	/* relays = 2000 */
	uint32_t opens;		/* opens = 200 a second, burst twice that */
	uint64_t buffer;	/* buffer = 64M, bytes held in user space for this user */
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

/* Parses path into *c, defaults first. 0, or -1 and "file:line: what is wrong" in err; *c is then not to be used. */
int config_load(struct config *c, const char *path, char *err, size_t err_len);

#endif
