/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * Several rooms have an opinion on a link, and each is told to `links` by itself: roles, quota,
 * aside, mptcp_check, metered. This one makes them, passes on to each what happens in the house,
 * and to `events` what they find; and it answers those who ask how the links are. */
#include "wan.h"

#include <stdlib.h>

#include "aside.h"
#include "clock.h"
#include "events.h"
#include "metered.h"
#include "mptcp_check.h"
#include "quota.h"
#include "roles.h"
#include "rtnl_stats.h"
#include "sock.h"

#define TARGETS_MAX 8

struct wan {
	struct wan_house house;
	struct roles *roles;
	struct events *events;
	struct quota *quota;
	struct aside *aside;
	struct mptcp_check *mptcp_check;
	struct metered *metered;
	struct netlink *nl;
	bool session; /* there was one: its loss is news */
};

static void wan_use_changed(void *arg, size_t link)
{
	struct wan *w = arg;

	paths_set_use(w->house.paths, link, roles_use(w->roles, link));
}

static void wan_quota_changed(void *arg, size_t link, enum quota_event event, const char *why)
{
	static const char *const names[] = { "quota-warning", "quota-spent", "quota-renewed" };
	struct wan *w = arg;

	if (event != QUOTA_WARNING)
		roles_spent(w->roles, link, event == QUOTA_SPENT);
	events_quota(w->events, link, names[event], why);
}

static int wan_build(struct wan *w)
{
	const struct wan_house *h = &w->house;

	return (w->nl = netlink_open(NETLINK_ROUTE)) && (w->events = events_new(h->base, h->config)) &&
	       (w->roles = roles_new(h->config, h->links, wan_use_changed, w)) &&
	       (w->quota = quota_new(h->base, h->config, h->links, wan_quota_changed, w)) &&
	       (w->aside = aside_new(h->base, h->config, h->links, w->roles, h->paths, h->relays)) &&
	       (w->mptcp_check = mptcp_check_new(h->base, h->config, h->links, SOCK_SELF_MARK)) &&
	       (w->metered = metered_new(h->base, h->config, h->links, h->relays)) ? 0 : -1;
}

struct wan *wan_new(const struct wan_house *house)
{
	struct wan *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->house = *house;
	if (wan_build(w)) {
		wan_free(w);
		return NULL;
	}
	for (size_t i = 0; i < links_count(house->links); i++)
		wan_use_changed(w, i);
	events_links(w->events, house->links);
	return w;
}

void wan_free(struct wan *w)
{
	if (!w)
		return;
	metered_free(w->metered);
	mptcp_check_free(w->mptcp_check);
	aside_free(w->aside);
	quota_free(w->quota);
	roles_free(w->roles);
	events_free(w->events);
	if (w->nl)
		netlink_close(w->nl);
	free(w);
}

void wan_reload(struct wan *w)
{
	roles_reload(w->roles);
	quota_reload(w->quota);
	aside_reload(w->aside);
	metered_reload(w->metered);
}

void wan_links_changed(void *wan)
{
	struct wan *w = wan;

	aside_links_changed(w->aside);
	mptcp_check_links_changed(w->mptcp_check);
	metered_links_changed(w->metered);
	events_links(w->events, w->house.links);
}

void wan_vps_changed(void *wan)
{
	struct wan *w = wan;
	bool up = vps_choice_session(w->house.vps) != NULL;
	struct addr at[TARGETS_MAX];
	size_t n = (up ? vps_choice_active_targets : vps_choice_targets)(w->house.vps, at, TARGETS_MAX);
	char text[ADDR_STRLEN] = "";

	if (n)
		addr_print_ip(&at[0], text);
	if (up || w->session)
		events_vps(w->events, up, text, up ? "a session was agreed" : "nothing was heard of it");
	w->session |= up;
	mptcp_check_targets(w->mptcp_check, at, n, up);
}

void wan_observed(struct wan *w, int wan_fd)
{
	struct addr from;

	if (!sock_is_mptcp(wan_fd) && sock_local(wan_fd, &from) == 0)
		mptcp_check_doubt(w->mptcp_check, &from);
}

/* --- answers --- */

static json_t *wan_ms(uint32_t us)
{
	return us ? json_real(us / 1e3) : json_null();
}

static void add_health(json_t *o, const struct health *h)
{
	uint32_t loss = 0;

	json_object_set_new(o, "rtt_ms", h ? wan_ms(h->srtt_us) : json_null());
	json_object_set_new(o, "best_rtt_ms", h ? wan_ms(h->min_rtt_us) : json_null());
	for (int side = 0; h && side < 2; side++)
		loss = h->side[side].loss_ppm > loss ? h->side[side].loss_ppm : loss;
	json_object_set_new(o, "loss_percent", h ? json_real(loss / 1e4) : json_null());
}

static void add_bytes(struct wan *w, json_t *o, const char *device)
{
	struct rtnl_stats stats;

	if (rtnl_stats(w->nl, device, &stats))
		return;
	json_object_set_new(o, "bytes_down", json_integer((json_int_t)stats.rx));
	json_object_set_new(o, "bytes_up", json_integer((json_int_t)stats.tx));
}

/* {at_ms, links: [links_status() and role, rtt_ms, loss_percent, bytes_down, bytes_up,
 * quota, ...]} */
static json_t *links_answer(void *arg, const char *rest)
{
	struct wan *w = arg;
	json_t *all = links_status(w->house.links), *o;
	size_t i;

	(void)rest;
	json_array_foreach(all, i, o) {
		const struct config_link *c = &w->house.config->links[i];

		json_object_set_new(o, "role", json_string(roles_name(roles_role(w->roles, i))));
		json_object_set_new(o, "metered", json_boolean(c->metered));
		add_health(o, paths_health(w->house.paths, i));
		add_bytes(w, o, c->device);
		json_object_set_new(o, "tunnel", tunnel_path_status(w->house.tunnel, (unsigned)i)); /* none: no key */
		quota_status(w->quota, i, o);
		aside_status(w->aside, i, o);
	}
	return json_pack("{s:I, s:o}", "at_ms", (json_int_t)clock_ms(), "links", all);
}

void wan_serve(struct wan *w, struct admin *admin)
{
	admin_on(admin, "links", links_answer, w);
	admin_on(admin, "link", roles_answer, w->roles);
}
