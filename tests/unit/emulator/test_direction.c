/* SPDX-License-Identifier: BSD-2-Clause */
/* One way over an emulated line, by a clock of the test's: is it what was ordered, to the
 * nanosecond and the frame? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "direction.h"

#define MS 1000000ull
#define S 1000000000ull
#define FRAME 1242 /* 1,200 bytes of UDP */
#define FRAME_NS(rate) (FRAME * 8 * S / (rate))

static struct direction d;
static uint64_t now;

static int begin(void **state)
{
	(void)state;
	direction_init(&d, 1);
	now = 5 * S;
	return 0;
}

static int end(void **state)
{
	(void)state;
	direction_clear(&d);
	return 0;
}

static void order(const char *key, const char *value)
{
	assert_int_equal(direction_set(&d, key, value, now), 0);
}

/* A frame that says when it was put. */
static void put(size_t len)
{
	uint8_t frame[FRAME_MAX] = { 0 };

	memcpy(frame + 14, &now, sizeof(now));
	direction_put(&d, frame, len, now);
}

static uint64_t born(const struct frame *f)
{
	uint64_t at;

	memcpy(&at, f->data + 14, sizeof(at));
	return at;
}

/* What is due now is thrown away; how many frames. */
static unsigned take_all(void)
{
	struct frame *f;
	unsigned n = 0;

	for (; (f = direction_take(&d, now)); n++)
		free(f);
	return n;
}

/* 40 Mbit/s go in for a while, and somebody looks only each `look` ns; bytes that came out. */
static uint64_t flood(uint64_t ns, uint64_t look)
{
	uint64_t before = d.count.out_bytes, looked = now;

	for (uint64_t until = now + ns; now < until; now += FRAME_NS(40000000)) {
		put(FRAME);
		if (now - looked >= look) {
			take_all();
			looked = now;
		}
	}
	take_all();
	return d.count.out_bytes - before;
}

static void the_rate_is_the_one_that_was_ordered(void **state)
{
	static const struct {
		const char *text;
		uint64_t rate;
	} t[] = { { "20M", 20000000 }, { "5M", 5000000 }, { "786k", 786000 }, { "1000000", 1000000 } };

	for (unsigned i = 0; i < 4; i++) {
		begin(state);
		order("rate", t[i].text);
		flood(S, 0); /* the queue is full by now */
		assert_in_range(flood(10 * S, i * 3 * MS), t[i].rate * 10 / 8 - 2 * FRAME - t[i].rate * i * 3 / 8000,
				t[i].rate * 10 / 8 + 2 * FRAME + t[i].rate * i * 3 / 8000);
		assert_true(d.count.tail_drops > 0);
		assert_int_equal(d.count.in_frames, d.count.out_frames + d.count.tail_drops + d.waiting / FRAME);
		assert_int_equal(d.count.in_bytes, d.count.in_frames * FRAME);
		end(state);
	}
	begin(state);
}

static void a_rate_that_is_changed_counts_from_then_on(void **state)
{
	(void)state;
	order("rate", "20M");
	flood(2 * S, 0);
	order("rate", "786k");
	assert_in_range(flood(10 * S, 0), 786000 * 10 / 8 - 2 * FRAME, 786000 * 10 / 8 + 2 * FRAME);
	order("rate", "0"); /* as fast as it comes */
	take_all();
	assert_in_range(flood(S, 0), 5000000 - FRAME, 5000000 + FRAME);
}

static void the_delay_is_exact(void **state)
{
	struct frame *f;

	(void)state;
	order("rate", "5M");
	order("delay", "20");
	put(FRAME);
	put(100);
	assert_int_equal(direction_next(&d), now + FRAME_NS(5000000) + 20 * MS);
	now += FRAME_NS(5000000) + 20 * MS - 1;
	assert_null(direction_take(&d, now));
	now++;
	assert_non_null(f = direction_take(&d, now));
	assert_int_equal(f->len, FRAME);
	free(f);
	now += 100 * 8 * S / 5000000 - 1;
	assert_null(direction_take(&d, now));
	now++;
	assert_int_equal(take_all(), 1);
	assert_int_equal(direction_next(&d), UINT64_MAX);
	order("rate", "0");
	order("delay", "0");
	put(60);
	assert_int_equal(take_all(), 1); /* at once */
}

static void jitter_keeps_order_and_mean(void **state)
{
	uint64_t least = UINT64_MAX, most = 0, sum = 0, last = 0, n = 0;
	struct frame *f;

	(void)state;
	order("delay", "20ms");
	order("jitter", "8");
	for (uint64_t until = now + 200 * S; now < until; now += MS / 2)
		for (now / MS % 20 ? (void)0 : put(60); (f = direction_take(&d, now)); free(f), n++) {
			assert_true(born(f) >= last);
			last = born(f);
			sum += now - last;
			least = now - last < least ? now - last : least;
			most = now - last > most ? now - last : most;
		}
	assert_int_equal(n, d.count.out_frames);
	assert_true(n > 9990);
	assert_int_equal(d.count.reordered, 0);
	assert_in_range(sum / n, 19 * MS, 22 * MS);
	assert_in_range(least, 12 * MS, 12 * MS + MS);
	assert_in_range(most, 27 * MS, 28 * MS + MS);
}

static void nobody_waits_longer_than_the_queue_is(void **state)
{
	uint64_t longest = 0, full = 0;
	struct frame *f;

	(void)state;
	order("rate", "5M");
	order("delay", "20");
	order("queue", "50ms");
	for (unsigned i = 0; i < 40000; i++, now += MS / 4) {
		put(FRAME);
		for (; (f = direction_take(&d, now)); free(f)) {
			longest = now - born(f) > longest ? now - born(f) : longest;
			full += now - born(f) >= 20 * MS + 45 * MS;
		}
	}
	assert_in_range(longest, 68 * MS, 70 * MS + MS / 4); /* of the distance, and of the queue */
	assert_true(full * 100 > d.count.out_frames * 98);
	assert_true(d.count.tail_drops > 30000);
	order("queue", "10000b");
	now += S;
	take_all();
	for (unsigned i = 0; i < 100; i++)
		put(FRAME);
	assert_int_equal(d.waiting, 10000 / FRAME * FRAME);
}

/* 100,000 frames, a tenth lost: five times the deviation either way. The same seed loses the same
 * ones. */
static void loss_is_what_was_ordered(void **state)
{
	uint64_t first;

	(void)state;
	order("loss", "10");
	for (unsigned again = 0; again < 2; again++) {
		order("seed", "7");
		first = d.count.losses;
		for (unsigned i = 0; i < 100000; i++, now += MS) {
			put(100);
			take_all();
		}
		assert_in_range(d.count.losses - first, 9525, 10475);
		if (again)
			assert_int_equal(d.count.losses, 2 * first);
	}
	assert_int_equal(d.count.in_frames, d.count.out_frames + d.count.losses);
}

static void lose(uint64_t frames, double *share, double *run)
{
	uint64_t lost = 0, runs = 0;
	bool gone, before = false;

	for (uint64_t i = 0; i < frames; i++, now += MS) {
		put(64);
		gone = !take_all();
		lost += gone;
		runs += gone && !before;
		before = gone;
	}
	*share = (double)lost / (double)frames;
	*run = (double)lost / (double)runs;
}

static void outages_take_their_share_in_runs(void **state)
{
	double share, run;

	(void)state;
	order("outage", "40");
	order("loss", "20");
	order("seed", "3");
	lose(1000000, &share, &run);
	assert_true(share > 0.19 && share < 0.21);
	assert_true(run > 38 && run < 42);
	order("outage", "0");
	lose(100000, &share, &run);
	assert_true(share > 0.19 && share < 0.21);
	assert_true(run > 1.2 && run < 1.3);
}

static void longer_packets_vanish(void **state)
{
	(void)state;
	order("mtu", "1400");
	put(1414);
	put(1415);
	assert_int_equal(take_all(), 1);
	assert_int_equal(d.count.mtu_drops, 1);
	order("mtu", "0");
	put(1514);
	assert_int_equal(take_all(), 1);
	assert_int_equal(d.count.mtu_drops, 1);
}

/* What is on the wire and what is on its way is gone as well; what waits in the modem's queue is
 * not, if it ends in time. */
static void a_hole_swallows_what_is_on_the_line(void **state)
{
	(void)state;
	order("rate", "5M");
	order("delay", "20");
	put(FRAME);
	put(FRAME);
	now += 10 * MS;
	order("hole", "on");
	now += 40 * MS;
	put(FRAME);
	now += 40 * MS;
	assert_int_equal(take_all(), 0);
	assert_int_equal(d.count.hole_drops, 3);
	assert_int_equal(direction_next(&d), UINT64_MAX);
	order("hole", "off");
	put(FRAME);
	now += 40 * MS;
	assert_int_equal(take_all(), 1);
	assert_int_equal(d.count.hole_drops, 3);
}

static void copies_and_those_that_overtake_are_counted(void **state)
{
	struct frame *f;

	(void)state;
	order("duplicate", "100");
	put(100);
	assert_int_equal(take_all(), 2);
	assert_int_equal(d.count.duplicates, 1);
	order("duplicate", "0");
	order("delay", "20");
	put(100);
	order("reorder", "100");
	now += MS;
	put(101);
	assert_int_equal(direction_next(&d), now);
	assert_non_null(f = direction_take(&d, now));
	assert_int_equal(f->len, 101);
	free(f);
	now += 19 * MS;
	assert_int_equal(take_all(), 1);
	assert_int_equal(d.count.reordered, 1);
}

static void damage_is_one_bit_behind_the_header(void **state)
{
	static const uint8_t clean[300];
	unsigned where[300] = { 0 }, seen = 0;
	struct frame *f;

	(void)state;
	order("corrupt", "100");
	for (unsigned i = 0; i < 20000; i++) {
		unsigned bits = 0;

		direction_put(&d, clean, sizeof(clean), now);
		assert_non_null(f = direction_take(&d, now));
		for (unsigned k = 0; k < sizeof(clean); k++) {
			bits += (unsigned)__builtin_popcount(f->data[k]);
			where[k] += f->data[k] != 0;
		}
		assert_int_equal(bits, 1);
		free(f);
	}
	for (unsigned k = 0; k < 300; k++)
		seen += where[k] > 0;
	assert_int_equal(where[0] + where[13], 0);
	assert_int_equal(seen, 300 - 14);
	assert_int_equal(d.count.corrupted, 20000);
}

/* A share of each: what jitters, doubles, damages and loses delivers as many as it says. */
static void all_at_once_adds_up(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 5; i++)
		order((const char *[]){ "loss", "duplicate", "reorder", "corrupt", "jitter" }[i], "2");
	order("rate", "100M");
	order("delay", "3");
	for (unsigned i = 0; i < 50000; i++, now += MS / 5) {
		put(1000);
		take_all();
	}
	now += S;
	take_all();
	assert_int_equal(d.count.in_frames + d.count.duplicates, d.count.out_frames + d.count.losses);
	assert_in_range(d.count.losses, 800, 1200);
	assert_in_range(d.count.duplicates, 800, 1200);
	assert_in_range(d.count.reordered, 800, 1200);
	assert_in_range(d.count.corrupted, 800, 1200);
}

static void what_makes_no_sense_is_refused(void **state)
{
	static const char *const bad[][2] = { { "rate", "fast" }, { "rate", "5X" }, { "rate", "-1" }, { "delay", "5s" }, { "loss", "101" },
					      { "loss", "" }, { "hole", "maybe" }, { "strip", "1" }, { "queue", "5s" }, { "mtu", "1400b" },
					      { "colour", "1" }, { "jitter", "nan" } };
	struct direction was = d;

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(direction_set(&d, bad[i][0], bad[i][1], now), -1);
	assert_memory_equal(&was, &d, sizeof(d));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_rate_is_the_one_that_was_ordered),
		TEST(a_rate_that_is_changed_counts_from_then_on),
		TEST(the_delay_is_exact),
		TEST(jitter_keeps_order_and_mean),
		TEST(nobody_waits_longer_than_the_queue_is),
		TEST(loss_is_what_was_ordered),
		TEST(outages_take_their_share_in_runs),
		TEST(longer_packets_vanish),
		TEST(a_hole_swallows_what_is_on_the_line),
		TEST(copies_and_those_that_overtake_are_counted),
		TEST(damage_is_one_bit_behind_the_header),
		TEST(all_at_once_adds_up),
		TEST(what_makes_no_sense_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
