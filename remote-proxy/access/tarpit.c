/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * Whoever cannot prove to be one of ours learns nothing: neither what runs here nor what was
 * wrong. No byte is sent, up to 64 KiB are read and thrown away, and between 10 and 15 s after
 * the connection was accepted, at a random moment, it is reset. The moment counts from the
 * accept, so it is the same whether the first byte was wrong, or a tag, or nothing ever
 * came; and a stranger that sends FIN or falls silent waits for the same moment. He keeps the place
 * that he had from the accept on (places.c), and is turned out of it before others are. */
#include "tarpit.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <unistd.h>

#include "clock.h"
#include "counter.h"
#include "seal.h"
#include "sock.h"
#include "timer.h"

#define SILENCE_MS 10000
#define SILENCE_SPREAD_MS 5000
#define SWALLOW 65536

struct stranger {
	struct tarpit *tarpit;
	struct place *place;
	int fd;
	size_t swallowed;
	struct event rd, end;
	TAILQ_ENTRY(stranger) link;
};

struct tarpit {
	struct event_base *base;
	TAILQ_HEAD(, stranger) hanging; /* in order of arrival */
	uint8_t sink[4096];
};

struct tarpit *tarpit_new(struct event_base *base)
{
	struct tarpit *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->base = base;
	TAILQ_INIT(&t->hanging);
	return t;
}

static void stranger_free(void *stranger)
{
	struct stranger *s = stranger;

	event_del(&s->rd);
	event_del(&s->end);
	sock_close_reset(s->fd);
	TAILQ_REMOVE(&s->tarpit->hanging, s, link);
	place_free(s->place);
	free(s);
}

static void tarpit_readable(evutil_socket_t fd, short what, void *arg)
{
	struct stranger *s = arg;
	size_t room = SWALLOW - s->swallowed;
	ssize_t n = read(fd, s->tarpit->sink, room < sizeof(s->tarpit->sink) ? room : sizeof(s->tarpit->sink));

	(void)what;
	if (n < 0 && errno == EAGAIN)
		return;
	if (n < 0) {
		stranger_free(s);
		return;
	}
	s->swallowed += (size_t)n;
	if (n == 0 || s->swallowed >= SWALLOW)
		event_del(&s->rd); /* only the clock is left */
}

static void tarpit_time_is_up(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	stranger_free(arg);
}

/* How long from now: a moment that depends on nothing but the accept and chance. */
static uint64_t silence_left_ms(uint64_t accepted_ms)
{
	uint64_t passed = clock_ms() - accepted_ms;
	uint16_t chance;
	uint64_t ms;

	seal_random(&chance, sizeof(chance));
	ms = SILENCE_MS + (uint64_t)chance * SILENCE_SPREAD_MS / 65536;
	return passed < ms ? ms - passed : 0;
}

void tarpit_take(struct tarpit *t, int fd, struct place *place)
{
	struct stranger *s = calloc(1, sizeof(*s));

	counters.quiet++;
	if (!s) {
		sock_close_reset(fd);
		place_free(place);
		return;
	}
	s->tarpit = t;
	s->place = place;
	place_give(place, true, stranger_free, s);
	s->fd = fd;
	event_assign(&s->rd, t->base, fd, EV_READ | EV_PERSIST, tarpit_readable, s);
	event_assign(&s->end, t->base, -1, 0, tarpit_time_is_up, s);
	TAILQ_INSERT_TAIL(&t->hanging, s, link);
	event_add(&s->rd, NULL);
	timer_in_ms(&s->end, silence_left_ms(place_since_ms(place)));
}

void tarpit_free(struct tarpit *t)
{
	if (!t)
		return;
	while (!TAILQ_EMPTY(&t->hanging))
		stranger_free(TAILQ_FIRST(&t->hanging));
	free(t);
}
