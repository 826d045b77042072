/* SPDX-License-Identifier: BSD-2-Clause */
/* srv: see srv.h. */
#include "srv.h"

static void swap(struct srv *a, struct srv *b)
{
	struct srv was = *a;

	*a = *b;
	*b = was;
}

/* By priority, and those that weigh nothing first among equals, as the drawing wants them. */
static void srv_sort(struct srv *list, size_t count)
{
	for (size_t i = 1; i < count; i++)
		for (size_t k = i; k > 0; k--) {
			if (list[k - 1].priority < list[k].priority ||
			    (list[k - 1].priority == list[k].priority && (!list[k - 1].weight || list[k].weight)))
				break;
			swap(&list[k - 1], &list[k]);
		}
}

/* Of list[0..n], all of one priority: draws who comes first. */
static size_t draw(const struct srv *list, size_t n, uint32_t dice)
{
	uint32_t sum = 0, at;

	for (size_t i = 0; i < n; i++)
		sum += list[i].weight;
	at = dice % (sum + 1);
	sum = 0;
	for (size_t i = 0; i < n; i++) {
		sum += list[i].weight;
		if (sum >= at)
			return i;
	}
	return 0;
}

/* Puts the drawn one in front; the others keep their order. */
static void bring_forward(struct srv *list, size_t at)
{
	for (; at > 0; at--)
		swap(&list[at - 1], &list[at]);
}

void srv_order(struct srv *list, size_t count, uint32_t (*dice)(void *arg), void *arg)
{
	srv_sort(list, count);
	for (size_t i = 0; i < count; i++) {
		size_t n = 1;

		while (i + n < count && list[i + n].priority == list[i].priority)
			n++;
		if (n > 1)
			bring_forward(list + i, draw(list + i, n, dice(arg)));
	}
}
