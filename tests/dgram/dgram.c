/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dgram: theory of operation
 *
 *   dgram serve PORT                             counts what comes, reflects what wants it, sends what is asked for
 *   dgram send HOST PORT PPS SIZE COUNT [OPTION=VALUE...]   one way
 *   dgram call HOST PORT PPS SIZE COUNT [...]               each packet is reflected: a call, or a ping
 *   dgram pull HOST PORT PPS SIZE COUNT [...]               the far end sends
 *
 *   batch=N    so many packets as one super-packet (UDP_SEGMENT), as often as needed for PPS
 *   port=N     from this port        tos=N     with this DSCP and ECN
 *   series=1   the delay of each packet is printed, too
 *   wait=MS    after the last packet (500)
 *
 * PPS 0 is as fast as it goes. SIZE is that of the UDP payload. Packets carry their number and the
 * time at which they left, and are checked byte by byte; both ends share one machine's clock, so
 * delays are one-way: "up" is from here to the server (of what was reflected only), "down" from
 * there to here, "both" the round trip. A client prints one JSON object when it is done; the server
 * prints one a line for each flow when its stdin ends, and goes.
 */
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "dgram.h"

#define FLOWS 128
#define COUNT_MAX 50000000u

struct options {
	uint32_t batch, port, tos, series, wait;
};

uint64_t dgram_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void dgram_die(const char *what)
{
	fprintf(stderr, "dgram: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint8_t byte_at(uint32_t seq, size_t i)
{
	return (uint8_t)(seq * 13 + i);
}

void dgram_fill(uint8_t *packet, const struct dgram *head)
{
	memcpy(packet, head, sizeof(*head));
	for (size_t i = sizeof(*head); i < head->size; i++)
		packet[i] = byte_at(head->seq, i);
}

bool dgram_is_whole(const uint8_t *packet, size_t len, struct dgram *head)
{
	if (len < sizeof(*head))
		return false;
	memcpy(head, packet, sizeof(*head));
	if (head->magic != DGRAM_MAGIC || head->size != len || head->count > COUNT_MAX)
		return false;
	for (size_t i = sizeof(*head); i < len; i++)
		if (packet[i] != byte_at(head->seq, i))
			return false;
	return true;
}

static int open_socket(int family, uint32_t port, uint32_t tos)
{
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0), size = 8 << 20, off = 0, t = (int)tos;
	struct sockaddr_in6 any = { .sin6_family = (sa_family_t)family, .sin6_port = htons((uint16_t)port) };

	if (fd < 0)
		dgram_die("socket");
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (tos && (family == AF_INET ? setsockopt(fd, IPPROTO_IP, IP_TOS, &t, sizeof(t)) :
					setsockopt(fd, IPPROTO_IPV6, IPV6_TCLASS, &t, sizeof(t))) < 0)
		dgram_die("tos");
	if (port && bind(fd, (struct sockaddr *)&any, family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(any)) < 0)
		dgram_die("bind");
	return fd;
}

/* The server. */

struct server {
	int fd;
	struct tally *tally[FLOWS];
	size_t n, strange;
	struct stream stream[FLOWS];
	size_t n_streams;
};

static struct tally *server_tally(struct server *s, const struct dgram *d)
{
	for (size_t i = 0; i < s->n; i++)
		if (tally_flow(s->tally[i]) == d->flow)
			return s->tally[i];
	return s->n < FLOWS ? s->tally[s->n++] = tally_new(d->flow, d->count) : NULL;
}

static void server_pull(struct server *s, const struct dgram *d, const struct sockaddr_storage *from, socklen_t from_len)
{
	struct stream *st = &s->stream[s->n_streams];

	for (size_t i = 0; i < s->n_streams; i++)
		if (s->stream[i].head.flow == d->flow)
			return;
	if (s->n_streams == FLOWS)
		return;
	*st = (struct stream){ .head = *d, .to = *from, .to_len = from_len, .begun_ns = dgram_now_ns() };
	st->head.flags = 0;
	st->head.seq = 0;
	s->n_streams++;
}

static void server_read(struct server *s)
{
	static uint8_t packet[DGRAM_MAX];
	struct sockaddr_storage from;
	struct dgram d;

	for (unsigned i = 0; i < 64; i++) {
		socklen_t from_len = sizeof(from);
		ssize_t len = recvfrom(s->fd, packet, sizeof(packet), MSG_DONTWAIT, (struct sockaddr *)&from, &from_len);
		struct tally *t;

		if (len < 0)
			return;
		if (!dgram_is_whole(packet, (size_t)len, &d)) {
			s->strange++;
			continue;
		}
		if (d.flags & DGRAM_PULL) {
			server_pull(s, &d, &from, from_len);
			continue;
		}
		t = server_tally(s, &d);
		if (t)
			tally_add(t, d.seq, d.sent_ns, dgram_now_ns());
		if (d.flags & DGRAM_REFLECT) {
			d.turned_ns = dgram_now_ns();
			d.flags = DGRAM_BACK;
			memcpy(packet, &d, sizeof(d));
			sendto(s->fd, packet, (size_t)len, MSG_DONTWAIT, (struct sockaddr *)&from, from_len);
		}
	}
}

static uint64_t server_send(struct server *s)
{
	uint64_t next = UINT64_MAX;

	for (size_t i = 0; i < s->n_streams; i++)
		if (stream_step(&s->stream[i], s->fd) && stream_next_ns(&s->stream[i]) < next)
			next = stream_next_ns(&s->stream[i]);
	return next;
}

static void wait_for(struct pollfd *p, nfds_t n, uint64_t until_ns)
{
	uint64_t now = dgram_now_ns(), left = until_ns > now ? until_ns - now : 0;
	struct timespec t = { (time_t)(left / 1000000000u), (long)(left % 1000000000u) };

	if (ppoll(p, n, until_ns == UINT64_MAX ? NULL : &t, NULL) < 0)
		for (nfds_t i = 0; i < n; i++)
			p[i].revents = 0;
}

static int serve(uint32_t port)
{
	static struct server s;
	struct pollfd p[2] = { { .events = POLLIN }, { .fd = STDIN_FILENO, .events = POLLIN } };

	s.fd = open_socket(AF_INET6, port, 0);
	p[0].fd = s.fd;
	puts("ready");
	fflush(stdout);
	do {
		wait_for(p, 2, server_send(&s));
		if (p[0].revents)
			server_read(&s);
	} while (!p[1].revents);
	for (size_t i = 0; i < s.n; i++) {
		printf("{\"flow\": %u, \"damaged\": %zu, ", tally_flow(s.tally[i]), s.strange);
		tally_print(s.tally[i], "up", false, stdout);
		puts("}");
		tally_free(s.tally[i]);
	}
	return 0;
}

/* A client. */

struct client {
	int fd;
	struct stream out;
	struct tally *up, *down, *both;
	bool pulls;
	size_t strange;
	uint64_t heard_ns;
};

static void client_read(struct client *c)
{
	static uint8_t packet[DGRAM_MAX];
	struct dgram d;
	ssize_t len;

	for (unsigned i = 0; i < 64 && (len = recv(c->fd, packet, sizeof(packet), MSG_DONTWAIT)) >= 0; i++) {
		uint64_t now = dgram_now_ns();

		if (!dgram_is_whole(packet, (size_t)len, &d) || d.flow != c->out.head.flow) {
			c->strange++;
			continue;
		}
		c->heard_ns = now;
		if (c->pulls) {
			tally_add(c->down, d.seq, d.sent_ns, now);
		} else {
			tally_add(c->up, d.seq, d.sent_ns, d.turned_ns);
			tally_add(c->down, d.seq, d.turned_ns, now);
			tally_add(c->both, d.seq, d.sent_ns, now);
		}
	}
}

/* Sends all, and then waits until all is back or nothing has come for `wait`. */
static void client_run(struct client *c, uint32_t wait_ms)
{
	struct pollfd p = { .fd = c->fd, .events = POLLIN };
	uint64_t end;

	while (stream_step(&c->out, c->fd)) {
		wait_for(&p, 1, stream_next_ns(&c->out));
		if (p.revents)
			client_read(c);
	}
	if (!c->down)
		return;
	end = dgram_now_ns() + wait_ms * 1000000ull;
	while (dgram_now_ns() < end && tally_got(c->down) < c->out.head.count) {
		wait_for(&p, 1, end);
		if (p.revents)
			client_read(c);
	}
}

/* Asks each 100 ms until the first packet comes, and then listens until all is here or nothing came
 * for `wait`. */
static void client_pull(struct client *c, uint32_t wait_ms)
{
	struct pollfd p = { .fd = c->fd, .events = POLLIN };
	struct dgram ask = c->out.head;
	static uint8_t packet[DGRAM_MAX];

	ask.flags = DGRAM_PULL;
	dgram_fill(packet, &ask);
	for (unsigned i = 0; i < 50 && !c->heard_ns; i++) {
		if (send(c->fd, packet, sizeof(ask) > ask.size ? sizeof(ask) : ask.size, 0) < 0 && errno != ECONNREFUSED)
			dgram_die("ask");
		wait_for(&p, 1, dgram_now_ns() + 100000000);
		client_read(c);
	}
	while (tally_got(c->down) < ask.count && dgram_now_ns() < c->heard_ns + wait_ms * 1000000ull) {
		wait_for(&p, 1, c->heard_ns + wait_ms * 1000000ull);
		client_read(c);
	}
}

static void client_print(const struct client *c, const struct options *o, double cpu_s)
{
	printf("{\"flow\": %u, \"sent\": %u, \"refused\": %llu, \"damaged\": %zu, \"cpu_s\": %.6f", c->out.head.flow, c->out.head.seq,
	       (unsigned long long)c->out.refused, c->strange, cpu_s);
	for (unsigned i = 0; i < 3; i++) {
		const struct tally *t = (const struct tally *[]){ c->up, c->down, c->both }[i];

		if (t) {
			printf(", ");
			tally_print(t, (const char *[]){ "up", "down", "both" }[i], o->series, stdout);
		}
	}
	puts("}");
}

static double cpu_seconds(void)
{
	struct rusage r;

	getrusage(RUSAGE_SELF, &r);
	return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) + (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

static void client_connect(struct client *c, const char *host, const char *port, const struct options *o)
{
	struct addrinfo hints = { .ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICHOST }, *at;

	if (getaddrinfo(host, port, &hints, &at))
		dgram_die(host);
	c->fd = open_socket(at->ai_family, o->port, o->tos);
	if (connect(c->fd, at->ai_addr, at->ai_addrlen) < 0)
		dgram_die(host);
	freeaddrinfo(at);
}

static int client(const char *verb, char **argv, const struct options *o)
{
	struct client c = { .pulls = !strcmp(verb, "pull") };
	bool calls = !strcmp(verb, "call");
	double before;

	client_connect(&c, argv[0], argv[1], o);
	c.out.begun_ns = dgram_now_ns();
	c.out.head = (struct dgram){ .magic = DGRAM_MAGIC, .flow = (uint32_t)(c.out.begun_ns ^ (uint64_t)getpid() << 20),
				     .pps = (uint32_t)strtoul(argv[2], NULL, 10), .size = (uint32_t)strtoul(argv[3], NULL, 10),
				     .count = (uint32_t)strtoul(argv[4], NULL, 10), .batch = o->batch,
				     .flags = calls ? DGRAM_REFLECT : 0 };
	if (c.out.head.size < sizeof(struct dgram) || c.out.head.size > DGRAM_MAX || c.out.head.count > COUNT_MAX) {
		fprintf(stderr, "dgram: SIZE is %zu to %u\n", sizeof(struct dgram), DGRAM_MAX);
		return 2;
	}
	if (calls || c.pulls)
		c.down = tally_new(0, c.out.head.count);
	if (calls)
		c.up = tally_new(0, c.out.head.count), c.both = tally_new(0, c.out.head.count);
	before = cpu_seconds();
	if (c.pulls)
		client_pull(&c, o->wait);
	else
		client_run(&c, o->wait);
	client_print(&c, o, cpu_seconds() - before);
	tally_free(c.up), tally_free(c.down), tally_free(c.both);
	return 0;
}

static int option_set(struct options *o, const char *text)
{
	const struct {
		const char *name;
		uint32_t *value;
	} known[] = { { "batch=", &o->batch }, { "port=", &o->port }, { "tos=", &o->tos }, { "series=", &o->series }, { "wait=", &o->wait } };

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (!strncmp(text, known[i].name, strlen(known[i].name))) {
			*known[i].value = (uint32_t)strtoul(text + strlen(known[i].name), NULL, 0);
			return 0;
		}
	return -1;
}

int main(int argc, char **argv)
{
	struct options o = { .wait = 500 };

	if (argc == 3 && !strcmp(argv[1], "serve"))
		return serve((uint32_t)strtoul(argv[2], NULL, 10));
	for (int i = 7; i < argc; i++)
		if (option_set(&o, argv[i]) < 0)
			argc = 0;
	if (argc < 7 || (strcmp(argv[1], "send") && strcmp(argv[1], "call") && strcmp(argv[1], "pull"))) {
		fprintf(stderr, "usage: dgram serve PORT | send|call|pull HOST PORT PPS SIZE COUNT [batch=, port=, tos=, series=, wait=]\n");
		return 2;
	}
	return client(argv[1], argv + 2, &o);
}
