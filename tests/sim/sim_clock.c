/* SPDX-License-Identifier: BSD-2-Clause */
#include "sim_clock.h"

#include <stdlib.h>

#include "sim.h"

#define ALARMS 65536
#define BIRTH (3600 * SECOND)

static uint64_t now_us, ordered, chance_state, noise_state;
static struct alarm *heap[ALARMS + 1];
static size_t n_heap;

void clock_begin(void)
{
	now_us = BIRTH;
	ordered = 0;
	n_heap = 0;
}

uint64_t clock_now(void)
{
	return now_us;
}

void clock_set(uint64_t us)
{
	if (us > now_us)
		now_us = us;
}

/* --- a heap of alarms --- */

static bool rings_before(const struct alarm *a, const struct alarm *b)
{
	return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

static void put(size_t place, struct alarm *a)
{
	heap[place] = a;
	a->place = place;
}

static void sift_up(struct alarm *a)
{
	size_t i = a->place;

	for (; i > 1 && rings_before(a, heap[i / 2]); i /= 2)
		put(i, heap[i / 2]);
	put(i, a);
}

static void sift_down(struct alarm *a)
{
	size_t i = a->place, child;

	while ((child = 2 * i) <= n_heap) {
		if (child < n_heap && rings_before(heap[child + 1], heap[child]))
			child++;
		if (!rings_before(heap[child], a))
			break;
		put(i, heap[child]);
		i = child;
	}
	put(i, a);
}

void alarm_init(struct alarm *a, void (*ring)(void *arg), void *arg)
{
	*a = (struct alarm){ .ring = ring, .arg = arg };
}

void alarm_in(struct alarm *a, uint64_t us)
{
	alarm_clear(a);
	if (n_heap == ALARMS)
		sim_fail("more than %d things are to happen", ALARMS);
	a->at_us = now_us + us;
	a->order = ordered++;
	a->place = ++n_heap;
	sift_up(a);
}

void alarm_clear(struct alarm *a)
{
	struct alarm *last = heap[n_heap];

	if (!a->place)
		return;
	n_heap--;
	if (last != a) {
		last->place = a->place;
		sift_up(last);
		sift_down(last);
	}
	a->place = 0;
}

uint64_t alarm_next(void)
{
	return n_heap ? heap[1]->at_us : NEVER;
}

bool alarm_ring_due(void)
{
	struct alarm *a = heap[1];

	if (!n_heap || a->at_us > now_us)
		return false;
	alarm_clear(a);
	a->ring(a->arg);
	return true;
}

struct once {
	struct alarm alarm;
	void (*ring)(void *arg);
	void *arg;
};

static void ring_once(void *arg)
{
	struct once o = *(struct once *)arg;

	free(arg);
	o.ring(o.arg);
}

void alarm_once(uint64_t in_us, void (*ring)(void *arg), void *arg)
{
	struct once *o = sim_alloc(sizeof(*o));

	o->ring = ring;
	o->arg = arg;
	alarm_init(&o->alarm, ring_once, o);
	alarm_in(&o->alarm, in_us);
}

/* --- chance: splitmix64 --- */

static uint64_t roll(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

void chance_begin(uint64_t seed)
{
	chance_state = seed;
	noise_state = ~seed;
}

uint64_t chance_below(uint64_t n)
{
	return roll(&chance_state) % n;
}

uint64_t chance_between(uint64_t least, uint64_t most)
{
	return least + chance_below(most - least + 1);
}

uint64_t noise(void)
{
	return roll(&noise_state);
}

uint16_t noise_port(void)
{
	uint16_t port = (uint16_t)(32768 + noise() % 28232);

	return (uint16_t)(port << 8 | port >> 8);
}

bool noise_ppm(uint64_t ppm)
{
	return ppm && noise() % 1000000 < ppm;
}
