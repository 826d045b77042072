/* SPDX-License-Identifier: BSD-2-Clause */
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

static uint64_t status_number(struct sim *s, unsigned end, const char *class, const char *name)
{
	json_t *st = tunnel_status(s->end[end]);
	uint64_t n = (uint64_t)json_integer_value(json_object_get(json_object_get(json_object_get(st, "classes"), class), name));

	json_decref(st);
	return n;
}

static uint64_t status_memory(struct sim *s, unsigned end)
{
	json_t *st = tunnel_status(s->end[end]);
	uint64_t n = (uint64_t)json_integer_value(json_object_get(st, "memory"));

	json_decref(st);
	return n;
}

/* What a ping sees over three lines of 5 % each way: both ways together at most 0.005 % lost. */
static void three_bad_lines_make_a_good_one(void **st)
{
	struct sim_link l[3] = { { .delay_us = 15000, .loss_ppm = 50000 },
				 { .delay_us = 25000, .loss_ppm = 50000 },
				 { .delay_us = 40000, .loss_ppm = 50000 } };
	struct sim *s = sim_new(3, l, &usual, 7);

	(void)st;
	for (unsigned i = 0; i < 2 * 100000; i++) {
		if (i % 10 == 0)
			sim_send(s, 0, 0, 84, 0);
		if (i % 10 == 5)
			sim_send(s, 1, 0, 84, 0);
		tunnel_send_end(s->end[0]);
		tunnel_send_end(s->end[1]);
		sim_step(s);
	}
	sim_run(s, 1000000);
	sim_print(s, "three lines");
	assert_all_once(&s->flow[0][0], 1);
	assert_all_once(&s->flow[0][1], 1);
	assert_in_range(sim_latency(&s->flow[0][0], 990), 15000, 26000); /* the second line's */
	sim_free(s);
}

/* With new keys every second, under loss, numbers begin anew each time. */
static void new_keys_cost_nothing(void **st)
{
	struct sim_link l[2] = { { .delay_us = 10000, .loss_ppm = 20000 }, { .delay_us = 15000, .loss_ppm = 20000 } };
	struct sim *s = sim_new(2, l, &usual, 8);

	(void)st;
	for (unsigned n = 0; n < 20; n++) {
		stream(s, 0, 200, 250, 1000000);
		sim_rekey(s);
	}
	sim_run(s, 1000000);
	sim_print(s, "20 times new keys");
	assert_all_once(&s->flow[0][0], 1);
	assert_in_range(status_number(s, 0, "R", "resent"), 0, 40);
	sim_free(s);
}

static void all_lines_die_and_come_back(void **st)
{
	struct sim_link l[2] = { { .delay_us = 10000 }, { .delay_us = 15000 } };
	struct sim *s = sim_new(2, l, &usual, 9);
	uint64_t healed;

	(void)st;
	stream(s, 0, 200, 50, 1000000);
	for (unsigned i = 0; i < 4; i++)
		s->link[i / 2][i % 2].dead = true;
	stream(s, 0, 200, 50, 20000000);
	for (unsigned i = 0; i < 4; i++)
		s->link[i / 2][i % 2].dead = false;
	healed = sim_us;
	while (s->flow[0][0].last_us < healed && sim_us - healed < 5000000)
		stream(s, 0, 200, 50, 20000);
	printf("# the first packet came after %.0f ms\n", (double)(sim_us - healed) / 1e3);
	assert_true(sim_us - healed < 1200000); /* a probe of a line that was down for long */
	stream(s, 1, 200, 50, 2000000);
	sim_run(s, 500000);
	assert_all_once(&s->flow[1][0], 0);
	sim_free(s);
}

static void a_backup_waits_and_a_metered_line_helps_with_calls_only(void **st)
{
	struct sim_link l[3] = { { .delay_us = 10000, .rate = 20000000 / 8, .queue_us = 200000 },
				 { .delay_us = 15000, .rate = 20000000 / 8, .queue_us = 200000 },
				 { .delay_us = 20000, .rate = 20000000 / 8, .queue_us = 200000 } };
	struct load load = { .bulk_rate = 12000000 / 8, .bulk_len = 1250, .bulk_flows = 1, .call = true };
	struct sim *s = sim_new(3, l, &usual, 10);
	uint64_t backup, metered;

	(void)st;
	assoc_set_use(tunnel_assoc(s->end[0]), 1, WIRE_USE_COPIES);
	assoc_set_use(tunnel_assoc(s->end[0]), 2, WIRE_USE_BACKUP);
	sim_run(s, 100000);
	metered = s->link[1][0].bytes;
	backup = s->link[2][0].bytes;
	load_it(s, &load, 5000000);
	assert_in_range(s->link[1][0].bytes - metered, 50 * 250, 300000); /* the call's copies, the flow's first packets, probes */
	assert_true(s->link[2][0].bytes - backup < 60000);		     /* probes */
	s->link[0][0].dead = s->link[0][1].dead = true;
	load_it(s, &load, 5000000);
	sim_print(s, "metered, backup");
	assert_all_once(&s->flow[0][0], 0);
	assert_true(s->link[2][0].bytes - backup > 5000000); /* now it carries all */
	assert_true(s->link[1][0].bytes - metered < 800000);
	sim_free(s);
}

static void redundancy_is_what_was_asked_for(void **st)
{
	struct sim_link l[2] = { { .delay_us = 10000, .rate = 50000000 / 8, .queue_us = 200000 },
				 { .delay_us = 15000, .rate = 50000000 / 8, .queue_us = 200000 } };
	struct load load = { .bulk_rate = 12000000 / 8, .bulk_len = 1250, .bulk_flows = 1, .call = true };
	static const unsigned least[] = { [TUNNEL_AUTO] = 50, [TUNNEL_ALWAYS] = 99, [TUNNEL_NEVER] = 0 };
	struct tunnel_config config = usual;

	(void)st;
	for (config.redundancy = TUNNEL_AUTO; config.redundancy <= TUNNEL_NEVER; config.redundancy++) {
		struct sim *s = sim_new(2, l, &config, 11);
		uint64_t bulk, calls;

		load_it(s, &load, 5000000);
		bulk = status_number(s, 1, "B", "duplicates") * 100 / status_number(s, 0, "B", "packets");
		calls = status_number(s, 1, "R", "duplicates") * 100 / status_number(s, 0, "R", "packets");
		printf("# redundancy %d: copies of bulk %u %%, of R %u %%\n", config.redundancy, (unsigned)bulk, (unsigned)calls);
		assert_in_range(bulk, least[config.redundancy], config.redundancy == TUNNEL_NEVER ? 0 : 100);
		assert_in_range(calls, config.redundancy == TUNNEL_NEVER ? 0 : 99, config.redundancy == TUNNEL_NEVER ? 0 : 100);
		assert_all_once(&s->flow[0][0], 0);
		sim_free(s);
	}
}

/* A mark of congestion reaches who understands it; a marked packet of anybody else is dropped. */
static void congestion_marks_get_through(void **st)
{
	struct sim_link l[1] = { { .delay_us = 10000 } };
	struct sim *s = sim_new(1, l, &usual, 12);

	(void)st;
	s->link[0][0].mark = true;
	sim_send(s, 0, 0, 200, 46 << 2 | 2);
	tunnel_send_end(s->end[0]);
	assert_int_equal(s->link[0][0].last_tos, 46 << 2 | 2);
	sim_run(s, 50000);
	assert_int_equal(s->flow[0][0].got, 1);
	assert_int_equal(s->ecn_seen, 3);
	sim_send(s, 0, 0, 200, 0);
	tunnel_send_end(s->end[0]);
	sim_run(s, 300000);
	assert_int_equal(s->flow[0][0].got, 1);
	sim_free(s);
}

/* Longer than the path takes: two pieces, and whole again. */
static void long_packets_pass_in_pieces(void **st)
{
	struct sim_link l[2] = { { .delay_us = 10000, .mtu = 1300 }, { .delay_us = 10000, .mtu = 1300 } };
	struct sim *s = sim_new(2, l, &usual, 13);

	(void)st;
	assert_in_range(s->mtu[0] ? s->mtu[0] : tunnel_mtu(s->end[0]), 1280, 1280);
	for (unsigned n = 0; n < 1000; n++) {
		sim_send(s, 0, n % 2, 1300 + n % 2 * 140, 0);
		tunnel_send_end(s->end[0]);
		sim_run(s, 4000);
	}
	sim_run(s, 200000);
	sim_print(s, "in pieces");
	assert_all_once(&s->flow[0][0], 0);
	assert_all_once(&s->flow[1][0], 0);
	sim_free(s);
}

static void an_idle_tunnel_holds_no_packets(void **st)
{
	struct sim_link l[2] = { { .delay_us = 10000, .loss_ppm = 50000 }, { .delay_us = 10000 } };
	struct sim *s = sim_new(2, l, &usual, 14);
	struct load load = { .bulk_rate = 12000000 / 8, .bulk_len = 1250, .bulk_flows = 2, .call = true };

	(void)st;
	load_it(s, &load, 2000000);
	sim_send(s, 0, 0, 1440, 0);
	tunnel_send_end(s->end[0]);
	assert_true(status_memory(s, 0) > 0);
	sim_run(s, 5000000);
	assert_int_equal(status_memory(s, 0), 0);
	assert_int_equal(status_memory(s, 1), 0);
	sim_free(s);
}

/* Small packets, far more than the lines carry: the excess is dropped, the queue in the modem stays
 * short. */
static void a_flood_of_small_packets_drowns_itself(void **st)
{
	struct sim_link l[2] = { { .delay_us = 10000, .rate = 5000000 / 8, .queue_us = 300000 },
				 { .delay_us = 15000, .rate = 5000000 / 8, .queue_us = 300000 } };
	struct load load = { .bulk_rate = 20000000 / 8, .bulk_len = 100, .bulk_flows = 3, .call = true };
	struct sim *s = sim_new(2, l, &usual, 15);

	(void)st;
	load_it(s, &load, 5000000);
	sim_print(s, "flood");
	assert_int_equal(s->flow[0][0].twice + s->flow[1][0].twice, 0);
	assert_true(s->flow[0][0].got * 100 >= s->flow[0][0].sent * 99);
	assert_in_range(sim_latency(&s->flow[0][0], 990), 10000, 75000);
	sim_free(s);
}

/* One line, too far away for a resend in time: parity is all there is. */
static struct sim_flow *far_away(struct sim **s, enum tunnel_fec fec, uint32_t delay_us, uint32_t loss_ppm)
{
	struct sim_link l[1] = { { .delay_us = delay_us, .loss_ppm = loss_ppm, .rate = 8000000 / 8, .queue_us = 200000 } };
	struct tunnel_config config = usual;

	config.fec = fec;
	*s = sim_new(1, l, &config, 11);
	stream(*s, 4, 200, 500, 5000000); /* the loss gets known */
	stream(*s, 0, 200, 500, 60000000);
	sim_run(*s, 1000000);
	sim_print(*s, fec == TUNNEL_FEC_AUTO ? "parity" : "no parity");
	return &(*s)->flow[0][0];
}

static json_int_t told(const struct sim *s, unsigned end, const char *what)
{
	json_t *st = tunnel_status(s->end[end]), *r = json_object_get(json_object_get(st, "classes"), "R");
	json_int_t n = json_integer_value(json_object_get(r, what));

	json_decref(st);
	return n;
}

static void parity_mends_what_comes_too_late(void **st)
{
	struct sim_flow *f;
	uint64_t lost, bytes;
	struct sim *s;

	(void)st;
	f = far_away(&s, TUNNEL_FEC_OFF, 70000, 50000);
	lost = f->sent - f->got;
	bytes = s->link[0][0].bytes;
	assert_true(lost * 1000 > f->sent * 40); /* a resend would be too late, so there is none */
	assert_int_equal(told(s, 0, "parity"), 0);
	sim_free(s);
	f = far_away(&s, TUNNEL_FEC_AUTO, 70000, 50000);
	assert_int_equal(f->twice, 0);
	assert_true(f->sent - f->got < lost / 50);
	assert_true(s->link[0][0].bytes < bytes + bytes / 4);
	assert_true(told(s, 0, "parity") > 3000);
	assert_true(told(s, 1, "mended") > 1000);
	assert_true(sim_latency(f, 990) < 150000);
	sim_free(s);
}

static void no_parity_where_others_do_better(void **st)
{
	struct sim_flow *f;
	struct sim *s;

	(void)st;
	f = far_away(&s, TUNNEL_FEC_AUTO, 10000, 50000); /* two resends come in time */
	assert_all_once(f, 20);
	assert_int_equal(told(s, 0, "parity"), 0);
	sim_free(s);
	far_away(&s, TUNNEL_FEC_AUTO, 70000, 0);
	assert_int_equal(told(s, 0, "parity"), 0);
	sim_free(s);
}

/* A second line that is too small for copies; and a peer that does not listen to repairs. */
static void parity_where_copies_do_not_fit(void **st)
{
	static const struct { enum tunnel_fec ends[2]; bool mends; } t[] = {
		{ { TUNNEL_FEC_AUTO, TUNNEL_FEC_AUTO }, true },
		{ { TUNNEL_FEC_AUTO, TUNNEL_FEC_OFF }, false },
		{ { TUNNEL_FEC_OFF, TUNNEL_FEC_AUTO }, false },
	};
	struct sim_link l[2] = { { .delay_us = 70000, .loss_ppm = 50000, .rate = 8000000 / 8, .queue_us = 200000 },
				 { .delay_us = 80000, .loss_ppm = 50000, .rate = 200000 / 8, .queue_us = 200000 } };
	struct tunnel_config config = usual;

	(void)st;
	for (unsigned i = 0; i < sizeof(t) / sizeof(*t); i++) {
		struct sim_flow *f;
		struct sim *s;

		config.fec = t[i].ends[0];
		s = sim_new_unlike(2, l, &config, 12, t[i].ends[1]);
		f = &s->flow[0][0];
		stream(s, 4, 200, 500, 5000000);
		stream(s, 0, 200, 500, 30000000);
		sim_run(s, 1000000);
		sim_print(s, t[i].mends ? "a small second line, parity" : "a small second line, no parity");
		assert_int_equal(f->twice, 0);
		assert_int_equal(told(s, 0, "parity") > 0, t[i].mends);
		assert_int_equal(told(s, 1, "mended") > 0, t[i].mends);
		if (t[i].mends)
			assert_true((f->sent - f->got) * 1000 < f->sent * 15);
		else
			assert_true((f->sent - f->got) * 1000 > f->sent * 30);
		sim_free(s);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parity_mends_what_comes_too_late),
		cmocka_unit_test(parity_where_copies_do_not_fit),
		cmocka_unit_test(no_parity_where_others_do_better),
		cmocka_unit_test(nothing_of_a_call_is_lost),
		cmocka_unit_test(a_call_survives_bursts),
		cmocka_unit_test(bulk_uses_both_lines),
		cmocka_unit_test(bulk_uses_unequal_lines),
		cmocka_unit_test(bulk_is_repaired),
		cmocka_unit_test(a_line_dies_in_silence),
		cmocka_unit_test(three_bad_lines_make_a_good_one),
		cmocka_unit_test(new_keys_cost_nothing),
		cmocka_unit_test(all_lines_die_and_come_back),
		cmocka_unit_test(a_backup_waits_and_a_metered_line_helps_with_calls_only),
		cmocka_unit_test(redundancy_is_what_was_asked_for),
		cmocka_unit_test(congestion_marks_get_through),
		cmocka_unit_test(long_packets_pass_in_pieces),
		cmocka_unit_test(an_idle_tunnel_holds_no_packets),
		cmocka_unit_test(a_flood_of_small_packets_drowns_itself),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
