/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "addr.h"
#include "inifile.h"

struct thing {
	char name[8];
	uint32_t size;
	bool flag;
};

struct conf {
	uint32_t n, m;
	struct prefix nets[4];
	size_t n_nets;
	struct thing things[3], users[3];
	size_t n_things, n_users;
};

#define AT(type, f) .offset = offsetof(struct type, f), .size = sizeof(((struct type *)0)->f)
#define LIVE .when = INIFILE_LIVE

static const struct inifile_option main_options[] = {
	{ .key = "n", .set = inifile_u32, AT(conf, n), .max = 100, LIVE },
	{ .key = "m", .set = inifile_u32, AT(conf, m), .max = 100 },
	{ .key = "nets", .set = inifile_prefixes, AT(conf, nets), .max = 4, .many = INIFILE_LIST, .count = offsetof(struct conf, n_nets), LIVE },
	{ .key = NULL },
};

static const struct inifile_option thing_options[] = {
	{ .key = "size", .set = inifile_u32, AT(thing, size), .max = 100 },
	{ .key = "flag", .set = inifile_bool, AT(thing, flag), LIVE },
	{ .key = NULL },
};

static const struct inifile_section sections[] = {
	{ .name = "main", .options = main_options },
	{ .name = "thing", .options = thing_options, .offset = offsetof(struct conf, things), .stride = sizeof(struct thing), .max = 3,
	  .count = offsetof(struct conf, n_things), .title = 8 },
	{ .name = "user", .options = thing_options, .offset = offsetof(struct conf, users), .stride = sizeof(struct thing), .max = 3,
	  .count = offsetof(struct conf, n_users), .title = 8, .named = INIFILE_MAYBE_NAMED, .apart = INIFILE_APART },
	{ .name = NULL },
};

static const char first[] = "[main]\nn = 1\nm = 2\nnets = 192.0.2.0/24\n[thing a]\nsize = 1\n[thing b]\nsize = 2\n[user]\nsize = 3\n";

static void load(struct conf *c, const char *text)
{
	FILE *f = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
	char err[INIFILE_ERR] = "";

	memset(c, 0, sizeof(*c));
	assert_non_null(f);
	assert_int_equal(inifile_read(f, "t", sections, c, err, sizeof(err)), 0);
	fclose(f);
}

static char heard[512];

static void note(void *arg, const char *option, bool taken)
{
	assert_ptr_equal(arg, heard);
	snprintf(heard + strlen(heard), sizeof(heard) - strlen(heard), "%s%s;", option, taken ? "" : "!");
}

/* What is told when `text` follows on `first`, which `is` becomes. */
static const char *adopt(struct conf *is, const char *text)
{
	struct conf next;

	load(is, first);
	load(&next, text);
	heard[0] = 0;
	inifile_adopt(sections, is, &next, note, heard);
	return heard;
}

static void nothing_new(void **state)
{
	struct conf is, was;

	(void)state;
	load(&was, first);
	assert_string_equal(adopt(&is, first), "");
	assert_memory_equal(&is, &was, sizeof(is));
}

static void live_options_are_taken_and_others_named(void **state)
{
	struct conf is;

	(void)state;
	assert_string_equal(adopt(&is, "[main]\nn = 7\nm = 8\nnets = 192.0.2.0/24, 198.51.100.0/24\n"
				       "[thing a]\nsize = 9\n[thing b]\nsize = 2\nflag = yes\n[user]\nsize = 3\n"),
			    "[main] n;[main] m!;[main] nets;[thing a] size!;[thing b] flag;");
	assert_int_equal(is.n, 7);
	assert_int_equal(is.m, 2);
	assert_int_equal(is.n_nets, 2);
	assert_int_equal(is.nets[1].ip[12], 198);
	assert_int_equal(is.things[0].size, 1);
	assert_true(is.things[1].flag);
}

static void a_shorter_list_is_another(void **state)
{
	struct conf is;

	(void)state;
	assert_string_equal(adopt(&is, "[main]\nn = 1\nm = 2\n[thing a]\nsize = 1\n[thing b]\nsize = 2\n"), "[main] nets;");
	assert_int_equal(is.n_nets, 0);
}

static void other_sections_are_not_taken(void **state)
{
	static const char *const texts[] = {
		"[main]\nn = 1\nm = 2\nnets = 192.0.2.0/24\n[thing a]\nflag = yes\n",
		"[main]\nn = 1\nm = 2\nnets = 192.0.2.0/24\n[thing b]\nflag = yes\n[thing a]\n",
		"[main]\nn = 1\nm = 2\nnets = 192.0.2.0/24\n[thing a]\nflag = yes\n[thing b]\n[thing c]\n",
	};
	struct conf is;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		assert_string_equal(adopt(&is, texts[i]), "[thing]!;");
		assert_int_equal(is.n_things, 2);
		assert_false(is.things[0].flag);
	}
}

static void what_is_apart_is_the_callers(void **state)
{
	struct thing is = { "x", 1, false }, next = { "x", 2, true };
	struct conf c;

	(void)state;
	assert_string_equal(adopt(&c, "[main]\nn = 1\nm = 2\nnets = 192.0.2.0/24\n[thing a]\nsize = 1\n[thing b]\nsize = 2\n[user q]\n"), "");
	assert_int_equal(c.users[0].size, 3);
	inifile_adopt_entry(thing_options, "user x", &is, &next, note, heard);
	assert_string_equal(heard, "[user x] size!;[user x] flag;");
	assert_int_equal(is.size, 1);
	assert_true(is.flag);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_new),
		cmocka_unit_test(live_options_are_taken_and_others_named),
		cmocka_unit_test(a_shorter_list_is_another),
		cmocka_unit_test(other_sections_are_not_taken),
		cmocka_unit_test(what_is_apart_is_the_callers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
