/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "resend.h"

static struct slab slab;
static uint64_t again[64];
static unsigned n_again, n_acked;

static void on_again(void *arg, struct packet *p)
{
	uint64_t *now = arg;

	again[n_again++ % 64] = p->seq;
	p->last_us = *now;
}

static void on_acked(void *arg, const struct packet *p)
{
	(void)arg;
	(void)p;
	n_acked++;
}

static const struct resend_how how = { .deadline_us = 150000, .strict = true, .tries = 2, .keep_us = 400000 };
static const struct resend_paths ways = { .usable = 3, .srtt_us = { 40000, 70000 }, .var_us = { 1000, 1000 } };

static void begin(struct resend *r, uint32_t size, uint32_t bytes)
{
	slab_init(&slab, 4096);
	resend_init(r, &slab, size, bytes, &how);
	n_again = n_acked = 0;
}

static void end(struct resend *r)
{
	resend_flush(r);
	assert_int_equal(slab.used, 0);
	slab_end(&slab);
}

static void sent(struct resend *r, uint64_t seq, uint8_t paths, uint64_t now)
{
	struct packet *p = slab_take(&slab);

	p->seq = seq;
	p->len = 1000;
	p->paths = paths;
	p->sent_us = p->last_us = now;
	resend_keep(r, p);
	packet_put(&slab, p);
}

/* Everything up to top arrived but one. */
static void acknowledge(struct resend *r, uint64_t top, uint64_t missing, unsigned path, uint64_t now)
{
	struct wire_ack a = { .class = WIRE_CLASS_B, .top = top, .n = WIRE_ACK_MAP };

	memset(a.map, 0xff, sizeof(a.map));
	if (missing < top)
		a.map[(top - 1 - missing) / 8] &= (uint8_t)~(1 << (top - 1 - missing) % 8);
	resend_ack(r, &a, path, &ways, now, on_again, on_acked, &now);
}

static void two_later_ones_of_its_path_prove_a_loss(void **st)
{
	struct resend r;

	(void)st;
	begin(&r, 64, 1 << 20);
	for (uint64_t s = 0; s < 6; s++)
		sent(&r, s, s % 2 ? 1 : 2, 1000 * s);
	acknowledge(&r, 4, 3, 0, 20000); /* 1 is of its path, and before it; the others went elsewhere */
	assert_int_equal(n_again, 0);
	sent(&r, 6, 2, 6000);
	sent(&r, 7, 1, 7000);
	acknowledge(&r, 7, 3, 0, 27000); /* 5 and 7 passed it */
	assert_int_equal(n_again, 1);
	assert_int_equal(again[0], 3);
	assert_int_equal(n_acked, 7);
	acknowledge(&r, 7, 3, 0, 28000); /* not a second time for the same news */
	assert_int_equal(n_again, 1);
	end(&r);
}

static void copies_are_waited_for_on_every_path(void **st)
{
	struct resend r;

	(void)st;
	begin(&r, 64, 1 << 20);
	for (uint64_t s = 0; s < 4; s++)
		sent(&r, s, 3, 0);
	acknowledge(&r, 3, 1, 0, 45000); /* the slower copy may still be under way: (70 + 40) / 2 */
	assert_int_equal(n_again, 0);
	acknowledge(&r, 3, 1, 0, 62000);
	assert_int_equal(n_again, 1);
	acknowledge(&r, 3, 1, 0, 110000); /* the answer to that */
	assert_int_equal(n_again, 1);
	acknowledge(&r, 3, 1, 0, 125000);
	assert_int_equal(n_again, 2);
	acknowledge(&r, 3, 1, 0, 200000); /* twice is enough, and too late */
	assert_int_equal(n_again, 2);
	end(&r);
}

static void the_last_of_a_burst_is_sent_again_unasked(void **st)
{
	struct resend r;
	uint64_t now;

	(void)st;
	begin(&r, 64, 1 << 20);
	sent(&r, 0, 1, 0);
	now = 60000;
	resend_tick(&r, &ways, now, on_again, &now);
	assert_int_equal(n_again, 0);
	now = 67000; /* 40 + 1 + 25 ms */
	resend_tick(&r, &ways, now, on_again, &now);
	assert_int_equal(n_again, 1);
	now = 400000;
	resend_tick(&r, &ways, now, on_again, &now);
	assert_int_equal(n_again, 1);
	assert_false(resend_waits(&r));
	end(&r);
}

static void a_path_that_went_quiet_gives_back_what_it_had(void **st)
{
	struct resend r;
	uint64_t now = 100000;

	(void)st;
	begin(&r, 64, 1 << 20);
	sent(&r, 0, 1, 90000); /* there alone */
	sent(&r, 1, 2, 90000);
	sent(&r, 2, 3, 90000); /* has a copy elsewhere */
	resend_desert(&r, &ways, 0, now, on_again, &now);
	assert_int_equal(n_again, 1);
	assert_int_equal(again[0], 0);
	end(&r);
}

static void the_ring_is_bounded(void **st)
{
	struct resend r;
	unsigned kept = 0;

	(void)st;
	begin(&r, 64, 30000);
	for (uint64_t s = 100; s < 1100; s++) {
		sent(&r, s, 1, s);
		assert_true(r.bytes <= 30000);
		kept = slab.used > kept ? slab.used : kept;
	}
	assert_true(kept <= 31);
	assert_int_equal(r.expired, 1000 - 30);
	sent(&r, 0, 1, 2000); /* numbered anew */
	assert_int_equal(slab.used, 1);
	sent(&r, 5, 1, 2000); /* with a gap */
	acknowledge(&r, 5, 100, 0, 3000);
	assert_int_equal(slab.used, 0);
	end(&r);
}

/* Acknowledgements of nonsense: of numbers never sent, longer than they may be, from nowhere. */
static void nonsense_is_ignored(void **st)
{
	struct wire_ack a = { .top = UINT64_MAX, .n = 255 };
	struct resend r;
	uint64_t now = 50000;

	(void)st;
	begin(&r, 64, 1 << 20);
	resend_ack(&r, &a, 0, &ways, now, on_again, on_acked, &now);
	sent(&r, 10, 1, 0);
	resend_ack(&r, &a, 0, &ways, now, on_again, on_acked, &now);
	a.top = 10;
	resend_ack(&r, &a, 0, &ways, now, on_again, on_acked, &now);
	a.n = 32;
	resend_ack(&r, &a, 8, &ways, now, on_again, on_acked, &now);
	assert_int_equal(n_acked, 0);
	a.top = 9;
	resend_ack(&r, &a, 0, &ways, now, on_again, on_acked, &now);
	assert_int_equal(n_acked + n_again, 0);
	end(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_later_ones_of_its_path_prove_a_loss),
		cmocka_unit_test(copies_are_waited_for_on_every_path),
		cmocka_unit_test(the_last_of_a_burst_is_sent_again_unasked),
		cmocka_unit_test(a_path_that_went_quiet_gives_back_what_it_had),
		cmocka_unit_test(the_ring_is_bounded),
		cmocka_unit_test(nonsense_is_ignored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
