/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "addr.h"

static void roundtrip(const char *in, const char *out)
{
	struct addr a;
	char buf[ADDR_STRLEN];

	assert_int_equal(addr_parse(&a, in, 99), 0);
	assert_string_equal(addr_print(&a, buf), out);
}

static void text_both_ways(void **st)
{
	(void)st;
	roundtrip("1.2.3.4", "1.2.3.4:99");
	roundtrip("1.2.3.4:80", "1.2.3.4:80");
	roundtrip("1.2.3.4:65535", "1.2.3.4:65535");
	roundtrip("1.2.3.4:0", "1.2.3.4:0");
	roundtrip("::1", "[::1]:99");
	roundtrip("[::1]", "[::1]:99");
	roundtrip("[2001:db8::1]:443", "[2001:db8::1]:443");
	roundtrip("::ffff:10.1.2.3", "10.1.2.3:99");
	roundtrip("[::ffff:10.1.2.3]:1", "10.1.2.3:1");
	roundtrip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:99");
}

static void bad_text_changes_nothing(void **st)
{
	static const char *const bad[] = { "", " ", "1.2.3", "1.2.3.4.5", "1.2.3.256", "1.2.3.4:", "1.2.3.4:65536",
		"1.2.3.4:-1", "1.2.3.4: 80", "1.2.3.4:80x", "1.2.3.4:080000", "[1.2.3.4]", "[::1", "::1]", "[::1]x",
		"[::1]80", "[]", "[]:80", ":80", ":", "::g", "fe80::1%eth0", "example.org", "01.2.3.4",
		"1.2.3.4\n", "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000" };
	struct addr a, before;

	(void)st;
	memset(&a, 0x5a, sizeof(a));
	before = a;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		if (addr_parse(&a, bad[i], 1) != -1)
			fail_msg("accepted \"%s\"", bad[i]);
		assert_memory_equal(&a, &before, sizeof(a));
	}
}

static void sockaddr_of_either_family(void **st)
{
	struct sockaddr_storage ss;
	struct addr a, b;

	(void)st;
	assert_int_equal(addr_parse(&a, "192.0.2.7:8080", 0), 0);
	assert_int_equal(addr_to_sockaddr(&a, AF_UNSPEC, &ss), sizeof(struct sockaddr_in));
	assert_int_equal(ss.ss_family, AF_INET);
	assert_int_equal(addr_from_sockaddr(&b, (struct sockaddr *)&ss), 0);
	assert_true(addr_equal(&a, &b));
	assert_int_equal(addr_to_sockaddr(&a, AF_INET6, &ss), sizeof(struct sockaddr_in6));
	assert_int_equal(ss.ss_family, AF_INET6);
	assert_true(IN6_IS_ADDR_V4MAPPED(&((struct sockaddr_in6 *)&ss)->sin6_addr));
	assert_int_equal(addr_from_sockaddr(&b, (struct sockaddr *)&ss), 0);
	assert_true(addr_equal(&a, &b));
	assert_true(addr_is_v4(&b));
	assert_int_equal(addr_parse(&a, "[2001:db8::9]:53", 0), 0);
	assert_int_equal(addr_to_sockaddr(&a, AF_UNSPEC, &ss), sizeof(struct sockaddr_in6));
	assert_int_equal(addr_from_sockaddr(&b, (struct sockaddr *)&ss), 0);
	assert_true(addr_equal(&a, &b));
	ss.ss_family = AF_UNIX;
	assert_int_equal(addr_from_sockaddr(&b, (struct sockaddr *)&ss), -1);
}

static void bytes_of_either_family(void **st)
{
	const uint8_t raw[16] = { 10, 1, 2, 3 };
	struct addr a;
	size_t len;

	(void)st;
	assert_int_equal(addr_from_bytes(&a, raw, 4, 5), 0);
	assert_memory_equal(addr_bytes(&a, &len), raw, 4);
	assert_int_equal(len, 4);
	assert_int_equal(addr_from_bytes(&a, raw, 16, 5), 0);
	assert_memory_equal(addr_bytes(&a, &len), raw, 16);
	assert_int_equal(len, 16);
	assert_int_equal(addr_from_bytes(&a, raw, 5, 5), -1);
}

static struct addr ip(const char *text)
{
	struct addr a;

	assert_int_equal(addr_parse(&a, text, 0), 0);
	return a;
}

static void special_addresses(void **st)
{
	struct addr a;

	(void)st;
	a = ip("0.0.0.0"), assert_true(addr_is_any(&a));
	a = ip("::"), assert_true(addr_is_any(&a));
	a = ip("0.0.0.1"), assert_false(addr_is_any(&a));
	a = ip("127.9.9.9"), assert_true(addr_is_loopback(&a));
	a = ip("::1"), assert_true(addr_is_loopback(&a));
	a = ip("::ffff:127.0.0.1"), assert_true(addr_is_loopback(&a));
	a = ip("::2"), assert_false(addr_is_loopback(&a));
	a = ip("169.254.169.254"), assert_true(addr_is_linklocal(&a));
	a = ip("fe80::1"), assert_true(addr_is_linklocal(&a));
	a = ip("febf::1"), assert_true(addr_is_linklocal(&a));
	a = ip("fec0::1"), assert_false(addr_is_linklocal(&a));
	a = ip("169.255.0.1"), assert_false(addr_is_linklocal(&a));
}

static bool holds(const char *net, const char *text)
{
	struct prefix p;
	struct addr a = ip(text);

	assert_int_equal(prefix_parse(&p, net), 0);
	return prefix_contains(&p, &a);
}

static void prefixes_hold_what_they_say(void **st)
{
	(void)st;
	assert_true(holds("10.0.0.0/8", "10.255.255.255"));
	assert_false(holds("10.0.0.0/8", "11.0.0.0"));
	assert_true(holds("10.0.0.0/8", "::ffff:10.0.0.1"));
	assert_true(holds("192.168.1.128/25", "192.168.1.200"));
	assert_false(holds("192.168.1.128/25", "192.168.1.127"));
	assert_true(holds("1.2.3.4", "1.2.3.4"));
	assert_false(holds("1.2.3.4", "1.2.3.5"));
	assert_true(holds("0.0.0.0/0", "8.8.8.8"));
	assert_false(holds("0.0.0.0/0", "2001:db8::1"));
	assert_true(holds("::/0", "2001:db8::1"));
	assert_false(holds("::/0", "8.8.8.8"));
	assert_true(holds("2001:db8::/33", "2001:db8:7fff::1"));
	assert_false(holds("2001:db8::/33", "2001:db8:8000::1"));
	assert_true(holds("::ffff:10.0.0.0/104", "10.3.2.1"));
}

static void prefix_text(void **st)
{
	static const char *const bad[] = { "", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.1/8", "::/129", "2001:db8::1/32",
		"10.0.0.0/8/8", "10.0.0.0/-1", "10.0.0.0/ 8", "10.0.0.0:80", "1.2.3.4/031x", "[::1]/128" };
	static const char *const good[] = { "10.0.0.0/8", "1.2.3.4/32", "0.0.0.0/0", "::/0", "2001:db8::/32", "::1/128" };
	char buf[PREFIX_STRLEN];
	struct prefix p;

	(void)st;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (prefix_parse(&p, bad[i]) != -1)
			fail_msg("accepted \"%s\"", bad[i]);
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		assert_int_equal(prefix_parse(&p, good[i]), 0);
		assert_string_equal(prefix_print(&p, buf), good[i]);
	}
}

/* Every length of both families, against counting bits one by one. */
static void prefix_every_length(void **st)
{
	struct addr a, b;
	struct prefix p;

	(void)st;
	srandom(7);
	for (int round = 0; round < 2000; round++) {
		unsigned differ = (unsigned)random() % 128, bits = (unsigned)random() % 129;

		for (int i = 0; i < 16; i++)
			a.ip[i] = (uint8_t)random();
		a.ip[0] |= 1; /* not mapped */
		b = a;
		b.ip[differ / 8] ^= (uint8_t)(0x80 >> differ % 8);
		memcpy(p.ip, a.ip, 16);
		p.bits = (uint8_t)bits;
		assert_true(prefix_contains(&p, &a));
		assert_int_equal(prefix_contains(&p, &b), differ >= bits);
	}
}

static void whose_an_address_is(void **state)
{
	static const char *const both[][2] = {
		{ "11.1.2.3:99", "11.1.2.3:0" },
		{ "[2001:db8:1:2:3:4:5:6]:99", "[2001:db8:1:2::]:0" },
		{ "[2001:db8:1:2::]:0", "[2001:db8:1:2::]:0" },
	};
	char text[ADDR_STRLEN];
	struct addr a;

	(void)state;
	for (size_t i = 0; i < sizeof(both) / sizeof(*both); i++) {
		assert_int_equal(addr_parse(&a, both[i][0], 0), 0);
		a = addr_site(&a);
		assert_string_equal(addr_print(&a, text), both[i][1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whose_an_address_is),
		cmocka_unit_test(text_both_ways),
		cmocka_unit_test(bad_text_changes_nothing),
		cmocka_unit_test(sockaddr_of_either_family),
		cmocka_unit_test(bytes_of_either_family),
		cmocka_unit_test(special_addresses),
		cmocka_unit_test(prefixes_hold_what_they_say),
		cmocka_unit_test(prefix_text),
		cmocka_unit_test(prefix_every_length),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
