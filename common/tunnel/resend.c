/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * Whatever is sent once may be sent again: the very same sealed bytes, so no nonce is ever used for
 * two texts, and the receiver's replay window drops what arrives twice. The ring holds references
 * to the packets by their numbers until they are acknowledged, pushed out by newer ones, or too old
 * for anybody.
 *
 * A number that an acknowledgement shows as missing is lost
 * - if it went out on one path, and two later ones of that path alone have arrived; or
 * - if on every path it went out on, it should have been there when the acknowledgement was written: half the round trips of its path
 *   and of that on which the acknowledgement came, and some slack.
 * A number above all that was acknowledged has nobody to tell of it: after the longest round trip
 * and 25 ms it is sent again unasked.
 *
 * A resend must make sense: it leaves only while it can arrive before the packet's deadline, and at
 * most `tries` times; the second needs news that is younger than the first. When a path goes quiet
 * (resend_desert), everything that may have died on it goes out again at once, whatever the
 * deadline and tries: there, late is better than never. */
#include "resend.h"

#include <stdlib.h>

#define MAP_MAX (WIRE_ACK_MAP * 8)
#define SLACK_US 5000
#define TAIL_US 25000
#define AGAIN_LEAST_US 5000

void resend_init(struct resend *r, struct slab *slab, uint32_t size, uint32_t max_bytes, const struct resend_how *how)
{
	*r = (struct resend){ .slab = slab, .size = size, .max_bytes = max_bytes, .how = *how };
}

static struct packet **at(const struct resend *r, uint64_t seq)
{
	return &r->slot[seq & (r->size - 1)];
}

static void resend_drop(struct resend *r, uint64_t seq)
{
	struct packet **slot = at(r, seq);

	if (!*slot)
		return;
	r->bytes -= (*slot)->len;
	packet_put(r->slab, *slot);
	*slot = NULL;
}

/* Number `low` was not acknowledged, or was: off with it. */
static void raise_low(struct resend *r)
{
	if (*at(r, r->low))
		r->expired++;
	resend_drop(r, r->low++);
}

void resend_flush(struct resend *r)
{
	for (; r->low < r->next; r->low++)
		resend_drop(r, r->low);
	free(r->slot);
	r->slot = NULL;
	r->low = r->next = r->top = 0;
	for (unsigned i = 0; i < RESEND_PATHS; i++)
		r->passed[i][0] = r->passed[i][1] = 0;
}

void resend_trim(struct resend *r)
{
	if (r->low < r->next || !r->slot)
		return;
	free(r->slot);
	r->slot = NULL;
}

static bool resend_prepare(struct resend *r, const struct packet *p)
{
	if (r->slot && (p->seq < r->next || p->seq - r->next > r->size)) /* numbered anew */
		resend_flush(r);
	if (!r->slot) {
		r->slot = calloc(r->size, sizeof(*r->slot));
		r->low = r->next = p->seq;
		r->top = r->top > p->seq ? 0 : r->top;
	}
	return r->slot;
}

void resend_keep(struct resend *r, struct packet *p)
{
	if (!resend_prepare(r, p))
		return;
	while (r->low < r->next && (p->seq - r->low >= r->size || r->bytes + p->len > r->max_bytes))
		raise_low(r);
	if (r->low == r->next)
		r->low = p->seq;
	*at(r, p->seq) = packet_get(p);
	r->bytes += p->len;
	r->next = p->seq + 1;
}

static uint32_t one_way(const struct resend_paths *w)
{
	uint32_t least = UINT32_MAX;

	for (unsigned i = 0; i < RESEND_PATHS; i++)
		if (w->usable >> i & 1 && w->srtt_us[i] < least)
			least = w->srtt_us[i];
	return least == UINT32_MAX ? 0 : least / 2;
}

static uint32_t longest(const struct resend_paths *w, uint8_t paths)
{
	uint32_t most = 0;

	for (unsigned i = 0; i < RESEND_PATHS; i++)
		if (w->usable & paths & 1 << i && w->srtt_us[i] + w->var_us[i] > most)
			most = w->srtt_us[i] + w->var_us[i];
	return most;
}

static bool makes_sense(const struct resend *r, const struct packet *p, const struct resend_paths *w, uint64_t now)
{
	uint32_t deadline = r->how.deadline_us, four = 4 * longest(w, w->usable) + 50000;

	if (!r->how.strict && deadline < four)
		deadline = four;
	return p->tries < r->how.tries && w->usable && now + one_way(w) < p->sent_us + deadline;
}

static void resend_again(struct resend *r, struct packet *p, resend_cb cb, void *arg)
{
	p->tries += p->tries < UINT8_MAX;
	r->resent++;
	cb(arg, p);
}

/* It went out once, on one path. */
static bool is_alone(const struct packet *p)
{
	return p->paths && !(p->paths & (p->paths - 1)) && !p->tries;
}

static bool is_overdue(const struct packet *p, unsigned from, const struct resend_paths *w, uint64_t now)
{
	uint64_t past = now - p->last_us;
	uint32_t back = w->usable >> from & 1 ? w->srtt_us[from] : 2 * one_way(w);
	uint32_t slack = is_alone(p) ? TAIL_US : SLACK_US; /* alone, the ones behind it tell more exactly */

	if (!p->paths || past < AGAIN_LEAST_US) /* no paths: it still waits to be sent */
		return false;
	for (unsigned i = 0; i < RESEND_PATHS; i++)
		if (p->paths & w->usable & 1 << i && past < (w->srtt_us[i] + back) / 2 + w->var_us[i] + slack)
			return false;
	return true;
}

static bool is_passed(const struct resend *r, const struct packet *p)
{
	return is_alone(p) && r->passed[__builtin_ctz(p->paths)][1] > p->seq + 1;
}

static void note_passed(struct resend *r, const struct packet *p)
{
	uint64_t *two, n = p->seq + 1;

	if (!is_alone(p))
		return;
	two = r->passed[__builtin_ctz(p->paths)];
	if (n > two[0]) {
		two[1] = two[0];
		two[0] = n;
	} else if (n > two[1] && n < two[0]) {
		two[1] = n;
	}
}

static bool says_has(const struct wire_ack *a, uint64_t seq)
{
	uint64_t i = a->top - 1 - seq;

	return seq == a->top || a->map[i / 8] >> (i % 8) & 1;
}

static void take_acked(struct resend *r, const struct wire_ack *a, uint64_t first, resend_acked_cb acked, void *arg)
{
	struct packet *p;

	for (uint64_t n = first; n <= a->top; n++) {
		p = *at(r, n);
		if (!p || !says_has(a, n))
			continue;
		note_passed(r, p);
		r->acked++;
		if (acked)
			acked(arg, p);
		resend_drop(r, n);
	}
	while (r->low < r->next && !*at(r, r->low))
		r->low++;
}

void resend_ack(struct resend *r, const struct wire_ack *a, unsigned from_path, const struct resend_paths *paths, uint64_t now_us,
		resend_cb cb, resend_acked_cb acked, void *arg)
{
	uint64_t first = a->top > a->n * 8u ? a->top - a->n * 8u : 0;
	struct packet *p;

	if (!r->slot || a->top >= r->next || a->n > WIRE_ACK_MAP || from_path >= RESEND_PATHS)
		return;
	if (a->top + 1 > r->top)
		r->top = a->top + 1;
	if (first < r->low)
		first = r->low;
	take_acked(r, a, first, acked, arg);
	for (uint64_t n = first < r->low ? r->low : first; n < a->top; n++) {
		p = *at(r, n);
		if (p && (is_passed(r, p) || is_overdue(p, from_path, paths, now_us)) && makes_sense(r, p, paths, now_us))
			resend_again(r, p, cb, arg);
	}
}

static void forget_old(struct resend *r, uint64_t now)
{
	struct packet *p;

	while (r->low < r->next) {
		p = *at(r, r->low);
		if (p && now - p->sent_us < r->how.keep_us)
			return;
		raise_low(r);
	}
}

void resend_tick(struct resend *r, const struct resend_paths *paths, uint64_t now_us, resend_cb cb, void *arg)
{
	struct packet *p;

	if (!r->slot)
		return;
	forget_old(r, now_us);
	for (uint64_t n = r->top > r->low ? r->top : r->low; n < r->next; n++) {
		p = *at(r, n);
		if (p && p->paths && now_us - p->last_us > longest(paths, p->paths) + TAIL_US && makes_sense(r, p, paths, now_us))
			resend_again(r, p, cb, arg);
	}
}

void resend_desert(struct resend *r, const struct resend_paths *paths, unsigned path, uint64_t now_us, resend_cb cb, void *arg)
{
	struct packet *p;

	for (uint64_t n = r->low; r->slot && n < r->next; n++) {
		p = *at(r, n);
		if (!p || !(p->paths >> path & 1) || p->paths & paths->usable & ~(1u << path) || now_us - p->last_us > r->how.keep_us)
			continue;
		resend_again(r, p, cb, arg);
	}
}
