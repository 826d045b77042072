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

/* Outages of 40 ms, 5 % of the time on either line. */
static void a_call_survives_bursts(void **st)
{
	struct sim_link l[2] = { { .delay_us = 20000, .loss_ppm = 50000, .burst_us = 40000 },
				 { .delay_us = 35000, .loss_ppm = 50000, .burst_us = 40000 } };
	struct sim *s = sim_new(2, l, &usual, 2);

	(void)st;
	stream(s, 0, 200, 250, 200000000);
	sim_run(s, 1000000);
	sim_print(s, "bursts of 40 ms");
	assert_all_once(&s->flow[0][0], 5); /* 0.01 % */
	sim_free(s);
}

struct load {
	uint64_t bulk_rate; /* bytes a second of inner packets */
	size_t bulk_len;
	unsigned bulk_flows;
	bool call;
};

#define WARM 4 /* the flows of the time before; those that count are WARM less */

/* Bulk, and a call beside it. */
static void load_once(struct sim *s, const struct load *l, unsigned first, uint64_t us)
{
	uint64_t begin = sim_us, sent = 0, calls = 0;

	while (sim_us - begin < us) {
		for (; sent < (sim_us - begin) * l->bulk_rate / 1000000; sent += l->bulk_len)
			sim_send(s, 0, first + 1 + (unsigned)(sent / l->bulk_len % l->bulk_flows), l->bulk_len, 0);
		for (; l->call && calls < (sim_us - begin) / 20000; calls++)
			sim_send(s, 0, first, 200, 0);
		tunnel_send_end(s->end[0]);
		sim_step(s);
	}
	sim_run(s, 500000);
}

/* Two seconds to learn what the lines carry, and then what counts. */
static void load_it(struct sim *s, const struct load *l, uint64_t us)
{
	load_once(s, l, WARM, 2000000);
	load_once(s, l, 0, us);
}

static void assert_delivered(const struct sim_flow *f, unsigned permille, unsigned disorder_permille)
{
	assert_int_equal(f->twice, 0);
	assert_true(f->got * 1000 >= f->sent * permille);
	assert_true(f->disorder * 1000 <= f->got * disorder_permille);
}

static void bulk_uses_both_lines(void **st)
{
	struct sim_link l[2] = { { .delay_us = 10000, .rate = 20000000 / 8, .queue_us = 200000 },
				 { .delay_us = 15000, .rate = 20000000 / 8, .queue_us = 200000 } };
	struct load load = { .bulk_rate = 36000000 / 8, .bulk_len = 1250, .bulk_flows = 1, .call = true };
	struct tunnel_config config = usual;
	struct sim *s;

	(void)st;
	for (config.aggregate = true;; config.aggregate = false) {
		s = sim_new(2, l, &config, 3);
		load_it(s, &load, 20000000);
		sim_print(s, config.aggregate ? "2 x 20 Mbit/s" : "2 x 20 Mbit/s, not aggregated");
		assert_delivered(&s->flow[1][0], 950, 10);
		assert_all_once(&s->flow[0][0], 0);
		assert_in_range(sim_latency(&s->flow[0][0], 990), 10000, 30000);
		sim_free(s);
		if (!config.aggregate)
			break;
	}
}

static void bulk_uses_unequal_lines(void **st)
{
	struct sim_link l[2] = { { .delay_us = 15000, .rate = 10000000 / 8, .queue_us = 200000 },
				 { .delay_us = 90000, .rate = 3000000 / 8, .queue_us = 200000 } };
	struct load load = { .bulk_rate = 11700000 / 8, .bulk_len = 1250, .bulk_flows = 1, .call = true };
	struct tunnel_config config = usual;
	struct sim *s;

	(void)st;
	config.aggregate = true;
	s = sim_new(2, l, &config, 4);
	load_it(s, &load, 20000000);
	sim_print(s, "10/15 and 3/90");
	assert_delivered(&s->flow[1][0], 900, 1000);
	assert_all_once(&s->flow[0][0], 0);
	assert_in_range(sim_latency(&s->flow[0][0], 990), 15000, 100000);
	sim_free(s);
}

/* One line that loses 5 %, no copies: resends alone. */
static void bulk_is_repaired(void **st)
{
	struct sim_link l[1] = { { .delay_us = 20000, .rate = 20000000 / 8, .queue_us = 200000, .loss_ppm = 50000 } };
	struct load load = { .bulk_rate = 12000000 / 8, .bulk_len = 1200, .bulk_flows = 1 };
	struct tunnel_config config = usual;
	struct sim *s;
	uint64_t bytes;

	(void)st;
	config.redundancy = TUNNEL_NEVER;
	s = sim_new(1, l, &config, 5);
	bytes = s->link[0][0].bytes;
	load_it(s, &load, 40000000);
	sim_print(s, "resends alone");
	bytes = s->link[0][0].bytes - bytes;
	assert_all_once(&s->flow[1][0], 10); /* 0.02 % of 50,000 */
	assert_true(bytes * 100 <= s->flow[1][0].sent * (1200 + 52) * 112);
	sim_free(s);
}

static void a_line_dies_in_silence(void **st)
{
	struct sim_link l[2] = { { .delay_us = 10000, .rate = 20000000 / 8, .queue_us = 200000 },
				 { .delay_us = 15000, .rate = 20000000 / 8, .queue_us = 200000 } };
	struct load load = { .bulk_rate = 12000000 / 8, .bulk_len = 1250, .bulk_flows = 1, .call = true };
	struct sim *s;

	(void)st;
	for (unsigned dead = 0; dead < 2; dead++) {
		s = sim_new(2, l, &usual, 6);
		load_it(s, &load, 3000000);
		s->flow[0][0].gap_us_max = s->flow[0][0].last_us = s->flow[1][0].gap_us_max = s->flow[1][0].last_us = 0;
		for (unsigned i = 0; i < 2 * 3000; i++) {
			if (i == 1000)
				s->link[dead][0].dead = s->link[dead][1].dead = true;
			if (i % 40 == 0)
				sim_send(s, 0, 0, 200, 0);
			if (i % 5 < 3)
				sim_send(s, 0, 1, 1250, 0);
			tunnel_send_end(s->end[0]);
			sim_step(s);
		}
		sim_run(s, 500000);
		sim_print(s, "one line dead");
		assert_all_once(&s->flow[0][0], 0);
		assert_in_range(s->flow[0][0].gap_us_max, 20000, 45000); /* 20 ms apart, the slower line's 5 ms, a line full of bulk */
		assert_all_once(&s->flow[1][0], 0);
		assert_true(s->flow[1][0].gap_us_max <= 120000);
		sim_free(s);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_of_a_call_is_lost),
		cmocka_unit_test(a_call_survives_bursts),
		cmocka_unit_test(bulk_uses_both_lines),
		cmocka_unit_test(bulk_uses_unequal_lines),
		cmocka_unit_test(bulk_is_repaired),
		cmocka_unit_test(a_line_dies_in_silence),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
