/* SPDX-License-Identifier: BSD-2-Clause */
/* fec: what is lost is mended, and nothing else is; against a plain solver with all equations at
 * once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "fec.h"
#include "gf256.h"

#define PACKETS 20000

struct flow {
	struct fec_encoder *e;
	struct fec_decoder *d;
	uint64_t seq;
	uint8_t have[PACKETS]; /* times delivered */
	unsigned mended;
};

static size_t packet_make(uint64_t seq, uint8_t out[FEC_PACKET])
{
	size_t len = 1 + (seq * 2654435761u >> 7) % FEC_PACKET;

	for (size_t i = 0; i < len; i++)
		out[i] = (uint8_t)(seq * 31 + i * 7 + (i >> 8));
	return len;
}

static void on_mended(void *arg, uint64_t seq, uint8_t *packet, size_t len)
{
	struct flow *f = arg;
	uint8_t want[FEC_PACKET];

	assert_true(seq < PACKETS);
	assert_int_equal(len, packet_make(seq, want));
	assert_memory_equal(packet, want, len);
	memset(packet - 16, 0xee, 16 + len); /* it is ours to write to */
	f->have[seq]++;
	f->mended++;
}

static int setup(void **st)
{
	struct flow *f = calloc(1, sizeof(*f));

	srandom(1);
	f->e = fec_encoder_new();
	f->d = fec_decoder_new(on_mended, f);
	*st = f;
	return 0;
}

static int teardown(void **st)
{
	struct flow *f = *st;

	fec_encoder_free(f->e);
	fec_decoder_free(f->d);
	free(f);
	return 0;
}

static void arrive(struct flow *f, uint64_t seq)
{
	uint8_t p[FEC_PACKET];
	size_t len = packet_make(seq, p);

	if (fec_source(f->d, seq, p, len))
		f->have[seq]++;
}

/* The next packet is sent, and arrives or not. */
static void send_one(struct flow *f, bool arrives)
{
	uint8_t p[FEC_PACKET];
	size_t len = packet_make(f->seq, p);

	fec_encode(f->e, f->seq, p, len);
	if (arrives)
		arrive(f, f->seq);
	f->seq++;
}

static int repair(struct flow *f)
{
	uint8_t r[FEC_REPAIR_MAX];
	size_t len = fec_repair(f->e, r, FEC_WINDOW);
	uint8_t *exact = malloc(len); /* so that a read past its end is seen */
	int n;

	memcpy(exact, r, len);
	n = fec_repair_in(f->d, exact, len);
	free(exact);
	return n;
}

static void warm(struct flow *f)
{
	send_one(f, true);
	assert_int_equal(repair(f), 0);
	for (unsigned i = 0; i < FEC_WINDOW; i++)
		send_one(f, true);
}

static void test_k_repairs_mend_k_losses(void **st)
{
	struct flow *f = *st;
	unsigned solved = 0;

	warm(f);
	for (unsigned k = 1; k <= 16; k++) {
		int n = 0;

		for (unsigned i = 0; i < FEC_WINDOW; i++)
			send_one(f, i % 2 || i / 2 >= k);
		for (unsigned i = 0; i < k; i++) {
			assert_int_equal(n, 0); /* fewer equations than unknowns give nothing */
			n = repair(f);
		}
		solved += n == (int)k;
		for (unsigned i = 0; n < (int)k && i < 3; i++)
			n += repair(f);
		assert_int_equal(n, k);
	}
	assert_in_range(solved, 15, 16); /* a random matrix is singular once in 255 */
	for (uint64_t i = 0; i < f->seq; i++)
		assert_int_equal(f->have[i], 1);
}

static void test_late_packets_count_once(void **st)
{
	struct flow *f = *st;
	uint64_t a;

	warm(f);
	a = f->seq;
	send_one(f, false);
	send_one(f, false);
	send_one(f, true);
	assert_int_equal(repair(f), 0);
	arrive(f, a); /* late: the one equation that is there now has one unknown */
	assert_int_equal(f->mended, 1);
	assert_int_equal(f->have[a + 1], 1);
	arrive(f, a + 1); /* later still */
	assert_int_equal(f->have[a], 1);
	assert_int_equal(f->have[a + 1], 1);
	for (unsigned i = 0; i < 1000; i++)
		send_one(f, true);
	arrive(f, a + 1); /* when the ring has forgotten it */
	assert_int_equal(f->have[a + 1], 1);
}

/* What came before the first repair is not stored, and must not be made up from later ones. */
static void test_begins_in_the_middle(void **st)
{
	struct flow *f = *st;

	for (unsigned i = 0; i < 100; i++)
		send_one(f, true);
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(repair(f), 0);
	for (unsigned i = 0; i < 31; i++) {
		send_one(f, true);
		repair(f);
	}
	assert_int_equal(f->mended, 0);
	send_one(f, false);
	assert_int_equal(repair(f), 1);
}

static void test_peer_counts_anew(void **st)
{
	struct flow *f = *st;
	uint8_t p[64] = { 0 };

	fec_encode(f->e, 1ull << 40, p, sizeof(p));
	assert_true(fec_source(f->d, 1ull << 40, p, sizeof(p)));
	assert_int_equal(repair(f), 0);
	warm(f);
	send_one(f, false);
	assert_int_equal(repair(f), 1);
}

static void test_gap_in_numbers(void **st)
{
	struct flow *f = *st;
	uint8_t r[FEC_REPAIR_MAX];
	struct wire_repair w;

	warm(f);
	f->seq += 5;
	send_one(f, false);
	assert_in_range(fec_repair(f->e, r, FEC_WINDOW), WIRE_REPAIR_HDR + 1, FEC_REPAIR_MAX);
	assert_int_equal(wire_get_repair(&w, r, sizeof(r)), WIRE_REPAIR_HDR);
	assert_int_equal(w.base, f->seq - 1);
	assert_int_equal(w.window, 1);
	assert_int_equal(repair(f), 1);
	f->seq = 4000; /* so far ahead that the ring is new */
	send_one(f, false);
	assert_int_equal(repair(f), 1);
}

static void test_nothing_to_cover(void **st)
{
	struct flow *f = *st;
	uint8_t r[FEC_REPAIR_MAX], big[FEC_PACKET + 1] = { 0 };

	assert_int_equal(fec_repair(f->e, r, FEC_WINDOW), 0);
	send_one(f, true);
	assert_int_equal(fec_repair(f->e, r, 0), 0);
	fec_encode(f->e, f->seq, big, sizeof(big));
	assert_int_equal(fec_repair(f->e, r, FEC_WINDOW), 0);
}

/* Repairs per hundred packets, and the share that is lost in the end. */
static double residual(struct flow *f, double p, unsigned percent, unsigned mean_run)
{
	unsigned credit = 0, lost = 0;
	bool out = false;

	warm(f);
	while (f->seq < PACKETS - FEC_WINDOW) {
		double x = (double)random() / RAND_MAX;

		if (mean_run == 1)
			out = x < p;
		else
			out = out ? x >= 1.0 / mean_run : x < p / (1 - p) / mean_run;
		send_one(f, !out);
		credit += percent;
		if (credit >= 100) {
			credit -= 100;
			repair(f);
		}
	}
	for (uint64_t i = 0; i < f->seq; i++) {
		assert_in_range(f->have[i], 0, 1);
		lost += !f->have[i];
	}
	return 100.0 * lost / PACKETS;
}

/* The theory's own figures: parity mends what is single, and hardly anything of outages. */
static void test_random_loss(void **st)
{
	assert_true(residual(*st, 0.05, 25, 1) < 0.05);
}

static void test_outages(void **st)
{
	assert_true(residual(*st, 0.05, 25, 40) > 2);
}

/* Reference: all equations in one matrix, solved from scratch. */
#define UNKNOWNS 48
static bool solvable(uint8_t m[][UNKNOWNS], unsigned rows, unsigned column)
{
	uint8_t a[64][UNKNOWNS];
	unsigned rank = 0;

	memcpy(a, m, rows * UNKNOWNS);
	for (unsigned c = 0; c < UNKNOWNS; c++) {
		unsigned k = rank;

		while (k < rows && !a[k][c])
			k++;
		if (k == rows)
			continue;
		for (unsigned j = 0; j < UNKNOWNS; j++) {
			uint8_t t = a[k][j];

			a[k][j] = a[rank][j];
			a[rank][j] = t;
		}
		gf256_scale(a[rank], gf256_inv(a[rank][c]), UNKNOWNS);
		for (unsigned i = 0; i < rows; i++)
			if (i != rank)
				gf256_add_mul(a[i], a[rank], a[i][c], UNKNOWNS);
		rank++;
	}
	for (unsigned i = 0; i < rank; i++) {
		unsigned n = 0;

		for (unsigned j = 0; j < UNKNOWNS; j++)
			n += a[i][j] != 0;
		if (n == 1 && a[i][column])
			return true;
	}
	return false;
}

/* The factors of a repair, asked of the encoder itself: only packet i of the window is not zero. */
static uint8_t factor_of(uint16_t seed, unsigned place, unsigned window)
{
	struct fec_encoder *e = fec_encoder_new();
	uint8_t p[1], r[FEC_REPAIR_MAX];
	size_t len = 0;

	for (unsigned i = 0; i < window; i++) {
		p[0] = i == place;
		fec_encode(e, i, p, 1);
	}
	for (unsigned k = 0; k <= seed; k++)
		len = fec_repair(e, r, FEC_WINDOW);
	fec_encoder_free(e);
	assert_int_equal(len, WIRE_REPAIR_HDR + 1);
	return r[WIRE_REPAIR_HDR];
}

static void test_against_gauss(void **st)
{
	struct flow *f = *st;
	uint8_t m[64][UNKNOWNS] = { 0 };
	bool came[UNKNOWNS];
	unsigned rows = 0;
	uint64_t from;

	warm(f);
	from = f->seq;
	for (unsigned i = 0; i < UNKNOWNS; i++) {
		came[i] = random() % 100 < 72;
		send_one(f, came[i]);
		if (i % 3)
			continue;
		for (unsigned k = 0; k < FEC_WINDOW; k++) {
			uint64_t seq = f->seq - FEC_WINDOW + k;

			if (seq >= from && !came[seq - from])
				m[rows][seq - from] = factor_of((uint16_t)(1 + rows), k, FEC_WINDOW);
		}
		rows++;
		repair(f);
	}
	for (unsigned i = 0; i < UNKNOWNS; i++)
		assert_int_equal(f->have[from + i], came[i] || solvable(m, rows, i));
	assert_in_range(f->mended, 4, UNKNOWNS);
}

static void test_bad_repairs(void **st)
{
	struct flow *f = *st;
	uint8_t r[FEC_REPAIR_MAX + 1] = { 0 };
	size_t len;

	warm(f);
	send_one(f, false);
	len = fec_repair(f->e, r, FEC_WINDOW);
	for (size_t n = 0; n < WIRE_REPAIR_HDR; n++)
		assert_int_equal(fec_repair_in(f->d, r, n), -1);
	assert_int_equal(fec_repair_in(f->d, r, WIRE_REPAIR_HDR), -1); /* shorter than a packet it covers */
	assert_int_equal(fec_repair_in(f->d, r, FEC_REPAIR_MAX + 1), -1);
	r[8] = 0;
	assert_int_equal(fec_repair_in(f->d, r, len), -1);
	r[8] = FEC_WINDOW + 1;
	assert_int_equal(fec_repair_in(f->d, r, len), -1);
	r[8] = FEC_WINDOW;
	memset(r, 0xff, 8);
	assert_int_equal(fec_repair_in(f->d, r, len), -1);
	assert_int_equal(f->mended, 0);
	assert_int_equal(repair(f), 1); /* and none of it did harm */
}

static void test_rate(void **st)
{
	struct fec_rate r = { 0 };
	struct fec_conditions c = { .loss_ppm = 50000, .rtt_us = 120000, .deadline_ms = 150, .pps = 500 };
	unsigned due = 0;

	(void)st;
	for (unsigned i = 0; i < 100; i++)
		fec_rate_fate(&r, i % 20 == 0);
	assert_int_equal(fec_rate_judge(&r, &c, 1000), 145); /* 2.5 * 5 % + 2 % */
	for (unsigned i = 0; i < 10000; i++)
		due += fec_rate_due(&r);
	assert_int_equal(due, 1450);
	c.room_for_copies = true;
	assert_int_equal(fec_rate_judge(&r, &c, 1500), 145); /* not back and forth */
	assert_int_equal(fec_rate_judge(&r, &c, 2100), 0);
	c.room_for_copies = false;
	assert_int_equal(fec_rate_judge(&r, &c, 4000), 145);
	c.rtt_us = 40000;
	assert_int_equal(fec_rate_judge(&r, &c, 6000), 0); /* two resends are in time */
	c.rtt_us = 120000;
	c.pps = 100;
	assert_int_equal(fec_rate_judge(&r, &c, 8000), 0); /* a call: 32 packets span 320 ms */
	c.pps = 500;
	c.loss_ppm = 900000;
	assert_int_equal(fec_rate_judge(&r, &c, 10000), 500);
	c.loss_ppm = 4000;
	assert_int_equal(fec_rate_judge(&r, &c, 11000), 50);
	c.loss_ppm = 2000;
	assert_int_equal(fec_rate_judge(&r, &c, 13000), 0);
	c.loss_ppm = 4000;
	assert_int_equal(fec_rate_judge(&r, &c, 15000), 0);
	c.loss_ppm = 50000;
	for (unsigned i = 0; i < 200; i++)
		fec_rate_fate(&r, i % 20 < 8);
	assert_int_equal(fec_rate_judge(&r, &c, 17000), 0); /* outages */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_k_repairs_mend_k_losses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_late_packets_count_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_begins_in_the_middle, setup, teardown),
		cmocka_unit_test_setup_teardown(test_peer_counts_anew, setup, teardown),
		cmocka_unit_test_setup_teardown(test_gap_in_numbers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nothing_to_cover, setup, teardown),
		cmocka_unit_test_setup_teardown(test_random_loss, setup, teardown),
		cmocka_unit_test_setup_teardown(test_outages, setup, teardown),
		cmocka_unit_test_setup_teardown(test_against_gauss, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_repairs, setup, teardown),
		cmocka_unit_test(test_rate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
