/* The whole tunnel, both ends of it, over lines that lose, delay, fill up and die. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tunnel_sim.h"

static const struct tunnel_config usual = { .redundancy = TUNNEL_AUTO, .deadline_ms = 150 };

/* Packets of one flow, one way, `pps` of them a second. */
static void stream(struct sim *s, unsigned flow, size_t len, unsigned pps, uint64_t us)
{
	uint64_t begin = sim_us, n = 0;

	while (sim_us - begin < us) {
		for (; n < (sim_us - begin) * pps / 1000000; n++)
			sim_send(s, 0, flow, len, 0);
		tunnel_send_end(s->end[0]);
		sim_step(s);
	}
}

static void assert_all_once(const struct sim_flow *f, unsigned lost_at_most)
{
	assert_int_equal(f->twice, 0);
	assert_true(f->got <= f->sent);
	assert_true(f->sent - f->got <= lost_at_most);
}

/* 10^5 packets, every twentieth lost on either line: 0.002 % is two. */
static void nothing_of_a_call_is_lost(void **st)
{
	struct sim_link l[2] = { { .delay_us = 20000, .loss_ppm = 50000 }, { .delay_us = 35000, .loss_ppm = 50000 } };
	struct sim *s = sim_new(2, l, &usual, 1);

	(void)st;
	stream(s, 0, 200, 250, 400000000);
	sim_run(s, 1000000);
	sim_print(s, "5 % + 5 %");
	assert_in_range(s->flow[0][0].sent, 99990, 100010);
	assert_all_once(&s->flow[0][0], 2);
	assert_in_range(sim_latency(&s->flow[0][0], 500), 20000, 21000);
	assert_in_range(sim_latency(&s->flow[0][0], 990), 35000, 40000);
	assert_in_range(s->flow[0][0].late_us_max, 35000, 175000);
	sim_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_of_a_call_is_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
