/* SPDX-License-Identifier: BSD-2-Clause */
/* config: the gateway's options as tables, their defaults, and what must fit together. */
#include <ctype.h>
#include <string.h>
#include <sys/stat.h>

#include "config.h"

#define AT(type, f) .offset = offsetof(struct type, f), .size = sizeof(((struct type *)0)->f)
#define FIELD(f) AT(config, f)
#define OF_VPS(f) AT(config_vps, f)
#define LIVE .when = INIFILE_LIVE
#define PORT 7200
#define OF_LINK(f) AT(config_link, f)
#define DAY 86400
#define GIGA 1000000000ull

_Static_assert(CONFIG_AUTO == INIFILE_AUTO, "one word, one value");

static const char *const log_names[] = { "error", "warn", "info", "debug", NULL };
static const char *const intercept_names[] = { "tproxy", "redirect", NULL };
static const char *const role_names[] = { "primary", "backup", "off", NULL };
static const char *const down_names[] = { "direct", "reject", NULL };
static const char *const auto_word[] = { "auto", NULL };
static const char *const none_word[] = { "none", NULL };
static const char *const no_yes[] = { "no", "yes", NULL };
static const char *const quic_names[] = { "auto", "tunnel", "reject", NULL };
static const char *const redundancy_names[] = { "auto", "always", "never", NULL };
static const char *const fec_names[] = { "off", "auto", NULL };
static const char *const dscp_names[] = { "copy", "class", "zero", NULL };
static const char *const rules_names[] = { "auto", "iptables", "nftables", "none", NULL };

/* A numeric address, or a name made of what names are made of. */
static int set_host(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why)
{
	struct addr a;

	if (addr_parse(&a, text, 0) || a.port) {
		for (const char *p = text; *p; p++) {
			if (!isalnum((unsigned char)*p) && !strchr("-._", *p))
				return inifile_refuse(why, "%.60s is neither a name nor an IP address (the port has its own option)",
						      text);
		}
	}
	return inifile_string(field, o, text, why);
}

/* The name of a service: _plait._tcp.example.org */
static int set_srv(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why)
{
	if (*text != '_' || !strstr(text, "._tcp."))
		return inifile_refuse(why, "%.60s is no service: that is written _plait._tcp.example.org", text);
	return set_host(field, o, text, why);
}

/* Name servers, by address, with or without a port. */
static int set_resolver(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why)
{
	char copy[256], *save, *item;
	struct addr a;

	if (inifile_string(field, o, text, why))
		return -1;
	memcpy(copy, text, strlen(text) + 1);
	for (item = strtok_r(copy, ", \t", &save); item; item = strtok_r(NULL, ", \t", &save)) {
		if (addr_parse(&a, item, 53))
			return inifile_refuse(why, "%.60s is not the address of a name server", item);
	}
	return 0;
}

static const struct inifile_option vps_options[] = {
	{ .key = "host", .set = set_host, OF_VPS(host), .min = 1, .max = 256 },
	{ .key = "srv", .set = set_srv, OF_VPS(srv), .min = 1, .max = 256 },
	{ .key = "port", .set = inifile_port, OF_VPS(port) },
	{ .key = "key", .set = inifile_pin, OF_VPS(pin), .need = INIFILE_REQUIRED },
	{ .key = "allow_private", .set = inifile_bool, OF_VPS(private_ok) },
	{ .key = "resolver", .set = set_resolver, OF_VPS(resolver), .max = 256 },
	{ .key = NULL },
};

static const struct inifile_option local_options[] = {
	{ .key = "key_file", .set = inifile_path, FIELD(key_file), .max = 256 },
	{ .key = "control", .set = inifile_path, FIELD(control), .max = 108 },
	{ .key = "log", .set = inifile_name, FIELD(log), .names = log_names, LIVE },
	{ .key = "hook", .set = inifile_path, FIELD(hook), .max = 256 },
	{ .key = "state_dir", .set = inifile_path, FIELD(state_dir), .max = 256 },
	{ .key = "on_vps_down", .was = "on_remote_down", .set = inifile_name, FIELD(on_vps_down), .names = down_names, LIVE },
	{ .key = NULL },
};

static const struct inifile_option lan_options[] = {
	{ .key = "device", .set = inifile_devices, FIELD(lan_devices), .max = CONFIG_LAN_DEVICES, .many = INIFILE_LIST,
	  .count = offsetof(struct config, n_lan_devices) },
	{ .key = "port", .set = inifile_port, FIELD(lan_port) },
	{ .key = "intercept", .set = inifile_name, FIELD(intercept), .names = intercept_names },
	{ .key = "rules", .set = inifile_name, FIELD(rules), .names = rules_names },
	{ .key = "rules_dir", .set = inifile_path, FIELD(rules_dir), .max = 256 },
	{ .key = "own", .set = inifile_bool, FIELD(own) },
	{ .key = "bypass", .set = inifile_prefixes, FIELD(bypass), .max = CONFIG_PREFIXES, .many = INIFILE_LIST,
	  .count = offsetof(struct config, n_bypass), LIVE },
	{ .key = "max_relays", .set = inifile_u32, FIELD(max_relays), .min = 1, .max = 1000000 },
	{ .key = NULL },
};

static const struct inifile_option tunnel_options[] = {
	{ .key = "enable", .set = inifile_name, FIELD(tunnel), .names = no_yes },
	{ .key = "device", .set = inifile_device, FIELD(tunnel_device) },
	{ .key = "nat", .set = inifile_bool, FIELD(nat) },
	{ .key = "quic", .set = inifile_name, FIELD(quic), .names = quic_names, LIVE },
	{ .key = "quic_allow", .set = inifile_prefixes, FIELD(quic_allow), .max = CONFIG_PREFIXES, .many = INIFILE_LIST,
	  .count = offsetof(struct config, n_quic_allow), LIVE },
	{ .key = "redundancy", .set = inifile_name, FIELD(tunnel_how.redundancy), .names = redundancy_names, LIVE },
	{ .key = "fec", .set = inifile_name, FIELD(tunnel_how.fec), .names = fec_names },
	{ .key = "dscp", .set = inifile_name, FIELD(tunnel_how.dscp), .names = dscp_names },
	{ .key = "deadline", .set = inifile_msec, FIELD(tunnel_how.deadline_ms), .min = 10, .max = 2000 },
	{ .key = "aggregate", .set = inifile_bool, FIELD(tunnel_how.aggregate) },
	{ .key = NULL },
};

static const struct inifile_option pool_options[] = {
	{ .key = "min", .set = inifile_u32, FIELD(pool_min), .max = 1024, LIVE },
	{ .key = "max", .set = inifile_u32, FIELD(pool_max), .max = 1024, LIVE },
	{ .key = "age", .set = inifile_seconds, FIELD(pool_age_s), .min = 1, .max = 3600, LIVE },
	{ .key = NULL },
};

static const struct inifile_option relay_options[] = {
	{ .key = "clear", .set = inifile_bool, FIELD(clear) },
	{ .key = "congestion", .set = inifile_string, FIELD(congestion), .min = 1, .max = 16 },
	{ .key = "notsent_lowat", .set = inifile_u32, FIELD(notsent_lowat), .max = 1 << 30 },
	{ .key = "idle", .set = inifile_seconds, FIELD(idle_s), .min = 1, .max = 30 * DAY },
	{ .key = "stall", .set = inifile_seconds, FIELD(stall_s), .min = 1, .max = DAY },
	{ .key = NULL },
};

static const struct inifile_option link_options[] = {
	{ .key = "device", .set = inifile_device, OF_LINK(device), .need = INIFILE_REQUIRED },
	{ .key = "initcwnd", .set = inifile_u32_auto, OF_LINK(initcwnd), .max = 1000 },
	{ .key = "role", .set = inifile_name, OF_LINK(role), .names = role_names, LIVE },
	{ .key = "metered", .set = inifile_bool, OF_LINK(metered), LIVE },
	{ .key = "rate_up", .set = inifile_amount, OF_LINK(rate_up), .min = 8000, .max = 400 * GIGA, .names = auto_word, LIVE },
	{ .key = "rate_down", .set = inifile_amount, OF_LINK(rate_down), .min = 8000, .max = 400 * GIGA, .names = auto_word, LIVE },
	{ .key = "quota", .set = inifile_amount, OF_LINK(quota), .min = 1000000, .max = 1000000 * GIGA, .names = none_word, LIVE },
	{ .key = "quota_day", .set = inifile_u32, OF_LINK(quota_day), .min = 1, .max = 31, LIVE },
	{ .key = NULL },
};

static void link_defaults(void *entry)
{
	struct config_link *l = entry;

	l->initcwnd = CONFIG_AUTO;
	l->quota_day = 1;
}

/* Each link is a device of its own: the kernel tells links apart by it. */
static int check_link(const void *base, const void *entry, struct inifile_why *why)
{
	const struct config *c = base;
	const struct config_link *l = entry;

	for (const struct config_link *other = c->links; other < c->links + c->n_links; other++) {
		if (other != l && !strcmp(other->device, l->device))
			return inifile_refuse(why, "%s is the device of [link %s] already", l->device, other->name);
	}
	return 0;
}

static void vps_defaults(void *entry)
{
	struct config_vps *v = entry;

	v->port = PORT;
}

/* One of host and srv, and nothing twice: a second session with the same VPS would end the
 * first. */
static int check_vps(const void *base, const void *entry, struct inifile_why *why)
{
	const struct config *c = base;
	const struct config_vps *v = entry;

	if (!*v->host && !*v->srv)
		return inifile_refuse(why, "needs host =, or srv =");
	if (*v->host && *v->srv)
		return inifile_refuse(why, "either host = or srv =, not both");
	if (*v->srv && v->port != PORT)
		return inifile_refuse(why, "port = goes with host =: a service tells its ports");
	for (const struct config_vps *other = c->vps; other < v; other++)
		if (!strcmp(other->host, v->host) && !strcmp(other->srv, v->srv) && other->port == v->port)
			return inifile_refuse(why, "it is [vps %s] once more", other->name);
	return 0;
}

static int check_lan(const void *base, const void *entry, struct inifile_why *why)
{
	const struct config *c = base;

	(void)entry;
	if (!c->n_lan_devices && !c->own && c->rules != RULES_NONE)
		return inifile_refuse(why, "nothing to take: name the LAN's device =, or say own = yes");
	return 0;
}

static int check_local(const void *base, const void *entry, struct inifile_why *why)
{
	const struct config *c = base;
	struct stat st;

	(void)entry;
	if (*c->hook && !stat(c->hook, &st) && st.st_mode & S_IWOTH)
		return inifile_refuse(why, "hook = %s: others may write it (chmod o-w it)", c->hook);
	return 0;
}

static int check_pool(const void *base, const void *entry, struct inifile_why *why)
{
	const struct config *c = base;

	(void)entry;
	if (c->pool_min > c->pool_max)
		return inifile_refuse(why, "min = %u is more than max = %u", c->pool_min, c->pool_max);
	return 0;
}

static const struct inifile_section sections[] = {
	{ .name = "vps", .was = "remote", .options = vps_options, .offset = offsetof(struct config, vps),
	  .stride = sizeof(struct config_vps), .max = CONFIG_VPS,
	  .count = offsetof(struct config, n_vps), .title = sizeof(((struct config_vps *)0)->name),
	  .named = INIFILE_MAYBE_NAMED, .defaults = vps_defaults, .check = check_vps },
	{ .name = "local", .options = local_options, .check = check_local },
	{ .name = "lan", .options = lan_options, .check = check_lan },
	{ .name = "tunnel", .options = tunnel_options },
	{ .name = "pool", .options = pool_options, .check = check_pool },
	{ .name = "relay", .options = relay_options },
	{ .name = "link", .options = link_options, .offset = offsetof(struct config, links),
	  .stride = sizeof(struct config_link), .max = CONFIG_LINKS,
	  .count = offsetof(struct config, n_links), .title = sizeof(((struct config_link *)0)->name),
	  .defaults = link_defaults, .check = check_link },
	{ .name = NULL },
};

static void set_defaults(struct config *c)
{
	*c = (struct config){
		.key_file = PLAIT_SYSCONFDIR "/plait/local.key",
		.control = "/run/plait/local.sock",
		.log = LOG_LVL_INFO,
		.state_dir = "/var/lib/plait",
		.tunnel = TUNNEL_ON,
		.tunnel_device = "plait0",
		.nat = true,
		.tunnel_how = { .deadline_ms = 150 },
		.lan_port = 7201,
		.intercept = INTERCEPT_TPROXY,
		.rules = RULES_AUTO,
		.rules_dir = PLAIT_LIBDIR,
		.max_relays = 8000,
		.pool_min = 4,
		.pool_max = 64,
		.pool_age_s = 100,
		.congestion = "auto",
		.notsent_lowat = 128 << 10,
		.idle_s = 7440,
		.stall_s = 90,
	};
}

int config_load(struct config *c, const char *path, char *err, size_t err_len)
{
	struct inifile_why why;

	set_defaults(c);
	if (inifile_load(path, sections, c, err, err_len))
		return -1;
	if (!c->n_vps) {
		snprintf(err, err_len, "%s: there is no section [vps], which needs host = and key =", path);
		return -1;
	}
	if (check_lan(c, c, &why)) { /* also when there is no [lan] at all */
		snprintf(err, err_len, "%s: [lan]: %s", path, why.text);
		return -1;
	}
	return 0;
}

void config_adopt(struct config *is, const struct config *next, inifile_differs told, void *arg)
{
	inifile_adopt(sections, is, next, told, arg);
}
