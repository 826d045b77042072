/* A name server inside the test's own loop answers each query as the test at hand says. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "clock.h"
#include "log.h"
#include "resolve.h"

enum fault { FINE, NXDOMAIN, SERVFAIL, SILENT, EMPTY, WRONG_ID, MANY, TOO_MANY, CNAME_LOOP, GARBAGE, TRUNCATED };

static struct {
	struct event_base *base;
	struct event *ev;
	int fd;
	char servers[32];
	enum fault fault;
	const char *a, *aaaa; /* the records; NULL: none */
	uint32_t ttl;
	unsigned queries;
} dns;

static struct {
	struct addr addrs[RESOLVE_MAX];
	size_t count;
	unsigned calls;
} told;

static size_t put_record(uint8_t *out, uint16_t type, const void *data, uint16_t len)
{
	uint8_t head[12] = { 0xc0, 12, 0, (uint8_t)type, 0, 1, 0, 0, (uint8_t)(dns.ttl >> 8), (uint8_t)dns.ttl, (uint8_t)(len >> 8),
			     (uint8_t)len };

	memcpy(out, head, sizeof(head));
	memcpy(out + sizeof(head), data, len);
	return sizeof(head) + len;
}

/* The answers to a query of this type; *n counts them. */
static size_t put_answers(uint8_t *out, unsigned type, unsigned *n)
{
	uint8_t ip[16] = { 198, 51, 100, 1 };
	static const uint8_t self[] = { 0xc0, 12 };
	const char *text = type == 1 ? dns.a : dns.aaaa;
	size_t len = 0;

	*n = 0;
	if (dns.fault == CNAME_LOOP) {
		for (; *n < 20; ++*n)
			len += put_record(out + len, 5, self, sizeof(self));
	} else if ((dns.fault == MANY || dns.fault == TOO_MANY) && type == 1) {
		for (; *n < (dns.fault == MANY ? 28 : 500); ++*n) {
			ip[2] = (uint8_t)(*n >> 8);
			ip[3] = (uint8_t)*n;
			len += put_record(out + len, 1, ip, 4);
		}
	} else if (text) {
		inet_pton(type == 1 ? AF_INET : AF_INET6, text, ip);
		len += put_record(out, (uint16_t)type, ip, type == 1 ? 4 : 16);
		*n = 1;
	}
	return len;
}

static void on_query(evutil_socket_t fd, short what, void *arg)
{
	static uint8_t q[512], out[16384];
	struct sockaddr_in peer;
	socklen_t peer_len = sizeof(peer);
	ssize_t len = recvfrom(fd, q, sizeof(q), 0, (struct sockaddr *)&peer, &peer_len);
	size_t n, end = 12;
	unsigned type, answers;

	(void)what;
	(void)arg;
	assert_true(len > 16);
	dns.queries++;
	while (q[end])
		end += 1u + q[end];
	type = q[end + 2];
	end += 5;
	memcpy(out, q, end);
	n = end + put_answers(out + end, type, &answers);
	out[2] = 0x81;
	out[3] = 0x80;
	out[6] = (uint8_t)(answers >> 8);
	out[7] = (uint8_t)answers;
	memset(out + 8, 0, 4);
	if (dns.fault == NXDOMAIN || dns.fault == SERVFAIL) {
		out[3] = dns.fault == NXDOMAIN ? 0x83 : 0x82;
		out[6] = out[7] = 0;
		n = end;
	}
	if (dns.fault == WRONG_ID)
		out[0] ^= 0x55;
	if (dns.fault == TRUNCATED)
		out[2] |= 2; /* and nobody listens on TCP */
	if (dns.fault == GARBAGE)
		memset(out + 2, 0xff, n - 2);
	if (dns.fault == SILENT)
		return;
	sendto(fd, out, dns.fault == EMPTY ? 0 : n, 0, (struct sockaddr *)&peer, peer_len);
}

static int setup(void **state)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);

	(void)state;
	memset(&dns, 0, sizeof(dns));
	memset(&told, 0, sizeof(told));
	log_level = LOG_LVL_ERROR;
	dns.base = event_base_new();
	dns.fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(dns.fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(getsockname(dns.fd, (struct sockaddr *)&at, &len), 0);
	snprintf(dns.servers, sizeof(dns.servers), "127.0.0.1:%d", ntohs(at.sin_port));
	dns.ev = event_new(dns.base, dns.fd, EV_READ | EV_PERSIST, on_query, NULL);
	dns.a = "198.51.100.7";
	dns.ttl = 300;
	return event_add(dns.ev, NULL);
}

static int teardown(void **state)
{
	(void)state;
	event_free(dns.ev);
	close(dns.fd);
	event_base_free(dns.base);
	return 0;
}

static void on_addrs(void *arg, const struct addr *addrs, size_t count)
{
	(void)arg;
	memcpy(told.addrs, addrs, count * sizeof(*addrs));
	told.count = count;
	told.calls++;
}

static struct resolve *start(bool private_ok)
{
	return resolve_new(dns.base, "vps.plait.example", 7200, dns.servers, private_ok, on_addrs, NULL);
}

/* Runs the loop until there were so many calls or queries, or ms are over. */
static void run(unsigned calls, unsigned queries, unsigned ms)
{
	uint64_t until = clock_ms() + ms;

	while (told.calls < calls && dns.queries < queries && clock_ms() < until) {
		event_base_loopexit(dns.base, &(struct timeval){ .tv_usec = 5000 });
		event_base_dispatch(dns.base);
	}
}

static void is_told(size_t i, const char *text)
{
	char buf[ADDR_STRLEN];

	assert_true(i < told.count);
	assert_string_equal(addr_print(&told.addrs[i], buf), text);
}

static void a_number_needs_no_server(void **state)
{
	struct resolve *r = resolve_new(dns.base, "127.0.0.1", 7200, dns.servers, false, on_addrs, NULL);

	(void)state;
	assert_int_equal(told.calls, 0); /* not from inside */
	run(1, 1, 500);
	assert_int_equal(told.calls, 1);
	is_told(0, "127.0.0.1:7200");
	resolve_failed(r);
	run(2, 1, 100);
	assert_int_equal(told.calls, 1);
	assert_int_equal(dns.queries, 0);
	resolve_free(r);
}

static void both_families(void **state)
{
	struct resolve *r;

	(void)state;
	dns.aaaa = "2606:4700::7";
	r = start(false);
	run(1, 99, 2000);
	assert_int_equal(told.count, 2);
	assert_int_equal(dns.queries, 2);
	assert_true(addr_is_v4(&told.addrs[0]) != addr_is_v4(&told.addrs[1]));
	assert_int_equal(told.addrs[0].port, 7200);
	run(2, 3, 100);
	assert_int_equal(dns.queries, 2); /* and rests for the TTL */
	resolve_free(r);
}

/* Nothing usable comes of it, the loop is never held, and the next round after a pause brings the address. */
static void recovers_from(enum fault fault)
{
	struct resolve *r;
	uint64_t begin;

	dns.fault = fault;
	r = start(false);
	begin = clock_ms();
	run(1, 2, 2000);
	assert_true(clock_ms() - begin < 500);
	run(1, 99, 100);
	assert_int_equal(told.calls, 0);
	dns.fault = FINE;
	run(1, 99, 9000);
	assert_int_equal(told.calls, 1);
	is_told(0, "198.51.100.7:7200");
	resolve_free(r);
}

static void nxdomain(void **state) { (void)state; recovers_from(NXDOMAIN); }
static void servfail(void **state) { (void)state; recovers_from(SERVFAIL); }
static void silence(void **state) { (void)state; recovers_from(SILENT); }
static void empty_datagram(void **state) { (void)state; recovers_from(EMPTY); }
static void spoofed_id(void **state) { (void)state; recovers_from(WRONG_ID); }
static void garbage(void **state) { (void)state; recovers_from(GARBAGE); }
static void truncated(void **state) { (void)state; recovers_from(TRUNCATED); }
static void cname_loop(void **state) { (void)state; recovers_from(CNAME_LOOP); }

/* More than a datagram holds, and nobody listens on TCP: no answer, like any other nonsense. */
static void five_hundred_records(void **state)
{
	(void)state;
	recovers_from(TOO_MANY);
}

static void many_records_are_cut(void **state)
{
	struct resolve *r;

	(void)state;
	dns.fault = MANY;
	r = start(false);
	run(1, 99, 3000);
	assert_int_equal(told.calls, 1);
	assert_int_equal(told.count, RESOLVE_MAX);
	resolve_free(r);
}

static void last_good_address_stays(void **state)
{
	struct resolve *r = start(false);
	unsigned before;

	(void)state;
	run(1, 99, 2000);
	assert_int_equal(told.calls, 1);
	dns.fault = SERVFAIL;
	before = dns.queries;
	resolve_failed(r);
	resolve_failed(r); /* twice is once */
	run(2, before + 2, 2500);
	assert_true(dns.queries > before);
	run(2, 99, 200);
	assert_int_equal(told.calls, 1);
	resolve_free(r);
}

static void new_address_is_told(void **state)
{
	struct resolve *r = start(false);

	(void)state;
	run(1, 99, 2000);
	dns.a = "198.51.100.8";
	resolve_failed(r);
	run(2, 99, 2500);
	assert_int_equal(told.calls, 2);
	assert_int_equal(told.count, 1);
	is_told(0, "198.51.100.8:7200");
	resolve_free(r);
}

static void same_address_is_not_news(void **state)
{
	struct resolve *r = start(false);

	(void)state;
	run(1, 99, 2000);
	resolve_failed(r);
	run(2, 4, 2500);
	run(2, 99, 100);
	assert_int_equal(dns.queries, 4);
	assert_int_equal(told.calls, 1);
	resolve_free(r);
}

static void private_addresses_need_permission(void **state)
{
	struct resolve *r;

	(void)state;
	dns.a = "10.1.2.3";
	dns.aaaa = "::1";
	r = start(false);
	run(1, 2, 2000);
	run(1, 99, 100);
	assert_int_equal(told.calls, 0);
	resolve_free(r);
	r = start(true);
	run(1, 99, 2000);
	assert_int_equal(told.count, 2);
	resolve_free(r);
}

static void mixed_keeps_the_public_one(void **state)
{
	struct resolve *r;

	(void)state;
	dns.aaaa = "fd00::1";
	r = start(false);
	run(1, 99, 2000);
	assert_int_equal(told.count, 1);
	is_told(0, "198.51.100.7:7200");
	resolve_free(r);
}

static void freed_while_asking(void **state)
{
	struct resolve *r;

	(void)state;
	dns.fault = SILENT;
	r = start(false);
	run(1, 2, 1000);
	resolve_free(r);
	r = start(false);
	resolve_free(r);
	run(1, 99, 50);
	assert_int_equal(told.calls, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_number_needs_no_server), TEST(both_families), TEST(nxdomain), TEST(servfail), TEST(silence),
		TEST(empty_datagram), TEST(spoofed_id), TEST(garbage), TEST(truncated), TEST(cname_loop),
		TEST(five_hundred_records), TEST(many_records_are_cut), TEST(last_good_address_stays), TEST(new_address_is_told),
		TEST(same_address_is_not_news), TEST(private_addresses_need_permission), TEST(mixed_keeps_the_public_one),
		TEST(freed_while_asking),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
