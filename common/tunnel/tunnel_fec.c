/* SPDX-License-Identifier: BSD-2-Clause */
/* Parity in the tunnel: when repairs go out, where, and what becomes of what they mend. fec.c has
 * the arithmetic, and the theory of when it pays.
 *
 * Whoever has `fec = auto` says so beside its acknowledgements (MEND), so repairs go only to one
 * who listens, and who is silent about it, be it that it does not know of them, gets none. The
 * sender judges a few times a second, from what it measured of itself: the loss and the round trip
 * of the best path, packets a second, and whether most of them were copied. Only R is judged: F and
 * B have the time that a resend takes.
 *
 * A repair is redundancy, so it is paid from idle capacity like a copy, and is not sent when there
 * is none. It goes on another path than the packet before it if there is one. It has a number of
 * its own (REPAIR, class) and is never resent. While parity is off, packets are not remembered and
 * nothing is spent; while none comes, the receiver remembers nothing either.
 *
 * What is mended counts as arrived: it is acknowledged, delivered at once, and if it comes itself
 * after all, it is dropped. */
#include <stdlib.h>
#include <string.h>

#include "counter.h"
#include "tunnel_room.h"

#define JUDGE_US 250000
#define PAUSE_US 1000000
#define HEARD_US 5000000 /* so long the peer's word is good */
#define GOOD_PPM 10000
#define COPIED_OF 4	 /* three of so many copied: there is room for copies */

static bool is_for(unsigned class)
{
	return class == WIRE_CLASS_R;
}

/* --- the sender --- */

void tunnel_fec_heard(struct tunnel *t, const uint8_t *value, size_t len)
{
	if (len < 1 || value[0] < FEC_WINDOW)
		return;
	t->mends_us = t->now;
}

void tunnel_fec_fate(struct tunnel *t, const struct packet *p, bool lost)
{
	struct parity *f = &t->sort[p->class].parity;

	if (t->config.fec == TUNNEL_FEC_OFF || !is_for(p->class))
		return;
	if (!lost || p->seq != f->lost + 1)
		fec_rate_fate(&f->rate, false);
	if (!lost)
		return;
	fec_rate_fate(&f->rate, true);
	f->lost = p->seq;
}

static uint32_t loss_ppm(const struct tunnel *t, unsigned path)
{
	return assoc_health(t->assoc, path)->side[HEALTH_TX].loss_ppm;
}

/* Copies since the last time, as many of them as arrive: a line that is too small drops most. */
static uint64_t copied(struct tunnel *t, unsigned class)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < ASSOC_PATHS; i++) {
		uint64_t *was = &t->sort[class].parity.copies[i], now = t->path[i].copies[class], lost = loss_ppm(t, i);

		n += (now - *was) * (lost < 1000000 ? 1000000 - lost : 0) / 1000000;
		*was = now;
	}
	return n;
}

static void judge_class(struct tunnel *t, unsigned class, uint64_t past)
{
	struct sort *s = &t->sort[class];
	struct parity *f = &s->parity;
	uint64_t packets = s->packets - f->packets;
	struct fec_conditions c = { .deadline_ms = t->config.deadline_ms, .pps = (uint32_t)(packets * 1000000 / past) };
	uint32_t least = UINT32_MAX;

	for (unsigned n = 0; n < t->view.n; n++)
		if (t->view.paths.srtt_us[t->view.order[n]] < least)
			least = t->view.paths.srtt_us[t->view.order[n]];
	c.rtt_us = least;
	c.loss_ppm = t->view.n ? loss_ppm(t, t->view.order[0]) : 0;
	c.room_for_copies = copied(t, class) >= packets * (COPIED_OF - 1) / COPIED_OF;
	f->packets = s->packets;
	if (past > PAUSE_US) /* it says nothing of what begins now; what was right before may be again */
		return;
	if (!t->mends_us || t->now - t->mends_us > HEARD_US)
		f->rate.permille = 0;
	else
		fec_rate_judge(&f->rate, &c, t->now / 1000);
}

void tunnel_fec_judge(struct tunnel *t)
{
	uint64_t past = t->now - t->fec_us;

	if (t->config.fec == TUNNEL_FEC_OFF || past < JUDGE_US)
		return;
	t->fec_us = t->now;
	judge_class(t, WIRE_CLASS_R, past);
}

void tunnel_fec_note(struct tunnel *t, const struct packet *p)
{
	struct parity *f = &t->sort[p->class].parity;

	if (!f->rate.permille || p->type != WIRE_DG_DATA)
		return;
	if (!f->encoder)
		f->encoder = fec_encoder_new();
	if (f->encoder)
		fec_encode(f->encoder, f->next, packet_inner((struct packet *)(uintptr_t)p), p->len);
}

/* A path with idle capacity; not the one that carried the packet, if there is another that is as
 * good. */
static unsigned path_for(const struct tunnel *t, const struct packet *p, size_t len)
{
	unsigned found = ASSOC_PATHS;

	for (unsigned n = 0; n < t->view.n; n++) {
		unsigned i = t->view.order[n];

		if (!pace_may_copy(&t->path[i].pace) || assoc_use(t->assoc, i) == WIRE_USE_COPIES || len + WIRE_DG_OVERHEAD > pmtu_size(t->pmtu, i))
			continue;
		if (found == ASSOC_PATHS || (p->paths >> found & 1 && loss_ppm(t, i) <= loss_ppm(t, found) + GOOD_PPM))
			found = i;
	}
	return found;
}

static void tunnel_fec_emit(struct tunnel *t, const struct packet *of)
{
	struct parity *f = &t->sort[of->class].parity;
	uint8_t plain[FEC_REPAIR_MAX];
	size_t len = fec_repair(f->encoder, plain, FEC_WINDOW);
	unsigned i = path_for(t, of, len);
	struct packet *p = len && len <= PACKET_INNER_MAX && i < ASSOC_PATHS ? slab_take(&t->slab) : NULL;

	if (!p)
		return;
	memcpy(packet_inner(p), plain, len);
	if (assoc_seal(t->assoc, WIRE_DG_REPAIR, of->class, packet_dgram(p), len, &p->seq) == 0 &&
	    assoc_send(t->assoc, i, of->tos, packet_dgram(p), len + WIRE_DG_OVERHEAD)) {
		pace_spend(&t->path[i].pace, len + WIRE_DG_OVERHEAD + OUTER, true);
		t->path[i].repairs++;
		f->sent++;
	}
	tunnel_let_go(t, p);
}

void tunnel_fec_sent(struct tunnel *t, const struct packet *p)
{
	struct parity *f = &t->sort[p->class].parity;
	bool expected = p->seq == f->next;

	if (p->type != WIRE_DG_DATA)
		return;
	f->next = p->seq + 1;
	if (f->rate.permille && f->encoder && expected && fec_rate_due(&f->rate))
		tunnel_fec_emit(t, p);
}

/* --- the receiver --- */

void tunnel_fec_say(struct tunnel *t, unsigned path)
{
	const uint8_t window = FEC_WINDOW;

	if (t->config.fec != TUNNEL_FEC_OFF)
		assoc_control(t->assoc, path, WIRE_CTL_MEND, &window, sizeof(window));
}

static void parity_mended(void *arg, uint64_t seq, uint8_t *packet, size_t len)
{
	struct parity *f = arg;

	f->mended_cb(f->tunnel, f->class, seq, packet, len);
	f->mended++;
}

void tunnel_fec_repair(struct tunnel *t, const struct assoc_got *got, tunnel_mended mended)
{
	struct parity *f = &t->sort[got->hdr.class].parity;

	if (t->config.fec == TUNNEL_FEC_OFF || !is_for(got->hdr.class))
		return;
	f->tunnel = t;
	f->class = got->hdr.class;
	f->mended_cb = mended;
	if (!f->decoder)
		f->decoder = fec_decoder_new(parity_mended, f);
	f->received++;
	if (f->decoder && fec_repair_in(f->decoder, got->plain, got->len) < 0)
		counters.tunnel_malformed++;
}

bool tunnel_fec_source(struct tunnel *t, const struct assoc_got *got)
{
	struct fec_decoder *d = t->sort[got->hdr.class].parity.decoder;

	return !d || fec_source(d, got->seq, got->plain, got->len);
}

/* --- both --- */

void tunnel_fec_forget(struct tunnel *t)
{
	for (unsigned c = 0; c < WIRE_CLASSES; c++) {
		struct parity *f = &t->sort[c].parity;

		fec_decoder_free(f->decoder);
		f->decoder = NULL;
	}
}

void tunnel_fec_rest(struct tunnel *t)
{
	tunnel_fec_forget(t);
	for (unsigned c = 0; c < WIRE_CLASSES; c++) {
		struct parity *f = &t->sort[c].parity;

		fec_encoder_free(f->encoder);
		f->encoder = NULL;
	}
}
