/* SPDX-License-Identifier: BSD-2-Clause */
/* line: a delay, a rate with a queue in front, chance, and silence, in each direction. Left out:
 * jitter, reordering on one line, corruption. */
#include "line.h"

#include <string.h>

#include "sim_clock.h"

struct line lines[LINES + 3];
unsigned n_lines;

void lines_begin(void)
{
	memset(lines, 0, sizeof(lines));
	n_lines = 0;
	lines[LINE_LAN] = (struct line){ .name = "lan0",
					 .index = 2,
					 .carrier = true,
					 .way = { { .delay_us = 200 }, { .delay_us = 200 } } };
	for (enum host vps = VPS; vps <= VPS2; vps++)
		lines[line_net(vps)] = (struct line){ .name = "net",
						      .carrier = true,
						      .way = { { .delay_us = 2000 },
							       { .delay_us = 2000 } } };
}

int line_net(enum host vps)
{
	return LINE_NET + (int)(vps - VPS);
}

enum host line_vps(struct in_addr addr)
{
	enum host vps = VPS;

	while (vps < OUTSIDE && lines[line_net(vps)].addr.s_addr != addr.s_addr)
		vps++;
	return vps;
}

int line_of(struct in_addr addr)
{
	for (unsigned i = 0; i < n_lines; i++)
		if (lines[i].addr.s_addr == addr.s_addr && lines[i].carrier)
			return (int)i;
	return -1;
}

int line_default(void)
{
	for (unsigned i = 0; i < n_lines; i++)
		if (lines[i].carrier && lines[i].addr.s_addr)
			return (int)i;
	return -1;
}

bool line_passes(const struct line *l, int direction)
{
	return l->carrier && !l->way[direction].silent;
}

uint64_t line_rtt(const struct line *l)
{
	return l->way[UP].delay_us + l->way[DOWN].delay_us;
}

uint64_t line_send(struct line *l, int direction, uint32_t bytes)
{
	struct line_way *w = &l->way[direction];
	uint64_t now = clock_now(), begins = w->free_us > now ? w->free_us : now;

	if (!l->carrier || (w->queue_us && begins - now > w->queue_us))
		return NEVER;
	if (w->rate)
		w->free_us = begins + bytes * SECOND / w->rate;
	else
		w->free_us = begins;
	if (w->silent || noise_ppm(w->loss_ppm))
		return NEVER;
	w->bytes += bytes;
	return w->free_us + w->delay_us;
}
