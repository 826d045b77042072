/* SPDX-License-Identifier: BSD-2-Clause */
/* metered: a metered link rests while there is little to carry, joins in after two busy seconds and
 * rests again after thirty quiet ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "virtual_time.h"

#include "metered.h"

static struct event_base *base;
static struct metered *t;
static struct config config;
static enum links_standing verdict, first;
static uint64_t born, verdict_ms, moved, rate; /* rate: bytes a second */

void links_set_verdict(struct links *l, size_t link, enum links_judge who, enum links_standing standing, const char *why)
{
	(void)l, (void)why;
	assert_int_equal(who, LINKS_METERED);
	if (link == 0)
		return;
	if (standing != verdict)
		verdict_ms = virtual_ms();
	verdict = standing;
}

enum links_standing links_standing(const struct links *l, size_t link, const char **why)
{
	(void)l, (void)why;
	return link == 0 ? first : LINKS_IN;
}

bool links_address(const struct links *l, size_t link, int family, struct addr *out)
{
	(void)l, (void)link, (void)out;
	return family == AF_INET;
}

uint64_t relay_loop_moved(const struct relay_loop *loop)
{
	(void)loop;
	return moved += rate;
}

static void pass_ms(unsigned ms)
{
	event_base_loopexit(base, &(struct timeval){ .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 });
	event_base_dispatch(base);
}

static void pass(unsigned seconds)
{
	pass_ms(seconds * 1000);
}

static int setup(void **state)
{
	(void)state;
	virtual_grace_ms = 0;
	config = (struct config){ .n_links = 2 };
	config.links[1].metered = true;
	first = verdict = LINKS_IN;
	moved = rate = 0;
	base = event_base_new();
	born = virtual_ms();
	t = metered_new(base, &config, NULL, NULL);
	pass_ms(1); /* a second is looked at when it is over */
	return t ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	metered_free(t);
	event_base_free(base);
	return 0;
}

static void it_rests_from_the_start(void **state)
{
	(void)state;
	assert_int_equal(verdict, LINKS_OUT);
	pass(100);
	assert_int_equal(verdict, LINKS_OUT);
}

static void much_for_two_seconds_has_it_join_and_little_for_thirty_rest(void **state)
{
	(void)state;
	rate = 250000;
	pass(1);
	assert_int_equal(verdict, LINKS_OUT);
	pass(10);
	assert_int_equal(verdict, LINKS_IN);
	assert_int_equal(verdict_ms - born, 2000);
	rate = 249999;
	pass(29);
	assert_int_equal(verdict, LINKS_IN);
	pass(10);
	assert_int_equal(verdict, LINKS_OUT);
	assert_int_equal(verdict_ms - born, 11000 + 30000);
}

static void bursts_of_a_second_do_not_wake_it(void **state)
{
	(void)state;
	for (int n = 0; n < 20; n++) {
		rate = n % 2 ? 0 : 5000000;
		pass(1);
	}
	assert_int_equal(verdict, LINKS_OUT);
}

static void nothing_else_is_left_and_it_is_used_at_once(void **state)
{
	(void)state;
	first = LINKS_OUT;
	metered_links_changed(t);
	assert_int_equal(verdict, LINKS_IN);
	first = LINKS_PLAIN;
	metered_links_changed(t);
	assert_int_equal(verdict, LINKS_OUT);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(it_rests_from_the_start),
		T(much_for_two_seconds_has_it_join_and_little_for_thirty_rest),
		T(bursts_of_a_second_do_not_wake_it),
		T(nothing_else_is_left_and_it_is_used_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
