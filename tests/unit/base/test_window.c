/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "window.h"

/* The naive model: a flag a number, and the highest. */
#define NUMBERS 4096
struct model {
	bool seen[NUMBERS];
	uint64_t next, bits;
};

static enum window_verdict model_mark(struct model *m, uint64_t n)
{
	if (n < m->next && m->next - n > m->bits)
		return WINDOW_OLD;
	if (m->seen[n])
		return WINDOW_SEEN;
	m->seen[n] = true;
	if (n >= m->next)
		m->next = n + 1;
	return WINDOW_NEW;
}

static void agree(struct window *w, struct model *m, uint64_t n)
{
	enum window_verdict checked = window_check(w, n), marked = window_mark(w, n);

	assert_int_equal(checked, marked);
	assert_int_equal(marked, model_mark(m, n));
	assert_int_equal(w->next, m->next);
}

/* Every pair and triple of numbers over several turns of the smallest ring. */
static void every_short_story(void **st)
{
	static struct model m;
	uint64_t words[2];
	struct window w;

	(void)st;
	for (unsigned i = 0; i < 330 * 330; i++) {
		window_init(&w, words, 2);
		memset(m.seen, 0, m.next); /* no more than is set: this is run a hundred thousand times, by qemu too */
		m.next = 0;
		m.bits = 64;
		agree(&w, &m, i / 330);
		agree(&w, &m, i % 330);
		for (uint64_t n = i % 7; n < 330; n += 7)
			agree(&w, &m, n);
		agree(&w, &m, i / 330);
	}
}

static void random_stories(void **st)
{
	static struct model m;
	uint64_t words[WINDOW_WORDS(256)];
	struct window w;

	(void)st;
	srandom(1);
	for (int round = 0; round < 300; round++) {
		uint64_t base = 0;

		window_init(&w, words, WINDOW_WORDS(256));
		memset(&m, 0, sizeof(m));
		m.bits = 256;
		for (int i = 0; i < 1500 && base < NUMBERS - 700; i++) {
			base += random() % 50 == 0 ? (uint64_t)random() % 600 : (uint64_t)random() % 4;
			agree(&w, &m, base > 300 ? base - 300 + (uint64_t)random() % 350 : base);
		}
		for (uint64_t n = 0; n < NUMBERS; n++)
			if (n < m.next)
				agree(&w, &m, n);
	}
}

static void check_marks_nothing(void **st)
{
	uint64_t words[2];
	struct window w;

	(void)st;
	window_init(&w, words, 2);
	for (uint64_t n = 0; n < 500; n++)
		assert_int_equal(window_check(&w, n), WINDOW_NEW);
	assert_int_equal(w.next, 0);
}

static void ends_of_the_range(void **st)
{
	uint64_t words[WINDOW_WORDS(64)];
	struct window w;

	(void)st;
	window_init(&w, words, WINDOW_WORDS(64));
	assert_int_equal(window_mark(&w, 0), WINDOW_NEW);
	assert_int_equal(window_mark(&w, 0), WINDOW_SEEN);
	assert_int_equal(window_mark(&w, UINT64_MAX), WINDOW_OLD);
	assert_int_equal(window_mark(&w, UINT64_MAX - 1), WINDOW_NEW);
	assert_int_equal(window_mark(&w, UINT64_MAX - 1), WINDOW_SEEN);
	assert_int_equal(window_mark(&w, UINT64_MAX - 64), WINDOW_NEW);
	assert_int_equal(window_mark(&w, UINT64_MAX - 65), WINDOW_OLD);
	assert_int_equal(window_mark(&w, 0), WINDOW_OLD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_short_story),
		cmocka_unit_test(random_stories),
		cmocka_unit_test(check_marks_nothing),
		cmocka_unit_test(ends_of_the_range),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
