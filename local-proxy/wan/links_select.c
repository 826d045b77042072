/* SPDX-License-Identifier: BSD-2-Clause */
/* links_select: the link that a connection begins on, by its source address.
 *
 * Theory of operation. A connection is bound to an address of the link that it begins on; the
 * kernel joins the others to it. Of the links that have the family, those that stand best come
 * first (links.h), and of equals the one with the shortest round trip. That is the order in which a
 * dial tries them. Only connections that are plain TCP, since their links' networks take MPTCP
 * away, take turns instead. An address that its link has lost leads back to no link:
 * what is bound to it cannot go on. */
#include "links_room.h"

size_t links_index(const struct links *l, const struct addr *src)
{
	size_t i;

	for (i = 0; i < l->n; i++)
		for (int s = 0; s < LINK_SIDES; s++)
			if (link_side_up(&l->link[i], s) && addr_same_ip(&l->link[i].side[s].addr.addr, src))
				return i;
	return i;
}

void links_note_rtt(struct links *l, size_t link, uint32_t rtt_us)
{
	uint32_t was = l->rtt_us[link], apart = rtt_us > was ? rtt_us - was : was - rtt_us;

	if (apart > was / 4) /* the order of links that are alike should not change with every sample */
		l->rtt_us[link] = rtt_us;
}

/* Which of two links a connection had better begin on: less than 0 for the first. */
static int compare(const struct links *l, size_t a, size_t b)
{
	uint32_t rtt_a = l->rtt_us[a] ? l->rtt_us[a] : UINT32_MAX, rtt_b = l->rtt_us[b] ? l->rtt_us[b] : UINT32_MAX;

	if (l->use[a] != l->use[b])
		return l->use[a] < l->use[b] ? -1 : 1;
	return rtt_a != rtt_b ? (rtt_a < rtt_b ? -1 : 1) : 0;
}

/* The links of this family that stand as `at_most` or better, best first. */
static size_t links_order(const struct links *l, int side, enum links_standing at_most, size_t order[CONFIG_LINKS])
{
	size_t n = 0;

	for (size_t i = 0; i < l->n; i++) {
		size_t at = n;

		if (!link_side_up(&l->link[i], side) || l->use[i] > at_most)
			continue;
		for (; at > 0 && compare(l, i, order[at - 1]) < 0; at--)
			order[at] = order[at - 1];
		order[at] = i;
		n++;
	}
	return n;
}

size_t links_sources(const struct links *l, const struct addr *to, struct addr *out, size_t max)
{
	int side = addr_is_v4(to) ? LINK_V4 : LINK_V6;
	size_t order[CONFIG_LINKS], n;

	if (!l->n && max) {
		addr_parse(out, side == LINK_V4 ? "0.0.0.0" : "::", 0);
		return 1;
	}
	n = links_order(l, side, LINKS_PLAIN, order);
	if (!n)
		n = links_order(l, side, LINKS_BACKUP, order);
	for (size_t i = 0; i < n && i < max; i++)
		out[i] = l->link[order[i]].side[side].addr.addr;
	return n < max ? n : max;
}

size_t links_turn(struct links *l, const struct addr *src, size_t n)
{
	size_t least = 0, link = links_index(l, src);

	for (size_t i = 1; i < n; i++) {
		size_t other = links_index(l, &src[i]);

		if (other < l->n && (link == l->n || l->turn[other] < l->turn[link])) {
			least = i;
			link = other;
		}
	}
	if (link < l->n)
		l->turn[link] = ++l->turns;
	return least;
}

bool links_is_plain(const struct links *l, const struct addr *src)
{
	size_t i = links_index(l, src);

	return i < l->n && l->verdicts[i].of[LINKS_MPTCP].standing == LINKS_PLAIN; /* whatever else it is */
}

bool links_has_lost(const struct links *l, const struct addr *src)
{
	int side = addr_is_v4(src) ? LINK_V4 : LINK_V6;

	if (!l->n || links_index(l, src) < l->n)
		return false;
	for (size_t i = 0; i < l->n; i++)
		if (!link_side_up(&l->link[i], side))
			return false;
	return true;
}

uint32_t links_rtt(const struct links *l, const struct addr *src)
{
	size_t i = links_index(l, src);

	return i < l->n ? l->rtt_us[i] : 0;
}

const char *links_name(const struct links *l, const struct addr *src)
{
	size_t i = links_index(l, src);

	return i < l->n ? l->link[i].name : "?";
}
