/* Theory of operation
 *
 * Several rooms have an opinion on a line, and each is told to `links` by itself: roles, quota, harm, strip, thrift.
 * The steward makes them, passes on to each what happens in the house, and on to the news what they find; and it
 * answers those who ask how the lines are. */
#include "steward.h"

#include <stdlib.h>

#include "clock.h"
#include "harm.h"
#include "log.h"
#include "news.h"
#include "quota.h"
#include "rtnl_stats.h"
#include "sock.h"
#include "strip.h"
#include "thrift.h"

struct steward {
	const struct config *config;
	struct links *links;
	struct steward_ops ops;
	void *arg;
	struct roles *roles;
	struct news *news;
	struct quota *quota;
	struct harm *harm;
	struct strip *strip;
	struct thrift *thrift;
	struct netlink *nl;
	bool born;    /* from now on others are told */
	bool session; /* there was one: its loss is news */
};

static void on_use(void *arg, size_t line)
{
	struct steward *s = arg;

	if (s->ops.use && s->born)
		s->ops.use(s->arg, line);
}

static void on_quota(void *arg, size_t line, enum quota_event event, const char *why)
{
	static const char *const names[] = { "quota-warning", "quota-spent", "quota-renewed" };
	struct steward *s = arg;

	if (event != QUOTA_WARNING)
		roles_spent(s->roles, line, event == QUOTA_SPENT);
	news_quota(s->news, line, names[event], why);
}

struct steward *steward_new(struct event_base *base, const struct config *config, struct links *links, const struct steward_ops *ops,
			    void *arg)
{
	struct steward *s = calloc(1, sizeof(*s));

	if (!s || (s->nl = netlink_open(NETLINK_ROUTE)) == NULL || (s->news = news_new(base, config)) == NULL ||
	    (s->roles = roles_new(config, links, on_use, s)) == NULL) {
		log_error("out of memory");
		steward_free(s);
		return NULL;
	}
	s->config = config;
	s->links = links;
	s->ops = *ops;
	s->arg = arg;
	s->quota = quota_new(base, config, links, on_quota, s);
	s->harm = harm_new(base, config, links, s->roles, &(struct harm_ops){ ops->moved, ops->health }, arg);
	s->strip = strip_new(base, config, links, ops->mark);
	s->thrift = thrift_new(base, config, links, ops->moved, arg);
	if (!s->quota || !s->harm || !s->strip || !s->thrift) {
		log_error("out of memory");
		steward_free(s);
		return NULL;
	}
	s->born = true;
	news_links(s->news, links);
	return s;
}

void steward_free(struct steward *s)
{
	if (!s)
		return;
	thrift_free(s->thrift);
	strip_free(s->strip);
	harm_free(s->harm);
	quota_free(s->quota);
	roles_free(s->roles);
	news_free(s->news);
	if (s->nl)
		netlink_close(s->nl);
	free(s);
}

void steward_reload(struct steward *s)
{
	roles_reload(s->roles);
	quota_reload(s->quota);
	harm_reload(s->harm);
	thrift_reload(s->thrift);
}

struct roles *steward_roles(const struct steward *s)
{
	return s->roles;
}

void steward_links_changed(struct steward *s)
{
	harm_links_changed(s->harm);
	strip_links_changed(s->strip);
	thrift_links_changed(s->thrift);
	news_links(s->news, s->links);
}

void steward_session(struct steward *s, bool up, const struct addr *remote, size_t n)
{
	char text[ADDR_STRLEN] = "";

	if (n)
		addr_print_ip(remote, text);
	if (up || s->session)
		news_remote(s->news, up, text, up ? "a session was agreed" : "nothing was heard of it");
	s->session |= up;
	strip_targets(s->strip, remote, n, up);
}

void steward_observed(struct steward *s, int wan_fd)
{
	struct addr from;

	if (!sock_is_mptcp(wan_fd) && sock_local(wan_fd, &from) == 0)
		strip_doubt(s->strip, &from);
}

/* --- answers --- */

static json_t *ms(uint32_t us)
{
	return us ? json_real(us / 1e3) : json_null();
}

static void add_health(json_t *o, const struct health *h)
{
	uint32_t loss = 0;

	json_object_set_new(o, "rtt_ms", h ? ms(h->srtt_us) : json_null());
	json_object_set_new(o, "best_rtt_ms", h ? ms(h->min_rtt_us) : json_null());
	for (int side = 0; h && side < 2; side++)
		loss = h->side[side].loss_ppm > loss ? h->side[side].loss_ppm : loss;
	json_object_set_new(o, "loss_percent", h ? json_real(loss / 1e4) : json_null());
}

static void add_bytes(struct steward *s, json_t *o, const char *device)
{
	struct rtnl_stats stats;

	if (rtnl_stats(s->nl, device, &stats))
		return;
	json_object_set_new(o, "bytes_down", json_integer((json_int_t)stats.rx));
	json_object_set_new(o, "bytes_up", json_integer((json_int_t)stats.tx));
}

/* {at_ms, links: [links_status() and state, role, rtt_ms, loss_percent, bytes_down, bytes_up, quota, ...]} */
static json_t *links_answer(void *arg, const char *rest)
{
	struct steward *s = arg;
	json_t *all = links_status(s->links), *o;
	size_t i;

	(void)rest;
	json_array_foreach(all, i, o) {
		const struct config_link *c = &s->config->links[i];

		json_object_set_new(o, "state", json_string(news_state(o)));
		json_object_set_new(o, "role", json_string(roles_name(roles_role(s->roles, i))));
		json_object_set_new(o, "metered", json_boolean(c->metered));
		add_health(o, s->ops.health ? s->ops.health(s->arg, i) : NULL);
		add_bytes(s, o, c->device);
		json_object_set_new(o, "tunnel", s->ops.datagrams ? s->ops.datagrams(s->arg, i) : NULL); /* none: no key */
		quota_status(s->quota, i, o);
		harm_status(s->harm, i, o);
	}
	return json_pack("{s:I, s:o}", "at_ms", (json_int_t)clock_ms(), "links", all);
}

void steward_serve(struct steward *s, struct admin *admin)
{
	admin_on(admin, "links", links_answer, s);
	admin_on(admin, "link", roles_answer, s->roles);
}
