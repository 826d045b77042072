/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "gateway_links.h"

static struct addr numbered(unsigned i)
{
	const uint8_t ip[4] = { 203, 0, (uint8_t)(i >> 8), (uint8_t)i };
	struct addr a;

	assert_int_equal(addr_from_bytes(&a, ip, 4, (uint16_t)(1024 + i)), 0);
	return a;
}

static struct gateway_link *at(struct gateway_links *all, unsigned i)
{
	struct addr a = numbered(i);

	return gateway_links_at(all, &a);
}

static void an_address_is_one_peer_whatever_its_port(void **state)
{
	static struct gateway_links all;
	struct addr a = numbered(1);
	struct gateway_link *p = gateway_links_at(&all, &a);

	(void)state;
	p->down.packets = 80;
	a.port = 9;
	assert_ptr_equal(gateway_links_at(&all, &a), p);
	assert_int_equal(all.n, 1);
	assert_int_equal(at(&all, 2)->down.packets, 0);
	assert_int_equal(all.n, 2);
}

static void the_least_recently_learnt_goes(void **state)
{
	static struct gateway_links all;

	(void)state;
	for (unsigned i = 0; i < GATEWAY_LINKS_MAX; i++)
		at(&all, i)->down.packets = 1000 + i;
	at(&all, 0);
	assert_int_equal(at(&all, GATEWAY_LINKS_MAX)->down.packets, 0);
	assert_int_equal(all.n, GATEWAY_LINKS_MAX);
	assert_int_equal(at(&all, 0)->down.packets, 1000);
	assert_int_equal(at(&all, 2)->down.packets, 1002);
	assert_int_equal(at(&all, 1)->down.packets, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_address_is_one_peer_whatever_its_port),
		cmocka_unit_test(the_least_recently_learnt_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
