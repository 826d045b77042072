/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy.h"
#include "wire.h"

static struct config config;
static struct policy *policy;

static int setup(void **state)
{
	struct addr own;

	(void)state;
	memset(&config, 0, sizeof(config));
	config.listen.port = 7200;
	config.deny_ports[0] = 25;
	config.n_deny_ports = 1;
	policy = policy_new(&config);
	addr_parse(&own, "8.8.4.1", 0);
	policy_add_own(policy, &own);
	addr_parse(&own, "2a00::99", 0);
	policy_add_own(policy, &own);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	policy_free(policy);
	return 0;
}

static void allow(const char *net)
{
	assert_int_equal(prefix_parse(&config.allow[config.n_allow++], net), 0);
}

static void deny(const char *net)
{
	assert_int_equal(prefix_parse(&config.deny[config.n_deny++], net), 0);
}

static void judged(const char *text, uint16_t want)
{
	struct addr a;

	assert_int_equal(addr_parse(&a, text, 443), 0);
	if (policy_check(policy, &a) != want)
		fail_msg("%s is %s", text, want ? "let through" : "forbidden");
}

#define YES(text) judged(text, WIRE_OK)
#define NO(text) judged(text, WIRE_FORBIDDEN)

static void the_inside_is_denied(void **state)
{
	static const char *const inside[] = {
		"127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254", "8.8.4.1", "2a00::99", "64:ff9b::7f00:1", "2002:7f00:1::",
		"0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "64:ff9b::808:401", "2002:808:401::1", "::ffff:8.8.4.1",
		"::7f00:1", "64:ff9b:1::1", "168.63.129.16", "::ffff:0:7f00:1",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(inside) / sizeof(*inside); i++)
		NO(inside[i]);
}

/* First and last address of every network of the list, and the neighbours on either side. */
static void the_list_to_the_bit(void **state)
{
	static const struct {
		const char *before, *first, *last, *after;
	} nets[] = {
		{ NULL, "0.0.0.0", "0.255.255.255", "1.0.0.0" },
		{ "9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0" },
		{ "100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0" },
		{ "126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0" },
		{ "169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0" },
		{ "172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0" },
		{ "191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0" },
		{ "192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0" },
		{ "192.88.98.255", "192.88.99.0", "192.88.99.255", "192.88.100.0" },
		{ "192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0" },
		{ "198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0" },
		{ "198.51.99.255", "198.51.100.0", "198.51.100.255", "198.51.101.0" },
		{ "203.0.112.255", "203.0.113.0", "203.0.113.255", "203.0.114.0" },
		{ "223.255.255.255", "224.0.0.0", "255.255.255.255", NULL },
		{ NULL, "64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "64:ff9b:2::" },
		{ NULL, "100::", "100::ffff:ffff:ffff:ffff", "100:0:0:1::" },
		{ NULL, "2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:200::" },
		{ "2001:db7:ffff::", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::" },
		{ "3ffe:ffff::", "3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff:1000::" },
		{ "5eff:ffff::", "5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "5f01::" },
		{ "fbff:ffff::", "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe00::" },
		{ "fe7f:ffff::", "fe80::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NULL },
		{ NULL, "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(nets) / sizeof(*nets); i++) {
		NO(nets[i].first);
		NO(nets[i].last);
		if (nets[i].before)
			YES(nets[i].before);
		if (nets[i].after)
			YES(nets[i].after);
	}
}

static void the_internet_is_not(void **state)
{
	(void)state;
	YES("8.8.8.8");
	YES("1.1.1.1:80");
	YES("[2606:4700::1111]:443");
	YES("64:ff9b::808:808");
	YES("2002:808:808::1");
	YES("8.8.8.8:7200"); /* our port elsewhere is just a port */
}

static void denied_ports(void **state)
{
	(void)state;
	NO("8.8.8.8:25");
	NO("[2606:4700::1111]:25");
	NO("8.8.8.8:0");
	config.n_deny_ports = 0;
	YES("8.8.8.8:25");
}

static void allow_opens_and_deny_closes(void **state)
{
	(void)state;
	allow("10.8.0.0/24");
	YES("10.8.0.9");
	NO("10.8.1.9");
	YES("64:ff9b::a08:9"); /* the same host by another name */
	deny("10.8.0.128/25");
	NO("10.8.0.200");
	deny("8.8.8.0/24");
	NO("8.8.8.8");
	NO("64:ff9b::808:808");
}

static void itself_only_by_name(void **state)
{
	(void)state;
	allow("0.0.0.0/0");
	allow("::/0");
	NO("8.8.4.1");
	NO("2a00::99");
	NO("127.0.0.1");
	NO("::1");
	NO("0.0.0.0");
	allow("8.8.4.1");
	allow("127.0.0.1/32");
	YES("8.8.4.1");
	YES("127.0.0.1:80");
	NO("8.8.4.1:7200"); /* that would be us dialling ourselves */
	NO("127.0.0.1:7200");
	NO("2a00::99");
}

static void own_addresses_come_and_go(void **state)
{
	struct addr a;
	char text[32];

	(void)state;
	for (int i = 0; i < 100; i++) { /* beyond the first allocation */
		snprintf(text, sizeof(text), "8.9.0.%d", i);
		YES(text);
		addr_parse(&a, text, 0);
		policy_add_own(policy, &a);
		policy_add_own(policy, &a);
		NO(text);
	}
	for (int i = 0; i < 100; i++) {
		snprintf(text, sizeof(text), "8.9.0.%d", i);
		addr_parse(&a, text, 0);
		policy_del_own(policy, &a);
		YES(text);
	}
	NO("8.8.4.1");
}

static void the_listening_address_is_own(void **state)
{
	(void)state;
	addr_parse(&config.listen, "9.9.9.1", 7200);
	NO("9.9.9.1");
	NO("9.9.9.1:7200");
	YES("9.9.9.2:7200");
}

static void pools_beat_every_allow(void **state)
{
	struct prefix pool;

	(void)state;
	prefix_parse(&pool, "10.77.0.0/16");
	assert_int_equal(policy_add_inside(policy, &pool), 0);
	allow("10.0.0.0/8");
	allow("10.77.0.5");
	YES("10.76.0.5");
	NO("10.77.0.5");
}

static bool routed_here(void *arg, const struct addr *a)
{
	return prefix_contains(arg, a);
}

static void what_the_kernel_keeps_is_forbidden_to_dial(void **state)
{
	struct prefix here;
	struct addr a;

	(void)state;
	prefix_parse(&here, "8.50.0.0/16");
	policy_set_here(policy, routed_here, &here);
	addr_parse(&a, "8.50.3.4", 443);
	assert_int_equal(policy_check_dial(policy, &a), WIRE_FORBIDDEN);
	allow("8.50.0.0/16");
	assert_int_equal(policy_check_dial(policy, &a), WIRE_FORBIDDEN);
	allow("8.50.3.4");
	assert_int_equal(policy_check_dial(policy, &a), WIRE_OK);
	a.port = config.listen.port;
	assert_int_equal(policy_check_dial(policy, &a), WIRE_FORBIDDEN);
	addr_parse(&a, "8.51.3.4", 443);
	assert_int_equal(policy_check_dial(policy, &a), WIRE_OK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_inside_is_denied), TEST(the_list_to_the_bit), TEST(the_internet_is_not), TEST(denied_ports),
		TEST(allow_opens_and_deny_closes), TEST(itself_only_by_name), TEST(own_addresses_come_and_go),
		TEST(the_listening_address_is_own), TEST(pools_beat_every_allow),
		TEST(what_the_kernel_keeps_is_forbidden_to_dial),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
