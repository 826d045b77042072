/* SPDX-License-Identifier: BSD-2-Clause */
/* What a user sends through the tunnel, at the VPS: what passes is from him and goes to nobody whom
 * policy protects, read in a second way. */
#include <sys/socket.h>

#include "fuzz.h"
#include "inner_addrs.h"
#include "log.h"

static struct config config;
static struct policy *policy;
static struct inner_addrs *nat;

static struct prefix net(const char *text)
{
	struct prefix p;

	MUST(!prefix_parse(&p, text));
	return p;
}

static void begin(void)
{
	struct addr own;
	char err[160];

	log_level = LOG_LVL_ERROR;
	config.n_users = 3;
	config.n_pools = 2;
	config.pools[0] = net("10.78.0.0/16");
	config.pools[1] = net("fd78::/64");
	config.users[2].routes[0] = net("192.168.5.0/24");
	config.users[2].n_routes = 1;
	policy = policy_new(&config);
	MUST(policy && !addr_parse(&own, "198.51.100.7", 0));
	policy_add_own(policy, &own);
	nat = inner_addrs_new(&config, policy, err, sizeof(err));
	MUST(nat);
}

static bool within(const struct addr *a, const char *const *nets)
{
	for (; *nets; nets++) {
		struct prefix p = net(*nets);

		if (prefix_contains(&p, a))
			return true;
	}
	return false;
}

static bool equals(const struct addr *a, unsigned user, int family)
{
	struct addr inner;

	return inner_addrs_inner(nat, user, family, &inner) && addr_same_ip(a, &inner);
}

/* The addresses stand where they stand in every packet. */
static void passed(unsigned user, const uint8_t *p, size_t size)
{
	static const char *const never[] = { "10.0.0.0/8", "127.0.0.0/8", "0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "198.51.100.7/32", "::1/128",
					     "fd00::/8", "fe80::/10", "ff00::/8", NULL };
	int family = p[0] >> 4 == 4 ? AF_INET : AF_INET6;
	struct addr src, dst;

	MUST(size >= (family == AF_INET ? 20u : 40u));
	MUST(!addr_from_bytes(&src, p + (family == AF_INET ? 12 : 8), family == AF_INET ? 4 : 16, 0));
	MUST(!addr_from_bytes(&dst, p + (family == AF_INET ? 16 : 24), family == AF_INET ? 4 : 16, 0));
	MUST(equals(&src, user, family) || (user == 2 && within(&src, (const char *const[]){ "192.168.5.0/24", NULL })));
	MUST(!within(&dst, never));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned user;
	uint8_t *p;
	int owner;

	if (!nat)
		begin();
	if (!size)
		return 0;
	user = data[0] % 3;
	size--;
	p = malloc(size ? size : 1);
	if (size)
		memcpy(p, data + 1, size);
	if (inner_addrs_may_pass(nat, user, p, size))
		passed(user, p, size);
	owner = inner_addrs_owner(nat, p, size);
	MUST(owner >= -1 && owner < 3);
	free(p);
	return 0;
}
