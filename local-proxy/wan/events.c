/* SPDX-License-Identifier: BSD-2-Clause */
/* events: the owner's program is told what changed.
 *
 * Theory of operation. Nobody tells this file what changed, only that something may have: it
 * compares each link's state with the one that was told last and tells the difference. So a link
 * that flaps between two looks is no news, and the first look after the start tells all.
 *
 * 	event		$1 of the program	PLAIT_ names in its environment
 * 	a link		link-STATE		LINK DEVICE STATE WAS WHY
 * 	a quota		quota-warning, -spent,	LINK DEVICE STATE WHY
 * 			-renewed
 * 	the VPS		vps-up, -down	VPS STATE WHY */
#include "events.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hook.h"

struct events {
	const struct config *config;
	struct hook *hook;
	char state[CONFIG_LINKS][16]; /* told last; a longer word of verdicts_state() would be told
					 at each look */
	const char *vps;
};

struct events *events_new(struct event_base *base, const struct config *config)
{
	struct events *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->config = config;
	e->hook = hook_new(base, config->hook);
	if (!e->hook) {
		free(e);
		return NULL;
	}
	return e;
}

void events_free(struct events *e)
{
	if (!e)
		return;
	hook_free(e->hook);
	free(e);
}

static void tell_link(struct events *e, const json_t *link, const char *state, const char *was)
{
	const char *name = json_string_value(json_object_get(link, "name"));
	const char *why = json_string_value(json_object_get(link, "why"));
	const char *env[] = { "LINK",	name,
			      "DEVICE", json_string_value(json_object_get(link, "device")),
			      "STATE",	state,
			      "WAS",	was,
			      "WHY",	why ? why : "",
			      NULL };
	char event[32], topic[48];

	snprintf(event, sizeof(event), "link-%s", state);
	snprintf(topic, sizeof(topic), "link %s", name);
	hook_tell(e->hook, event, topic, env);
}

void events_links(struct events *e, const struct links *links)
{
	json_t *all = links_status(links), *link;
	size_t i;

	json_array_foreach(all, i, link) {
		const char *state = json_string_value(json_object_get(link, "state")),
			   *was = e->state[i];

		if (!strcmp(state, "idle")) /* it could be used: that is what matters to others */
			state = "up";
		if (!strcmp(state, was))
			continue;
		tell_link(e, link, state, was);
		snprintf(e->state[i], sizeof(e->state[i]), "%s", state);
	}
	json_decref(all);
}

void events_vps(struct events *e, bool up, const char *address, const char *why)
{
	const char *state = up ? "up" : "down";
	const char *env[] = { "VPS", address, "STATE", state, "WHY", why, NULL };

	if (e->vps && !strcmp(e->vps, state))
		return;
	e->vps = state;
	hook_tell(e->hook, up ? "vps-up" : "vps-down", "vps", env);
}

void events_quota(struct events *e, size_t link, const char *event, const char *why)
{
	const struct config_link *c = &e->config->links[link];
	const char *env[] = { "LINK",	      c->name, "DEVICE", c->device, "STATE",
			      e->state[link], "WHY",   why,	 NULL };
	char topic[48];

	snprintf(topic, sizeof(topic), "quota %s", c->name);
	hook_tell(e->hook, event, topic, env);
}
