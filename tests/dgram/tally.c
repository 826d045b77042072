#include <stdlib.h>
#include <string.h>

#include "dgram.h"

struct tally {
	uint32_t flow, count, got, twice, late_order, beyond;
	int64_t highest;
	uint64_t first_ns, last_ns, longest_ns, gap_from_ns;
	float *ms; /* by seq, -1: not here */
};

struct tally *tally_new(uint32_t flow, uint32_t count)
{
	struct tally *t = calloc(1, sizeof(*t));

	t->flow = flow;
	t->count = count;
	t->highest = -1;
	t->ms = malloc(count * sizeof(*t->ms));
	for (uint32_t i = 0; i < count; i++)
		t->ms[i] = -1;
	return t;
}

void tally_free(struct tally *t)
{
	if (t)
		free(t->ms);
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
	if (!t->got++)
		t->first_ns = now_ns;
	else if (now_ns - t->last_ns > t->longest_ns)
		t->longest_ns = now_ns - t->last_ns, t->gap_from_ns = t->last_ns;
	t->last_ns = now_ns;
	if (seq < t->highest)
		t->late_order++;
	else
		t->highest = seq;
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

/* gap_ms: the longest time in which nothing arrived; overtaken: arrived behind a later one. */
void tally_print(const struct tally *t, const char *name, bool series, FILE *to)
{
	fprintf(to, "\"%s\": {\"count\": %u, \"got\": %u, \"lost\": %u, \"twice\": %u, \"overtaken\": %u, \"strange\": %u, \"run\": %u, "
		    "\"seconds\": %.6f, \"gap_ms\": %.3f, \"gap_at\": %.3f",
		name, t->count, t->got, t->count - t->got, t->twice, t->late_order, t->beyond, longest_run(t),
		(double)(t->last_ns - t->first_ns) / 1e9, (double)t->longest_ns / 1e6,
		t->gap_from_ns ? (double)(t->gap_from_ns - t->first_ns) / 1e9 : 0);
	print_delays(t, to);
	if (series) {
		fprintf(to, ", \"ms\": [");
		for (uint32_t i = 0; i < t->count; i++)
			fprintf(to, t->ms[i] < 0 ? "%snull" : "%s%.2f", i ? ", " : "", (double)t->ms[i]);
		fprintf(to, "]");
	}
	fprintf(to, "}");
}
