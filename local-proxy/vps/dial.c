/* SPDX-License-Identifier: BSD-2-Clause */
/* dial: a race between links.
 *
 * Theory of operation. The first SYN of an MPTCP connection goes over one link only, and if that
 * link is silently dead the kernel waits for many seconds. So a dial is a list of attempts, one for
 * each (address of the VPS, source address of a link that can reach it), best link first. The first
 * starts at once; the next starts when a round trip and a half of its link is over (STAGGER_MS
 * where that is not known, or is more), or as soon as one fails. Whoever connects first wins; the
 * others are reset before a byte of ours was sent on them. A link that is used for plain
 * connections only is first in its turn, one dial in as many as there are links, and last
 * otherwise; its attempts are plain TCP. After DEADLINE_MS, or when every attempt has failed, the
 * dial has failed with the last error. The callback comes from the loop, never from inside
 * dial_start(). */
#include <errno.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "dial.h"
#include "timer.h"

#define ATTEMPTS_MAX 16
#define STAGGER_MS 250
#define STAGGER_LEAST_MS 20
#define DEADLINE_MS 10000

struct attempt {
	struct dial *dial;
	struct addr to, src;
	bool plain;
	unsigned patience_ms; /* until the next one starts */
	int fd;
	struct event writable;
};

struct dial {
	struct event_base *base;
	struct sock_wan opt;
	dial_cb cb;
	void *arg;
	struct event timer;
	uint64_t deadline;
	int last_error;
	size_t count, started, running;
	struct attempt attempts[ATTEMPTS_MAX];
};

static void dial_stop(struct attempt *a)
{
	if (a->fd < 0)
		return;
	event_del(&a->writable);
	sock_close_reset(a->fd);
	a->fd = -1;
	a->dial->running--;
}

static void end(struct dial *d, int fd, const struct addr *src, int error)
{
	struct addr from = src ? *src : (struct addr){ .port = 0 };
	dial_cb cb = d->cb;
	void *arg = d->arg;

	dial_cancel(d);
	errno = error;
	cb(arg, fd, &from);
}

static void dial_wake_in(struct dial *d, uint64_t ms)
{
	timer_in_ms(&d->timer, ms);
}

static void dial_writable(evutil_socket_t fd, short what, void *arg)
{
	struct attempt *a = arg;
	struct dial *d = a->dial;
	int error = sock_connect_error(fd);

	(void)what;
	if (error == 0) {
		event_del(&a->writable);
		a->fd = -1;
		d->running--;
		end(d, fd, &a->src, 0);
		return;
	}
	d->last_error = error;
	dial_stop(a);
	dial_wake_in(d, 0);
}

static void dial_start_next(struct dial *d)
{
	struct attempt *a = &d->attempts[d->started++];

	a->dial = d;
	d->opt.plain = a->plain;
	a->fd = sock_dial_wan(&a->to, &a->src, &d->opt);
	if (a->fd < 0) {
		d->last_error = errno;
		return;
	}
	d->running++;
	event_assign(&a->writable, d->base, a->fd, EV_WRITE, dial_writable, a);
	event_add(&a->writable, NULL);
}

static void dial_timer_due(evutil_socket_t fd, short what, void *arg)
{
	struct dial *d = arg;
	uint64_t now = clock_ms();

	(void)fd;
	(void)what;
	if (now >= d->deadline) {
		end(d, -1, NULL, ETIMEDOUT);
		return;
	}
	if (d->started < d->count)
		dial_start_next(d);
	if (d->started < d->count)
		dial_wake_in(d, d->running ? d->attempts[d->started - 1].patience_ms : 0);
	else if (d->running)
		dial_wake_in(d, d->deadline - now);
	else
		end(d, -1, NULL, d->last_error);
}

/* Puts one of those that carry plain connections in front, in its turn. */
static void take_turns(struct links *links, struct addr *src, size_t n)
{
	size_t turn = links_turn(links, src, n);
	struct addr first = src[turn];

	if (!links_is_plain(links, &first))
		return;
	memmove(src + 1, src, turn * sizeof(*src));
	src[0] = first;
}

/* A handshake takes a round trip; on a link that is busy or jitters a half more. */
static unsigned dial_patience(uint32_t rtt_us)
{
	unsigned ms = rtt_us / 1000 * 3 / 2 + STAGGER_LEAST_MS;

	return rtt_us && ms < STAGGER_MS ? ms : STAGGER_MS;
}

static void plan(struct dial *d, struct links *links, const struct addr *targets, size_t count)
{
	struct addr src[CONFIG_LINKS];

	for (size_t t = 0; t < count; t++) {
		size_t n = links_sources(links, &targets[t], src, CONFIG_LINKS);

		if (n > 1 && !d->count) /* once a dial */
			take_turns(links, src, n);
		for (size_t s = 0; s < n && d->count < ATTEMPTS_MAX; s++, d->count++) {
			d->attempts[d->count].to = targets[t];
			d->attempts[d->count].src = src[s];
			d->attempts[d->count].plain = links_is_plain(links, &src[s]);
			d->attempts[d->count].patience_ms = dial_patience(
				links_rtt(links, &src[s]));
			d->attempts[d->count].fd = -1;
		}
	}
}

struct dial *dial_start(struct event_base *base, struct links *links, const struct addr *targets, size_t count,
			const struct sock_wan *opt, dial_cb cb, void *arg)
{
	struct dial *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->base = base;
	d->opt = *opt;
	d->opt.mixed = links_mixed(links);
	d->cb = cb;
	d->arg = arg;
	d->deadline = clock_ms() + DEADLINE_MS;
	d->last_error = ENETUNREACH;
	plan(d, links, targets, count);
	event_assign(&d->timer, base, -1, 0, dial_timer_due, d);
	if (d->count)
		dial_start_next(d);
	dial_wake_in(d, d->running && d->count > 1 ? d->attempts[0].patience_ms :
			d->running		   ? DEADLINE_MS :
						     0);
	return d;
}

void dial_cancel(struct dial *d)
{
	if (!d)
		return;
	event_del(&d->timer);
	for (size_t i = 0; i < d->started; i++)
		dial_stop(&d->attempts[i]);
	free(d);
}
