/* SPDX-License-Identifier: BSD-2-Clause */
/* Calls and bulk, both ways at once, over lines that lose, jitter, die and are slow: what is lost,
 * and how late the rest is, to the packet and the half millisecond. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tunnel_sim.h"

#define MBIT (1000000 / 8)
#define LINE_10 { .delay_us = 10000, .rate = 20 * MBIT, .queue_us = 200000 }
#define LINE_30 { .delay_us = 30000, .rate = 20 * MBIT, .queue_us = 200000 }

static const struct tunnel_config usual = { .redundancy = TUNNEL_AUTO, .deadline_ms = 150 };

struct traffic { /* of one flow */
	unsigned flow, pps, len;
	bool way[2]; /* up, down */
};

static void carry(struct sim *s, const struct traffic *t, unsigned n, uint64_t us)
{
	uint64_t begin = sim_us, sent[SIM_FLOWS] = { 0 };

	while (sim_us - begin < us) {
		for (unsigned i = 0; i < n; i++)
			for (; sent[i] <= (sim_us - begin) * t[i].pps / 1000000; sent[i]++)
				for (unsigned dir = 0; dir < 2; dir++)
					if (t[i].way[dir])
						sim_send(s, dir, t[i].flow, t[i].len, 0);
		tunnel_send_end(s->end[0]);
		tunnel_send_end(s->end[1]);
		sim_step(s);
	}
}

static void settle(struct sim *s, const char *what)
{
	sim_run(s, 1000000);
	sim_print(s, what);
}

static uint64_t lost(const struct sim *s, unsigned flow)
{
	uint64_t n = 0;

	for (unsigned dir = 0; dir < 2; dir++) {
		assert_int_equal(s->flow[flow][dir].twice, 0);
		n += s->flow[flow][dir].sent - s->flow[flow][dir].got;
	}
	return n;
}

static uint64_t told(struct sim *s, unsigned end, const char *class, const char *name)
{
	json_t *st = tunnel_status(s->end[end]), *j = json_object_get(json_object_get(json_object_get(st, "classes"), class), name);
	uint64_t n = (uint64_t)json_integer_value(j);

	assert_non_null(j);
	json_decref(st);
	return n;
}

static void dead(struct sim *s, unsigned line, bool up, bool down)
{
	s->link[line][0].dead = up;
	s->link[line][1].dead = down;
}

static void forget_gaps(struct sim *s)
{
	for (unsigned i = 0; i < 2 * SIM_FLOWS; i++)
		s->flow[i / 2][i % 2].gap_us_max = s->flow[i / 2][i % 2].last_us = 0;
}

static const struct traffic two_calls[] = { { 0, 500, 100, { true, true } }, { 1, 500, 100, { true, true } } };

static void nothing_is_lost_on_two_lines_of_five_percent(void **st)
{
	struct sim_link l[2] = { LINE_10, LINE_30 };
	struct sim *s;

	(void)st;
	l[0].loss_ppm = l[1].loss_ppm = 50000;
	s = sim_new(2, l, &usual, 60);
	carry(s, two_calls, 2, 20000000);
	settle(s, "two calls, 5 % + 5 %");
	for (unsigned f = 0; f < 2; f++) {
		assert_int_equal(lost(s, f), 0);
		for (unsigned dir = 0; dir < 2; dir++) {
			assert_int_equal(s->flow[f][dir].sent, 10000);
			assert_in_range(sim_latency(&s->flow[f][dir], 500), 10000, 11000);
			assert_in_range(sim_latency(&s->flow[f][dir], 990), 30000, 31000); /* the other line's copy */
		}
	}
	sim_free(s);
}

/* Lines that are out for 8, 40 and 200 ms, 5 % of the time each, and not when the other is but by
 * chance. */
static void outages(void **st)
{
	static const struct {
		uint32_t ms;
		unsigned lost_permille;
	} t[] = { { 8, 0 }, { 40, 0 }, { 200, 5 } };

	(void)st;
	for (unsigned i = 0; i < 3; i++) {
		struct sim_link l[2] = { LINE_10, LINE_30 };
		struct sim *s;

		l[0].loss_ppm = l[1].loss_ppm = 50000;
		l[0].burst_us = l[1].burst_us = t[i].ms * 1000;
		s = sim_new(2, l, &usual, 61 + i);
		carry(s, two_calls, 2, 20000000);
		settle(s, "outages");
		for (unsigned f = 0; f < 2; f++)
			assert_true(lost(s, f) * 1000 <= (s->flow[f][0].sent + s->flow[f][1].sent) * t[i].lost_permille + 1000);
		sim_free(s);
	}
}

static void without_copies_resends_mend(void **st)
{
	struct sim_link l[1] = { LINE_10 };
	struct sim *s;

	(void)st;
	l[0].loss_ppm = 50000;
	s = sim_new(1, l, &usual, 65);
	carry(s, two_calls, 1, 20000000);
	settle(s, "one line of 5 %");
	assert_true(lost(s, 0) * 1000 <= 2 * (s->flow[0][0].sent + s->flow[0][1].sent));
	for (unsigned end = 0; end < 2; end++)
		assert_in_range(told(s, end, "R", "resent"), 400, 800);
	sim_free(s);
}

/* A line that jitters, in front of one that is 300 ms away. */
static void jitter_and_skew_do_not_age_packets_out(void **st)
{
	static const char *const classes[] = { "R", "F", "B" };
	struct sim_link l[2] = { LINE_10, LINE_10 };
	struct traffic t[8];
	struct sim *s;

	(void)st;
	l[0].jitter_us = 8000;
	l[1].delay_us = 300000;
	for (unsigned i = 0; i < 8; i++)
		t[i] = (struct traffic){ i, 100, 600, { true, true } };
	s = sim_new(2, l, &usual, 66);
	sim_run(s, 3000000); /* until it has asked the far one */
	carry(s, t, 8, 10000000);
	settle(s, "jitter and skew");
	for (unsigned f = 0; f < 8; f++)
		assert_int_equal(lost(s, f), 0);
	for (unsigned c = 0; c < 6; c++)
		assert_int_equal(told(s, c % 2, classes[c / 2], "late"), 0);
	sim_free(s);
}

/* Delays that come and go were taken for a queue, and a line of 20 Mbit/s was used for 4. */
static void a_line_that_jitters_carries_bulk(void **st)
{
	struct sim_link l[1] = { { .delay_us = 20000, .jitter_us = 8000, .rate = 20 * MBIT, .queue_us = 200000 } };
	static const struct traffic t = { 0, 1200, 1300, { true, true } }; /* 12.5 Mbit/s */

	(void)st;
	for (unsigned seed = 67; seed < 70; seed++) {
		struct sim *s = sim_new(1, l, &usual, seed);

		carry(s, &t, 1, 10000000);
		settle(s, "a line that jitters");
		for (unsigned dir = 0; dir < 2; dir++)
			assert_true(s->flow[0][dir].got * 10 >= s->flow[0][dir].sent * 6);
		sim_free(s);
	}
}

/* Either line, up, down or both: a call both ways loses nothing, and no gap is longer than what the
 * other line is behind. */
static void a_line_dies_in_silence_in_any_direction(void **st)
{
	static const struct traffic call = { 0, 200, 160, { true, true } };

	(void)st;
	for (unsigned i = 0; i < 6; i++) {
		struct sim_link l[2] = { LINE_10, LINE_30 };
		struct sim *s = sim_new(2, l, &usual, 70 + i);

		carry(s, &call, 1, 1500000);
		forget_gaps(s);
		dead(s, i / 3, i % 3 != 2, i % 3 != 1);
		carry(s, &call, 1, 130000);
		assert_true(assoc_health(tunnel_assoc(s->end[0]), i / 3)->state != HEALTH_UP ||
			    assoc_health(tunnel_assoc(s->end[1]), i / 3)->state != HEALTH_UP);
		carry(s, &call, 1, 420000);
		assert_true(assoc_health(tunnel_assoc(s->end[0]), i / 3)->state == HEALTH_DOWN ||
			    assoc_health(tunnel_assoc(s->end[1]), i / 3)->state == HEALTH_DOWN);
		carry(s, &call, 1, 2000000);
		settle(s, "a line dies");
		assert_int_equal(lost(s, 0), 0);
		for (unsigned dir = 0; dir < 2; dir++)
			assert_in_range(s->flow[0][dir].gap_us_max, 5000, 5000 + 20000 + 500);
		dead(s, i / 3, false, false);
		sim_run(s, 2000000);
		for (unsigned end = 0; end < 2; end++)
			assert_int_equal(assoc_health(tunnel_assoc(s->end[end]), i / 3)->state, HEALTH_UP);
		sim_free(s);
	}
}

/* 5 Mbit/s each way on the line that dies: what was on it is sent again, and the rest goes over the
 * other. */
static void bulk_on_a_line_that_dies_stalls_shortly(void **st)
{
	static const struct traffic bulk = { 0, 500, 1300, { true, true } };

	(void)st;
	for (unsigned i = 0; i < 6; i++) {
		struct sim_link l[2] = { LINE_10, LINE_30 };
		struct sim *s = sim_new(2, l, &usual, 80 + i);

		carry(s, &bulk, 1, 1500000);
		forget_gaps(s);
		dead(s, i / 3, i % 3 != 2, i % 3 != 1);
		carry(s, &bulk, 1, 2500000);
		settle(s, "a line dies under bulk");
		assert_int_equal(lost(s, 0), 0);
		for (unsigned dir = 0; dir < 2; dir++)
			assert_in_range(s->flow[0][dir].gap_us_max, 2000, 60000);
		sim_free(s);
	}
}

/* Three seconds of nothing, and a call that begins in them. */
static void both_dead_and_back(void **st)
{
	static const struct traffic call = { 0, 100, 160, { true, true } };
	struct sim_link l[2] = { LINE_10, LINE_30 };
	struct sim *s = sim_new(2, l, &usual, 90);

	(void)st;
	for (unsigned i = 0; i < 2; i++)
		dead(s, i, true, true);
	sim_run(s, 3000000);
	carry(s, &call, 1, 1000000);
	for (unsigned i = 0; i < 2; i++)
		dead(s, i, false, false);
	carry(s, &call, 1, 5000000);
	settle(s, "both dead and back");
	for (unsigned dir = 0; dir < 2; dir++)
		assert_in_range(s->flow[0][dir].got, 500, 520); /* of 600, a hundred while nothing could get through */
	for (unsigned end = 0; end < 2; end++)
		for (unsigned i = 0; i < 2; i++)
			assert_int_equal(assoc_health(tunnel_assoc(s->end[end]), i)->state, HEALTH_UP);
	sim_free(s);
}

static void a_slow_line_does_not_delay_the_other(void **st)
{
	static const struct traffic t[] = { { 0, 100, 160, { true, true } }, { 1, 900, 1300, { true, false } } };
	struct sim_link l[2] = { LINE_10, { .delay_us = 80000, .rate = MBIT / 2, .queue_us = 200000 } };
	struct sim *s = sim_new(2, l, &usual, 91);

	(void)st;
	carry(s, t, 2, 6000000);
	settle(s, "a slow line");
	assert_int_equal(lost(s, 0), 0);
	for (unsigned dir = 0; dir < 2; dir++)
		assert_in_range(s->flow[0][dir].late_us_max, 10000, 15000);
	sim_free(s);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_lost_on_two_lines_of_five_percent),
		cmocka_unit_test(outages),
		cmocka_unit_test(without_copies_resends_mend),
		cmocka_unit_test(jitter_and_skew_do_not_age_packets_out),
		cmocka_unit_test(a_line_that_jitters_carries_bulk),
		cmocka_unit_test(a_line_dies_in_silence_in_any_direction),
		cmocka_unit_test(bulk_on_a_line_that_dies_stalls_shortly),
		cmocka_unit_test(both_dead_and_back),
		cmocka_unit_test(a_slow_line_does_not_delay_the_other),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
