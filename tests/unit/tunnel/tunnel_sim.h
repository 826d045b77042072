/* SPDX-License-Identifier: BSD-2-Clause */
/* Two tunnels and the lines between them, in one process and under a clock of its own: the real
 * association, keys and tunnel; only the sockets and the time are made up. A test that includes
 * this replaces clock_gettime(), epoll_wait() and udp.c. */
#ifndef TUNNEL_SIM_H
#define TUNNEL_SIM_H

#include <sys/epoll.h>
#include <sys/random.h>
#include <arpa/inet.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "assoc.h"
#include "session.h"
#include "tunnel.h"

#define SIM_LINES 3
#define SIM_RING 16384
#define SIM_STEP_US 500

static uint64_t sim_us = 1000000000;

int clock_gettime(clockid_t id, struct timespec *ts)
{
	(void)id;
	ts->tv_sec = (time_t)(sim_us / 1000000);
	ts->tv_nsec = (long)(sim_us % 1000000) * 1000;
	return 0;
}

/* There are no descriptors here, so the loop need not ask the kernel for them in each step. */
int epoll_wait(int fd, struct epoll_event *events, int max, int timeout_ms)
{
	(void)fd;
	(void)events;
	(void)max;
	(void)timeout_ms;
	return 0;
}

struct sim_dgram {
	uint64_t at_us;
	uint16_t len;
	uint8_t tos, data[WIRE_DG_MAX];
};

struct sim_link { /* one direction of a line */
	uint32_t delay_us, loss_ppm, queue_us;
	uint32_t jitter_us; /* more or less than delay_us, order kept */
	uint32_t burst_us; /* losses come in outages of this mean length */
	uint64_t rate;	   /* bytes a second; 0: endless */
	bool dead, mark; /* mark: every packet as congested */
	uint32_t mtu;	 /* longest UDP payload; 0: any */
	uint32_t copies; /* that the network makes of each */
	uint8_t last_tos;
	uint64_t free_us, bad_until_us, good_until_us, last_us;
	struct sim_dgram *ring;
	uint32_t head, tail;
	uint64_t bytes, sent, lost, overflowed;
	uint32_t worst_queue_us;
};

struct udp { /* local: one a line; remote: one for all */
	struct sim *sim;
	int line; /* -1: the remote's */
};

struct sim_flow { /* what was seen of it at the far end */
	uint64_t sent, got, twice, late_us_max, gap_us_max, last_us, disorder;
	uint32_t top;
	uint8_t *seen;
	uint32_t *took; /* microseconds, of each */
	uint32_t max;
};

#define SIM_FLOWS 8
struct sim {
	struct event_base *base;
	struct seal *seal;
	struct session *session;
	struct tunnel *end[2]; /* local, remote */
	struct udp udp[SIM_LINES + 1];
	struct sim_link link[SIM_LINES][2]; /* [line][0 up, 1 down] */
	unsigned lines;
	uint64_t random;
	struct sim_flow flow[SIM_FLOWS][2]; /* [][0: up] */
	unsigned mtu[2];
	uint8_t ecn_seen;
};

static uint64_t sim_dice;

/* The engine's own dice, the jitter of probes, are thrown by the seed as well: a run is the same
 * each time, or a failure could not be looked at. */
ssize_t getrandom(void *out, size_t len, unsigned flags)
{
	(void)flags;
	for (size_t i = 0; i < len; i++) {
		sim_dice = sim_dice * 6364136223846793005u + 1442695040888963407u;
		((uint8_t *)out)[i] = (uint8_t)(sim_dice >> 56);
	}
	return (ssize_t)len;
}

static uint32_t sim_random(struct sim *s)
{
	s->random ^= s->random << 13;
	s->random ^= s->random >> 7;
	s->random ^= s->random << 17;
	return (uint32_t)(s->random >> 16);
}

/* --- the network --- */

static bool sim_loses(struct sim *s, struct sim_link *l)
{
	if (l->dead)
		return true;
	if (!l->loss_ppm)
		return false;
	if (!l->burst_us)
		return sim_random(s) % 1000000 < l->loss_ppm;
	while (sim_us >= l->good_until_us && sim_us >= l->bad_until_us) { /* the next good time, and the outage behind it */
		uint64_t good = (uint64_t)l->burst_us * (1000000 - l->loss_ppm) / l->loss_ppm;

		l->good_until_us = (l->bad_until_us ? l->bad_until_us : sim_us) + good / 2 + sim_random(s) % (good + 1);
		l->bad_until_us = l->good_until_us + l->burst_us / 2 + sim_random(s) % (l->burst_us + 1);
	}
	return sim_us >= l->good_until_us;
}

static void sim_put(struct sim *s, struct sim_link *l, uint8_t tos, const void *data, size_t len)
{
	uint64_t start = sim_us > l->free_us ? sim_us : l->free_us;
	struct sim_dgram *d = &l->ring[l->head % SIM_RING];

	l->sent++;
	l->last_tos = tos;
	if (l->mtu && len > l->mtu)
		return;
	if (l->rate && start - sim_us > l->queue_us) {
		l->overflowed++;
		return;
	}
	if (start - sim_us > l->worst_queue_us)
		l->worst_queue_us = (uint32_t)(start - sim_us);
	l->free_us = l->rate ? start + (len + 28) * 1000000 / l->rate : sim_us;
	l->bytes += len + 28;
	if (sim_loses(s, l)) {
		l->lost++;
		return;
	}
	if (l->head - l->tail == SIM_RING)
		abort();
	d->at_us = l->free_us + l->delay_us;
	if (l->jitter_us)
		d->at_us += (uint64_t)(sim_random(s) % (2 * l->jitter_us + 1)) - l->jitter_us;
	d->at_us = d->at_us > l->last_us || !l->jitter_us ? d->at_us : l->last_us;
	l->last_us = d->at_us;
	d->len = (uint16_t)len;
	d->tos = l->mark ? tos | 3 : tos;
	memcpy(d->data, data, len);
	l->head++;
	for (uint32_t i = 0; i < l->copies; i++, l->head++) {
		if (l->head - l->tail == SIM_RING)
			abort();
		l->ring[l->head % SIM_RING] = *d;
	}
}

void udp_send(struct udp *u, const struct addr *to, uint8_t tos, const void *data, size_t len)
{
	(void)to;
	sim_put(u->sim, &u->sim->link[u->line][0], tos, data, len);
}

void udp_send_from(struct udp *u, const struct addr *from, const struct addr *to, uint8_t tos, const void *data, size_t len)
{
	(void)from;
	sim_put(u->sim, &u->sim->link[to->port - 1000][1], tos, data, len);
}

int udp_flush(struct udp *u)
{
	(void)u;
	return 0;
}

static struct addr sim_addr(const char *text, uint16_t port)
{
	struct addr a;

	if (addr_parse(&a, text, port))
		abort();
	return a;
}

static void sim_arrive(struct sim *s, unsigned line, unsigned dir, const struct sim_dgram *d, bool more)
{
	static uint8_t buf[64 + WIRE_DG_MAX];
	struct udp_got got = { .from = sim_addr("192.0.2.1", (uint16_t)(1000 + line)), .to = sim_addr("192.0.2.9", 7200), .tos = d->tos,
			       .data = buf + 64, .len = d->len, .more = more };

	memcpy(got.data, d->data, d->len);
	assoc_input(tunnel_assoc(s->end[!dir]), &s->udp[dir ? line : SIM_LINES], &got);
}

static void sim_step(struct sim *s)
{
	sim_us += SIM_STEP_US;
	for (unsigned line = 0; line < s->lines; line++)
		for (unsigned dir = 0; dir < 2; dir++) {
			struct sim_link *l = &s->link[line][dir];

			while (l->head != l->tail && l->ring[l->tail % SIM_RING].at_us <= sim_us) {
				sim_arrive(s, line, dir, &l->ring[l->tail % SIM_RING], false);
				l->tail++;
			}
			if (l->head == l->tail)
				l->head = l->tail = 0; /* what was used last is still in the processor's cache */
		}
	event_base_loop(s->base, EVLOOP_NONBLOCK);
}

static void sim_run(struct sim *s, uint64_t us)
{
	for (uint64_t end = sim_us + us; sim_us < end;)
		sim_step(s);
}

/* --- inner packets --- */

static void sim_send(struct sim *s, unsigned dir, unsigned flow, size_t len, uint8_t tos)
{
	uint8_t buf[64 + 2048] = { 0 }, *p = buf + 64;
	struct sim_flow *f = &s->flow[flow][dir];
	uint32_t n = (uint32_t)f->sent++;

	p[0] = 0x45;
	p[1] = tos;
	p[2] = (uint8_t)(len >> 8);
	p[3] = (uint8_t)len;
	p[8] = 64;
	p[9] = 17;
	memcpy(p + 12, "\x0a\x00\x00\x01\x0a\x00\x00\x02", 8);
	p[21] = (uint8_t)flow;
	p[20] = p[22] = 40;
	memcpy(p + 28, &n, 4);
	memcpy(p + 32, &sim_us, 8);
	p[len - 1] = 0x5a;
	tunnel_send(s->end[dir], p, len);
}

static void sim_delivered(struct sim *s, unsigned dir, const uint8_t *p, size_t len)
{
	struct sim_flow *f = &s->flow[p[21] % SIM_FLOWS][dir];
	uint64_t born, gap = sim_us - f->last_us;
	uint32_t n;

	if (len < 41 || p[len - 1] != 0x5a || (size_t)(p[2] << 8 | p[3]) != len)
		abort(); /* damaged */
	memcpy(&n, p + 28, 4);
	memcpy(&born, p + 32, 8);
	if (n >= f->max) {
		f->seen = realloc(f->seen, 2 * (n + 1));
		f->took = realloc(f->took, 2 * (n + 1) * sizeof(*f->took));
		memset(f->seen + f->max, 0, 2 * (n + 1) - f->max);
		f->max = 2 * (n + 1);
	}
	s->ecn_seen = p[1] & 3;
	f->twice += f->seen[n];
	f->seen[n] = 1;
	f->got++;
	f->took[n] = (uint32_t)(sim_us - born);
	f->disorder += f->got > 1 && n < f->top;
	f->top = n > f->top ? n : f->top;
	f->late_us_max = sim_us - born > f->late_us_max ? sim_us - born : f->late_us_max;
	if (f->last_us && gap > f->gap_us_max)
		f->gap_us_max = gap;
	f->last_us = sim_us;
}

static void on_up(void *arg, uint8_t *packet, size_t len)
{
	sim_delivered(arg, 0, packet, len);
}

static void on_down(void *arg, uint8_t *packet, size_t len)
{
	sim_delivered(arg, 1, packet, len);
}

static void on_local_mtu(void *arg, unsigned mtu)
{
	((struct sim *)arg)->mtu[0] = mtu;
}

static void on_remote_mtu(void *arg, unsigned mtu)
{
	((struct sim *)arg)->mtu[1] = mtu;
}

static int sim_by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* The n-th permille of the flow's latencies, lost ones aside. */
static uint32_t sim_latency(const struct sim_flow *f, unsigned permille)
{
	uint32_t *v = malloc((f->got + 1) * sizeof(*v)), n = 0, out;

	for (uint32_t i = 0; i < f->max; i++)
		if (f->seen[i])
			v[n++] = f->took[i];
	qsort(v, n, sizeof(*v), sim_by_value);
	out = n ? v[(uint64_t)(n - 1) * permille / 1000] : 0;
	free(v);
	return out;
}

/* --- life --- */

static void sim_rekey(struct sim *s)
{
	static uint32_t index = 100;
	uint8_t sid[WIRE_SID] = { 1 }, exported[32] = { 2 };
	struct session *session;

	sid[1] = exported[1] = (uint8_t)index++;
	session = session_new(sid, SEAL_AES256_GCM, exported);
	for (unsigned i = 0; i < 2; i++)
		assoc_rekey(tunnel_assoc(s->end[!i]), session, index); /* the remote first */
	session_put(session);
}

static void sim_path(struct sim *s, unsigned line, enum wire_use use)
{
	struct assoc_path p = { .udp = &s->udp[line], .use = use, .keepalive_s = 20 };

	assoc_set_path(tunnel_assoc(s->end[0]), line, &p);
}

/* fec: the remote's, else all is the same at both ends. */
static struct sim *sim_new_unlike(unsigned lines, const struct sim_link *link, const struct tunnel_config *config, uint64_t seed,
				  enum tunnel_fec fec)
{
	struct tunnel_config far = *config;
	static const struct tunnel_ops up = { on_up, NULL, on_remote_mtu }, down = { on_down, NULL, on_local_mtu };
	struct sim *s = calloc(1, sizeof(*s));

	far.fec = fec;
	s->base = event_base_new();
	s->seal = seal_new();
	s->lines = lines;
	s->random = seed * 0x9e3779b97f4a7c15u + 88172645463325252u;
	sim_dice = seed;
	for (unsigned i = 0; i <= SIM_LINES; i++)
		s->udp[i] = (struct udp){ s, (int)i };
	for (unsigned i = 0; i < lines * 2; i++) {
		s->link[i / 2][i % 2] = link[i / 2];
		s->link[i / 2][i % 2].ring = malloc(SIM_RING * sizeof(struct sim_dgram));
	}
	s->end[0] = tunnel_new(s->base, s->seal, ASSOC_LOCAL, config, &down, s);
	s->end[1] = tunnel_new(s->base, s->seal, ASSOC_REMOTE, &far, &up, s);
	sim_rekey(s);
	for (unsigned i = 0; i < lines; i++)
		sim_path(s, i, WIRE_USE_FULL);
	sim_run(s, 2000000);
	return s;
}

static struct sim *sim_new(unsigned lines, const struct sim_link *link, const struct tunnel_config *config, uint64_t seed)
{
	return sim_new_unlike(lines, link, config, seed, config->fec);
}

static void sim_free(struct sim *s)
{
	for (unsigned i = 0; i < 2; i++)
		tunnel_free(s->end[i]);
	for (unsigned i = 0; i < s->lines * 2; i++)
		free(s->link[i / 2][i % 2].ring);
	for (unsigned i = 0; i < SIM_FLOWS * 2; i++) {
		free(s->flow[i / 2][i % 2].seen);
		free(s->flow[i / 2][i % 2].took);
	}
	seal_free(s->seal);
	event_base_free(s->base);
	free(s);
}

static void sim_print(const struct sim *s, const char *what)
{
	json_t *st;
	char *text;

	for (unsigned f = 0; f < SIM_FLOWS; f++)
		for (unsigned d = 0; d < 2; d++)
			if (s->flow[f][d].sent)
				printf("# %s, flow %u %s: sent %llu got %llu twice %llu disorder %llu; ms p50 %.1f p99 %.1f max %.1f, gap %.1f\n", what, f,
				       d ? "down" : "up", (unsigned long long)s->flow[f][d].sent, (unsigned long long)s->flow[f][d].got,
				       (unsigned long long)s->flow[f][d].twice, (unsigned long long)s->flow[f][d].disorder,
				       sim_latency(&s->flow[f][d], 500) / 1e3, sim_latency(&s->flow[f][d], 990) / 1e3,
				       s->flow[f][d].late_us_max / 1e3, s->flow[f][d].gap_us_max / 1e3);
	for (unsigned i = 0; i < s->lines; i++)
		for (unsigned d = 0; d < 2; d++) {
			const struct sim_link *l = &s->link[i][d];

			printf("#   line %u %s: %llu datagrams %llu bytes, lost %llu, overflowed %llu, worst queue %.1f ms\n", i, d ? "down" : "up",
			       (unsigned long long)l->sent, (unsigned long long)l->bytes, (unsigned long long)l->lost,
			       (unsigned long long)l->overflowed, l->worst_queue_us / 1e3);
		}
	if (!getenv("SIM_STATUS"))
		return;
	st = tunnel_status(s->end[0]);
	text = json_dumps(st, JSON_COMPACT);
	printf("#   %s\n", text);
	free(text);
	json_decref(st);
}

#endif
