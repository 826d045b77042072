/* SPDX-License-Identifier: BSD-2-Clause */
/* fec: repair datagrams.
 *
 * Theory of operation. The sender remembers the last FEC_WINDOW packets of a class. A repair is the
 * sum of each of them times a coefficient that follows from the repair's seed and the packet's
 * place, all over GF(256); shorter packets count as if zeros followed, and the lengths are summed
 * like two more bytes in front. The window slides: there are no blocks to wait for, and a repair
 * mends as soon as it comes.
 *
 * The receiver keeps the last RING packets. A repair, less the packets that are here, is an
 * equation over those that are not; the equations are kept reduced (each has a packet, its pivot,
 * that no other equation names), so an equation with one unknown left is that packet. A packet that
 * comes by itself is taken out of all equations. What has been mended is remembered, so that the
 * same packet coming late is not delivered twice. An equation over a packet that has fallen out of
 * the ring, or that was sent before the first repair came, is useless and is dropped. Nothing is
 * stored until a repair comes, nor after QUIET packets without one.
 *
 * When does it pay? Two copies on two lines leave p^2 and cost 100 %; resending costs p and leaves
 * p^(tries + 1) of what may wait; parity leaves the least per byte when losses are single and
 * packets are many, and nothing at all when a line is gone for longer than the repairs can span.
 * So: it is on while packets are lost (not by the row), copies have no room, fewer than two resends
 * would come in time, and the window is shorter than the deadline. The rate is 2.5 times the loss
 * and 2 %: what leaves a packet in 20,000 at 5 %. */
#include <stdlib.h>
#include <string.h>

#include "fec.h"
#include "gf256.h"

#define LEN 2 /* bytes of the length in front of each packet */
#define RING 256
#define ROWS FEC_WINDOW
#define FRONT 16
#define REMEMBERED 64
#define QUIET 4096
#define BACK 65536 /* a number so far behind is that of a peer that counts anew */

/* Never zero: each repair covers each packet of its window. */
static uint8_t coefficient(uint16_t seed, unsigned place)
{
	uint32_t x = (uint32_t)seed << 8 | (place & 255);

	x = (x ^ x >> 16) * 0x45d9f3bu;
	x = (x ^ x >> 15) * 0x2c1b3c6du;
	x ^= x >> 16;
	return (uint8_t)(1 + x % 255);
}

/* The sender's side. */

struct packet {
	uint16_t len;
	uint8_t data[FEC_PACKET];
};

struct fec_encoder {
	uint64_t next; /* number of the packet to come */
	unsigned n;
	uint16_t seed;
	struct packet packet[FEC_WINDOW]; /* by number */
};

struct fec_encoder *fec_encoder_new(void)
{
	return calloc(1, sizeof(struct fec_encoder));
}

void fec_encoder_free(struct fec_encoder *e)
{
	free(e);
}

void fec_encode(struct fec_encoder *e, uint64_t seq, const uint8_t *packet, size_t len)
{
	struct packet *p = &e->packet[seq % FEC_WINDOW];

	if (seq != e->next)
		e->n = 0;
	e->next = seq + 1;
	if (len > FEC_PACKET) {
		e->n = 0;
		return;
	}
	p->len = (uint16_t)len;
	memcpy(p->data, packet, len);
	e->n += e->n < FEC_WINDOW;
}

size_t fec_repair(struct fec_encoder *e, uint8_t out[FEC_REPAIR_MAX], unsigned last)
{
	unsigned n = last < e->n ? last : e->n;
	struct wire_repair r = { .base = e->next - n, .window = (uint8_t)n, .seed = e->seed++ };
	size_t longest = 0;

	if (!n)
		return 0;
	memset(out + WIRE_REPAIR_HDR, 0, FEC_PACKET);
	for (unsigned i = 0; i < n; i++) {
		const struct packet *p = &e->packet[(r.base + i) % FEC_WINDOW];
		uint8_t c = coefficient(r.seed, i);

		longest = p->len > longest ? p->len : longest;
		r.len_xor ^= (uint16_t)(gf256_mul(c, (uint8_t)(p->len >> 8)) << 8 | gf256_mul(c, (uint8_t)p->len));
		gf256_add_mul(out + WIRE_REPAIR_HDR, p->data, c, p->len);
	}
	return wire_put_repair(out, &r) + longest;
}

/* The receiver's side. A symbol is a length and a packet; whatever follows it in `data` is zero. */

struct symbol {
	size_t len;
	uint8_t data[LEN + FEC_PACKET];
};

enum slot_state { MISSING, HERE, MENDED };

struct slot {
	enum slot_state state;
	struct symbol symbol;
};

struct row {
	bool used;
	uint8_t pivot;
	uint8_t factor[RING]; /* by number % RING */
	uint8_t front[FRONT];
	struct symbol symbol;
};

struct store {
	uint64_t top, floor; /* numbers: highest known of; from which on all that came is here */
	unsigned quiet;
	uint64_t mended[REMEMBERED];
	unsigned n_mended;
	struct slot slot[RING];
	struct row row[ROWS];
};

struct fec_decoder {
	fec_cb mended;
	void *arg;
	uint64_t after; /* one past the highest number that came */
	struct store *store;
};

struct fec_decoder *fec_decoder_new(fec_cb mended, void *arg)
{
	struct fec_decoder *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->mended = mended;
	d->arg = arg;
	return d;
}

void fec_decoder_free(struct fec_decoder *d)
{
	if (d)
		free(d->store);
	free(d);
}

static void symbol_add(struct symbol *into, const struct symbol *s, uint8_t factor)
{
	gf256_add_mul(into->data, s->data, factor, s->len);
	if (s->len > into->len)
		into->len = s->len;
}

static uint64_t lowest(const struct store *s)
{
	return s->top >= RING ? s->top - RING + 1 : 0;
}

/* The ring reaches up to `top` from now on. */
static void fec_advance(struct store *s, uint64_t top)
{
	uint64_t n = top > s->top ? top - s->top : 0;

	for (uint64_t i = 0; i < n && i < RING; i++) {
		unsigned at = (unsigned)((top - i) % RING);

		s->slot[at].state = MISSING;
		for (unsigned k = 0; k < ROWS; k++)
			if (s->row[k].used && s->row[k].factor[at])
				s->row[k].used = false;
	}
	if (n)
		s->top = top;
}

/* into -= row * what makes into's factor at row's pivot vanish. */
static void row_reduce(struct row *into, const struct row *row)
{
	uint8_t factor = into->factor[row->pivot];

	if (!factor)
		return;
	gf256_add_mul(into->factor, row->factor, factor, RING);
	symbol_add(&into->symbol, &row->symbol, factor);
}

/* Gives a row a pivot, and takes that out of all others. False: it names no packet any more. */
static bool row_pivot(struct store *s, struct row *row)
{
	unsigned at = 0;
	uint8_t inverse;

	while (at < RING && !row->factor[at])
		at++;
	if (at == RING)
		return false;
	row->pivot = (uint8_t)at;
	inverse = gf256_inv(row->factor[at]);
	gf256_scale(row->factor, inverse, RING);
	gf256_scale(row->symbol.data, inverse, row->symbol.len);
	for (unsigned k = 0; k < ROWS; k++)
		if (s->row[k].used && &s->row[k] != row)
			row_reduce(&s->row[k], row);
	return true;
}

static bool row_is_solved(const struct row *row)
{
	unsigned n = 0;

	for (unsigned i = 0; i < RING; i++)
		n += row->factor[i] != 0;
	return n == 1;
}

static uint64_t number_at(const struct store *s, unsigned at)
{
	return s->top - (s->top - at) % RING;
}

/* The packet of a row with one unknown. Lengths that make no sense: the sender did not mean what we
 * understood. */
static bool row_deliver(struct fec_decoder *d, struct row *row)
{
	struct store *s = d->store;
	struct slot *slot = &s->slot[row->pivot];
	size_t len = (size_t)row->symbol.data[0] << 8 | row->symbol.data[1];
	uint64_t seq = number_at(s, row->pivot);

	if (!len || LEN + len > row->symbol.len)
		return false;
	slot->state = MENDED;
	slot->symbol = row->symbol;
	slot->symbol.len = LEN + len;
	s->mended[s->n_mended++ % REMEMBERED] = seq;
	d->mended(d->arg, seq, row->symbol.data + LEN, len);
	return true;
}

static int fec_settle(struct fec_decoder *d)
{
	int n = 0;

	for (unsigned k = 0; k < ROWS; k++) {
		struct row *row = &d->store->row[k];

		if (!row->used || !row_is_solved(row))
			continue;
		row->used = false;
		n += row_deliver(d, row);
	}
	return n;
}

static bool was_mended(const struct store *s, uint64_t seq)
{
	unsigned n = s->n_mended < REMEMBERED ? s->n_mended : REMEMBERED;

	for (unsigned i = 0; i < n; i++)
		if (s->mended[i] == seq)
			return true;
	return false;
}

static void substitute(struct fec_decoder *d, unsigned at)
{
	struct store *s = d->store;
	bool touched = false;

	for (unsigned k = 0; k < ROWS; k++) {
		struct row *row = &s->row[k];
		uint8_t factor = row->factor[at];

		if (!row->used || !factor)
			continue;
		symbol_add(&row->symbol, &s->slot[at].symbol, factor);
		row->factor[at] = 0;
		if (row->pivot == at)
			row->used = row_pivot(s, row);
		touched = true;
	}
	if (touched)
		fec_settle(d);
}

static void symbol_set(struct symbol *s, const uint8_t *packet, size_t len)
{
	s->len = LEN + len;
	s->data[0] = (uint8_t)(len >> 8);
	s->data[1] = (uint8_t)len;
	memcpy(s->data + LEN, packet, len);
}

/* Is this the highest number so far? */
static bool is_ahead(struct fec_decoder *d, uint64_t seq)
{
	if (d->after > BACK && seq < d->after - BACK) {
		free(d->store);
		d->store = NULL;
		d->after = 0;
	}
	return seq >= d->after;
}

bool fec_source(struct fec_decoder *d, uint64_t seq, const uint8_t *packet, size_t len)
{
	struct store *s;
	struct slot *slot;

	if (is_ahead(d, seq))
		d->after = seq + 1;
	s = d->store;
	if (!s || len > FEC_PACKET)
		return true;
	if (++s->quiet > QUIET) {
		free(s);
		d->store = NULL;
		return true;
	}
	fec_advance(s, seq);
	slot = &s->slot[seq % RING];
	if (seq < lowest(s) || slot->state == MENDED)
		return !was_mended(s, seq);
	slot->state = HERE;
	symbol_set(&slot->symbol, packet, len);
	substitute(d, (unsigned)(seq % RING));
	return true;
}

static struct store *store_for(struct fec_decoder *d, const struct wire_repair *r)
{
	uint64_t end = r->base + r->window;

	if (d->store)
		return d->store;
	d->store = calloc(1, sizeof(*d->store));
	if (!d->store)
		return NULL;
	d->store->floor = end > d->after ? end : d->after;
	d->store->top = d->store->floor - 1;
	return d->store;
}

static struct row *row_free(struct store *s)
{
	struct row *oldest = &s->row[0];

	for (unsigned k = 0; k < ROWS; k++) {
		if (!s->row[k].used)
			return &s->row[k];
		if (number_at(s, s->row[k].pivot) < number_at(s, oldest->pivot))
			oldest = &s->row[k];
	}
	return oldest;
}

/* The equation that a repair is. False: it does not fit the packets that are here, so it is not
 * one. */
static bool row_make(struct store *s, struct row *row, const struct wire_repair *r, const uint8_t *body, size_t len)
{
	*row = (struct row){ .symbol.len = LEN + len };
	memcpy(row->symbol.data, (uint8_t[]){ (uint8_t)(r->len_xor >> 8), (uint8_t)r->len_xor }, LEN);
	memcpy(row->symbol.data + LEN, body, len);
	for (unsigned i = 0; i < r->window; i++) {
		unsigned at = (unsigned)((r->base + i) % RING);
		uint8_t factor = coefficient(r->seed, i);

		if (s->slot[at].state == MISSING)
			row->factor[at] = factor;
		else if (s->slot[at].symbol.len > LEN + len)
			return false;
		else
			symbol_add(&row->symbol, &s->slot[at].symbol, factor);
	}
	return true;
}

static bool misses_any(const struct store *s, const struct wire_repair *r)
{
	for (unsigned i = 0; i < r->window; i++)
		if (s->slot[(r->base + i) % RING].state == MISSING)
			return true;
	return false;
}

int fec_repair_in(struct fec_decoder *d, const uint8_t *in, size_t len)
{
	struct wire_repair r;
	ssize_t head = wire_get_repair(&r, in, len);
	struct store *s;
	struct row *row;

	if (head < 0 || len - (size_t)head > FEC_PACKET || !r.window || r.window > FEC_WINDOW || r.base > UINT64_MAX - FEC_WINDOW)
		return -1;
	is_ahead(d, r.base + r.window - 1);
	s = store_for(d, &r);
	if (!s)
		return 0;
	s->quiet = 0;
	fec_advance(s, r.base + r.window - 1);
	if (r.base < s->floor || r.base < lowest(s) || !misses_any(s, &r))
		return 0;
	row = row_free(s);
	if (!row_make(s, row, &r, in + head, len - (size_t)head))
		return -1;
	for (unsigned k = 0; k < ROWS; k++)
		if (s->row[k].used && &s->row[k] != row)
			row_reduce(row, &s->row[k]);
	row->used = row_pivot(s, row);
	return row->used ? fec_settle(d) : 0;
}

/* How much. */

#define LOSS_ON_PPM 5000
#define LOSS_OFF_PPM 3000
#define RUN_ON_X16 (3 * 16)
#define RUN_OFF_X16 (4 * 16)
#define RUN_MAX 255
#define HOLD_MS 1000

void fec_rate_fate(struct fec_rate *r, bool lost)
{
	if (lost) {
		r->run += r->run < RUN_MAX;
		return;
	}
	if (r->run)
		r->run_x16 = r->run_x16 ? (7 * r->run_x16 + 16 * r->run) / 8 : 16 * r->run;
	r->run = 0;
}

static bool two_resends_fit(const struct fec_conditions *c)
{
	return 5 * (uint64_t)c->rtt_us / 2 + 30000 <= (uint64_t)c->deadline_ms * 1000;
}

static bool pays(const struct fec_rate *r, const struct fec_conditions *c)
{
	bool on = r->permille;

	if (c->room_for_copies || two_resends_fit(c))
		return false;
	if ((uint64_t)c->pps * c->deadline_ms < 1000 * FEC_WINDOW)
		return false;
	return c->loss_ppm >= (on ? LOSS_OFF_PPM : LOSS_ON_PPM) && r->run_x16 <= (on ? RUN_OFF_X16 : RUN_ON_X16);
}

uint32_t fec_rate_judge(struct fec_rate *r, const struct fec_conditions *c, uint64_t now_ms)
{
	bool on = pays(r, c);

	if (on != (r->permille != 0)) {
		if (r->changed_ms && now_ms - r->changed_ms < HOLD_MS)
			return r->permille;
		r->changed_ms = now_ms;
	}
	r->permille = on ? c->loss_ppm / 400 + 20 : 0;
	if (on && r->permille < 50)
		r->permille = 50;
	if (r->permille > 500)
		r->permille = 500;
	return r->permille;
}

bool fec_rate_due(struct fec_rate *r)
{
	r->credit += r->permille;
	if (r->credit < 1000)
		return false;
	r->credit -= 1000;
	return true;
}
