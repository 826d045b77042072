/* SPDX-License-Identifier: BSD-2-Clause */
/* links_table: see links_table.h. The answer is JSON from a daemon that may be of another version:
 * what is missing is left blank. */
#include "links_table.h"

#include <string.h>

#define CELL 24
#define COLUMNS 9 /* and the reason, which may be long */

static const json_t *link_of(const json_t *answer, const char *name)
{
	json_t *links = json_object_get(answer, "links"), *o;
	size_t i;

	json_array_foreach(links, i, o) {
		const char *is = json_string_value(json_object_get(o, "name"));

		if (is && !strcmp(is, name))
			return o;
	}
	return NULL;
}

/* A counter that went back is another device's. */
static json_t *rate(const json_t *now, const json_t *before, const char *key, json_int_t ms)
{
	json_t *a = json_object_get(before, key), *b = json_object_get(now, key);
	json_int_t moved = json_integer_value(b) - json_integer_value(a);

	return a && b && ms > 0 && moved >= 0 ? json_real((double)moved * 8000 / (double)ms) : json_null();
}

void links_table_rates(json_t *now, const json_t *before)
{
	json_t *links = json_object_get(now, "links"), *o;
	json_int_t ms = json_integer_value(json_object_get(now, "at_ms")) - json_integer_value(json_object_get(before, "at_ms"));
	size_t i;

	json_array_foreach(links, i, o) {
		const char *name = json_string_value(json_object_get(o, "name"));
		const json_t *was = name ? link_of(before, name) : NULL;

		json_object_set_new(o, "rate_down", rate(o, was, "bytes_down", ms));
		json_object_set_new(o, "rate_up", rate(o, was, "bytes_up", ms));
	}
}

/* 12.3M, decimal; "-" for what is not known. */
static void table_scaled(const json_t *v, char cell[CELL])
{
	static const char units[] = " KMGT";
	double n = json_number_value(v);
	size_t unit = 0;

	for (; n >= 999.5 && unit + 2 < sizeof(units); n /= 1000)
		unit++;
	if (!json_is_number(v))
		strcpy(cell, "-");
	else
		snprintf(cell, CELL, unit && n < 9.95 ? "%.1f%c" : "%.0f%c", n, units[unit] == ' ' ? 0 : units[unit]);
}

static void table_number(const json_t *v, const char *unit, char cell[CELL])
{
	if (json_is_number(v))
		snprintf(cell, CELL, "%.1f %s", json_number_value(v), unit);
	else
		strcpy(cell, "-");
}

static void table_word(const json_t *v, char cell[CELL])
{
	snprintf(cell, CELL, "%s", json_is_string(v) ? json_string_value(v) : "-");
}

static void table_row(const json_t *o, char cell[COLUMNS][CELL])
{
	table_word(json_object_get(o, "name"), cell[0]);
	table_word(json_object_get(o, "state"), cell[1]);
	table_word(json_object_get(o, "role"), cell[2]);
	table_number(json_object_get(o, "rtt_ms"), "ms", cell[3]);
	table_number(json_object_get(o, "loss_percent"), "%", cell[4]);
	table_scaled(json_object_get(o, "rate_down"), cell[5]);
	table_scaled(json_object_get(o, "rate_up"), cell[6]);
	table_scaled(json_object_get(o, "bytes_down"), cell[7]);
	table_scaled(json_object_get(o, "bytes_up"), cell[8]);
}

static void put_row(char cell[COLUMNS][CELL], const size_t width[COLUMNS], const char *why, FILE *out)
{
	for (int c = 0; c < COLUMNS; c++)
		fprintf(out, c < 3 ? "%-*s  " : "%*s  ", (int)width[c], cell[c]);
	fprintf(out, "%s\n", why);
}

/* --- datagrams: a row for each link and class --- */

#define PACKETS 13

static void table_count(const json_t *o, const char *key, char cell[CELL])
{
	const json_t *v = json_object_get(o, key);

	snprintf(cell, CELL, json_is_integer(v) ? "%lld" : "-", (long long)json_integer_value(v));
}

static void table_ms(const json_t *o, const char *key, char cell[CELL])
{
	snprintf(cell, CELL, "%.1f ms", json_number_value(json_object_get(o, key)) / 1e3);
}

static void packets_row(const json_t *link, const json_t *row, char cell[PACKETS][CELL])
{
	static const char *const keys[] = { "packets", "copies", "lost", "received", "duplicates", "repaired", "late" };
	const json_t *t = json_object_get(link, "tunnel");

	table_word(json_object_get(link, "name"), cell[0]);
	table_word(json_object_get(row, "class"), cell[1]);
	table_count(t, "mtu", cell[2]);
	table_ms(t, "rtt_us", cell[3]);
	table_ms(t, "jitter_us", cell[4]);
	table_ms(t, "queue_us", cell[5]);
	for (unsigned i = 0; i < sizeof(keys) / sizeof(*keys); i++)
		table_count(row, keys[i], cell[6 + i]);
}

static void put_packets_row(char cell[PACKETS][CELL], const size_t width[PACKETS], FILE *out)
{
	for (int c = 0; c < PACKETS; c++)
		fprintf(out, c < 2 ? "%-*s%s" : "%*s%s", (int)width[c], cell[c], c + 1 < PACKETS ? "  " : "\n");
}

/* Twice the same way: first for the widths, then to print. Lines without a path have no rows. */
static size_t each_packets_row(const json_t *links, size_t width[PACKETS], FILE *out)
{
	char cell[PACKETS][CELL];
	size_t i, k, n = 0;
	json_t *o, *r;

	json_array_foreach(links, i, o) {
		json_array_foreach(json_object_get(json_object_get(o, "tunnel"), "by_class"), k, r) {
			packets_row(o, r, cell);
			for (int c = 0; !out && c < PACKETS; c++)
				width[c] = strlen(cell[c]) > width[c] ? strlen(cell[c]) : width[c];
			if (out)
				put_packets_row(cell, width, out);
			n++;
		}
	}
	return n;
}

static void print_packets(const json_t *links, FILE *out)
{
	char head[PACKETS][CELL] = { "link", "class", "mtu", "rtt", "jitter", "queue", "packets", "copies", "lost", "received", "duplicates",
				     "repaired", "late" };
	size_t width[PACKETS];

	for (int c = 0; c < PACKETS; c++)
		width[c] = strlen(head[c]);
	if (!each_packets_row(links, width, NULL))
		return;
	fputs("\nUDP and ICMP (R goes on every link, F and B on one)\n", out);
	put_packets_row(head, width, out);
	each_packets_row(links, width, out);
}

void links_table_print(const json_t *answer, FILE *out)
{
	char head[COLUMNS][CELL] = { "link", "state", "role", "rtt", "loss", "down bit/s", "up bit/s", "received", "sent" };
	char cell[COLUMNS][CELL];
	size_t width[COLUMNS], i;
	json_t *links = json_object_get(answer, "links"), *o;

	for (int c = 0; c < COLUMNS; c++)
		width[c] = strlen(head[c]);
	json_array_foreach(links, i, o) {
		table_row(o, cell);
		for (int c = 0; c < COLUMNS; c++)
			width[c] = strlen(cell[c]) > width[c] ? strlen(cell[c]) : width[c];
	}
	put_row(head, width, "why", out);
	json_array_foreach(links, i, o) {
		const char *why = json_string_value(json_object_get(o, "why"));

		table_row(o, cell);
		put_row(cell, width, why ? why : "", out);
	}
	print_packets(links, out);
}
