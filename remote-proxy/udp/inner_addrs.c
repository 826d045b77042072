/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * Each user has one address of each pool, the same as long as the order of the config's sections
 * stays: the pool's first is this machine's, the users follow; or the address that the config
 * names. Who comes by a reload gets one that is free then. Behind it the gateway hides its LAN. A
 * user may have networks besides (`routes`), which are his without being hidden.
 *
 * A packet out of the tunnel is not believed in anything. In this order:
 *   - it must be well formed, and say openly where it goes: source routes of IPv4 and routing headers of IPv6 name a
 *     destination that is not in the place where destinations are checked;
 *   - its source must be the user's own: another's, or a public one, would be forged;
 *   - its destination must belong to no other user, and policy must allow it, as for a connection. What has no ports is judged by its
 *     address alone.
 * Each refusal has a counter of its own. The firewall says the same once more: from the tunnel
 * nothing reaches this machine or the tunnel.
 *
 * A packet for the tunnel belongs to whom its destination belongs; longest networks are asked
 * first. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "classify.h"
#include "counter.h"
#include "inner_addrs.h"
#include "wire.h"

#define FIRST_USER 2 /* the pool's own address, ours, then theirs */

enum { PROTO_HOP = 0, PROTO_TCP = 6, PROTO_UDP = 17, PROTO_ROUTING = 43, PROTO_FRAGMENT = 44, PROTO_AUTH = 51, PROTO_DEST = 60 };
enum { OPTION_END = 0, OPTION_NOP = 1, OPTION_LOOSE_ROUTE = 131, OPTION_STRICT_ROUTE = 137 };

struct holding { /* what belongs to whom: an address is a network of 128 bits */
	struct prefix net;
	unsigned user;
};

struct inner_addrs {
	const struct config *config;
	const struct policy *policy;
	bool has[2]; /* [v6] */
	struct addr own[2], *inner[2]; /* inner: by user */
	struct holding *holding; /* longest first, then by address */
	size_t n_holdings, n_hosts;
};

static bool is_v6(const struct addr *a)
{
	return !addr_is_v4(a);
}

static struct addr first_of(const struct prefix *p)
{
	struct addr a = { .port = 0 };

	memcpy(a.ip, p->ip, sizeof(a.ip));
	return a;
}

static struct addr nth(const struct addr *base, unsigned n)
{
	struct addr a = *base;

	for (int i = 15; i >= 0 && n; i--) {
		n += a.ip[i];
		a.ip[i] = (uint8_t)n;
		n >>= 8;
	}
	return a;
}

/* --- who has what --- */

static bool is_taken(const struct inner_addrs *n, int v6, const struct addr *a)
{
	for (size_t i = 0; i < n->config->n_users; i++)
		if (!n->config->users[i].gone && addr_same_ip(&n->inner[v6][i], a))
			return true;
	return addr_same_ip(&n->own[v6], a);
}

/* The addresses that the config names. */
static int give_named(struct inner_addrs *n, const struct prefix *pool, int v6, char *err, size_t err_len)
{
	char text[ADDR_STRLEN];

	for (size_t u = 0; u < n->config->n_users; u++) {
		const struct config_user *user = &n->config->users[u];

		for (size_t i = 0; i < user->n_inner && !user->gone && addr_is_any(&n->inner[v6][u]); i++) {
			if (is_v6(&user->inner[i]) != v6)
				continue;
			if (!prefix_contains(pool, &user->inner[i]) || is_taken(n, v6, &user->inner[i])) {
				snprintf(err, err_len, "[user %s] inner: %s is not a free address of the pool", user->name,
					 addr_print_ip(&user->inner[i], text));
				return -1;
			}
			n->inner[v6][u] = user->inner[i];
		}
	}
	return 0;
}

static void give_others(struct inner_addrs *n, const struct addr *base, int v6)
{
	unsigned spare = FIRST_USER + (unsigned)n->config->n_users;

	for (unsigned u = 0; u < n->config->n_users; u++) {
		struct addr a = nth(base, FIRST_USER + u);

		if (n->config->users[u].gone || !addr_is_any(&n->inner[v6][u]))
			continue;
		while (is_taken(n, v6, &a))
			a = nth(base, spare++);
		n->inner[v6][u] = a;
	}
}

/* Whoever had an address in `before` has it still. */
static void give_again(struct inner_addrs *n, const struct inner_addrs *before, int v6)
{
	for (size_t u = 0; u < before->config->n_users; u++) {
		const struct config_user *was = &before->config->users[u], *is = &n->config->users[u];

		if (!was->gone && !is->gone && !memcmp(was->pin, is->pin, sizeof(is->pin)))
			n->inner[v6][u] = before->inner[v6][u];
	}
}

/* `before`: NULL at birth. */
static int give_pool(struct inner_addrs *n, const struct prefix *pool, const struct inner_addrs *before, char *err, size_t err_len)
{
	struct addr base = first_of(pool);
	int v6 = is_v6(&base);

	n->has[v6] = true;
	n->inner[v6] = calloc(CONFIG_USERS, sizeof(struct addr));
	if (!n->inner[v6])
		return -1;
	n->own[v6] = nth(&base, 1);
	if (before)
		give_again(n, before, v6);
	if (give_named(n, pool, v6, err, err_len))
		return -1;
	give_others(n, &base, v6);
	return 0;
}

static void inner_hold(struct inner_addrs *n, const struct prefix *net, unsigned user)
{
	n->holding[n->n_holdings++] = (struct holding){ *net, user };
}

static int by_length(const void *a, const void *b)
{
	const struct holding *x = a, *y = b;

	return x->net.bits != y->net.bits ? y->net.bits - x->net.bits : memcmp(x->net.ip, y->net.ip, sizeof(x->net.ip));
}

static int make_holdings(struct inner_addrs *n)
{
	const struct config *c = n->config;

	n->holding = calloc(c->n_users, (2 + CONFIG_ROUTES) * sizeof(*n->holding));
	if (!n->holding)
		return -1;
	for (unsigned u = 0; u < c->n_users; u++) {
		for (int v6 = 0; v6 < 2; v6++) {
			struct prefix host = { .bits = 128 };

			if (!n->has[v6] || c->users[u].gone)
				continue;
			memcpy(host.ip, n->inner[v6][u].ip, sizeof(host.ip));
			inner_hold(n, &host, u);
		}
		for (size_t i = 0; i < c->users[u].n_routes && !c->users[u].gone; i++)
			inner_hold(n, &c->users[u].routes[i], u);
	}
	qsort(n->holding, n->n_holdings, sizeof(*n->holding), by_length);
	while (n->n_hosts < n->n_holdings && n->holding[n->n_hosts].net.bits == 128)
		n->n_hosts++;
	return 0;
}

static int give(struct inner_addrs *n, const struct inner_addrs *before, char *err, size_t err_len)
{
	snprintf(err, err_len, "out of memory");
	for (size_t i = 0; i < n->config->n_pools; i++)
		if (give_pool(n, &n->config->pools[i], before, err, err_len))
			return -1;
	return make_holdings(n);
}

static void clear(struct inner_addrs *n)
{
	free(n->inner[0]);
	free(n->inner[1]);
	free(n->holding);
}

struct inner_addrs *inner_addrs_new(const struct config *config, struct policy *policy, char *err, size_t err_len)
{
	struct inner_addrs *n = calloc(1, sizeof(*n));
	int bad;

	if (!n)
		return NULL;
	n->config = config;
	n->policy = policy;
	bad = give(n, NULL, err, err_len);
	for (size_t i = 0; i < config->n_pools && !bad; i++)
		bad = policy_add_inside(policy, &config->pools[i]);
	if (!bad)
		return n;
	inner_addrs_free(n);
	return NULL;
}

int inner_addrs_renew(struct inner_addrs *n, const struct config *next, char *err, size_t err_len)
{
	struct inner_addrs fresh = { .config = next, .policy = n->policy };

	if (give(&fresh, n, err, err_len)) {
		clear(&fresh);
		return -1;
	}
	fresh.config = n->config;
	clear(n);
	*n = fresh;
	return 0;
}

void inner_addrs_free(struct inner_addrs *n)
{
	if (n)
		clear(n);
	free(n);
}

bool inner_addrs_inner(const struct inner_addrs *n, unsigned user, int family, struct addr *out)
{
	int v6 = family == AF_INET6;

	if (n->has[v6])
		*out = n->inner[v6][user];
	return n->has[v6];
}

bool inner_addrs_own(const struct inner_addrs *n, int family, struct addr *out)
{
	int v6 = family == AF_INET6;

	if (n->has[v6])
		*out = n->own[v6];
	return n->has[v6];
}

/* The user who holds this address, or -1. */
static int holder(const struct inner_addrs *n, const struct addr *a)
{
	struct holding key = { .net = { .bits = 128 } }, *host;

	memcpy(key.net.ip, a->ip, sizeof(key.net.ip));
	host = bsearch(&key, n->holding, n->n_hosts, sizeof(key), by_length);
	if (host)
		return (int)host->user;
	for (size_t i = n->n_hosts; i < n->n_holdings; i++)
		if (prefix_contains(&n->holding[i].net, a))
			return (int)n->holding[i].user;
	return -1;
}

/* --- what may pass --- */

static bool ip4_routes(const uint8_t *packet)
{
	size_t end = (size_t)(packet[0] & 15) * 4, at = 20;

	while (at < end && packet[at] != OPTION_END) {
		if (packet[at] == OPTION_LOOSE_ROUTE || packet[at] == OPTION_STRICT_ROUTE)
			return true;
		if (packet[at] == OPTION_NOP) {
			at++;
			continue;
		}
		if (at + 1 >= end || packet[at + 1] < 2)
			return true; /* what cannot be read may hide anything */
		at += packet[at + 1];
	}
	return false;
}

static bool ip6_routes(const uint8_t *packet, size_t len)
{
	uint8_t next = packet[6];
	size_t at = 40;

	while (at + 8 <= len) {
		if (next == PROTO_ROUTING)
			return true;
		if (next != PROTO_HOP && next != PROTO_DEST && next != PROTO_AUTH)
			return false;
		size_t size = next == PROTO_AUTH ? (packet[at + 1] + 2u) * 4 : (packet[at + 1] + 1u) * 8;
		next = packet[at];
		at += size;
	}
	return next == PROTO_ROUTING;
}

static bool allowed(const struct inner_addrs *n, const struct inner *in)
{
	bool ports = !in->fragment && (in->dst.port || in->proto == PROTO_TCP || in->proto == PROTO_UDP);

	return (ports ? policy_check(n->policy, &in->dst) : policy_check_host(n->policy, &in->dst)) == WIRE_OK;
}

bool inner_addrs_may_pass(const struct inner_addrs *n, unsigned user, const uint8_t *packet, size_t len)
{
	struct inner in;
	bool v6;

	if (inner_parse(&in, packet, len)) {
		counters.nat_malformed++;
		return false;
	}
	v6 = packet[0] >> 4 == 6;
	if (v6 != is_v6(&in.dst) || v6 != is_v6(&in.src) || (v6 ? ip6_routes(packet, len) : ip4_routes(packet))) {
		counters.nat_malformed++;
		return false;
	}
	if (holder(n, &in.src) != (int)user) {
		counters.nat_source++;
		return false;
	}
	if (holder(n, &in.dst) >= 0 || !allowed(n, &in)) {
		counters.nat_policy++;
		return false;
	}
	return true;
}

int inner_addrs_owner(const struct inner_addrs *n, const uint8_t *packet, size_t len)
{
	struct inner in;
	int user = inner_parse(&in, packet, len) ? -1 : holder(n, &in.dst);

	if (user < 0)
		counters.nat_nobody++;
	return user;
}
