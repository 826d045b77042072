/* SPDX-License-Identifier: BSD-2-Clause */
/* config: the VPS's options as tables, their defaults, and what must fit together. */
#include <string.h>

#include "config.h"

#define AT(type, f) .offset = offsetof(struct type, f), .size = sizeof(((struct type *)0)->f)
#define FIELD(f) AT(config, f)
#define USER(f) AT(config_user, f)
#define LIVE .when = INIFILE_LIVE
#define DAY 86400

_Static_assert(CONFIG_AUTO == INIFILE_AUTO, "one word, one value");

static const char *const log_names[] = { "error", "warn", "info", "debug", NULL };
static const char *const rules_names[] = { "auto", "iptables", "nftables", "none", NULL };
static const char *const redundancy_names[] = { "auto", "always", "never", NULL };
static const char *const fec_names[] = { "off", "auto", NULL };
static const char *const dscp_names[] = { "copy", "class", "zero", NULL };

static const struct inifile_option listen_options[] = {
	{ .key = "address", .set = inifile_ip, FIELD(listen) },
	{ .key = "port", .set = inifile_port, FIELD(listen.port) },
	{ .key = "announce", .set = inifile_addrs, FIELD(announce), .max = 2, .many = INIFILE_LIST,
	  .count = offsetof(struct config, n_announce) },
	{ .key = NULL },
};

static const struct inifile_option remote_options[] = {
	{ .key = "key_file", .set = inifile_path, FIELD(key_file), .max = 256 },
	{ .key = "control", .set = inifile_path, FIELD(control), .max = 108 },
	{ .key = "log", .set = inifile_name, FIELD(log), .names = log_names, LIVE },
	{ .key = "max_relays", .set = inifile_u32, FIELD(max_relays), .min = 1, .max = 800000 },
	{ .key = NULL },
};

static const struct inifile_option pool_options[] = {
	{ .key = "cap", .set = inifile_u32, FIELD(pool_cap), .max = 65535, LIVE }, /* u16 on the wire, like the two below */
	{ .key = "age", .set = inifile_seconds, FIELD(pool_age_s), .min = 1, .max = 65535, LIVE },
	{ .key = "rekey", .set = inifile_seconds, FIELD(rekey_s), .min = 10, .max = 65535, LIVE },
	{ .key = NULL },
};

static const struct inifile_option policy_options[] = {
	{ .key = "allow", .set = inifile_prefixes, FIELD(allow), .max = CONFIG_PREFIXES, .many = INIFILE_LIST,
	  .count = offsetof(struct config, n_allow), LIVE },
	{ .key = "deny", .set = inifile_prefixes, FIELD(deny), .max = CONFIG_PREFIXES, .many = INIFILE_LIST,
	  .count = offsetof(struct config, n_deny), LIVE },
	{ .key = "deny_ports", .set = inifile_ports, FIELD(deny_ports), .max = CONFIG_PORTS, .many = INIFILE_LIST,
	  .count = offsetof(struct config, n_deny_ports), LIVE },
	{ .key = NULL },
};

static const struct inifile_option tunnel_options[] = {
	{ .key = "enable", .set = inifile_bool, FIELD(tunnel) },
	{ .key = "device", .set = inifile_device, FIELD(tunnel_device) },
	{ .key = "pool", .set = inifile_prefixes, FIELD(pools), .max = 2, .many = INIFILE_LIST, .count = offsetof(struct config, n_pools) },
	{ .key = "nat", .set = inifile_bool, FIELD(nat) },
	{ .key = "rules", .set = inifile_name, FIELD(rules), .names = rules_names },
	{ .key = "rules_dir", .set = inifile_path, FIELD(rules_dir), .max = 256 },
	{ .key = "redundancy", .set = inifile_name, FIELD(tunnel_how.redundancy), .names = redundancy_names, LIVE },
	{ .key = "fec", .set = inifile_name, FIELD(tunnel_how.fec), .names = fec_names },
	{ .key = "dscp", .set = inifile_name, FIELD(tunnel_how.dscp), .names = dscp_names },
	{ .key = "deadline", .set = inifile_msec, FIELD(tunnel_how.deadline_ms), .min = 10, .max = 2000 },
	{ .key = "aggregate", .set = inifile_bool, FIELD(tunnel_how.aggregate) },
	{ .key = NULL },
};

static const struct inifile_option relay_options[] = {
	{ .key = "clear", .set = inifile_bool, FIELD(clear) },
	{ .key = "congestion", .set = inifile_string, FIELD(congestion), .min = 1, .max = 16 },
	{ .key = "notsent_lowat", .set = inifile_u32, FIELD(notsent_lowat), .max = 1 << 30 },
	{ .key = "initcwnd", .set = inifile_u32_auto, FIELD(initcwnd), .max = 1000 },
	{ .key = "idle", .set = inifile_seconds, FIELD(idle_s), .min = 1, .max = 30 * DAY },
	{ .key = "stall", .set = inifile_seconds, FIELD(stall_s), .min = 1, .max = DAY },
	{ .key = "dial", .set = inifile_seconds, FIELD(dial_s), .min = 1, .max = 300, LIVE },
	{ .key = NULL },
};

static const struct inifile_option user_options[] = {
	{ .key = "key", .set = inifile_pin, USER(pin), .need = INIFILE_REQUIRED },
	{ .key = "relays", .set = inifile_u32, USER(relays), .min = 1, .max = 1000000, LIVE },
	{ .key = "opens", .set = inifile_u32, USER(opens), .min = 1, .max = 1000000, LIVE },
	{ .key = "buffer", .set = inifile_u64, USER(buffer), .min = 1 << 16, .max = 1ULL << 40, LIVE },
	{ .key = "inner", .set = inifile_addrs, USER(inner), .max = 2, .many = INIFILE_LIST,
	  .count = offsetof(struct config_user, n_inner) },
	{ .key = "routes", .set = inifile_prefixes, USER(routes), .max = CONFIG_ROUTES, .many = INIFILE_LIST,
	  .count = offsetof(struct config_user, n_routes) },
	{ .key = NULL },
};

static void user_defaults(void *entry)
{
	struct config_user *u = entry;

	u->relays = 8000;
	u->opens = 2000;
	u->buffer = 64 << 20;
}

/* The key is the user: two users with one key would be one person with two names. */
static int check_user(const void *base, const void *entry, struct inifile_why *why)
{
	const struct config *c = base;
	const struct config_user *u = entry;

	for (const struct config_user *other = c->users; other < c->users + c->n_users; other++) {
		if (other != u && !memcmp(other->pin, u->pin, sizeof(u->pin)))
			return inifile_refuse(why, "has the same key as [user %s]", other->name);
	}
	return 0;
}

static bool is_v4(const struct prefix *p)
{
	struct addr a = { .port = 0 };

	memcpy(a.ip, p->ip, sizeof(a.ip));
	return addr_is_v4(&a);
}

/* Each user needs an address besides the network's own and the VPS's. */
static int check_tunnel(const void *base, const void *entry, struct inifile_why *why)
{
	const struct config *c = base;

	(void)entry;
	if (c->n_pools == 2 && is_v4(&c->pools[0]) == is_v4(&c->pools[1]))
		return inifile_refuse(why, "pool takes at most one IPv4 and one IPv6 prefix");
	for (size_t i = 0; i < c->n_pools; i++) {
		if (c->pools[i].bits > 118)
			return inifile_refuse(why, "pool has too little room: an IPv4 prefix of at most /22, an IPv6 one of at most /118");
	}
	return 0;
}

static int check_listen(const void *base, const void *entry, struct inifile_why *why)
{
	const struct config *c = base;

	(void)entry;
	if (c->n_announce == 2 && addr_family(&c->announce[0]) == addr_family(&c->announce[1]))
		return inifile_refuse(why, "announce takes at most one IPv4 and one IPv6 address");
	for (size_t i = 0; i < c->n_announce; i++) {
		if (addr_is_any(&c->announce[i]))
			return inifile_refuse(why, "announce needs an address that links can reach");
	}
	return 0;
}

static const struct inifile_section sections[] = {
	{ .name = "listen", .options = listen_options, .check = check_listen },
	{ .name = "remote", .options = remote_options },
	{ .name = "pool", .options = pool_options },
	{ .name = "policy", .options = policy_options },
	{ .name = "tunnel", .options = tunnel_options, .check = check_tunnel },
	{ .name = "relay", .options = relay_options },
	{ .name = "user", .options = user_options, .offset = offsetof(struct config, users),
	  .stride = sizeof(struct config_user), .max = CONFIG_USERS, .apart = INIFILE_APART,
	  .count = offsetof(struct config, n_users), .title = sizeof(((struct config_user *)0)->name),
	  .defaults = user_defaults, .check = check_user },
	{ .name = NULL },
};

static void set_defaults(struct config *c)
{
	*c = (struct config){
		.listen = { .port = 7200 }, /* all zero is :: */
		.key_file = PLAIT_SYSCONFDIR "/plait/remote.key",
		.control = "/run/plait/remote.sock",
		.log = LOG_LVL_INFO,
		.max_relays = 8000,
		.pool_cap = 64,
		.pool_age_s = 120,
		.rekey_s = 3600,
		.deny_ports = { 25 },
		.n_deny_ports = 1,
		.tunnel = true,
		.tunnel_device = "plait0",
		.pools = { { { [10] = 0xff, 0xff, 10, 78, 0, 0 }, 96 + 16 }, { { 0xfd, 0x78, 0x6c, 0x61, 0x69, 0x74 }, 64 } },
		.n_pools = 2,
		.nat = true,
		.rules_dir = PLAIT_LIBDIR,
		.tunnel_how = { .deadline_ms = 150 },
		.congestion = "auto",
		.notsent_lowat = 128 << 10,
		.initcwnd = CONFIG_AUTO,
		.idle_s = 7440,
		.stall_s = 90,
		.dial_s = 15,
	};
}

int config_load(struct config *c, const char *path, char *err, size_t err_len)
{
	set_defaults(c);
	if (inifile_load(path, sections, c, err, err_len))
		return -1;
	if (!c->n_users) {
		snprintf(err, err_len, "%s: there is no [user NAME] section, so nobody could connect", path);
		return -1;
	}
	for (size_t i = 0; i < c->n_announce; i++)
		c->announce[i].port = c->listen.port;
	return 0;
}

/* --- read again --- */

/* The place of the user with this key, or n_users. */
static size_t place_of(const struct config *c, const uint8_t pin[WIRE_PIN])
{
	size_t i = 0;

	while (i < c->n_users && (c->users[i].gone || memcmp(c->users[i].pin, pin, WIRE_PIN)))
		i++;
	return i;
}

static void adopt_user(struct config_user *is, const struct config_user *next, inifile_differs told, void *arg)
{
	char name[48];

	snprintf(name, sizeof(name), "user %.32s", next->name);
	memcpy(is->name, next->name, sizeof(is->name));
	inifile_adopt_entry(user_options, name, is, next, told, arg);
}

/* A place for one more, or CONFIG_USERS. */
static size_t free_place(const struct config *c, const bool busy[CONFIG_USERS])
{
	size_t i = 0;

	while (i < c->n_users && (!c->users[i].gone || busy[i]))
		i++;
	return i;
}

static void tell_user(const struct config_user *u, bool taken, inifile_differs told, void *arg)
{
	char text[48];

	snprintf(text, sizeof(text), "[user %.32s]", u->name);
	told(arg, text, taken);
}

static void config_drop_users(struct config *is, const struct config *next, inifile_differs told,
			      void *arg)
{
	for (size_t i = 0; i < is->n_users; i++) {
		if (is->users[i].gone || place_of(next, is->users[i].pin) < next->n_users)
			continue;
		tell_user(&is->users[i], true, told, arg);
		is->users[i].gone = true;
	}
}

static void config_add_user(struct config *is, const struct config_user *user, size_t at,
			    inifile_differs told, void *arg)
{
	tell_user(user, at < CONFIG_USERS, told, arg);
	if (at == CONFIG_USERS)
		return;
	is->users[at] = *user;
	is->n_users += at == is->n_users;
}

void config_adopt(struct config *is, const struct config *next, const bool busy[CONFIG_USERS], inifile_differs told, void *arg)
{
	inifile_adopt(sections, is, next, told, arg);
	config_drop_users(is, next, told, arg);
	for (size_t i = 0; i < next->n_users; i++) {
		const struct config_user *user = &next->users[i];
		size_t at = place_of(is, user->pin);

		if (at < is->n_users)
			adopt_user(&is->users[at], user, told, arg);
		else
			config_add_user(is, user, free_place(is, busy), told, arg);
	}
}
