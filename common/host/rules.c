/* SPDX-License-Identifier: BSD-2-Clause */
/* rules: see rules.h. */
#include "rules.h"

#include <stdio.h>
#include <string.h>

#include "log.h"

#define RULES_LIMIT_MS 10000

static const char *const names[] = {
	[RULES_BY_CHOICE] = "auto",
	[RULES_BY_NFTABLES] = "nftables",
	[RULES_BY_TPROXY] = "tproxy",
	[RULES_BY_REDIRECT] = "redirect",
};

const char *rules_name(enum rules_mode mode)
{
	return names[mode];
}

/* Appends a word to a list with spaces; -1 when it does not fit. */
static int list_add(char *list, size_t room, const char *word)
{
	size_t len = strlen(list);
	int n = snprintf(list + len, room - len, "%s%s", len ? " " : "", word);

	return n < 0 || (size_t)n >= room - len ? -1 : 0;
}

static int set_lan(const struct rules_plan *plan, struct script *out)
{
	char list[512] = "";

	for (size_t i = 0; i < plan->n_lan_devices; i++)
		if (list_add(list, sizeof(list), plan->lan_devices[i]) < 0)
			return -1;
	return script_setenv(out, "PLAIT_LAN", "%s", list);
}

static int set_vps(const struct rules_plan *plan, struct script *out)
{
	char list[4096] = "", text[ADDR_STRLEN];

	for (size_t i = 0; i < plan->n_vps; i++)
		if (list_add(list, sizeof(list), addr_print_ip(&plan->vps[i], text)) < 0)
			return -1;
	return script_setenv(out, "PLAIT_REMOTE", "%s", list);
}

static int set_bypass(const struct rules_plan *plan, struct script *out)
{
	char list[4096] = "", text[PREFIX_STRLEN];

	for (size_t i = 0; i < plan->n_bypass; i++)
		if (list_add(list, sizeof(list), prefix_print(&plan->bypass[i], text)) < 0)
			return -1;
	return script_setenv(out, "PLAIT_BYPASS", "%s", list);
}

int rules_script(const struct rules_plan *plan, enum rules_mode mode, const char *verb, struct script *out)
{
	if (script_init(out, plan->dir, rules_name(mode), verb) < 0)
		return -1;
	if (set_lan(plan, out) < 0 || set_vps(plan, out) < 0 || set_bypass(plan, out) < 0)
		return -1;
	if (script_setenv(out, "PLAIT_PORT", "%u", plan->lan_port) < 0)
		return -1;
	if (script_setenv(out, "PLAIT_SELF_MARK", "0x%x", (unsigned)RULES_SELF_MARK) < 0)
		return -1;
	return script_setenv(out, "PLAIT_OWN", "%d", plan->own);
}

static int rules_run(const struct rules_plan *plan, enum rules_mode mode, const char *verb, char *err, size_t err_len)
{
	struct script s;
	char out[512];

	if (rules_script(plan, mode, verb, &s) < 0) {
		snprintf(err, err_len, "rules: %s/%s: too long, or not absolute", plan->dir, rules_name(mode));
		return -1;
	}
	if (script_run(&s, RULES_LIMIT_MS, out, sizeof(out)) == 0)
		return 0;
	snprintf(err, err_len, "rules: %s %s: %s", s.path, verb, out);
	return -1;
}

/* A script whose `up` was killed half-way could not clean up after itself. */
static int rules_try(const struct rules_plan *plan, enum rules_mode mode, char *err, size_t err_len)
{
	char ignored[512];

	if (rules_run(plan, mode, "up", err, err_len) == 0)
		return 0;
	rules_run(plan, mode, "down", ignored, sizeof(ignored));
	return -1;
}

int rules_up(const struct rules_plan *plan, enum rules_mode *used, char *err, size_t err_len)
{
	if (plan->mode != RULES_BY_CHOICE) {
		*used = plan->mode;
		return rules_try(plan, plan->mode, err, err_len);
	}
	for (enum rules_mode m = RULES_BY_NFTABLES; m <= RULES_BY_REDIRECT; m++) {
		if (rules_try(plan, m, err, err_len) == 0) {
			*used = m;
			return 0;
		}
		log_info("%s", err);
	}
	return -1;
}

int rules_drain(const struct rules_plan *plan, enum rules_mode used, char *err, size_t err_len)
{
	return rules_run(plan, used, "drain", err, err_len);
}

int rules_down(const struct rules_plan *plan, enum rules_mode used, char *err, size_t err_len)
{
	return rules_run(plan, used, "down", err, err_len);
}
