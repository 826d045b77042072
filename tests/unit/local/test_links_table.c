/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "links_table.h"

static json_t *answer(json_int_t at, json_int_t down, json_int_t up)
{
	return json_pack("{s:I, s:[{s:s, s:s, s:s, s:s, s:f, s:n, s:I, s:I}, {s:s, s:s}]}", "at_ms", at, "links", "name", "adsl", "state", "up",
			 "role", "primary", "why", "", "rtt_ms", 23.456, "loss_percent", "bytes_down", down, "bytes_up", up, "name", "lte",
			 "state", "down");
}

static json_t *first(json_t *doc)
{
	return json_array_get(json_object_get(doc, "links"), 0);
}

static void rates_are_between_two_answers(void **state)
{
	json_t *before = answer(1000, 1000000, 500), *now = answer(1500, 2000000, 400);

	(void)state;
	links_table_rates(now, before);
	assert_int_equal((long)json_real_value(json_object_get(first(now), "rate_down")), 16000000);
	assert_true(json_is_null(json_object_get(first(now), "rate_up"))); /* it went back: another device */
	assert_true(json_is_null(json_object_get(json_array_get(json_object_get(now, "links"), 1), "rate_down")));
	links_table_rates(now, now); /* no time between: no rate */
	assert_true(json_is_null(json_object_get(first(now), "rate_down")));
	json_decref(before);
	json_decref(now);
}

static void a_line_that_is_new_or_nothing_at_all(void **state)
{
	json_t *before = json_pack("{s:I, s:[]}", "at_ms", (json_int_t)1, "links"), *now = answer(1000, 1, 1), *odd = json_array();

	(void)state;
	links_table_rates(now, before);
	assert_true(json_is_null(json_object_get(first(now), "rate_down")));
	links_table_rates(now, NULL);
	links_table_rates(odd, now);
	json_decref(before);
	json_decref(now);
	json_decref(odd);
}

static void the_table(void **state)
{
	json_t *before = answer(1000, 1000000, 0), *now = answer(2000, 2250000, 100);
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	links_table_rates(now, before);
	json_object_set_new(first(now), "why", json_string("because"));
	links_table_print(now, out);
	fclose(out);
	assert_string_equal(text, "link  state  role         rtt  loss  down bit/s  up bit/s  received  sent  why\n"
				  "adsl  up     primary  23.5 ms     -         10M       800      2.2M   100  because\n"
				  "lte   down   -              -     -           -         -         -     -  \n");
	free(text);
	json_decref(before);
	json_decref(now);
}

static void packets_by_line_and_class(void **state)
{
	json_t *now = answer(1000, 1, 1);
	char *text, *table;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	json_object_set_new(first(now), "tunnel",
			    json_pack("{s:i, s:i, s:i, s:i, s:[{s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i}, {s:s}]}", "mtu", 1472, "rtt_us", 20500,
				      "jitter_us", 120, "queue_us", 0, "by_class", "class", "R", "packets", 1000, "copies", 12, "lost", 1,
				      "received", 900, "duplicates", 890, "repaired", 3, "late", 0, "class", "F"));
	links_table_print(now, out);
	fclose(out);
	table = strstr(text, "\nUDP");
	assert_non_null(table);
	assert_string_equal(strchr(table + 1, '\n') + 1,
			    "link  class   mtu      rtt  jitter   queue  packets  copies  lost  received  duplicates  repaired  late\n"
			    "adsl  R      1472  20.5 ms  0.1 ms  0.0 ms     1000      12     1       900         890         3     0\n"
			    "adsl  F      1472  20.5 ms  0.1 ms  0.0 ms        -       -     -         -           -         -     -\n");
	free(text);
	json_decref(now);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rates_are_between_two_answers),
		cmocka_unit_test(a_line_that_is_new_or_nothing_at_all),
		cmocka_unit_test(the_table),
		cmocka_unit_test(packets_by_line_and_class),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
