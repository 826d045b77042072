/* SPDX-License-Identifier: BSD-2-Clause */
/* The tunnel where the network, or somebody in it, does what it should not: packets of long ago,
 * copies, replays, foreign ones; and numbers that leave 32 bits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tunnel_sim.h"

#include "udp_keys.c" /* to begin with high numbers */
#include "assoc_room.h"
#include "counter.h"

static const struct tunnel_config usual = { .redundancy = TUNNEL_AUTO, .deadline_ms = 150 };

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
	assert_true(f->sent > 0);
	assert_int_equal(f->twice, 0);
	assert_true(f->got <= f->sent && f->sent - f->got <= lost_at_most);
}

static uint64_t number(struct sim *s, unsigned end, const char *class, const char *name)
{
	json_t *st = tunnel_status(s->end[end]), *j = json_object_get(json_object_get(json_object_get(st, "classes"), class), name);
	uint64_t n = (uint64_t)json_integer_value(j);

	assert_non_null(j);
	json_decref(st);
	return n;
}

/* A line that is up to 700 ms behind the other, all classes on both, 20,000 packets a second: every
 * late copy is known as one. */
static void nothing_is_too_old(void **st)
{
	static const uint32_t skews[] = { 1000, 40000, 200000, 700000 };
	static const char *const classes[] = { "R", "F", "B" };
	struct tunnel_config config = usual;

	(void)st;
	config.redundancy = TUNNEL_ALWAYS;
	for (unsigned i = 0; i < 4; i++) {
		struct sim_link l[2] = { { .delay_us = 5000 }, { .delay_us = 5000 + skews[i] } };
		struct sim *s = sim_new(2, l, &config, 20 + i);
		uint64_t old = counters.udp_old, n = 0, begin;

		sim_run(s, 3000000);
		for (begin = sim_us; sim_us - begin < 1500000;) {
			for (; n < (sim_us - begin) * 10000 / 1000000; n++)
				sim_send(s, 0, (unsigned)n % 4, n % 4 ? 1200 : 100, 0);
			tunnel_send_end(s->end[0]);
			sim_step(s);
		}
		sim_run(s, 2000000);
		sim_print(s, "skew");
		assert_all_once(&s->flow[0][0], 0);
		for (unsigned f = 1; f < 4; f++) /* these are more than the pace has found out yet: our own queue drops */
			assert_all_once(&s->flow[f][0], UINT32_MAX);
		assert_int_equal(counters.udp_old, old);
		for (unsigned c = 0; c < 3; c++)
			assert_int_equal(number(s, 1, classes[c], "late"), 0);
		sim_free(s);
	}
}

static void tenfold(void **st)
{
	struct sim_link l[2] = { { .delay_us = 10000, .copies = 9 }, { .delay_us = 15000, .copies = 9 } };
	struct sim *s = sim_new(2, l, &usual, 30);
	uint64_t copies = counters.udp_copies;

	(void)st;
	stream(s, 0, 200, 500, 3000000);
	stream(s, 1, 1250, 1000, 1000000);
	sim_run(s, 500000);
	assert_all_once(&s->flow[0][0], 0);
	assert_all_once(&s->flow[1][0], 0);
	assert_true(counters.udp_copies - copies >= 9 * (s->flow[0][0].sent + s->flow[1][0].sent));
	assert_true(number(s, 0, "R", "resent") <= s->flow[0][0].sent / 100); /* copies are no reason to resend */
	sim_free(s);
}

/* --- replays --- */

struct tape {
	struct sim_dgram *d;
	uint8_t *line;
	uint32_t n, max;
};

/* As sim_step(), and what goes up is written down. */
static void listen_in(struct sim *s, struct tape *t, uint64_t us)
{
	uint32_t head[SIM_LINES];

	for (uint64_t end = sim_us + us, i = 0; sim_us < end; i++) {
		for (unsigned k = 0; k < s->lines; k++)
			head[k] = s->link[k][0].head;
		if (i % 2 == 0)
			sim_send(s, 0, i / 2 % 4, i % 8 ? 1200 : 200, 0);
		tunnel_send_end(s->end[0]);
		event_base_loop(s->base, EVLOOP_NONBLOCK);
		for (unsigned k = 0; k < s->lines; k++)
			for (; head[k] != s->link[k][0].head && t->n < t->max; head[k]++) {
				t->line[t->n] = (uint8_t)k;
				t->d[t->n++] = s->link[k][0].ring[head[k] % SIM_RING];
			}
		sim_step(s);
	}
}

/* All of it, on every line, to this end; nothing comes of it. */
static void replay(struct sim *s, const struct tape *t, unsigned dir)
{
	struct sim_flow was[SIM_FLOWS][2];
	unsigned mtu[2] = { s->mtu[0], s->mtu[1] };

	memcpy(was, s->flow, sizeof(was));
	for (uint32_t i = 0; i < t->n; i++)
		for (unsigned line = 0; line < s->lines; line++)
			sim_arrive(s, line, dir, &t->d[i], i + 1 < t->n);
	sim_run(s, 1000000);
	for (unsigned f = 0; f < SIM_FLOWS; f++)
		assert_true(was[f][0].got == s->flow[f][0].got && was[f][1].got == s->flow[f][1].got);
	for (unsigned end = 0; end < 2; end++)
		for (unsigned line = 0; line < s->lines; line++)
			assert_int_equal(assoc_health(tunnel_assoc(s->end[end]), line)->state, HEALTH_UP);
	assert_true(mtu[0] == s->mtu[0] && mtu[1] == s->mtu[1]);
}

static void overheard_and_sent_again(void **st)
{
	struct sim_link l[2] = { { .delay_us = 10000 }, { .delay_us = 15000 } };
	struct sim *s = sim_new(2, l, &usual, 31);
	struct tape t = { .max = 40000 };

	(void)st;
	t.d = malloc(t.max * sizeof(*t.d));
	t.line = malloc(t.max);
	listen_in(s, &t, 8000000);
	sim_run(s, 500000);
	assert_true(t.n > 10000);
	for (unsigned f = 0; f < 4; f++)
		assert_all_once(&s->flow[f][0], 0);
	for (unsigned again = 0; again < 5; again++)
		replay(s, &t, 0); /* at once */
	replay(s, &t, 1);	  /* back to whom they came from */
	sim_rekey(s);
	sim_run(s, 1000000);
	replay(s, &t, 0); /* after new keys, while the old ones are still taken */
	sim_run(s, 70000000);
	replay(s, &t, 0); /* and after that */
	stream(s, 5, 200, 100, 1000000);
	sim_run(s, 500000);
	assert_all_once(&s->flow[5][0], 0);
	free(t.d);
	free(t.line);
	sim_free(s);
}

/* --- numbers --- */

static void numbers_from(struct sim *s, uint64_t n)
{
	for (unsigned end = 0; end < 2; end++)
		for (int type = 0; type < TYPES; type++)
			for (int class = 0; class < WIRE_CLASSES; class++)
				tunnel_assoc(s->end[end])->tx->next[type][class] = n;
}

static bool crossed(const struct udp_keys *k)
{
	const uint64_t *next = k->next[WIRE_DG_DATA];

	return next[WIRE_CLASS_R] >> 32 || next[WIRE_CLASS_F] >> 32 || next[WIRE_CLASS_B] >> 32;
}

/* Over 2^32, on lines that lose, at five thousand packets a second; and new keys each second
 * besides. */
static void numbers_beyond_32_bits_and_new_keys(void **st)
{
	struct sim_link l[2] = { { .delay_us = 10000, .loss_ppm = 50000 }, { .delay_us = 35000, .loss_ppm = 50000 } };
	struct sim *s = sim_new(2, l, &usual, 32);
	uint64_t lost[8];

	(void)st;
	for (unsigned i = 0; i < 6; i++) {
		uint64_t begin = sim_us, n = 0;

		numbers_from(s, ((uint64_t)1 << 32) - 50);
		for (; sim_us - begin < 1000000;) {
			for (; n < (sim_us - begin) * 5000 / 1000000; n++)
				sim_send(s, n & 1, (unsigned)n % 8, n % 8 > 1 ? 1200 : 100, 0);
			tunnel_send_end(s->end[0]);
			tunnel_send_end(s->end[1]);
			sim_step(s);
		}
		for (unsigned end = 0; end < 2; end++)
			assert_true(crossed(tunnel_assoc(s->end[end])->tx));
		sim_rekey(s);
		sim_run(s, 300000); /* until both use them, and all has come */
		for (unsigned f = 0; i == 0 && f < 8; f++) /* bulk was more than the pace had found out: our own queue dropped some */
			lost[f] = f < 2 ? 0 : s->flow[f][f & 1].sent - s->flow[f][f & 1].got;
	}
	sim_run(s, 1000000);
	sim_print(s, "numbers");
	for (unsigned f = 0; f < 8; f++)
		assert_all_once(&s->flow[f][f & 1], (unsigned)lost[f] + (f < 2 ? 0 : 2));
	sim_free(s);
}

/* --- others' --- */

#define CLIENTS 100

static void fill(uint8_t *buf, unsigned i)
{
	memset(buf, (int)i, WIRE_DG_OVERHEAD + 40);
}

/* A hundred sessions on one port: what one of them sealed is nobody else's, whatever index is
 * written on it. */
static void nobody_gets_what_is_anothers(void **st)
{
	struct udp_keys *up[CLIENTS], *down[CLIENTS];
	struct session *session[CLIENTS];
	uint8_t made[WIRE_DG_OVERHEAD + 40], copy[sizeof(made)];
	struct seal *seal = seal_new();
	struct wire_dgram hdr;
	uint64_t seq;

	(void)st;
	for (unsigned i = 0; i < CLIENTS; i++) {
		uint8_t sid[WIRE_SID] = { 1, (uint8_t)i }, exported[32] = { 2, (uint8_t)i };

		session[i] = session_new(sid, i & 1 ? SEAL_AES256_GCM : SEAL_CHACHA20_POLY1305, exported);
		up[i] = session_udp_keys(session[i], seal, 0, i);
		down[i] = session_udp_keys(session[i], seal, 1, i);
	}
	for (unsigned i = 0; i < CLIENTS; i++) {
		fill(made, i);
		assert_int_equal(udp_keys_seal(up[i], WIRE_DG_DATA, WIRE_CLASS_R, made, 40, &seq), 0);
		for (unsigned k = CLIENTS; k-- > 0;) {
			memcpy(copy, made, sizeof(copy));
			wire_get_dgram(&hdr, copy, sizeof(copy));
			assert_int_equal(hdr.index, i);
			hdr.index = k;
			wire_put_dgram(copy, &hdr);
			if (k != i) /* or a copy of what that one has had already */
				assert_int_not_equal(udp_keys_open(down[k], &hdr, copy, sizeof(copy), &seq), UDP_KEYS_NEW);
			else
				assert_int_equal(udp_keys_open(down[k], &hdr, copy, sizeof(copy), &seq), UDP_KEYS_NEW);
			assert_true(k != i || (copy[WIRE_DG_HDR] == i && copy[WIRE_DG_HDR + 39] == i));
		}
	}
	for (unsigned i = 0; i < CLIENTS; i++)
		session_put(session[i]);
	seal_free(seal);
}

/* --- lines --- */

/* One of two is dead at any time, a second each. The one that just came back is told of by then, so
 * what was sent on the other is sent again. */
static void lines_take_turns(void **st)
{
	struct sim_link l[2] = { { .delay_us = 10000 }, { .delay_us = 15000 } };
	struct sim *s = sim_new(2, l, &usual, 33);

	(void)st;
	stream(s, 0, 200, 50, 1000000);
	for (unsigned i = 0; i < 30; i++) {
		for (unsigned k = 0; k < 4; k++)
			s->link[k / 2][k % 2].dead = k / 2 == i % 2;
		stream(s, 0, 200, 50, 1000000);
	}
	sim_run(s, 500000);
	sim_print(s, "in turns");
	assert_all_once(&s->flow[0][0], 0);
	sim_free(s);
}

/* Line 1 went down thrice in short order, so it is up again only after a while; line 2 dies within
 * that. The call goes on without a gap. */
static void who_proves_himself_carries_copies(void **st)
{
	struct sim_link l[2] = { { .delay_us = 15000 }, { .delay_us = 10000 } };
	struct sim *s = sim_new(2, l, &usual, 34);

	(void)st;
	for (unsigned i = 0; i < 6; i++) {
		s->link[0][0].dead = s->link[0][1].dead = i % 2 == 0;
		stream(s, 0, 200, 50, 800000);
	}
	assert_int_equal(assoc_health(tunnel_assoc(s->end[0]), 0)->state, HEALTH_PROBING);
	s->link[1][0].dead = s->link[1][1].dead = true;
	stream(s, 0, 200, 50, 300000);
	sim_run(s, 500000);
	sim_print(s, "proves himself");
	assert_all_once(&s->flow[0][0], 0);
	assert_in_range(s->flow[0][0].late_us_max, 10000, 20000);
	sim_free(s);
}

/* Both dead for 20 s: the first packet after that comes as soon as a probe has found the way,
 * without new keys. */
static void the_first_packet_after_silence(void **st)
{
	struct sim_link l[2] = { { .delay_us = 10000 }, { .delay_us = 15000 } };

	(void)st;
	for (unsigned when = 0; when < 8; when++) {
		struct sim *s = sim_new(2, l, &usual, 40 + when);
		uint64_t healed;

		stream(s, 0, 200, 50, 1000000);
		for (unsigned k = 0; k < 4; k++)
			s->link[k / 2][k % 2].dead = true;
		stream(s, 0, 200, 50, 20000000 + when * 37000);
		for (unsigned k = 0; k < 4; k++)
			s->link[k / 2][k % 2].dead = false;
		healed = sim_us;
		while (s->flow[0][0].last_us < healed && sim_us - healed < 5000000)
			stream(s, 0, 200, 50, 5000);
		printf("# %u: the first packet after %.0f ms\n", when, (double)(sim_us - healed) / 1e3);
		assert_true(sim_us - healed <= 300000); /* tried each 250 ms, and the way there */
		sim_free(s);
	}
}

/* --- cold --- */

/* Ten datagrams of 30,000 bytes, in pieces, 10 ms apart, before anything is known of the lines:
 * more than it is first thought that they carry. All arrive, and (but for those first and last ones
 * that are urgent, and overtake) in order: who joins pieces does not wait for long. */
static void a_burst_through_a_cold_tunnel(void **st)
{
	struct sim_link l[2] = { { .delay_us = 10000, .rate = 20000000 / 8, .queue_us = 200000 },
				 { .delay_us = 30000, .rate = 20000000 / 8, .queue_us = 200000 } };
	struct sim *s = sim_new(2, l, &usual, 50);

	(void)st;
	for (unsigned n = 0; n < 10; n++) {
		for (unsigned k = 0; k < 21; k++)
			sim_send(s, 0, 0, 1428, 0);
		tunnel_send_end(s->end[0]);
		sim_run(s, 10000);
	}
	sim_run(s, 500000);
	sim_print(s, "cold");
	assert_all_once(&s->flow[0][0], 0);
	assert_in_range(s->flow[0][0].disorder, 0, 40);
	assert_in_range(sim_latency(&s->flow[0][0], 990), 10000, 200000);
	sim_free(s);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_too_old),
		cmocka_unit_test(tenfold),
		cmocka_unit_test(overheard_and_sent_again),
		cmocka_unit_test(numbers_beyond_32_bits_and_new_keys),
		cmocka_unit_test(nobody_gets_what_is_anothers),
		cmocka_unit_test(lines_take_turns), cmocka_unit_test(who_proves_himself_carries_copies),
		cmocka_unit_test(the_first_packet_after_silence),
		cmocka_unit_test(a_burst_through_a_cold_tunnel),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
