/* SPDX-License-Identifier: BSD-2-Clause */
/* verdicts: the worst word counts; a rejected link is used only when nothing better is left, a
 * forbidden one never. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "verdicts.h"

static void the_worst_word_counts(void **state)
{
	struct verdicts j = {0};

	(void)state;
	assert_int_equal(verdicts_standing(&j), LINKS_IN);
	assert_true(verdicts_hear(&j, LINKS_ROLE, LINKS_BACKUP, "as configured"));
	assert_true(verdicts_hear(&j, LINKS_HEALTH, LINKS_OUT, "silent for 400 ms"));
	assert_int_equal(verdicts_worst(&j), LINKS_HEALTH);
	assert_false(verdicts_hear(&j, LINKS_ROLE, LINKS_IN, ""));
	assert_false(verdicts_hear(&j, LINKS_HEALTH, LINKS_OUT, "no carrier"));
	assert_string_equal(j.of[LINKS_HEALTH].why, "no carrier");
	assert_true(verdicts_hear(&j, LINKS_HEALTH, LINKS_IN, NULL));
	assert_int_equal(verdicts_standing(&j), LINKS_IN);
}

struct bench {
	struct verdicts verdicts[3];
	struct verdicts_link link[3];
};

static void sit(struct bench *b)
{
	*b = (struct bench){0};
	for (int i = 0; i < 3; i++)
		b->link[i] = (struct verdicts_link){&b->verdicts[i], true, LINKS_OUT};
}

static void expect(struct bench *b, enum links_standing a, enum links_standing m, enum links_standing z)
{
	verdicts_use(b->link, 3);
	assert_int_equal(b->link[0].use, a);
	assert_int_equal(b->link[1].use, m);
	assert_int_equal(b->link[2].use, z);
}

static void backups_are_used_only_when_nothing_better_is_up(void **state)
{
	struct bench b;

	(void)state;
	sit(&b);
	verdicts_hear(&b.verdicts[2], LINKS_ROLE, LINKS_BACKUP, "");
	expect(&b, LINKS_IN, LINKS_IN, LINKS_BACKUP);
	verdicts_hear(&b.verdicts[0], LINKS_HEALTH, LINKS_OUT, "");
	expect(&b, LINKS_OUT, LINKS_IN, LINKS_BACKUP);
	b.link[1].up = false;
	expect(&b, LINKS_OUT, LINKS_OUT, LINKS_IN);
	b.link[1].up = true;
	verdicts_hear(&b.verdicts[1], LINKS_MPTCP, LINKS_PLAIN, "");
	expect(&b, LINKS_OUT, LINKS_PLAIN, LINKS_BACKUP);
}

static void the_last_line_is_used_though_rejected(void **state)
{
	struct bench b;

	(void)state;
	sit(&b);
	expect(&b, LINKS_IN, LINKS_IN, LINKS_IN);
	verdicts_hear(&b.verdicts[0], LINKS_HEALTH, LINKS_OUT, "");
	verdicts_hear(&b.verdicts[1], LINKS_HEALTH, LINKS_OUT, "");
	expect(&b, LINKS_OUT, LINKS_OUT, LINKS_IN);
	verdicts_hear(&b.verdicts[2], LINKS_HEALTH, LINKS_OUT, "");
	expect(&b, LINKS_OUT, LINKS_OUT, LINKS_IN);
	b.link[2].up = false; /* it was the last of which anything was heard; now any may be tried */
	expect(&b, LINKS_IN, LINKS_IN, LINKS_OUT);
	verdicts_hear(&b.verdicts[0], LINKS_HEALTH, LINKS_IN, "");
	expect(&b, LINKS_IN, LINKS_OUT, LINKS_OUT);
}

static void a_forbidden_line_is_never_used(void **state)
{
	struct bench b;

	(void)state;
	sit(&b);
	verdicts_hear(&b.verdicts[0], LINKS_ROLE, LINKS_OUT, "");
	verdicts_hear(&b.verdicts[1], LINKS_QUOTA, LINKS_OUT, "");
	verdicts_hear(&b.verdicts[2], LINKS_HEALTH, LINKS_OUT, "");
	expect(&b, LINKS_OUT, LINKS_OUT, LINKS_IN);
	b.link[2].up = false;
	expect(&b, LINKS_OUT, LINKS_OUT, LINKS_OUT);
}

/* A link that was found dead is used for want of a better one. That its owner has switched it off
 * changes that, and that he allows it again, too. */
static void the_owners_word_is_heard_on_a_rejected_line(void **state)
{
	struct verdicts j = {0};

	(void)state;
	assert_true(verdicts_hear(&j, LINKS_HEALTH, LINKS_OUT, "down"));
	assert_true(verdicts_hear(&j, LINKS_ROLE, LINKS_OUT, "its role is off"));
	assert_false(verdicts_hear(&j, LINKS_HEALTH, LINKS_OUT, "still down"));
	assert_true(verdicts_hear(&j, LINKS_ROLE, LINKS_IN, ""));
	assert_false(verdicts_hear(&j, LINKS_ROLE, LINKS_BACKUP, "its role is backup"));
}

static const char *state_after(enum links_judge who, enum links_standing standing, enum links_standing use)
{
	struct verdicts j = { 0 };

	verdicts_hear(&j, who, standing, "");
	return verdicts_state(&j, true, use);
}

static void each_state_has_its_word(void **state)
{
	const struct verdicts none = { 0 };

	(void)state;
	assert_string_equal(verdicts_state(&none, true, LINKS_IN), "up");
	assert_string_equal(verdicts_state(&none, false, LINKS_OUT), "down");
	assert_string_equal(state_after(LINKS_HEALTH, LINKS_OUT, LINKS_OUT), "down");
	assert_string_equal(state_after(LINKS_HEALTH, LINKS_OUT, LINKS_IN), "up"); /* for want of a better one */
	assert_string_equal(state_after(LINKS_MPTCP, LINKS_PLAIN, LINKS_PLAIN), "plain");
	assert_string_equal(state_after(LINKS_ROLE, LINKS_BACKUP, LINKS_BACKUP), "backup");
	assert_string_equal(state_after(LINKS_ROLE, LINKS_BACKUP, LINKS_IN), "up");
	assert_string_equal(state_after(LINKS_ASIDE, LINKS_BACKUP, LINKS_BACKUP), "aside");
	assert_string_equal(state_after(LINKS_METERED, LINKS_OUT, LINKS_OUT), "idle");
	assert_string_equal(state_after(LINKS_ROLE, LINKS_OUT, LINKS_OUT), "off");
	assert_string_equal(state_after(LINKS_QUOTA, LINKS_OUT, LINKS_OUT), "off");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_worst_word_counts),
		cmocka_unit_test(backups_are_used_only_when_nothing_better_is_up),
		cmocka_unit_test(the_last_line_is_used_though_rejected),
		cmocka_unit_test(a_forbidden_line_is_never_used),
		cmocka_unit_test(the_owners_word_is_heard_on_a_rejected_line),
		cmocka_unit_test(each_state_has_its_word),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
