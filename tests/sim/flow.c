/* SPDX-License-Identifier: BSD-2-Clause */
/* flow: one connection of the LAN, both of its ends, and what must be true of it.
 *
 * Whatever happens to links, VPS and gateway, this is asserted with each byte:
 *  - what arrives is what was said, from the first byte on and without a gap;
 *  - an EOF arrives only behind everything that was said before it; whatever is cut short is a
 * reset;
 *  - the server is asked at most once.
 * That a flow ends well when nothing goes wrong is asserted by who starts it. */
#include "flow.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "box.h"
#include "line.h"
#include "sim.h"
#include "sim_clock.h"
#include "stream.h"

#define SERVER_ADDR "93.184.216.34"
#define PORT_OPEN 80
#define PORT_FIRST 22
#define PORT_CLOSED 81
#define PORT_SLOW 8080
#define SLOW_US (4 * SECOND) /* at most, until it answers a SYN */
#define PIECE 300
#define HEAD 4 /* the number of the flow, at the front of a request */
#define BITE 16384

struct side {
	struct stream *s;
	uint32_t said, heard, says; /* bytes; says: in all */
	bool shut, eof, closed;
	int error;
};

struct flow {
	TAILQ_ENTRY(flow) entry;
	enum flow_kind kind;
	uint32_t id;
	struct side client, server;
	uint32_t thought; /* so much of what the client will say he knows yet */
	struct alarm thinks;
	bool direct, server_first_known;
	unsigned served;
	uint64_t since_us, over_us;
};

static TAILQ_HEAD(, flow) flows;
static uint32_t n_flows;

static uint8_t byte_at(const struct flow *f, bool up, uint32_t i)
{
	if (up && i < HEAD)
		return (uint8_t)(f->id >> (8 * i));
	return (uint8_t)(f->id * 31 + i * 7 + (i >> 8) * 3 + up);
}

void flow_describe(const struct flow *f, char out[160])
{
	static const char *const kinds[] = { "client shuts",  "server closes", "server first",
					     "client resets", "server resets", "refused",
					     "hesitant" };

	snprintf(out, 160,
		 "flow %u (%s%s) %.3f s: client said %u of %u heard %u%s%s err %d; server said %u "
		 "of %u heard %u%s err %d served %u",
		 f->id, kinds[f->kind], f->direct ? ", direct" : "",
		 (double)(clock_now() - f->since_us) / 1e6, f->client.said, f->client.says,
		 f->client.heard, f->client.eof ? " EOF" : "", f->client.closed ? " closed" : "",
		 f->client.error, f->server.said, f->server.says, f->server.heard,
		 f->server.eof ? " EOF" : "", f->server.error, f->served);
}

__attribute__((noreturn)) static void broken(const struct flow *f, const char *what)
{
	char text[160];

	flow_describe(f, text);
	sim_fail("%s: %s", what, text);
}

static void side_close(struct side *s, bool reset)
{
	if (s->closed || !s->s)
		return;
	s->closed = true;
	stream_close(s->s, reset);
}

static void say(struct flow *f, struct side *s, bool up)
{
	uint32_t until = up ? f->thought : s->says;
	uint8_t buf[BITE];

	while (!s->closed && s->said < until) {
		uint32_t n = until - s->said < BITE ? until - s->said : BITE;
		ssize_t sent;

		for (uint32_t i = 0; i < n; i++)
			buf[i] = byte_at(f, up, s->said + i);
		sent = stream_write(s->s, buf, n);
		if (sent < 0 && sent != -EAGAIN)
			s->error = (int)-sent;
		if (sent <= 0)
			return;
		s->said += (uint32_t)sent;
	}
}

/* Reads what there is. */
static void hear(struct flow *f, struct side *s, bool up, const struct side *from)
{
	uint8_t buf[BITE];
	ssize_t n = 0;

	while (!s->closed && !s->eof && !s->error &&
	       (n = stream_read(s->s, buf, sizeof(buf))) > 0) {
		for (ssize_t i = 0; i < n; i++)
			if (buf[i] != byte_at(f, up, s->heard + (uint32_t)i))
				broken(f, "another byte arrived than was said");
		s->heard += (uint32_t)n;
	}
	if (s->closed || s->eof || s->error)
		return;
	if (n == 0) {
		s->eof = true;
		if (!from->shut || s->heard != from->said)
			broken(f, "an EOF arrived that was not said, or before what was said");
	} else if (n < 0 && n != -EAGAIN) {
		s->error = (int)-n;
	}
}

static void check_over(struct flow *f)
{
	if (f->client.closed && !f->over_us)
		f->over_us = clock_now();
}

static void shut_when_said(struct side *s)
{
	if (s->said == s->says && !s->shut && !s->closed) {
		s->shut = true;
		stream_shut(s->s);
	}
}

static void client_event(void *arg)
{
	struct flow *f = arg;
	struct side *c = &f->client;

	if (c->closed)
		return;
	if (stream_connected(c->s))
		say(f, c, true);
	hear(f, c, false, &f->server);
	if ((f->kind == FLOW_CLIENT_SHUTS || f->kind == FLOW_HESITANT) && stream_connected(c->s))
		shut_when_said(c);
	if (c->error)
		side_close(c, true);
	else if (f->kind == FLOW_CLIENT_RESETS && c->heard * 2 >= f->server.says && f->served)
		side_close(c, true);
	else if (c->eof) {
		c->shut = true; /* closing says EOF as well */
		if (c->said == c->says)
			side_close(c, false);
		else
			side_close(c, true);
	}
	check_over(f);
}

static void client_thinks(void *arg)
{
	struct flow *f = arg;
	uint32_t rest = f->client.says - f->thought;

	if (f->client.closed)
		return;
	f->thought += rest < PIECE ? rest : PIECE;
	if (f->thought < f->client.says)
		alarm_in(&f->thinks, (5 + noise() % 400) * MS);
	client_event(f);
}

static void server_event(void *arg)
{
	struct flow *f = arg;
	struct side *s = &f->server;

	if (s->closed)
		return;
	hear(f, s, true, &f->client);
	if (!s->error && (f->kind == FLOW_SERVER_FIRST || s->heard == f->client.says))
		say(f, s, false);
	if (s->error) {
		side_close(s, true);
		return;
	}
	if (f->kind == FLOW_SERVER_RESETS && s->said * 2 >= s->says && s->said) {
		side_close(s, true);
	} else if (s->said == s->says && s->heard == f->client.says) {
		shut_when_said(s);
		if (s->eof)
			side_close(s, false);
	}
}

/* --- servers --- */

struct arrival {
	struct stream *s;
	uint8_t head[HEAD];
	size_t n;
};

static struct flow *find(uint32_t id)
{
	struct flow *f;

	TAILQ_FOREACH(f, &flows, entry)
		if (f->id == id)
			return f;
	sim_fail("a server was asked for something that nobody had said");
}

static void serve(struct flow *f, struct stream *s)
{
	if (++f->served > 1)
		broken(f, "the server was asked twice");
	f->server.s = s;
	stream_on_event(s, server_event, f);
}

static void arrival_event(void *arg)
{
	struct arrival *a = arg;
	ssize_t n = stream_read(a->s, a->head + a->n, HEAD - a->n);
	struct flow *f;

	if (n == -EAGAIN)
		return;
	if (n <= 0) {
		stream_close(a->s, true);
		free(a);
		return;
	}
	a->n += (size_t)n;
	if (a->n < HEAD)
		return;
	f = find(a->head[0] | (uint32_t)a->head[1] << 8 | (uint32_t)a->head[2] << 16 |
		 (uint32_t)a->head[3] << 24);
	f->server.heard = HEAD;
	serve(f, a->s);
	free(a);
}

static void accept_one(void *arg, struct stream *s)
{
	struct arrival *a = sim_alloc(sizeof(*a));

	(void)arg;
	a->s = s;
	stream_on_event(s, arrival_event, a);
}

/* One that speaks first cannot know whose it is: there is one such flow at a time. */
static void accept_first(void *arg, struct stream *s)
{
	struct flow *f;

	(void)arg;
	TAILQ_FOREACH(f, &flows, entry)
		if (f->kind == FLOW_SERVER_FIRST && !f->over_us) {
			serve(f, s);
			return;
		}
	stream_close(s, true); /* its client has given up meanwhile */
}

static struct sockaddr_in at(const char *ip, uint16_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };

	inet_pton(AF_INET, ip, &a.sin_addr);
	return a;
}

void flows_begin(void)
{
	struct sockaddr_in open = at(SERVER_ADDR, PORT_OPEN), first = at(SERVER_ADDR, PORT_FIRST),
			   slow = at(SERVER_ADDR, PORT_SLOW);

	TAILQ_INIT(&flows);
	n_flows = 0;
	stream_serve(&open, 0, accept_one, NULL);
	stream_serve(&first, 0, accept_first, NULL);
	stream_serve(&slow, SLOW_US, accept_one, NULL);
}

void flows_end(void)
{
	struct flow *f;

	while ((f = TAILQ_FIRST(&flows))) {
		TAILQ_REMOVE(&flows, f, entry);
		alarm_clear(&f->thinks);
		free(f);
	}
}

/* --- clients --- */

static bool first_is_open(void)
{
	const struct flow *f;

	TAILQ_FOREACH(f, &flows, entry)
		if (f->kind == FLOW_SERVER_FIRST &&
		    (!f->over_us || (f->server.s && !f->server.closed)))
			return true;
	return false;
}

struct flow *flow_start(enum flow_kind kind, uint32_t request, uint32_t answer)
{
	struct sockaddr_in from = at("192.168.1.77", (uint16_t)(10000 + n_flows % 50000)), to;
	struct flow *f = sim_alloc(sizeof(*f));
	int line;

	if (kind == FLOW_SERVER_FIRST && first_is_open())
		kind = FLOW_SERVER_CLOSES;
	f->kind = kind;
	f->id = ++n_flows;
	f->client.says = request < HEAD ? HEAD : request;
	if (kind == FLOW_HESITANT && request > 20 * PIECE)
		f->client.says = 20 * PIECE;
	f->thought = kind == FLOW_HESITANT ? HEAD : f->client.says;
	alarm_init(&f->thinks, client_thinks, f);
	f->server.says = answer;
	f->since_us = clock_now();
	f->direct = box_interception(GATEWAY) != RULES_IN || !proc_alive(GATEWAY);
	TAILQ_INSERT_TAIL(&flows, f, entry);
	to = at(SERVER_ADDR, kind == FLOW_REFUSED      ? PORT_CLOSED :
			     kind == FLOW_SERVER_FIRST ? PORT_FIRST :
			     kind == FLOW_HESITANT     ? PORT_SLOW :
							 PORT_OPEN);
	line = f->direct ? line_default() : LINE_LAN;
	if (line < 0) { /* no way at all */
		f->client.closed = true;
		f->client.error = ENETUNREACH;
		f->over_us = f->since_us + 1;
		return f;
	}
	if (f->direct)
		from.sin_addr = lines[line].addr;
	f->client.s = stream_dial(line, f->direct ? OUTSIDE : GATEWAY, &from, &to,
				  f->direct ? to.sin_port : htons(7201), client_event, f);
	if (f->thought < f->client.says)
		alarm_in(&f->thinks, (5 + noise() % 400) * MS);
	return f;
}

bool flow_over(const struct flow *f)
{
	return f->over_us != 0;
}

bool flow_well(const struct flow *f)
{
	if (!f->over_us)
		return false;
	switch (f->kind) {
	case FLOW_REFUSED:
		return f->client.error && !f->client.heard;
	case FLOW_CLIENT_RESETS:
		return !f->client.error;
	case FLOW_SERVER_RESETS:
		return f->client.error == ECONNRESET;
	default:
		return f->client.eof && f->client.heard == f->server.says;
	}
}

bool flow_direct(const struct flow *f)
{
	return f->direct;
}

uint64_t flow_took_us(const struct flow *f)
{
	return f->over_us - f->since_us;
}

struct flow *flows_oldest_open(void)
{
	struct flow *f;

	TAILQ_FOREACH(f, &flows, entry)
		if (!f->direct && (!f->over_us || (f->server.s && !f->server.closed)))
			return f;
	return NULL;
}

unsigned flows_open(void)
{
	const struct flow *f;
	unsigned n = 0;

	TAILQ_FOREACH(f, &flows, entry)
		n += !f->over_us;
	return n;
}
