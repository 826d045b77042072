/* SPDX-License-Identifier: BSD-2-Clause */
/* places: of strangers without number it is their own kind who makes room. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "virtual_time.h"

#include "counter.h"
#include "places.h"

#define MANY 512

struct guest {
	struct place *place;
};
static struct guest guests[4 * MANY];
static unsigned n_guests;
static struct places *places;

static void turn_out(void *arg)
{
	struct guest *g = arg;

	place_free(g->place);
	g->place = NULL;
}

static struct guest *comes(const char *from)
{
	struct guest *g = &guests[n_guests++];
	struct addr peer;

	assert_int_equal(addr_parse(&peer, from, 0), 0);
	g->place = place_new(places, &peer);
	assert_non_null(g->place);
	place_give(g->place, false, turn_out, g);
	virtual_us += 1000;
	return g;
}

static void crowd(const char *from, unsigned n)
{
	while (n--)
		comes(from);
}

static int setup(void **state)
{
	(void)state;
	places = places_new();
	n_guests = 0;
	memset(&counters, 0, sizeof(counters));
	return !places;
}

static int teardown(void **state)
{
	(void)state;
	for (unsigned i = 0; i < n_guests; i++)
		place_free(guests[i].place);
	assert_int_equal(places_taken(places), 0);
	places_free(places);
	return 0;
}

static void there_are_so_many_and_no_more(void **state)
{
	(void)state;
	crowd("203.0.113.1", MANY + 100);
	assert_int_equal(places_taken(places), MANY);
	assert_int_equal(counters.quiet_overflow, 100);
	assert_null(guests[99].place);
	assert_non_null(guests[100].place);
}

/* One came before them, one while they come; ten thousand connections later both are there. */
static void a_crowd_from_one_address_turns_out_its_own(void **state)
{
	struct guest *before, *amid;

	(void)state;
	before = comes("198.51.100.7");
	crowd("203.0.113.1", MANY);
	amid = comes("198.51.100.8");
	crowd("203.0.113.1", MANY);
	assert_non_null(before->place);
	assert_non_null(amid->place);
}

static void all_addresses_of_one_house_are_one(void **state)
{
	char text[64];
	struct guest *other;

	(void)state;
	other = comes("2001:db8:0:2::1");
	for (unsigned i = 0; i < MANY + 10; i++) {
		snprintf(text, sizeof(text), "2001:db8:0:1::%x", i + 1);
		comes(text);
	}
	assert_non_null(other->place);
	assert_int_equal(places_taken(places), MANY);
}

static void who_was_judged_goes_first(void **state)
{
	struct guest *judged;

	(void)state;
	crowd("203.0.113.1", 10);
	judged = comes("203.0.113.1");
	place_give(judged->place, true, turn_out, judged);
	crowd("203.0.113.1", MANY - 11);
	comes("203.0.113.1");
	assert_null(judged->place);
	assert_non_null(guests[0].place);
}

/* From everywhere, one each: who has been here longest. */
static void a_crowd_from_everywhere(void **state)
{
	char text[32];

	(void)state;
	for (unsigned i = 0; i < MANY + 50; i++) {
		snprintf(text, sizeof(text), "11.%u.%u.1", i / 250, i % 250);
		comes(text);
	}
	assert_null(guests[49].place);
	assert_non_null(guests[50].place);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(there_are_so_many_and_no_more),
		TEST(a_crowd_from_one_address_turns_out_its_own),
		TEST(all_addresses_of_one_house_are_one),
		TEST(who_was_judged_goes_first),
		TEST(a_crowd_from_everywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
