/* SPDX-License-Identifier: BSD-2-Clause */
/* inner_addrs: who has which inner address, what may come out of the tunnel, and whose a packet
 * is. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "counter.h"
#include "inner_addrs.h"

static struct config c;
static struct policy *policy;
static struct inner_addrs *n;
static char err[160];

static struct prefix net(const char *text)
{
	struct prefix p;

	assert_int_equal(prefix_parse(&p, text), 0);
	return p;
}

static struct addr host(const char *text)
{
	struct addr a;

	assert_int_equal(addr_parse(&a, text, 0), 0);
	return a;
}

static int setup(void **state)
{
	(void)state;
	memset(&c, 0, sizeof(c));
	c.n_users = 3;
	c.n_pools = 2;
	c.pools[0] = net("10.78.0.0/16");
	c.pools[1] = net("fd78::/64");
	c.deny_ports[0] = 25;
	c.n_deny_ports = 1;
	c.users[1].inner[0] = host("10.78.0.2"); /* what the first would have got */
	c.users[1].n_inner = 1;
	c.users[2].routes[0] = net("192.168.5.0/24");
	c.users[2].n_routes = 1;
	policy = policy_new(&c);
	n = inner_addrs_new(&c, policy, err, sizeof(err));
	return policy && n ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	inner_addrs_free(n);
	policy_free(policy);
	return 0;
}

static void has(unsigned user, int family, const char *want)
{
	struct addr a, b = host(want);

	assert_true(inner_addrs_inner(n, user, family, &a));
	assert_true(addr_same_ip(&a, &b));
}

static void everyone_has_his_own(void **state)
{
	struct addr own, want = host("10.78.0.1");

	(void)state;
	has(1, AF_INET, "10.78.0.2");
	has(0, AF_INET, "10.78.0.5"); /* the next that is free behind all */
	has(2, AF_INET, "10.78.0.4");
	has(0, AF_INET6, "fd78::2");
	has(1, AF_INET6, "fd78::3");
	assert_true(inner_addrs_own(n, AF_INET, &own));
	assert_true(addr_same_ip(&own, &want));
}

static void bad_addresses_are_refused(void **state)
{
	static struct config bad;

	(void)state;
	bad = c;
	bad.users[0].inner[0] = host("10.79.0.2"); /* of no pool */
	bad.users[0].n_inner = 1;
	assert_null(inner_addrs_new(&bad, policy, err, sizeof(err)));
	assert_non_null(strstr(err, "10.79.0.2 is not a free address of the pool"));
	bad.users[0].inner[0] = host("10.78.0.2"); /* the second's */
	assert_null(inner_addrs_new(&bad, policy, err, sizeof(err)));
	bad.users[0].inner[0] = host("10.78.0.1"); /* ours */
	assert_null(inner_addrs_new(&bad, policy, err, sizeof(err)));
}

/* An IPv4 packet with so many 32-bit words of options. */
static size_t ip4(uint8_t *p, const char *src, const char *dst, uint8_t proto, unsigned words, uint16_t port)
{
	size_t ip = 20 + words * 4, len = ip + 20;

	memset(p, 0, len);
	p[0] = (uint8_t)(0x45 + words);
	p[2] = (uint8_t)(len >> 8);
	p[3] = (uint8_t)len;
	p[8] = 64;
	p[9] = proto;
	inet_pton(AF_INET, src, p + 12);
	inet_pton(AF_INET, dst, p + 16);
	memset(p + 20, 1, words * 4);
	p[ip] = 4;
	p[ip + 2] = (uint8_t)(port >> 8);
	p[ip + 3] = (uint8_t)port;
	p[ip + 5] = 20;
	return len;
}

static size_t ip6(uint8_t *p, const char *src, const char *dst, uint8_t next, size_t payload)
{
	memset(p, 0, 40 + payload);
	p[0] = 0x60;
	p[5] = (uint8_t)payload;
	p[6] = next;
	p[7] = 64;
	inet_pton(AF_INET6, src, p + 8);
	inet_pton(AF_INET6, dst, p + 24);
	return 40 + payload;
}

static bool passes4(unsigned user, const char *src, const char *dst, uint8_t proto, uint16_t port)
{
	uint8_t p[100];
	size_t len = ip4(p, src, dst, proto, 0, port);

	return inner_addrs_may_pass(n, user, p, len);
}

static void only_the_own_source(void **state)
{
	uint64_t before = counters.nat_source;

	(void)state;
	assert_true(passes4(0, "10.78.0.5", "11.9.0.2", 17, 53));
	assert_false(passes4(0, "10.78.0.2", "11.9.0.2", 17, 53)); /* another's */
	assert_false(passes4(0, "8.8.8.8", "11.9.0.2", 17, 53));
	assert_false(passes4(0, "10.78.0.1", "11.9.0.2", 17, 53)); /* ours */
	assert_false(passes4(0, "192.168.5.1", "11.9.0.2", 17, 53));
	assert_true(passes4(2, "192.168.5.1", "11.9.0.2", 17, 53)); /* his network */
	assert_int_equal(counters.nat_source, before + 4);
}

static void where_it_may_go(void **state)
{
	static const char *const denied[] = { "127.0.0.1", "10.78.0.1", "10.78.0.4", "10.78.9.9", "192.168.1.1", "192.168.5.1",
					      "169.254.169.254", "224.0.0.1", "255.255.255.255", "0.0.0.0", "10.0.0.1" };
	struct addr own = host("11.7.0.2");
	uint64_t before = counters.nat_policy;

	(void)state;
	policy_add_own(policy, &own);
	for (size_t i = 0; i < sizeof(denied) / sizeof(*denied); i++) {
		assert_false(passes4(0, "10.78.0.5", denied[i], 17, 53));
		assert_false(passes4(0, "10.78.0.5", denied[i], 1, 0));
	}
	assert_false(passes4(0, "10.78.0.5", "11.7.0.2", 1, 0)); /* the VPS itself */
	assert_false(passes4(0, "10.78.0.5", "11.9.0.2", 6, 25));
	assert_false(passes4(0, "10.78.0.5", "11.9.0.2", 17, 0));
	assert_true(passes4(0, "10.78.0.5", "11.9.0.2", 1, 25)); /* ICMP has no ports */
	assert_true(passes4(0, "10.78.0.5", "11.9.0.2", 47, 0));
	assert_int_equal(counters.nat_policy, before + 2 * sizeof(denied) / sizeof(*denied) + 3);
}

static void nothing_hides_its_way(void **state)
{
	uint64_t before = counters.nat_malformed;
	uint8_t p[200];
	size_t len = ip4(p, "10.78.0.5", "11.9.0.2", 17, 3, 53);

	(void)state;
	assert_true(inner_addrs_may_pass(n, 0, p, len)); /* options that do nothing */
	p[21] = 131;
	p[22] = 7;
	assert_false(inner_addrs_may_pass(n, 0, p, len)); /* a loose source route */
	p[21] = 7;
	p[22] = 0; /* an option that never ends */
	assert_false(inner_addrs_may_pass(n, 0, p, len));
	len = ip4(p, "10.78.0.5", "11.9.0.2", 17, 0, 53);
	assert_false(inner_addrs_may_pass(n, 0, p, len - 1));
	assert_false(inner_addrs_may_pass(n, 0, p, 19));
	assert_false(inner_addrs_may_pass(n, 0, p, 0));
	len = ip6(p, "fd78::2", "2a11::9", 17, 24);
	p[41] = 53;
	p[43] = 53;
	p[45] = 24;
	assert_true(inner_addrs_may_pass(n, 0, p, len));
	len = ip6(p, "fd78::2", "2a11::9", 43, 32); /* a routing header */
	p[40] = 17;
	assert_false(inner_addrs_may_pass(n, 0, p, len));
	len = ip6(p, "fd78::2", "2a11::9", 60, 40); /* behind another one */
	p[40] = 43;
	p[48] = 17;
	assert_false(inner_addrs_may_pass(n, 0, p, len));
	len = ip6(p, "::ffff:10.78.0.5", "2a11::9", 17, 24); /* IPv4 in disguise */
	assert_false(inner_addrs_may_pass(n, 0, p, len));
	len = ip6(p, "fd78::2", "::ffff:11.9.0.2", 17, 24);
	assert_false(inner_addrs_may_pass(n, 0, p, len));
	assert_int_equal(counters.nat_malformed, before + 9);
}

static void whose_it_is(void **state)
{
	uint64_t before = counters.nat_nobody;
	uint8_t p[100];

	(void)state;
	assert_int_equal(inner_addrs_owner(n, p, ip4(p, "11.9.0.2", "10.78.0.5", 17, 0, 53)), 0);
	assert_int_equal(inner_addrs_owner(n, p, ip4(p, "11.9.0.2", "10.78.0.2", 17, 0, 53)), 1);
	assert_int_equal(inner_addrs_owner(n, p, ip4(p, "11.9.0.2", "192.168.5.77", 17, 0, 53)), 2);
	assert_int_equal(inner_addrs_owner(n, p, ip6(p, "2a11::9", "fd78::4", 59, 0)), 2);
	assert_int_equal(inner_addrs_owner(n, p, ip4(p, "11.9.0.2", "10.78.0.9", 17, 0, 53)), -1);
	assert_int_equal(inner_addrs_owner(n, p, 3), -1);
	assert_int_equal(counters.nat_nobody, before + 2);
}

/* Random bytes behind a plausible beginning: whatever they say, nothing is read outside. */
static void nonsense(void **state)
{
	(void)state;
	for (int i = 0; i < 200000; i++) {
		size_t len = (size_t)rand() % 120;
		uint8_t *p = malloc(len ? len : 1);

		for (size_t j = 0; j < len; j++)
			p[j] = (uint8_t)(rand() % 4 ? rand() : 43);
		if (len > 20)
			p[0] = (uint8_t)(rand() % 2 ? 0x40 + 5 + rand() % 11 : 0x60);
		if (len > 6 && rand() % 2) {
			p[2] = p[4] = 0;
			p[3] = (uint8_t)len;
			p[5] = (uint8_t)(len - 40);
		}
		inner_addrs_may_pass(n, 0, p, len);
		inner_addrs_owner(n, p, len);
		free(p);
	}
}

/* The first one goes, two come: the others' addresses stay, the free ones are given. */
static void users_come_and_go(void **state)
{
	struct config next = c;
	struct addr a;

	(void)state;
	memset(next.users[1].pin, 1, WIRE_PIN);
	memset(c.users[1].pin, 1, WIRE_PIN);
	next.n_users = 5;
	next.users[0].gone = true;
	memset(next.users[3].pin, 3, WIRE_PIN);
	memset(next.users[4].pin, 4, WIRE_PIN);
	next.users[3].inner[0] = host("10.99.0.1");
	next.users[3].n_inner = 1;
	assert_int_equal(inner_addrs_renew(n, &next, err, sizeof(err)), -1);
	everyone_has_his_own(NULL);
	assert_true(inner_addrs_inner(n, 0, AF_INET, &a)); /* his, who goes */
	next.users[3].inner[0] = a;
	assert_int_equal(inner_addrs_renew(n, &next, err, sizeof(err)), 0);
	c = next;
	has(1, AF_INET, "10.78.0.2");
	assert_true(inner_addrs_inner(n, 3, AF_INET, &a) && addr_same_ip(&a, &next.users[3].inner[0]));
	for (unsigned u = 1; u < 5; u++)
		for (unsigned v = u + 1; v < 5; v++) {
			struct addr b;

			assert_true(inner_addrs_inner(n, u, AF_INET6, &a) && inner_addrs_inner(n, v, AF_INET6, &b));
			assert_false(addr_same_ip(&a, &b) || addr_is_any(&a));
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everyone_has_his_own), cmocka_unit_test(bad_addresses_are_refused), cmocka_unit_test(only_the_own_source),
		cmocka_unit_test(where_it_may_go),	cmocka_unit_test(nothing_hides_its_way),    cmocka_unit_test(whose_it_is),
		cmocka_unit_test(nonsense),		cmocka_unit_test(users_come_and_go),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
