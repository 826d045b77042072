/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <string.h>

#include "jitter.h"

/* Half a minute at a rate of which `lost` in a hundred do not arrive. What is seen is the line's
 * own delay, and a queue that shrinks by so much a second, during a trial only. */
static void send(struct jitter *j, uint64_t *now, uint32_t own_us, uint32_t queue_us, uint32_t speed_us, unsigned lost)
{
	for (unsigned ms = 0; ms < 30000; ms += 50, *now += 50000) {
		uint32_t step = speed_us / 20, rest = queue_us > step ? queue_us - step : 0;
		struct jitter_seen seen = { own_us + queue_us, 40000, 1000000, 1000000 - 10000 * lost };

		jitter_busy(j, &seen, *now);
		queue_us = jitter_tries(j) ? rest : queue_us;
	}
}

static void what_an_idle_line_delays_is_its_own(void **st)
{
	struct jitter j = { .us = 0 };
	uint64_t now = 1000000;

	(void)st;
	for (unsigned i = 0; i < 20; i++)
		jitter_idle(&j, i == 5 ? 12000 : 3000, now += 100000);
	assert_int_equal(jitter_queue_us(&j, 20000), 8000);
	assert_int_equal(jitter_queue_us(&j, 11000), 0);
	for (unsigned i = 0; i < 120; i++)
		jitter_idle(&j, 3000, now += 100000);
	assert_int_equal(jitter_queue_us(&j, 20000), 17000);
	jitter_idle(&j, 500000, now += 100000);
	assert_int_equal(jitter_queue_us(&j, 500000), 470000); /* whoever makes that, it is a queue */
}

static void a_delay_that_sending_less_does_not_cure_is_its_own(void **st)
{
	struct jitter j = { .us = 0 };
	uint64_t now = 20000000;

	(void)st;
	send(&j, &now, 0, 0, 0, 0);
	assert_int_equal(j.us, 0);
	send(&j, &now, 14000, 0, 0, 0);
	assert_int_equal(j.us, 14000);
	send(&j, &now, 26000, 0, 0, 0);
	assert_int_equal(j.us, 26000);
	send(&j, &now, 8000, 0, 0, 0);
	assert_int_equal(j.us, 26000); /* until it is idle */
}

static void a_queue_is_not(void **st)
{
	static const struct {
		uint32_t queue_us, speed_us;
		unsigned lost;
	} all[] = { { 5000, 0, 0 }, { 12000, 200000, 0 }, { 50000, 200000, 0 }, { 14000, 0, 10 }, { 100000, 0, 0 }, { 30000, 60000, 0 } };

	(void)st;
	for (unsigned i = 0; i < sizeof(all) / sizeof(*all); i++) {
		struct jitter j = { .us = 0 };
		uint64_t now = 20000000;

		send(&j, &now, 0, all[i].queue_us, all[i].speed_us, all[i].lost);
		assert_int_equal(j.us, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_an_idle_line_delays_is_its_own),
		cmocka_unit_test(a_delay_that_sending_less_does_not_cure_is_its_own),
		cmocka_unit_test(a_queue_is_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
