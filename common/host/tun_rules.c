/* SPDX-License-Identifier: BSD-2-Clause */
#include "tun_rules.h"

#include <stdio.h>
#include <string.h>

#include "log.h"

#define LIMIT_MS 10000
#define LIST 4096

static const char *const names[] = {
	[TUN_RULES_BY_CHOICE] = "auto",
	[TUN_RULES_BY_NFTABLES] = "tunnel-nftables",
	[TUN_RULES_BY_IPTABLES] = "tunnel-iptables",
};

const char *tun_rules_name(enum tun_rules_mode mode)
{
	return names[mode];
}

/* Appends a word to a list with spaces; -1 when it does not fit. */
static int list_add(char *list, const char *word)
{
	size_t len = strlen(list);
	int n = snprintf(list + len, LIST - len, "%s%s", len ? " " : "", word);

	return n < 0 || (size_t)n >= LIST - len ? -1 : 0;
}

static int set_prefixes(struct script *out, const char *name, const struct prefix *list, size_t n)
{
	char words[LIST] = "", text[PREFIX_STRLEN];

	for (size_t i = 0; i < n; i++)
		if (list_add(words, prefix_print(&list[i], text)) < 0)
			return -1;
	return script_setenv(out, name, "%s", words);
}

static int set_devices(const struct tun_rules_plan *plan, struct script *out)
{
	char words[LIST] = "";

	for (size_t i = 0; i < plan->n_lan_devices; i++)
		if (list_add(words, plan->lan_devices[i]) < 0)
			return -1;
	return script_setenv(out, "PLAIT_LAN", "%s", words) || script_setenv(out, "PLAIT_TUN", "%s", plan->device);
}

static int set_range(const struct rtnl_range *r, struct script *out)
{
	if (!r)
		return 0;
	return script_setenv(out, "PLAIT_TABLE", "%u %u", r->table, r->table_end) ||
	       script_setenv(out, "PLAIT_PRIORITY", "%u %u", r->priority, r->priority_end);
}

static int set_masquerade(const struct tun_rules_plan *plan, struct script *out)
{
	if (plan->masquerade_out)
		return script_setenv(out, "PLAIT_MASQUERADE", "out");
	return set_prefixes(out, "PLAIT_MASQUERADE", plan->inner, plan->n_inner);
}

int tun_rules_script(const struct tun_rules_plan *plan, enum tun_rules_mode mode, const char *verb, struct script *out)
{
	if (script_init(out, plan->dir, tun_rules_name(mode), verb) < 0)
		return -1;
	if (set_devices(plan, out) || set_masquerade(plan, out) || set_range(plan->undo, out) ||
	    set_prefixes(out, "PLAIT_QUIC_ALLOW", plan->quic_allow, plan->n_quic_allow) ||
	    set_prefixes(out, "PLAIT_OPEN", plan->open, plan->n_open))
		return -1;
	if (script_setenv(out, "PLAIT_QUIC", "%d", plan->reject_quic) || script_setenv(out, "PLAIT_CLOSED", "%s", plan->closed))
		return -1;
	return script_setenv(out, "PLAIT_HELD", "%s", plan->held ? plan->held : "") ? -1 : 0;
}

static int run(const struct tun_rules_plan *plan, enum tun_rules_mode mode, const char *verb, char *err, size_t err_len)
{
	struct script s;
	char out[512];

	if (tun_rules_script(plan, mode, verb, &s) < 0) {
		snprintf(err, err_len, "rules: %s/%s: too long, or not absolute", plan->dir, tun_rules_name(mode));
		return -1;
	}
	if (script_run(&s, LIMIT_MS, out, sizeof(out)) == 0)
		return 0;
	snprintf(err, err_len, "rules: %s %s: %s", s.path, verb, out);
	return -1;
}

int tun_rules_up(const struct tun_rules_plan *plan, enum tun_rules_mode *used, char *err, size_t err_len)
{
	if (plan->mode != TUN_RULES_BY_CHOICE) {
		*used = plan->mode;
		return run(plan, plan->mode, "up", err, err_len);
	}
	for (enum tun_rules_mode m = TUN_RULES_BY_NFTABLES; m <= TUN_RULES_BY_IPTABLES; m++) {
		if (run(plan, m, "up", err, err_len) == 0) {
			*used = m;
			return 0;
		}
		log_info("%s", err);
	}
	return -1;
}

int tun_rules_down(const struct tun_rules_plan *plan, enum tun_rules_mode used, char *err, size_t err_len)
{
	return run(plan, used, "down", err, err_len);
}
