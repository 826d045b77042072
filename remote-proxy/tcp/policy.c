/* SPDX-License-Identifier: BSD-2-Clause */
/* policy: may this destination be dialled?
 *
 * Theory of operation. A destination is judged as the address it really reaches: an IPv6 address
 * that carries an IPv4 one (NAT64, 6to4) must pass twice, once as itself and once as what it
 * carries. Each address is asked, in this order, and the first answer counts:
 *   - is it on a denied port?                                          no
 *   - does the config deny it, or is it in the tunnel's pools?          no
 *   - is it the VPS itself? then only an exact host in allow helps, and
 *     never for our own port: that would be us dialling ourselves       no
 *   - does the config allow it?                                        yes
 *   - is it on the list of what is not the public Internet?             no
 *   - else                                                             yes
 * Everything is a walk of short arrays: a dial costs a system call, this costs less. A dial is
 * worth one more: the kernel is asked where the way leads, because "local" routes make whole
 * prefixes ours. */
#include <stdlib.h>
#include <string.h>

#include "policy.h"
#include "special.h"
#include "wire.h"

#define INSIDE 4

struct policy {
	const struct config *config;
	struct addr *own;
	size_t n_own, room;
	bool blind; /* an own address could not be remembered */
	struct prefix inside[INSIDE];
	size_t n_inside;
	policy_here here;
	void *here_arg;
};

/* IPv6 networks whose addresses carry an IPv4 address, and where. */
static const struct {
	struct prefix net;
	size_t at;
} carriers[] = {
	{ { { 0x00, 0x64, 0xff, 0x9b }, 96 }, 12 }, /* NAT64 */
	{ { { 0x20, 0x02 }, 16 }, 2 },		    /* 6to4 */
};

struct policy *policy_new(const struct config *config)
{
	struct policy *p = calloc(1, sizeof(*p));

	if (p)
		p->config = config;
	return p;
}

void policy_free(struct policy *p)
{
	if (p)
		free(p->own);
	free(p);
}

static struct addr *find_own(const struct policy *p, const struct addr *a)
{
	for (size_t i = 0; i < p->n_own; i++) {
		if (addr_same_ip(&p->own[i], a))
			return &p->own[i];
	}
	return NULL;
}

void policy_add_own(struct policy *p, const struct addr *own)
{
	size_t room = p->room ? p->room * 2 : 16;
	struct addr *bigger;

	if (find_own(p, own))
		return;
	if (p->n_own == p->room) {
		bigger = realloc(p->own, room * sizeof(*bigger));
		if (!bigger) {
			p->blind = true;
			return;
		}
		p->own = bigger;
		p->room = room;
	}
	p->own[p->n_own++] = *own;
}

void policy_del_own(struct policy *p, const struct addr *own)
{
	struct addr *there = find_own(p, own);

	if (there)
		*there = p->own[--p->n_own];
}

int policy_add_inside(struct policy *p, const struct prefix *net)
{
	if (p->n_inside == INSIDE)
		return -1;
	p->inside[p->n_inside++] = *net;
	return 0;
}

static bool any_contains(const struct prefix *list, size_t n, const struct addr *a)
{
	for (size_t i = 0; i < n; i++) {
		if (prefix_contains(&list[i], a))
			return true;
	}
	return false;
}

static bool port_denied(const struct config *c, uint16_t port)
{
	for (size_t i = 0; i < c->n_deny_ports; i++) {
		if (c->deny_ports[i] == port)
			return true;
	}
	return port == 0;
}

static bool host_allowed(const struct config *c, const struct addr *a)
{
	for (size_t i = 0; i < c->n_allow; i++) {
		if (c->allow[i].bits == 128 && prefix_contains(&c->allow[i], a))
			return true;
	}
	return false;
}

/* One address, taken as what it says. */
static bool address_ok(const struct policy *p, const struct addr *a)
{
	const struct config *c = p->config;

	if (any_contains(c->deny, c->n_deny, a) || any_contains(p->inside, p->n_inside, a))
		return false;
	if (find_own(p, a) || addr_same_ip(a, &c->listen))
		return a->port != c->listen.port && host_allowed(c, a);
	if (any_contains(c->allow, c->n_allow, a)) /* loopback is the VPS itself too, whoever lists it */
		return !(addr_is_loopback(a) || addr_is_any(a)) || (a->port != c->listen.port && host_allowed(c, a));
	return !any_contains(special_nets, SPECIAL_NETS, a);
}

uint16_t policy_check_host(const struct policy *p, const struct addr *dst)
{
	struct addr inner;

	if (p->blind || !address_ok(p, dst))
		return WIRE_FORBIDDEN;
	for (size_t i = 0; i < sizeof(carriers) / sizeof(*carriers); i++) {
		if (!prefix_contains(&carriers[i].net, dst))
			continue;
		addr_from_bytes(&inner, dst->ip + carriers[i].at, 4, dst->port);
		if (!address_ok(p, &inner))
			return WIRE_FORBIDDEN;
	}
	return WIRE_OK;
}

uint16_t policy_check(const struct policy *p, const struct addr *dst)
{
	return port_denied(p->config, dst->port) ? WIRE_FORBIDDEN : policy_check_host(p, dst);
}

void policy_set_here(struct policy *p, policy_here here, void *arg)
{
	p->here = here;
	p->here_arg = arg;
}

uint16_t policy_check_dial(const struct policy *p, const struct addr *dst)
{
	uint16_t status = policy_check(p, dst);

	if (status != WIRE_OK || !p->here || !p->here(p->here_arg, dst))
		return status;
	return dst->port != p->config->listen.port && host_allowed(p->config, dst) ? WIRE_OK : WIRE_FORBIDDEN;
}
