/* SPDX-License-Identifier: BSD-2-Clause */
/* What a house at rest pays, on a clock of its own: nobody moves anything, and lines are as bad as
 * lines are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tunnel_sim.h"

#define SECOND 1000000u
#define HOUR (3600ull * SECOND)
#define PLAIN 0
#define METERED 1
#define PLAIN_S 25
#define METERED_S 300

static const struct tunnel_config usual = { .redundancy = TUNNEL_AUTO, .deadline_ms = 150 };

static bool is_quiet(const struct sim *s)
{
	for (unsigned i = 0; i < s->lines * 2; i++)
		if (s->link[i / 2][i % 2].head != s->link[i / 2][i % 2].tail)
			return false;
	return true;
}

/* In long steps while nothing is on its way. */
static void rest(struct sim *s, uint64_t us)
{
	for (uint64_t end = sim_us + us; sim_us < end; sim_step(s))
		if (is_quiet(s))
			sim_us += 20000;
}

static struct sim *house(const struct sim_link *link, uint64_t seed)
{
	struct sim *s = sim_new(2, link, &usual, seed);

	for (unsigned i = 0; i < 2; i++) {
		struct assoc_path p = { .udp = &s->udp[i], .use = i == METERED ? WIRE_USE_COPIES : WIRE_USE_FULL,
					.keepalive_s = i == METERED ? METERED_S : PLAIN_S };

		assoc_set_path(tunnel_assoc(s->end[0]), i, &p);
	}
	return s;
}

/* kB a day of a line, both ways, with IP's and UDP's headers. */
static unsigned paid(struct sim *s, unsigned line, uint64_t before, uint64_t us)
{
	uint64_t bytes = s->link[line][0].bytes + s->link[line][1].bytes - before;

	return (unsigned)(bytes * 24 * HOUR / us / 1000);
}

/* Something moved, once, and then nothing for some minutes. `dead`: the metered line, from then
 * on. */
static void at_rest(const char *what, const struct sim_link *link, uint64_t seed, unsigned plain, unsigned metered, bool dead)
{
	struct sim *s = house(link, seed);
	uint64_t before[2];
	unsigned is[2];

	for (unsigned i = 0; i < 20; i++, sim_run(s, 50000))
		sim_send(s, i % 2, 0, 200, 0);
	rest(s, 400 * (uint64_t)SECOND);
	s->link[METERED][0].dead = s->link[METERED][1].dead = dead;
	for (unsigned i = 0; i < 2; i++)
		before[i] = s->link[i][0].bytes + s->link[i][1].bytes;
	rest(s, 3 * HOUR);
	for (unsigned i = 0; i < 2; i++)
		is[i] = paid(s, i, before[i], 3 * HOUR);
	sim_print(s, what);
	printf("# %s: plain %u kB a day, metered %u\n", what, is[PLAIN], is[METERED]);
	assert_true(is[PLAIN] <= plain);
	assert_true(is[METERED] <= metered);
	assert_true(dead || health_usable(assoc_health(tunnel_assoc(s->end[0]), METERED)->state));
	assert_true(dead || health_usable(assoc_health(tunnel_assoc(s->end[1]), METERED)->state));
	for (unsigned end = 0; end < 2; end++)
		assert_true(health_usable(assoc_health(tunnel_assoc(s->end[end]), PLAIN)->state));
	sim_free(s);
}

static void good_lines(void **state)
{
	static const struct sim_link l[2] = { { .delay_us = 10000 }, { .delay_us = 30000 } };

	(void)state;
	at_rest("good lines", l, 7, 2000, 200, false);
}

/* What a probe that got lost costs is another probe. */
static void lines_that_lose(void **state)
{
	static const struct sim_link l[2] = { { .delay_us = 10000, .loss_ppm = 10000 }, { .delay_us = 30000, .loss_ppm = 10000 } };

	(void)state;
	for (uint64_t seed = 1; seed <= 5; seed++)
		at_rest("1 % lost", l, seed, 2000, 200, false);
}

static void a_metered_line_that_is_dead(void **state)
{
	static const struct sim_link l[2] = { { .delay_us = 10000 }, { .delay_us = 30000 } };

	(void)state;
	at_rest("the metered one dead", l, 7, 2000, 200, true);
}

/* Answers take longer than what is usually a doubt. */
static void a_line_that_is_slow(void **state)
{
	static const struct sim_link l[2] = { { .delay_us = 10000 }, { .delay_us = 400000 } };

	(void)state;
	at_rest("a slow line", l, 7, 2000, 200, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_lines), cmocka_unit_test(lines_that_lose), cmocka_unit_test(a_metered_line_that_is_dead),
		cmocka_unit_test(a_line_that_is_slow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
