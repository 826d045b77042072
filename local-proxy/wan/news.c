/* Theory of operation
 *
 * Nobody tells this room what changed, only that something may have: it compares each line's state with the one that
 * was told last and tells the difference. So a line that flaps between two looks is no news, and the first look after
 * the start tells all.
 *
 *	event		$1 of the program	PLAIT_ names in its environment
 *	a line		link-STATE		LINK DEVICE STATE WAS WHY
 *	a quota		quota-warning, -spent,	LINK DEVICE STATE WHY
 *			-renewed
 *	the VPS		remote-up, -down	REMOTE STATE WHY */
#include "news.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hook.h"

struct news {
	const struct config *config;
	struct hook *hook;
	const char *state[CONFIG_LINKS]; /* told last, a literal */
	const char *remote;
};

struct news *news_new(struct event_base *base, const struct config *config)
{
	struct news *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->config = config;
	n->hook = hook_new(base, config->hook);
	if (!n->hook) {
		free(n);
		return NULL;
	}
	return n;
}

void news_free(struct news *n)
{
	if (!n)
		return;
	hook_free(n->hook);
	free(n);
}

static bool says(const json_t *link, const char *key, const char *word)
{
	const char *value = json_string_value(json_object_get(link, key));

	return value && !strcmp(value, word);
}

const char *news_state(const json_t *link)
{
	if (!json_is_true(json_object_get(link, "up")))
		return "down";
	if (says(link, "use", "in"))
		return "up";
	if (says(link, "use", "whole"))
		return "plain";
	if (says(link, "use", "backup"))
		return says(link, "judge", "harm") ? "aside" : "backup";
	if (says(link, "judge", "thrift"))
		return "idle";
	return says(link, "judge", "role") || says(link, "judge", "quota") ? "off" : "down";
}

static void tell_link(struct news *n, const json_t *link, const char *state, const char *was)
{
	const char *name = json_string_value(json_object_get(link, "name"));
	const char *why = json_string_value(json_object_get(link, "why"));
	const char *env[] = { "LINK",  name,	"DEVICE", json_string_value(json_object_get(link, "device")),
			      "STATE", state,	"WAS",	  was ? was : "",
			      "WHY",   why ? why : "", NULL };
	char event[16], topic[48];

	snprintf(event, sizeof(event), "link-%s", state);
	snprintf(topic, sizeof(topic), "link %s", name);
	hook_tell(n->hook, event, topic, env);
}

void news_links(struct news *n, const struct links *links)
{
	json_t *all = links_status(links), *link;
	size_t i;

	json_array_foreach(all, i, link) {
		const char *state = news_state(link), *was = n->state[i];

		if (!strcmp(state, "idle")) /* it could be used: that is what matters to others */
			state = "up";
		if (was && !strcmp(state, was))
			continue;
		n->state[i] = state;
		tell_link(n, link, state, was);
	}
	json_decref(all);
}

void news_remote(struct news *n, bool up, const char *address, const char *why)
{
	const char *state = up ? "up" : "down";
	const char *env[] = { "REMOTE", address, "STATE", state, "WHY", why, NULL };

	if (n->remote && !strcmp(n->remote, state))
		return;
	n->remote = state;
	hook_tell(n->hook, up ? "remote-up" : "remote-down", "remote", env);
}

void news_quota(struct news *n, size_t line, const char *event, const char *why)
{
	const struct config_link *link = &n->config->links[line];
	const char *env[] = { "LINK",  link->name, "DEVICE", link->device, "STATE", n->state[line] ? n->state[line] : "",
			      "WHY", why,	   NULL };
	char topic[48];

	snprintf(topic, sizeof(topic), "quota %s", link->name);
	hook_tell(n->hook, event, topic, env);
}
