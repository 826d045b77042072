/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * direction: theory of operation
 *
 * A frame passes three places. First the modem's queue: it is dropped at the tail when the bytes
 * already waiting leave no room. The frame at the head is on the wire: it takes length * 8 / rate
 * from the moment its predecessor was done (never from the moment we happened to wake up, so a late
 * wake-up does not cost rate). Then the distance: a frame that left the wire is delivered after
 * delay +- jitter. Frames keep their order whatever the jitter, except those chosen for reordering,
 * which arrive without any delay and so overtake the ones in flight. Loss, duplication and damage
 * are decided when the frame leaves the wire: a lost frame has used up its share of the rate, as on
 * a real line. A black hole swallows what is on the wire and what is in flight, and says nothing.
 * Loss comes singly, or, with `outage`, as times in which everything is lost: their lengths and the
 * pauses between them are exponential, and `loss` is the share of the time that they take. `mtu`
 * drops longer packets without a word, as a router does whose ICMP is filtered.
 *
 * Time is the caller's. Nothing needs a wake-up between the queue and the distance: how long a
 * frame is on the wire is known beforehand, so direction_advance() catches up whenever somebody
 * looks, and direction_next() asks for the earliest possible delivery only.
 *
 * The frame's bytes are those of the device: 14 bytes of Ethernet header count, preamble and
 * checksum do not.
 */
#include "direction.h"
#include "strip.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ETHERNET 14
#define MS 1000000u

/* xorshift64*: seeded, so that a run can be repeated. */
static uint64_t random_next(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * 0x2545F4914F6CDD1DULL;
}

static double random_unit(uint64_t *state)
{
	return (double)(random_next(state) >> 11) / 9007199254740992.0;
}

static bool chance(struct direction *d, double percent)
{
	return percent > 0 && random_unit(&d->random) * 100.0 < percent;
}

static void seed(struct direction *d, uint64_t value)
{
	d->random = (value + 1) * 0x9E3779B97F4A7C15ULL;
	if (!d->random)
		d->random = 1;
	random_next(&d->random);
	d->random_outage = d->random;
}

void direction_init(struct direction *d, uint64_t seed_value)
{
	memset(d, 0, sizeof(*d));
	d->queue_ms = 200;
	d->queue_bytes = 1 << 20;
	seed(d, seed_value);
}

void direction_clear(struct direction *d)
{
	struct frame *f;

	while ((f = d->head)) {
		d->head = f->next;
		free(f);
	}
	for (size_t i = 0; i < d->n_flying; i++)
		free(d->flying[i]);
	free(d->flying);
	d->flying = NULL;
	d->tail = NULL;
	d->n_flying = d->room = 0;
	d->waiting = 0;
}

static bool sooner(const struct frame *a, const struct frame *b)
{
	return a->when != b->when ? a->when < b->when : a->order < b->order;
}

static void heap_swap(struct direction *d, size_t i, size_t j)
{
	struct frame *f = d->flying[i];

	d->flying[i] = d->flying[j];
	d->flying[j] = f;
}

static void heap_push(struct direction *d, struct frame *f)
{
	size_t i = d->n_flying++;

	if (d->n_flying > d->room) {
		d->room = d->room ? 2 * d->room : 256;
		d->flying = realloc(d->flying, d->room * sizeof(struct frame *));
		if (!d->flying)
			abort();
	}
	d->flying[i] = f;
	for (; i && sooner(d->flying[i], d->flying[(i - 1) / 2]); i = (i - 1) / 2)
		heap_swap(d, i, (i - 1) / 2);
}

static struct frame *heap_pop(struct direction *d)
{
	struct frame *top = d->flying[0];
	size_t i = 0;

	d->flying[0] = d->flying[--d->n_flying];
	for (;;) {
		size_t child = 2 * i + 1;

		if (child + 1 < d->n_flying && sooner(d->flying[child + 1], d->flying[child]))
			child++;
		if (child >= d->n_flying || !sooner(d->flying[child], d->flying[i]))
			return top;
		heap_swap(d, i, child);
		i = child;
	}
}

static struct frame *frame_copy(const uint8_t *data, size_t len)
{
	struct frame *f = malloc(sizeof(*f) + len);

	if (!f)
		abort();
	f->next = NULL;
	f->len = len;
	memcpy(f->data, data, len);
	return f;
}

static uint64_t time_on_wire(const struct direction *d, size_t len)
{
	return d->rate ? (uint64_t)len * 8 * 1000000000u / d->rate : 0;
}

static uint64_t queue_limit(const struct direction *d)
{
	uint64_t limit = d->queue_bytes;

	if (d->queue_ms > 0 && d->rate)
		limit = (uint64_t)((double)d->rate * d->queue_ms / 8000.0);
	return limit < 2 * FRAME_MAX ? 2 * FRAME_MAX : limit;
}

static uint64_t travel_time(struct direction *d)
{
	double jitter = (2 * random_unit(&d->random) - 1) * (double)d->jitter;
	double t = (double)d->delay + (d->jitter ? jitter : 0);

	return t > 0 ? (uint64_t)t : 0;
}

static void fly(struct direction *d, struct frame *f, uint64_t left)
{
	f->order = d->order++;
	if (chance(d, d->reorder)) {
		d->count.reordered++;
		f->when = left;
	} else {
		f->when = left + travel_time(d);
		if (f->when < d->last)
			f->when = d->last;
		d->last = f->when;
	}
	heap_push(d, f);
}

/* Is the line out at this time? */
static bool is_out(struct direction *d, uint64_t when)
{
	double mean = (double)d->outage;

	if (!d->turn)
		d->turn = when;
	while (d->turn <= when) {
		d->out = !d->out;
		d->turn += 1 + (uint64_t)(-log(1 - random_unit(&d->random_outage)) * (d->out ? mean : mean * (100 - d->loss) / d->loss));
	}
	return d->out;
}

static bool is_lost(struct direction *d, uint64_t when)
{
	if (d->outage && d->loss > 0 && d->loss < 100)
		return is_out(d, when);
	return chance(d, d->loss);
}

/* The frame has left the wire at f->when: what becomes of it? */
static void leave_wire(struct direction *d, struct frame *f)
{
	uint64_t left = f->when;

	if (d->hole) {
		d->count.hole_drops++;
		free(f);
		return;
	}
	if (d->mtu && f->len > ETHERNET + d->mtu) {
		d->count.mtu_drops++;
		free(f);
		return;
	}
	if (is_lost(d, f->when)) {
		d->count.losses++;
		free(f);
		return;
	}
	if (d->strip)
		d->count.stripped += strip_mptcp(f->data, f->len);
	if (f->len > ETHERNET && chance(d, d->corrupt)) {
		uint64_t at = random_next(&d->random);

		f->data[ETHERNET + at % (f->len - ETHERNET)] ^= (uint8_t)(1u << (at >> 61));
		d->count.corrupted++;
	}
	if (chance(d, d->duplicate)) {
		d->count.duplicates++;
		fly(d, frame_copy(f->data, f->len), left);
	}
	fly(d, f, left);
}

static void direction_advance(struct direction *d, uint64_t now)
{
	struct frame *f;

	while ((f = d->head) && f->when <= now) {
		d->head = f->next;
		d->waiting -= f->len;
		if (d->head)
			d->head->when = f->when + time_on_wire(d, d->head->len);
		else
			d->tail = NULL;
		leave_wire(d, f);
	}
}

void direction_put(struct direction *d, const uint8_t *data, size_t len, uint64_t now)
{
	struct frame *f;

	direction_advance(d, now);
	d->count.in_frames++;
	d->count.in_bytes += len;
	if (d->waiting + len > queue_limit(d)) {
		d->count.tail_drops++;
		return;
	}
	f = frame_copy(data, len);
	d->waiting += len;
	if (d->tail) {
		d->tail->next = f;
	} else {
		d->head = f;
		f->when = now + time_on_wire(d, len);
	}
	d->tail = f;
}

struct frame *direction_take(struct direction *d, uint64_t now)
{
	struct frame *f;

	direction_advance(d, now);
	while (d->n_flying && d->flying[0]->when <= now) {
		f = heap_pop(d);
		if (!d->hole) {
			d->count.out_frames++;
			d->count.out_bytes += f->len;
			return f;
		}
		d->count.hole_drops++;
		free(f);
	}
	return NULL;
}

uint64_t direction_next(const struct direction *d)
{
	uint64_t next = d->n_flying ? d->flying[0]->when : UINT64_MAX;
	uint64_t shortest = d->delay > d->jitter ? d->delay - d->jitter : 0;

	if (d->reorder > 0)
		shortest = 0;
	if (d->head && d->head->when + shortest < next)
		next = d->head->when + shortest;
	return next;
}

static int set_rate(struct direction *d, double value, const char *unit)
{
	if (*unit == 'k' || *unit == 'K')
		value *= 1e3;
	else if (*unit == 'M')
		value *= 1e6;
	else if (*unit == 'G')
		value *= 1e9;
	else if (*unit)
		return -1;
	d->rate = (uint64_t)(value + 0.5);
	return 0;
}

static int set_queue(struct direction *d, double value, const char *unit)
{
	if (!strcmp(unit, "ms")) {
		d->queue_ms = value;
		return 0;
	}
	if (*unit && strcmp(unit, "b"))
		return -1;
	d->queue_ms = 0;
	d->queue_bytes = (uint64_t)value;
	return 0;
}

static int set_percent(double *percent, double value, const char *unit)
{
	if (value > 100 || (*unit && strcmp(unit, "%")))
		return -1;
	*percent = value;
	return 0;
}

static int set_time(uint64_t *ns, double value, const char *unit)
{
	if (*unit && strcmp(unit, "ms"))
		return -1;
	*ns = (uint64_t)(value * MS);
	return 0;
}

static int set_switch(bool *is_on, const char *value)
{
	if (strcmp(value, "on") && strcmp(value, "off"))
		return -1;
	*is_on = !strcmp(value, "on");
	return 0;
}

static int set_number(struct direction *d, const char *key, double value, const char *unit)
{
	if (!strcmp(key, "rate"))
		return set_rate(d, value, unit);
	if (!strcmp(key, "queue"))
		return set_queue(d, value, unit);
	if (!strcmp(key, "delay"))
		return set_time(&d->delay, value, unit);
	if (!strcmp(key, "jitter"))
		return set_time(&d->jitter, value, unit);
	if (!strcmp(key, "outage"))
		return set_time(&d->outage, value, unit);
	if (!strcmp(key, "loss"))
		return set_percent(&d->loss, value, unit);
	if (!strcmp(key, "duplicate"))
		return set_percent(&d->duplicate, value, unit);
	if (!strcmp(key, "reorder"))
		return set_percent(&d->reorder, value, unit);
	if (!strcmp(key, "corrupt"))
		return set_percent(&d->corrupt, value, unit);
	if (!strcmp(key, "mtu") && !*unit) {
		d->mtu = (size_t)value;
		return 0;
	}
	if (!strcmp(key, "seed")) {
		seed(d, (uint64_t)value);
		return 0;
	}
	return -1;
}

int direction_set(struct direction *d, const char *key, const char *value, uint64_t now)
{
	uint64_t before = d->rate;
	char *unit;
	double number;

	direction_advance(d, now);
	if (!strcmp(key, "hole"))
		return set_switch(&d->hole, value);
	if (!strcmp(key, "strip"))
		return set_switch(&d->strip, value);
	number = strtod(value, &unit);
	if (unit == value || !(number >= 0) || set_number(d, key, number, unit) < 0)
		return -1;
	if (d->head && d->rate != before) /* the frame on the wire starts again at the new rate */
		d->head->when = now + time_on_wire(d, d->head->len);
	if (!strcmp(key, "loss") || !strcmp(key, "outage")) {
		d->turn = 0;
		d->out = true; /* the next turn, at the next frame, is to a pause */
	}
	if (!strcmp(key, "delay") || !strcmp(key, "jitter"))
		d->last = 0; /* a line that became shorter may overtake itself once, as after a re-route */
	return 0;
}
