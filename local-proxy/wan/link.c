/* SPDX-License-Identifier: BSD-2-Clause */
/* link: what the kernel says of devices, addresses and routes is offered to every link, and each
 * takes what is its own. */
#include "link.h"

#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>

#include "log.h"

void link_init(struct link *l, const struct config_link *config)
{
	memset(l, 0, sizeof(*l));
	memcpy(l->name, config->name, sizeof(l->name));
	memcpy(l->device, config->device, sizeof(l->device));
}

void link_hear_device(struct link *l, const struct rtnl_link *link)
{
	if (strcmp(l->device, link->name) != 0)
		return;
	l->index = link->index;
	l->up = link->up;
	l->carrier = link->carrier;
}

static bool is_unique_local(const struct addr *a)
{
	return !addr_is_v4(a) && (a->ip[0] & 0xfe) == 0xfc;
}

/* How good an address is to be seen with; 0: not at all. Stable before temporary (a temporary one
 * goes away under the connections), worldwide before unique local, primary before secondary. */
static int addr_score(const struct rtnl_addr *a)
{
	const uint32_t unfit = IFA_F_TENTATIVE | IFA_F_DADFAILED | IFA_F_DEPRECATED;
	int score = 8;

	if (a->scope >= RT_SCOPE_LINK || addr_is_linklocal(&a->addr) || addr_is_loopback(&a->addr))
		return 0;
	if ((a->flags & unfit) && !(a->flags & IFA_F_OPTIMISTIC))
		return 0;
	if (is_unique_local(&a->addr))
		score -= 4;
	if (a->flags & IFA_F_TEMPORARY) /* the same bit as IFA_F_SECONDARY */
		score -= 2;
	return score;
}

void link_hear_addr(struct link *l, const struct rtnl_addr *addr)
{
	struct link_side *s = &l->side[addr_is_v4(&addr->addr) ? LINK_V4 : LINK_V6];
	int score = addr_score(addr);

	if (!l->index || addr->index != l->index || score <= s->score)
		return;
	s->has_addr = true;
	s->addr = *addr;
	s->score = score;
}

/* A default route through the device tells the gateway, in whatever table its owner keeps it. */
void link_hear_route(struct link *l, const struct rtnl_route *route)
{
	struct link_side *s = &l->side[route->v6 ? LINK_V6 : LINK_V4];
	unsigned zero = route->v6 ? 0 : 96;

	if (!l->index || route->index != l->index || route->type != RTN_UNICAST || route->dst.bits != zero)
		return;
	if (s->has_route && s->priority <= route->priority)
		return;
	s->has_route = true;
	s->priority = route->priority;
	s->has_gateway = route->has_gateway;
	s->gateway = route->gateway;
}

bool link_side_up(const struct link *l, int side)
{
	const struct link_side *s = &l->side[side];

	return l->index && l->up && l->carrier && s->has_addr && s->has_route && !s->clash;
}

bool link_up(const struct link *l)
{
	return link_side_up(l, LINK_V4) || link_side_up(l, LINK_V6);
}

const char *link_why(const struct link *l)
{
	const struct link_side *v4 = &l->side[LINK_V4], *v6 = &l->side[LINK_V6];

	if (link_up(l))
		return "";
	if (!l->index)
		return "no such device";
	if (!l->up)
		return "the device is switched off";
	if (!l->carrier)
		return "the device has no carrier";
	if (!v4->has_addr && !v6->has_addr)
		return "the device has no usable address";
	if (v4->clash || v6->clash)
		return "its address is another link's too";
	return "no default route leads through the device";
}

bool link_side_differs(const struct link *a, const struct link *b, int s)
{
	return link_side_up(a, s) != link_side_up(b, s) || a->index != b->index ||
	       !addr_same_ip(&a->side[s].addr.addr, &b->side[s].addr.addr) ||
	       a->side[s].has_gateway != b->side[s].has_gateway ||
	       !addr_same_ip(&a->side[s].gateway, &b->side[s].gateway);
}

static void link_log_side(const struct link *l, int s)
{
	char addr[ADDR_STRLEN], gateway[ADDR_STRLEN];

	if (!link_side_up(l, s))
		return;
	addr_print_ip(&l->side[s].addr.addr, addr);
	if (l->side[s].has_gateway)
		log_info("link %s: %s on %s, gateway %s", l->name, addr, l->device,
			 addr_print_ip(&l->side[s].gateway, gateway));
	else
		log_info("link %s: %s on %s, no gateway needed", l->name, addr, l->device);
	if (l->side[s].foreign)
		log_info("link %s: endpoint %u for %s is somebody else's and used as it is", l->name, l->side[s].endpoint,
			 addr);
}

void link_log(const struct link *is, const struct link *was, bool first)
{
	if (!link_up(is) && (first || link_up(was) || link_why(is) != link_why(was)))
		log_warn("link %s: down, %s", is->name, link_why(is));
	for (int s = 0; s < LINK_SIDES; s++)
		if (first || link_side_differs(is, was, s))
			link_log_side(is, s);
}

static void status_side(json_t *o, const struct link_side *s, const char *suffix)
{
	char key[16], text[ADDR_STRLEN];

	if (!s->has_addr)
		return;
	snprintf(key, sizeof(key), "address%s", suffix);
	json_object_set_new(o, key, json_string(addr_print_ip(&s->addr.addr, text)));
	snprintf(key, sizeof(key), "gateway%s", suffix);
	if (s->has_gateway)
		json_object_set_new(o, key, json_string(addr_print_ip(&s->gateway, text)));
	snprintf(key, sizeof(key), "endpoint%s", suffix);
	if (s->endpoint)
		json_object_set_new(o, key, json_integer(s->endpoint));
	snprintf(key, sizeof(key), "foreign%s", suffix);
	if (s->endpoint && s->foreign)
		json_object_set_new(o, key, json_true());
}

void link_status(const struct link *l, json_t *o)
{
	status_side(o, &l->side[LINK_V4], "4");
	status_side(o, &l->side[LINK_V6], "6");
}
