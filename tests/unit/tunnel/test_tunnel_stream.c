/* SPDX-License-Identifier: BSD-2-Clause */
/* The tunnel where no datagram gets through: packets go by a stream, both ways, and by datagrams
 * again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "counter.h"
#include "tunnel_sim.h"

static const struct tunnel_config usual = { .redundancy = TUNNEL_AUTO, .deadline_ms = 150 };
static const struct sim_link line = { .delay_us = 10000, .rate = 20000000 / 8, .queue_us = 200000 };

struct pipe { /* one direction of a stream that is as fast as it is let */
	struct tunnel *to;
	unsigned taken, refused, credit;
};

static bool offer(void *arg, const uint8_t *packet, size_t len)
{
	struct pipe *p = arg;

	assert_true(len <= WIRE_PACKET_MAX);
	if (!p->credit) {
		p->refused++;
		return false;
	}
	p->credit--;
	p->taken++;
	tunnel_stream_got(p->to, packet, len);
	return true;
}

static struct sim *world(struct pipe pipes[2], unsigned credit)
{
	struct sim_link l[2] = { line, line };
	struct sim *s = sim_new(2, l, &usual, 1);

	for (unsigned i = 0; i < 2; i++) {
		pipes[i] = (struct pipe){ .to = s->end[!i], .credit = credit };
		tunnel_stream_way(s->end[i], offer, &pipes[i]);
	}
	return s;
}

static void filter(struct sim *s, bool dead)
{
	for (unsigned i = 0; i < 2 * s->lines; i++)
		s->link[i / 2][i % 2].dead = dead;
}

static void carry(struct sim *s, bool by_stream)
{
	for (unsigned i = 0; i < 2; i++)
		tunnel_carry(s->end[i], by_stream);
}

/* 50 packets a second of 200 bytes, each way. */
static void calls(struct sim *s, uint64_t us)
{
	for (uint64_t n = 0; n < us / 20000; n++) {
		for (unsigned dir = 0; dir < 2; dir++) {
			sim_send(s, dir, 0, 200, 0);
			tunnel_send_end(s->end[dir]);
		}
		sim_run(s, 20000);
	}
}

static void both_directions_and_back(void **st)
{
	struct pipe pipes[2];
	struct sim *s = world(pipes, 10000);
	uint64_t got[2];

	(void)st;
	assert_string_equal(tunnel_carrier(s->end[0]), "udp");
	calls(s, 1000000);
	assert_int_equal(pipes[0].taken + pipes[1].taken, 0);
	filter(s, true);
	calls(s, 1000000);
	assert_false(tunnel_has_path(s->end[0]));
	assert_string_equal(tunnel_carrier(s->end[0]), "none");
	carry(s, true);
	assert_string_equal(tunnel_carrier(s->end[1]), "stream");
	for (unsigned dir = 0; dir < 2; dir++) {
		got[dir] = s->flow[0][dir].got;
		s->flow[0][dir].late_us_max = 0;
	}
	calls(s, 10000000);
	for (unsigned dir = 0; dir < 2; dir++) {
		assert_int_equal(pipes[dir].taken, 500);
		assert_int_equal(s->flow[0][dir].got - got[dir], 500);
		assert_int_equal(s->flow[0][dir].twice, 0);
		assert_int_equal(s->flow[0][dir].late_us_max, 0);
	}
	assert_int_equal(tunnel_stream_moved(s->end[0]), 1000);
	filter(s, false);
	calls(s, 6000000); /* while the stream carries, UDP is tried */
	assert_true(tunnel_has_path(s->end[0]) && tunnel_has_path(s->end[1]));
	carry(s, false);
	pipes[0].taken = 0;
	for (unsigned dir = 0; dir < 2; dir++)
		got[dir] = s->flow[0][dir].got;
	calls(s, 1000000);
	sim_run(s, 100000);
	sim_print(s, "filtered, and not any more");
	assert_int_equal(pipes[0].taken, 0);
	for (unsigned dir = 0; dir < 2; dir++)
		assert_int_equal(s->flow[0][dir].got - got[dir], 50);
	sim_free(s);
}

/* A stream that takes little: what is urgent gets through all the same, what waits is bounded, and
 * goes when there is room. */
static void a_narrow_stream(void **st)
{
	struct pipe pipes[2];
	struct sim *s = world(pipes, 0);

	(void)st;
	carry(s, true);
	for (unsigned n = 0; n < 500; n++) { /* of 10 packets of bulk and one of a call, 5 get through */
		for (unsigned i = 0; i < 10; i++)
			sim_send(s, 0, 1, 1200, 0);
		if (n % 20 == 0)
			sim_send(s, 0, 0, 200, 0);
		tunnel_send_end(s->end[0]);
		pipes[0].credit += 5;
		tunnel_stream_room(s->end[0]);
		sim_run(s, 1000);
	}
	assert_int_equal(s->flow[0][0].got, 25);
	assert_true(s->flow[0][0].late_us_max <= 5000); /* the first packets of any flow are R, too */
	assert_in_range(s->flow[1][0].got, 2400, 2475);
	assert_true(s->flow[1][0].late_us_max < 60000);
	assert_int_equal(s->flow[1][0].disorder, 0);
	sim_run(s, 4000000); /* nobody asks: all that waited is thrown away, and its memory given back */
	pipes[0].credit = 1000;
	tunnel_stream_room(s->end[0]);
	assert_in_range(s->flow[1][0].got, 2400, 2475);
	carry(s, false);
	calls(s, 100000);
	sim_run(s, 100000);
	assert_int_equal(s->flow[0][0].got, 30);
	sim_free(s);
}

/* What comes by the stream is looked at as if it had come by a datagram. */
static void what_is_no_packet_goes_no_further(void **st)
{
	uint8_t bad[WIRE_PACKET_MAX] = { 0x45, 0, 0x05, 0xc5 }; /* one byte longer than it is */
	uint64_t before = counters.tunnel_malformed;
	struct pipe pipes[2];
	struct sim *s = world(pipes, 0);

	(void)st;
	for (size_t len = 0; len < sizeof(bad); len++)
		tunnel_stream_got(s->end[1], bad, len);
	memset(bad, 0xff, sizeof(bad));
	tunnel_stream_got(s->end[1], bad, sizeof(bad));
	sim_run(s, 100000);
	assert_int_equal(s->flow[0][0].got + s->flow[1][0].got, 0);
	assert_int_equal(counters.tunnel_malformed - before, sizeof(bad) + 1);
	sim_free(s);
}

static void without_a_stream_there_is_none(void **st)
{
	struct sim_link l[1] = { line };
	struct sim *s = sim_new(1, l, &usual, 1);

	(void)st;
	carry(s, true);
	assert_false(tunnel_by_stream(s->end[0]));
	tunnel_stream_room(s->end[0]);
	calls(s, 100000);
	sim_run(s, 100000);
	assert_int_equal(s->flow[0][0].got, 5);
	sim_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_directions_and_back),
		cmocka_unit_test(a_narrow_stream),
		cmocka_unit_test(what_is_no_packet_goes_no_further),
		cmocka_unit_test(without_a_stream_there_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
