/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdlib.h>
#include <string.h>

#include "dgram.h"

struct arrival {
	uint64_t at_ns;
	uint32_t seq;
};

struct tally {
	uint32_t flow, count, got, twice, beyond;
	struct arrival *arrival; /* `got` of them; sorted when printed */
	float *ms;		 /* by seq, -1: not here */
};

struct tally *tally_new(uint32_t flow, uint32_t count)
{
	struct tally *t = calloc(1, sizeof(*t));

	t->flow = flow;
	t->count = count;
	t->arrival = malloc(count * sizeof(*t->arrival));
	t->ms = malloc(count * sizeof(*t->ms));
	for (uint32_t i = 0; i < count; i++)
		t->ms[i] = -1;
	return t;
}

void tally_free(struct tally *t)
{
	if (t) {
		free(t->arrival);
		free(t->ms);
	}
	free(t);
}

uint32_t tally_flow(const struct tally *t)
{
	return t->flow;
}

uint32_t tally_got(const struct tally *t)
{
	return t->got;
}

void tally_add(struct tally *t, uint32_t seq, uint64_t sent_ns, uint64_t now_ns)
{
	if (seq >= t->count) {
		t->beyond++;
		return;
	}
	if (t->ms[seq] >= 0) {
		t->twice++;
		return;
	}
	t->arrival[t->got++] = (struct arrival){ now_ns, seq };
	t->ms[seq] = (float)((double)(now_ns - sent_ns) / 1e6);
}

static int compare(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return x < y ? -1 : x > y;
}

static void print_delays(const struct tally *t, FILE *to)
{
	static const struct {
		const char *name;
		double at;
	} point[] = { { "min", 0 }, { "p50", .5 }, { "p95", .95 }, { "p99", .99 }, { "p999", .999 }, { "max", 1 } };
	float *sorted = malloc((t->got + 1) * sizeof(*sorted));
	size_t n = 0;

	for (uint32_t i = 0; i < t->count; i++)
		if (t->ms[i] >= 0)
			sorted[n++] = t->ms[i];
	qsort(sorted, n, sizeof(*sorted), compare);
	for (size_t i = 0; n && i < sizeof(point) / sizeof(*point); i++)
		fprintf(to, ", \"%s\": %.3f", point[i].name, (double)sorted[(size_t)(point[i].at * (double)(n - 1) + .5)]);
	free(sorted);
}

static uint32_t longest_run(const struct tally *t)
{
	uint32_t run = 0, longest = 0;

	for (uint32_t i = 0; i < t->count; i++) {
		run = t->ms[i] < 0 ? run + 1 : 0;
		longest = run > longest ? run : longest;
	}
	return longest;
}

static int sooner(const void *a, const void *b)
{
	const struct arrival *x = a, *y = b;

	return x->at_ns != y->at_ns ? x->at_ns > y->at_ns ? 1 : -1 : x->seq > y->seq ? 1 : -1;
}

/* gap_ms: the longest time in which nothing arrived; overtaken: arrived behind a later one. */
static void print_order(const struct tally *t, FILE *to)
{
	const struct arrival *a = t->arrival;
	uint32_t overtaken = 0, highest = 0, longest = 0;

	qsort(t->arrival, t->got, sizeof(*a), sooner);
	for (uint32_t i = 1; i < t->got; i++) {
		highest = a[i - 1].seq > highest ? a[i - 1].seq : highest;
		overtaken += a[i].seq < highest;
		if (!longest || a[i].at_ns - a[i - 1].at_ns > a[longest].at_ns - a[longest - 1].at_ns)
			longest = i;
	}
	fprintf(to, ", \"overtaken\": %u, \"seconds\": %.6f", overtaken,
		t->got ? (double)(a[t->got - 1].at_ns - a[0].at_ns) / 1e9 : 0);
	if (longest)
		fprintf(to, ", \"gap_ms\": %.3f, \"gap_at\": %.3f", (double)(a[longest].at_ns - a[longest - 1].at_ns) / 1e6,
			(double)(a[longest - 1].at_ns - a[0].at_ns) / 1e9);
}

void tally_print(const struct tally *t, const char *name, bool series, FILE *to)
{
	fprintf(to, "\"%s\": {\"count\": %u, \"got\": %u, \"lost\": %u, \"twice\": %u, \"strange\": %u, \"run\": %u", name, t->count,
		t->got, t->count - t->got, t->twice, t->beyond, longest_run(t));
	print_order(t, to);
	print_delays(t, to);
	if (series) {
		fprintf(to, ", \"ms\": [");
		for (uint32_t i = 0; i < t->count; i++)
			fprintf(to, t->ms[i] < 0 ? "%snull" : "%s%.2f", i ? ", " : "", (double)t->ms[i]);
		fprintf(to, "]");
	}
	fprintf(to, "}");
}
