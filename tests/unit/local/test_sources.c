/* SPDX-License-Identifier: BSD-2-Clause */
/* sources: what a house may have is shared by its devices: openings by turns, and the last quarter
 * of the places is for who has few. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "virtual_time.h"

#include "sources.h"

#define TURNS 400

static struct event_base *base;
static struct sources *sources;
static unsigned n_granted;
static char order[TURNS + 1]; /* whose turn it was, one after the other */

struct visitor {
	struct turn *turn;
	char name;
};
static struct visitor visitors[TURNS];
static unsigned n_visitors;

static int begin(unsigned most)
{
	base = event_base_new();
	sources = sources_new(base, most);
	n_granted = n_visitors = 0;
	memset(order, 0, sizeof(order));
	return base && sources ? 0 : -1;
}

static int setup(void **state)
{
	(void)state;
	return begin(1000);
}

static int teardown(void **state)
{
	(void)state;
	for (unsigned i = 0; i < n_visitors; i++)
		turn_free(visitors[i].turn);
	assert_int_equal(sources_connections(sources), 0);
	assert_int_equal(sources_waiting(sources), 0);
	sources_free(sources);
	event_base_free(base);
	return 0;
}

static void granted(void *arg)
{
	order[n_granted++] = ((struct visitor *)arg)->name;
}

/* A connection of device `name`; NULL: it was refused. */
static struct visitor *arrives(char name)
{
	struct visitor *v = &visitors[n_visitors];
	struct addr who;

	assert_int_equal(addr_parse(&who, "192.168.1.1", 0), 0);
	who.ip[15] = (uint8_t)name;
	*v = (struct visitor){ turn_new(sources, &who), name };
	if (!v->turn)
		return NULL;
	n_visitors++;
	return v;
}

static struct visitor *asks(char name)
{
	struct visitor *v = arrives(name);

	assert_non_null(v);
	if (turn_ask(v->turn, granted, v))
		granted(v);
	return v;
}

static void leaves(struct visitor *v)
{
	turn_free(v->turn);
	v->turn = NULL;
}

static void run_ms(unsigned ms)
{
	struct timeval tv = { ms / 1000, (suseconds_t)(ms % 1000) * 1000 };

	event_base_loopexit(base, &tv);
	event_base_dispatch(base);
}

static unsigned of(char name, unsigned first)
{
	unsigned n = 0;

	for (unsigned i = 0; i < first && i < n_granted; i++)
		n += order[i] == name;
	return n;
}

static void nothing_is_known_and_nobody_waits(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 300; i++)
		asks('a');
	assert_int_equal(n_granted, 300);
}

/* Two seconds' worth at once, then the rate, and a little less than the VPS counts. */
static void one_device_gets_all_there_is(void **state)
{
	(void)state;
	sources_allow(sources, 0, 100);
	for (unsigned i = 0; i < 300; i++)
		asks('a');
	assert_int_equal(n_granted, 190);
	assert_int_equal(sources_waiting(sources), 110);
	run_ms(500);
	assert_in_range(n_granted, 190 + 46, 190 + 48);
	run_ms(1000);
	assert_int_equal(n_granted, 300);
	assert_int_equal(sources_waiting(sources), 0);
}

/* Whoever comes last waits for one turn of each other device, however long their lines are. */
static void a_flood_of_one_keeps_no_other_waiting(void **state)
{
	unsigned before;

	(void)state;
	sources_allow(sources, 0, 100);
	for (unsigned i = 0; i < 300; i++)
		asks('f');
	before = n_granted;
	for (unsigned i = 0; i < 10; i++)
		asks('p');
	assert_int_equal(n_granted, before);
	run_ms(250);
	assert_int_equal(of('p', n_granted), 10);
	assert_int_equal(of('p', before + 20), 10);
	assert_int_equal(of('f', before + 20), before + 10);
}

static void three_share_alike(void **state)
{
	(void)state;
	sources_allow(sources, 0, 100);
	for (unsigned i = 0; i < 190; i++)
		asks('x');
	for (unsigned i = 0; i < 60; i++) {
		asks('a');
		asks('b');
		asks('c');
	}
	run_ms(1000);
	assert_in_range(of('a', n_granted), 31, 32);
	assert_in_range(of('b', n_granted), 31, 32);
	assert_in_range(of('c', n_granted), 31, 32);
}

static void the_last_quarter_is_for_who_has_few(void **state)
{
	unsigned n;

	teardown(state);
	assert_int_equal(begin(160), 0);
	for (n = 0; arrives('f'); n++)
		;
	assert_int_equal(n, 120);
	for (char name = 'a'; name <= 'd'; name++) {
		for (n = 0; arrives(name); n++)
			;
		assert_int_equal(n, 10);
	}
	assert_null(arrives('e')); /* now the house is full */
}

static void so_few_places_are_not_divided(void **state)
{
	teardown(state);
	assert_int_equal(begin(3), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_non_null(arrives('a'));
	assert_null(arrives('b'));
}

/* Of the VPS's places a device that has many waits for one, and the others do not wait for it. */
static void places_of_the_vps(void **state)
{
	struct visitor *first, *small;

	(void)state;
	sources_allow(sources, 160, 0);
	first = asks('f');
	for (unsigned i = 1; i < 200; i++)
		asks('f');
	assert_int_equal(n_granted, 120);
	small = asks('p');
	run_ms(1);
	assert_int_equal(of('p', n_granted), 1);
	assert_int_equal(sources_waiting(sources), 80);
	leaves(first); /* 120 are taken still */
	run_ms(1);
	assert_int_equal(n_granted, 121);
	leaves(small);
	run_ms(1);
	assert_int_equal(n_granted, 122);
	assert_int_equal(of('f', n_granted), 121);
	sources_allow(sources, 8000, 0); /* another VPS, which allows more */
	run_ms(1);
	assert_int_equal(sources_waiting(sources), 0);
}

static void who_gives_up_is_passed_over(void **state)
{
	struct visitor *gone;

	(void)state;
	sources_allow(sources, 0, 100);
	for (unsigned i = 0; i < 190; i++)
		asks('x');
	gone = asks('a');
	asks('b');
	leaves(gone);
	run_ms(100);
	assert_int_equal(of('a', n_granted), 0);
	assert_int_equal(of('b', n_granted), 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nothing_is_known_and_nobody_waits),
		TEST(one_device_gets_all_there_is),
		TEST(a_flood_of_one_keeps_no_other_waiting),
		TEST(three_share_alike),
		TEST(the_last_quarter_is_for_who_has_few),
		TEST(so_few_places_are_not_divided),
		TEST(places_of_the_vps),
		TEST(who_gives_up_is_passed_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
