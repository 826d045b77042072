/* SPDX-License-Identifier: BSD-2-Clause */
/* pmtu against an association that is a table: each path takes datagrams up to a size, after a
 * while, or loses some. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pmtu.h"

#define FLIGHTS 4096

struct flight { /* an answer on its way */
	uint64_t at;
	uint8_t value[4];
};

struct line {
	struct health health;
	bool has;
	enum wire_use use;
	unsigned limit, local_limit; /* of the way, in silence; of our own kernel, with EMSGSIZE */
	unsigned loss;		     /* percent of probes */
	unsigned probes;
};

static struct {
	uint64_t now, due;
	struct line line[ASSOC_PATHS];
	struct flight flight[FLIGHTS];
	unsigned n;
	unsigned inner, changes;
	struct pmtu *pmtu;
	uint8_t said[4]; /* the last MTU_ACK that pmtu gave */
	unsigned n_said;
} net;

bool assoc_has_path(const struct assoc *a, unsigned id)
{
	(void)a;
	return net.line[id].has;
}

const struct health *assoc_health(const struct assoc *a, unsigned id)
{
	(void)a;
	return &net.line[id].health;
}

enum wire_use assoc_use(const struct assoc *a, unsigned id)
{
	(void)a;
	return net.line[id].use;
}

void assoc_control(struct assoc *a, unsigned path, enum wire_ctl type, const void *value, size_t len)
{
	(void)a;
	assert_int_equal(path, ASSOC_ALL);
	assert_int_equal(type, WIRE_CTL_MTU_ACK);
	assert_int_equal(len, 4);
	memcpy(net.said, value, 4);
	net.n_said++;
}

int assoc_control_sized(struct assoc *a, unsigned path, enum wire_ctl type, const void *value, size_t len, size_t size)
{
	struct line *l = &net.line[path];
	const uint8_t *v = value;
	struct flight *f = &net.flight[net.n];

	(void)a;
	assert_int_equal(type, WIRE_CTL_MTU_PROBE);
	assert_int_equal(len, 3);
	assert_int_equal((size_t)v[1] << 8 | v[2], size);
	assert_in_range(size, PMTU_BASE, PMTU_TOP);
	l->probes++;
	if (size > l->local_limit)
		return EMSGSIZE;
	if (size > l->limit || (unsigned)(random() % 100) < l->loss)
		return 0;
	assert_true(net.n < FLIGHTS);
	f->at = net.now + l->health.srtt_us / 1000;
	memcpy(f->value, (uint8_t[]){ (uint8_t)path, v[0], v[1], v[2] }, 4);
	net.n++;
	return 0;
}

static void on_change(void *arg, unsigned inner)
{
	(void)arg;
	assert_int_not_equal(inner, net.inner);
	net.inner = inner;
	net.changes++;
}

static void land(void)
{
	static struct flight due[FLIGHTS]; /* each call of a large one on the stack would cost ASan more than the rest of the test */
	unsigned n = 0, left = 0;

	for (unsigned i = 0; i < net.n; i++)
		if (net.flight[i].at <= net.now)
			due[n++] = net.flight[i];
		else
			net.flight[left++] = net.flight[i];
	net.n = left;
	for (unsigned i = 0; i < n; i++)
		assert_true(pmtu_frame(net.pmtu, 0, WIRE_CTL_MTU_ACK, due[i].value, 4, net.now));
	if (n)
		net.due = net.now;
}

static void run(unsigned ms)
{
	for (uint64_t end = net.now + ms; net.now < end; net.now++) {
		land();
		if (net.now >= net.due)
			net.due = pmtu_tick(net.pmtu, net.now);
	}
}

static void set_state(unsigned path, enum health_state s)
{
	net.line[path].health.state = s;
	pmtu_path(net.pmtu, path, net.now);
	net.due = 0;
}

static void up(unsigned path, unsigned limit, unsigned rtt_ms)
{
	struct line *l = &net.line[path];

	*l = (struct line){ .has = true, .limit = limit, .local_limit = 1472 };
	l->health.srtt_us = rtt_ms * 1000;
	l->health.rttvar_us = 2000;
	l->health.side[HEALTH_TX].rate = 1000000;
	set_state(path, HEALTH_UP);
}

/* Long datagrams, 1 ms apart, whose fate is known a round trip later: what a bulk flow and its
 * resending make of it. */
static void bulk(unsigned path, unsigned ms)
{
	struct line *l = &net.line[path];

	for (unsigned i = 0; i < ms; i++) {
		size_t len = pmtu_size(net.pmtu, path);

		pmtu_sent(net.pmtu, path, len, net.now);
		if (len > l->limit || (unsigned)(random() % 100) < l->loss)
			pmtu_lost(net.pmtu, path, len, net.now);
		else
			pmtu_acked(net.pmtu, path, len);
		net.due = 0;
		run(1);
	}
}

static int begin(void **state)
{
	(void)state;
	memset(&net, 0, sizeof(net));
	srandom(1);
	net.now = 1000000;
	net.pmtu = pmtu_new(NULL, NULL, 0, on_change, NULL);
	return 0;
}

static int end(void **state)
{
	(void)state;
	pmtu_free(net.pmtu);
	return 0;
}

static void test_one_round_trip(void **state)
{
	static const struct {
		unsigned limit, size, inner;
	} t[] = { { 1472, 1472, 1448 }, { 1464, 1464, 1440 }, { 1452, 1452, 1428 }, { 1399, 1392, 1368 }, { 1252, 1252, 1280 } };

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		assert_int_equal(pmtu_size(net.pmtu, 0), PMTU_BASE);
		up(0, t[i].limit, 40);
		run(42);
		assert_int_equal(pmtu_size(net.pmtu, 0), t[i].size);
		assert_int_equal(pmtu_inner(net.pmtu), t[i].inner);
		assert_int_equal(net.changes, t[i].inner != PMTU_INNER_FLOOR);
		end(state);
		begin(state);
	}
}

static void test_lost_probes_are_sent_again(void **state)
{
	unsigned best = 0;

	(void)state;
	for (unsigned i = 0; i < 50; i++) {
		up(0, 1472, 40);
		net.line[0].loss = 20;
		run(1000);
		best += pmtu_size(net.pmtu, 0) == 1472;
		set_state(0, HEALTH_DOWN);
	}
	assert_in_range(best, 47, 50); /* 1 - 0.2^3 */
}

static void test_own_kernel_refuses(void **state)
{
	(void)state;
	up(0, 1472, 40);
	run(100);
	set_state(0, HEALTH_PROBING);
	net.line[0].local_limit = 1412;
	net.line[0].probes = 0;
	set_state(0, HEALTH_UP);
	run(45);
	assert_int_equal(pmtu_size(net.pmtu, 0), 1412);
	run(2000);
	assert_in_range(net.line[0].probes, 17, 17); /* no second round */
}

static void test_smallest_usable_path(void **state)
{
	(void)state;
	up(0, 1472, 10);
	up(1, 1464, 30);
	run(12);
	assert_int_equal(net.inner, 1448);
	run(30);
	assert_int_equal(net.inner, 1440);
	set_state(1, HEALTH_DOWN);
	run(1);
	assert_int_equal(net.inner, 1448);
	set_state(0, HEALTH_DOWN);
	run(100);
	assert_int_equal(net.inner, 1448); /* none left */
	up(1, 1464, 30);
	run(20);
	assert_int_equal(net.inner, 1448); /* not known yet */
	run(20);
	assert_int_equal(net.inner, 1440);
	net.line[1].use = WIRE_USE_NOT;
	set_state(1, HEALTH_UP);
	up(0, 1472, 10);
	run(20);
	assert_int_equal(net.inner, 1448);
}

static void test_reserve(void **state)
{
	(void)state;
	pmtu_free(net.pmtu);
	net.pmtu = pmtu_new(NULL, NULL, WIRE_REPAIR_HDR, on_change, NULL);
	up(0, 1472, 10);
	run(20);
	assert_int_equal(net.inner, 1435);
}

static void shrink_and_measure(unsigned limit, unsigned size, unsigned within_ms)
{
	net.line[0].limit = limit;
	for (unsigned ms = 0; ms < within_ms; ms++) {
		bulk(0, 1);
		if (pmtu_size(net.pmtu, 0) == size)
			return;
	}
	fail_msg("%u after %u ms, not %u", pmtu_size(net.pmtu, 0), within_ms, size);
}

static void test_black_hole_under_bulk(void **state)
{
	(void)state;
	up(0, 1472, 40);
	run(50);
	bulk(0, 1000);
	assert_int_equal(net.changes, 1);
	net.line[0].limit = 1372;
	bulk(0, 3);
	assert_int_equal(pmtu_size(net.pmtu, 0), PMTU_BASE); /* after three losses */
	shrink_and_measure(1372, 1372, 200);
	assert_int_equal(net.inner, 1348);
	shrink_and_measure(1252, 1252, 200);
	assert_int_equal(net.inner, PMTU_INNER_FLOOR);
	bulk(0, 5000);
	assert_int_equal(pmtu_size(net.pmtu, 0), 1252);
	assert_int_equal(net.changes, 3);
}

/* Copies hide the losses of one path from whoever resends: the probe beside the traffic finds
 * it. */
static void test_black_hole_without_hints(void **state)
{
	unsigned ms;

	(void)state;
	up(0, 1472, 40);
	run(50);
	net.line[0].limit = 1372;
	for (ms = 0; ms < 2000 && net.inner != 1348; ms++) {
		pmtu_sent(net.pmtu, 0, 1400, net.now);
		net.due = 0;
		run(1);
	}
	assert_in_range(ms, 1, 999);
}

static void test_loss_is_no_black_hole(void **state)
{
	(void)state;
	up(0, 1472, 40);
	run(1000);
	net.line[0].loss = 20;
	net.line[0].probes = 0;
	bulk(0, 20000);
	assert_int_equal(net.inner, 1448);
	assert_int_equal(net.changes, 1);
	assert_in_range(net.line[0].probes, 60, 1500); /* of 20,000 packets */
}

static void test_silence_proves_nothing(void **state)
{
	(void)state;
	up(0, 1472, 40);
	run(50);
	net.line[0].loss = 100;
	set_state(0, HEALTH_SUSPECT);
	bulk(0, 380);
	assert_int_equal(net.inner, 1448);
	net.line[0].loss = 0;
	set_state(0, HEALTH_UP);
	bulk(0, 200);
	assert_int_equal(pmtu_size(net.pmtu, 0), 1472);
	assert_int_equal(net.changes, 1);
}

static void test_raised_later(void **state)
{
	(void)state;
	up(0, 1412, 40);
	run(1000);
	assert_int_equal(net.inner, 1388);
	net.line[0].limit = 1472;
	net.line[0].probes = 0;
	run(1200000);
	assert_int_equal(net.line[0].probes, 0); /* idle: nothing is sent */
	pmtu_sent(net.pmtu, 0, 100, net.now);
	net.due = 0;
	run(1000);
	assert_int_equal(net.inner, 1448);
	assert_in_range(net.line[0].probes, 1, 8);
}

static void test_idle_confirmed_rarely(void **state)
{
	(void)state;
	up(0, 1472, 40);
	run(1000);
	net.line[0].probes = 0;
	for (unsigned s = 0; s < 60; s++) {
		pmtu_sent(net.pmtu, 0, 120, net.now);
		net.due = 0;
		run(1000);
	}
	assert_in_range(net.line[0].probes, 1, 2);
}

static void test_mute_path_is_asked_less_and_less(void **state)
{
	(void)state;
	up(0, 0, 40);
	run(60000);
	assert_int_equal(pmtu_size(net.pmtu, 0), PMTU_BASE);
	assert_int_equal(net.inner, 0); /* never told */
	assert_in_range(net.line[0].probes, 17 * 3 + 3, 17 * 3 + 8); /* a ladder, then one each time */
	run(3600000);
	net.line[0].probes = 0;
	run(3600000);
	assert_in_range(net.line[0].probes, 1, 4);
	net.line[0].limit = 1472;
	run(1100000);
	assert_int_equal(net.inner, 1448);
}

static void test_asleep_nothing_is_asked(void **state)
{
	(void)state;
	pmtu_awake(net.pmtu, false, net.now);
	up(0, 1472, 40);
	pmtu_sent(net.pmtu, 0, 1400, net.now);
	run(700000);
	assert_int_equal(net.line[0].probes, 0);
	assert_true(pmtu_frame(net.pmtu, 0, WIRE_CTL_MTU_PROBE, (uint8_t[3]){ 7, 5, 0xb0 }, 3, net.now));
	assert_int_equal(net.n_said, 1); /* but answered */
	pmtu_awake(net.pmtu, true, net.now);
	run(100);
	assert_int_equal(net.inner, 1448);
}

static void test_answers_of_before_count_nothing(void **state)
{
	static const uint8_t old[4] = { 0, 1, 1472 >> 8, 1472 & 255 };

	(void)state;
	up(0, 1372, 40);
	run(1000);
	set_state(0, HEALTH_PROBING); /* another address */
	up(0, 1372, 40);
	pmtu_frame(net.pmtu, 0, WIRE_CTL_MTU_ACK, old, 4, net.now);
	run(1000);
	assert_int_equal(pmtu_size(net.pmtu, 0), 1372);
}

static void test_bad_frames(void **state)
{
	uint8_t v[8] = { 0, 1, 0xff, 0xff };

	(void)state;
	up(0, 1372, 40);
	for (size_t len = 0; len <= sizeof(v); len++)
		for (unsigned path = 0; path < 256; path++) {
			v[0] = (uint8_t)path;
			assert_true(pmtu_frame(net.pmtu, 0, WIRE_CTL_MTU_ACK, v, len, net.now));
		}
	assert_false(pmtu_frame(net.pmtu, 0, WIRE_CTL_ACK, v, 4, net.now));
	assert_int_equal(net.n_said, 0);
	for (size_t len = 0; len <= sizeof(v); len++)
		assert_true(pmtu_frame(net.pmtu, 3, WIRE_CTL_MTU_PROBE, (uint8_t[8]){ 7, 5, 0xb0 }, len, net.now));
	assert_int_equal(net.n_said, 1);
	assert_memory_equal(net.said, ((uint8_t[]){ 3, 7, 5, 0xb0 }), 4);
	assert_true(pmtu_frame(net.pmtu, ASSOC_PATHS, WIRE_CTL_MTU_PROBE, v, 3, net.now));
	assert_int_equal(net.n_said, 1);
	run(1000);
	assert_int_equal(pmtu_size(net.pmtu, 0), 1372);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_one_round_trip, begin, end),
		cmocka_unit_test_setup_teardown(test_lost_probes_are_sent_again, begin, end),
		cmocka_unit_test_setup_teardown(test_own_kernel_refuses, begin, end),
		cmocka_unit_test_setup_teardown(test_smallest_usable_path, begin, end),
		cmocka_unit_test_setup_teardown(test_reserve, begin, end),
		cmocka_unit_test_setup_teardown(test_black_hole_under_bulk, begin, end),
		cmocka_unit_test_setup_teardown(test_black_hole_without_hints, begin, end),
		cmocka_unit_test_setup_teardown(test_loss_is_no_black_hole, begin, end),
		cmocka_unit_test_setup_teardown(test_silence_proves_nothing, begin, end),
		cmocka_unit_test_setup_teardown(test_raised_later, begin, end),
		cmocka_unit_test_setup_teardown(test_idle_confirmed_rarely, begin, end),
		cmocka_unit_test_setup_teardown(test_mute_path_is_asked_less_and_less, begin, end),
		cmocka_unit_test_setup_teardown(test_asleep_nothing_is_asked, begin, end),
		cmocka_unit_test_setup_teardown(test_answers_of_before_count_nothing, begin, end),
		cmocka_unit_test_setup_teardown(test_bad_frames, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
