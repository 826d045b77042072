/* SPDX-License-Identifier: BSD-2-Clause */
/* name_server: is in the test's own loop, over UDP and TCP, and answers as its mood says.
 *
 * Who waited for its answer anywhere but in that loop would wait for ever: that the loop is never
 * held shows itself. The clock is virtual_time.h's, so when each question came is exact. */
#ifndef NAME_SERVER_H
#define NAME_SERVER_H

#include <arpa/inet.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "virtual_time.h"

#define DNS_A 1
#define DNS_CNAME 5
#define DNS_AAAA 28
#define DNS_SRV 33
#define DNS_ASKED_MAX 512
#define DNS_CALLS_MAX 16
#define DNS_NAME_MAX 64

struct question {
	uint8_t bytes[512]; /* the header and the question itself */
	size_t len;
	uint16_t type;
	char name[DNS_NAME_MAX];
	uint64_t at_ms;
	bool tcp, answered;
	int fd;
	struct sockaddr_in from; /* over UDP */
};

struct reply {
	uint8_t bytes[16384];
	size_t len;
};

/* Sends no, one or several answers. A TCP connection is closed when it got none. */
typedef void (*mood)(struct question *q);

/* One TCP connection, whose question may come in pieces. */
struct dns_call {
	int fd;
	struct event *ev;
	uint8_t buf[1024];
	size_t have;
};

static struct {
	struct event_base *base;
	struct event *udp_ev, *tcp_ev;
	int udp, tcp;
	char address[32]; /* where it is */
	mood mood;
	const char *const *addresses; /* of whatever name; ends with NULL */
	uint32_t ttl;
	struct question asked[DNS_ASKED_MAX];
	size_t n_asked;
	struct dns_call calls[DNS_CALLS_MAX];
	bool hangs; /* and does not close a TCP connection without an answer */
} dns;

/* --- replies --- */

static void reply_begin(struct reply *r, const struct question *q, uint8_t rcode)
{
	memcpy(r->bytes, q->bytes, q->len);
	r->bytes[2] = 0x81;
	r->bytes[3] = 0x80 | rcode;
	memset(r->bytes + 6, 0, 6);
	r->len = q->len;
}

static void reply_put(struct reply *r, const void *data, size_t len)
{
	assert_true(r->len + len <= sizeof(r->bytes));
	memcpy(r->bytes + r->len, data, len);
	r->len += len;
}

/* "a.example" as it is on the wire. */
static size_t dns_labels(uint8_t *out, const char *name)
{
	size_t len = 0;

	while (*name) {
		size_t part = strcspn(name, ".");

		out[len++] = (uint8_t)part;
		memcpy(out + len, name, part);
		len += part;
		name += part + (name[part] == '.');
	}
	out[len++] = 0;
	return len;
}

/* One record more; owner NULL: the name that was asked for. */
static void reply_record(struct reply *r, const char *owner, uint16_t type, const void *data,
			 size_t len)
{
	uint8_t name[DNS_NAME_MAX + 2] = { 0xc0, 12 }, head[10] = { 0, (uint8_t)type, 0, 1 };
	uint32_t ttl = htonl(dns.ttl);
	uint16_t size = htons((uint16_t)len);

	memcpy(head + 4, &ttl, 4);
	memcpy(head + 8, &size, 2);
	reply_put(r, name, owner ? dns_labels(name, owner) : 2);
	reply_put(r, head, sizeof(head));
	reply_put(r, data, len);
	if (!++r->bytes[7])
		r->bytes[6]++;
}

static void reply_alias(struct reply *r, const char *owner, const char *is)
{
	uint8_t name[DNS_NAME_MAX + 2];

	reply_record(r, owner, DNS_CNAME, name, dns_labels(name, is));
}

/* Those of the addresses that are of the family which was asked for. */
static void reply_addresses(struct reply *r, const struct question *q, const char *owner)
{
	for (const char *const *text = dns.addresses; *text; text++) {
		int family = strchr(*text, ':') ? AF_INET6 : AF_INET;
		uint8_t ip[16];

		assert_int_equal(inet_pton(family, *text, ip), 1);
		if (q->type == (family == AF_INET ? DNS_A : DNS_AAAA))
			reply_record(r, owner, q->type, ip, family == AF_INET ? 4 : 16);
	}
}

static void reply_send(const struct reply *r, struct question *q)
{
	uint8_t head[2] = { (uint8_t)(r->len >> 8), (uint8_t)r->len };

	q->answered = true;
	if (!q->tcp) {
		assert_int_equal(sendto(q->fd, r->bytes, r->len, 0, (struct sockaddr *)&q->from,
					sizeof(q->from)), r->len);
		return;
	}
	assert_int_equal(send(q->fd, head, 2, MSG_NOSIGNAL | MSG_MORE), 2);
	assert_int_equal(send(q->fd, r->bytes, r->len, MSG_NOSIGNAL), r->len);
}

/* --- questions --- */

static void dns_parse(struct question *q)
{
	size_t at = 12, n = 0;

	while (q->bytes[at]) {
		assert_true(n + q->bytes[at] + 1 < sizeof(q->name) && at + q->bytes[at] < q->len);
		if (n)
			q->name[n++] = '.';
		memcpy(q->name + n, q->bytes + at + 1, q->bytes[at]);
		n += q->bytes[at];
		at += 1u + q->bytes[at];
	}
	q->type = q->bytes[at + 2];
	q->len = at + 5;
}

/* What was asked is kept, and answered. */
static bool dns_answer(struct question *q)
{
	assert_true(q->len > 16);
	assert_true(dns.n_asked < DNS_ASKED_MAX);
	dns_parse(q);
	q->at_ms = virtual_ms();
	dns.asked[dns.n_asked++] = *q;
	dns.mood(q);
	return q->answered;
}

static void dns_datagram(evutil_socket_t fd, short what, void *arg)
{
	struct question q = { .fd = fd };
	socklen_t len = sizeof(q.from);
	ssize_t n = recvfrom(fd, q.bytes, sizeof(q.bytes), 0, (struct sockaddr *)&q.from, &len);

	(void)what, (void)arg;
	assert_true(n > 0);
	q.len = (size_t)n;
	dns_answer(&q);
}

static void dns_hang_up(struct dns_call *c)
{
	event_free(c->ev);
	close(c->fd);
	memset(c, 0, sizeof(*c));
}

/* Takes the first question off what has come; false: it is not whole yet. */
static bool dns_next(struct dns_call *c, struct question *q)
{
	size_t len = c->have < 2 ? sizeof(c->buf) : (size_t)(c->buf[0] << 8 | c->buf[1]);

	if (c->have < 2 + len)
		return false;
	assert_true(len <= sizeof(q->bytes));
	memcpy(q->bytes, c->buf + 2, len);
	q->len = len;
	c->have -= 2 + len;
	memmove(c->buf, c->buf + 2 + len, c->have);
	return true;
}

static void dns_call_readable(evutil_socket_t fd, short what, void *arg)
{
	struct dns_call *c = arg;
	ssize_t n = recv(fd, c->buf + c->have, sizeof(c->buf) - c->have, 0);
	struct question q = { .fd = fd, .tcp = true };

	(void)what;
	c->have += n > 0 ? (size_t)n : 0;
	while (n > 0 && dns_next(c, &q)) {
		q.answered = false;
		if (!dns_answer(&q) && !dns.hangs)
			n = 0;
	}
	if (n <= 0)
		dns_hang_up(c);
}

static void dns_called(evutil_socket_t fd, short what, void *arg)
{
	struct dns_call *c = dns.calls;

	(void)what, (void)arg;
	while (c->ev)
		assert_true(++c < dns.calls + DNS_CALLS_MAX);
	c->fd = accept(fd, NULL, NULL);
	assert_true(c->fd >= 0);
	c->ev = event_new(dns.base, c->fd, EV_READ | EV_PERSIST, dns_call_readable, c);
	event_add(c->ev, NULL);
}

/* Questions over UDP, or over TCP, since the first `from`. */
static size_t dns_count(size_t from, bool tcp)
{
	size_t n = 0;

	for (size_t i = from; i < dns.n_asked; i++)
		n += dns.asked[i].tcp == tcp;
	return n;
}

/* --- its life --- */

/* Both sockets on one port. */
static void dns_bind(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);

	for (int tries = 0;; tries++) {
		at.sin_port = 0;
		dns.udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		dns.tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(bind(dns.udp, (struct sockaddr *)&at, sizeof(at)), 0);
		assert_int_equal(getsockname(dns.udp, (struct sockaddr *)&at, &len), 0);
		if (!bind(dns.tcp, (struct sockaddr *)&at, sizeof(at)))
			break;
		assert_true(tries < 100);
		close(dns.udp);
		close(dns.tcp);
	}
	snprintf(dns.address, sizeof(dns.address), "127.0.0.1:%d", ntohs(at.sin_port));
}

static void dns_start(mood m, const char *const *addresses)
{
	memset(&dns, 0, sizeof(dns));
	dns.base = event_base_new();
	dns.mood = m;
	dns.addresses = addresses;
	dns.ttl = 300;
	dns_bind();
	dns.udp_ev = event_new(dns.base, dns.udp, EV_READ | EV_PERSIST, dns_datagram, NULL);
	dns.tcp_ev = event_new(dns.base, dns.tcp, EV_READ | EV_PERSIST, dns_called, NULL);
	event_add(dns.udp_ev, NULL);
}

/* Until then TCP is refused. */
static void dns_listen(void)
{
	assert_int_equal(listen(dns.tcp, 64), 0);
	event_add(dns.tcp_ev, NULL);
}

static void dns_stop(void)
{
	for (struct dns_call *c = dns.calls; c < dns.calls + DNS_CALLS_MAX; c++)
		if (c->ev)
			dns_hang_up(c);
	event_free(dns.udp_ev);
	event_free(dns.tcp_ev);
	close(dns.udp);
	close(dns.tcp);
	event_base_free(dns.base);
}

#endif
