/* SPDX-License-Identifier: BSD-2-Clause */
/* A name server has its moods. Whatever it says: the loop goes on, what is known stays, and who
 * does not get an answer does not become a load. The clock is the test's own, so each pause is
 * asserted to the millisecond and costs nothing. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include <cmocka.h>

#include "log.h"
#include "name_server.h"
#include "resolve.h"

#define NAME "vps.plait.example"
#define WRONG "198.51.100.99" /* what a good round never says */

size_t __sanitizer_get_current_allocated_bytes(void); /* unit tests are built with ASan */

/* Of real time. A starved process may need some of it for one pass of the loop; who waits for a
 * name server needs five seconds. */
#define HELD_MS 4000

#define ALLOW "(allow_private = yes would)"

static const char *const usual[] = { "198.51.100.7", NULL };
static const char *const moved[] = { "198.51.100.8", NULL };

static struct {
	struct addr addrs[RESOLVE_MAX];
	size_t count;
	unsigned calls;
	uint64_t at_ms; /* the last */
} told;

static uint64_t begun_ms; /* virtual time of the test's start, which all others count from */
static uint64_t held_ms;  /* longest pass of the loop in real time */
static int log_fd, stderr_fd;
static struct resolve *away; /* its addresses do not work: it is told so in each pass of the loop */

/* The dice of the pauses: what is left of a pause is this, from 0 to half of it. */
static uint32_t dice;

ssize_t getrandom(void *buf, size_t len, unsigned flags)
{
	if (len != sizeof(dice))
		return syscall(SYS_getrandom, buf, len, flags);
	memcpy(buf, &dice, sizeof(dice));
	return (ssize_t)len;
}

static uint64_t real_ms(void)
{
	struct timespec ts;

	syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static uint64_t since_ms(void)
{
	return virtual_ms() - begun_ms;
}

/* --- moods --- */

static void fine(struct question *q)
{
	struct reply r;

	reply_begin(&r, q, 0);
	reply_addresses(&r, q, NULL);
	reply_send(&r, q);
}

static void only_code(struct question *q, uint8_t rcode)
{
	struct reply r;

	reply_begin(&r, q, rcode);
	reply_send(&r, q);
}

static void nxdomain(struct question *q) { only_code(q, 3); }
static void servfail(struct question *q) { only_code(q, 2); }
static void refused(struct question *q) { only_code(q, 5); }
static void no_addresses(struct question *q) { only_code(q, 0); }
static void silent(struct question *q) { (void)q; }

static void wrong_addresses(struct reply *r, struct question *q)
{
	static const char *const wrong[] = { WRONG, NULL };
	const char *const *right = dns.addresses;

	reply_begin(r, q, 0);
	dns.addresses = wrong;
	reply_addresses(r, q, NULL);
	dns.addresses = right;
}

/* Come over TCP; and there nobody answers. */
static void truncated(struct question *q)
{
	struct reply r;

	if (q->tcp)
		return;
	wrong_addresses(&r, q);
	r.bytes[2] |= 2;
	reply_send(&r, q);
}

static void cut_short(struct question *q)
{
	struct reply r;

	wrong_addresses(&r, q);
	r.len -= 5;
	reply_send(&r, q);
}

static void zero_bytes(struct question *q)
{
	struct reply r = { .len = 0 };

	if (!q->tcp)
		reply_send(&r, q);
}

/* The answer of somebody who did not see the question. */
static void spoofed(struct question *q)
{
	struct reply r;

	wrong_addresses(&r, q);
	r.bytes[0] ^= 1;
	reply_send(&r, q);
}

static void spoofed_first(struct question *q)
{
	spoofed(q);
	fine(q);
}

static void all_ones(struct question *q)
{
	struct reply r;

	wrong_addresses(&r, q);
	memset(r.bytes + 2, 0xff, r.len - 2);
	reply_send(&r, q);
}

static void garbage(struct question *q)
{
	struct reply r = { .len = 202 };
	uint32_t x = q->bytes[0] | 1u;

	memcpy(r.bytes, q->bytes, 2);
	for (size_t i = 2; i < r.len; i++) {
		x = x * 1664525 + 1013904223;
		r.bytes[i] = (uint8_t)(x >> 24);
	}
	reply_send(&r, q);
}

/* a is b, b is a. */
static void alias_loop(struct question *q)
{
	const char *other = *q->name == 'x' ? q->name + 1 : "x" NAME;
	struct reply r;

	reply_begin(&r, q, 0);
	reply_alias(&r, q->name, other);
	reply_alias(&r, other, q->name);
	reply_send(&r, q);
}

static void alias_of_itself(struct question *q)
{
	static const uint8_t self[] = { 0xc0, 12 };
	struct reply r;

	reply_begin(&r, q, 0);
	for (int i = 0; i < 20; i++)
		reply_record(&r, NULL, DNS_CNAME, self, sizeof(self));
	reply_send(&r, q);
}

static void by_alias(struct question *q)
{
	struct reply r;

	reply_begin(&r, q, 0);
	reply_alias(&r, NULL, "alias." NAME);
	reply_addresses(&r, q, "alias." NAME);
	reply_send(&r, q);
}

/* The first is the right one. */
static void many_addresses(struct question *q, unsigned n)
{
	struct reply r;

	reply_begin(&r, q, 0);
	reply_addresses(&r, q, NULL);
	for (unsigned i = 1; q->type == DNS_A && i < n; i++) {
		uint8_t ip[] = { 198, 18, (uint8_t)(i >> 8), (uint8_t)i };

		reply_record(&r, NULL, DNS_A, ip, sizeof(ip));
	}
	reply_send(&r, q);
}

static void twenty_eight(struct question *q) { many_addresses(q, 28); }
static void five_hundred_at_once(struct question *q) { many_addresses(q, 500); }

/* More than a datagram holds: the first says come over TCP. */
static void five_hundred(struct question *q)
{
	struct reply r;

	if (q->tcp) {
		many_addresses(q, 500);
		return;
	}
	reply_begin(&r, q, 0);
	r.bytes[2] |= 2;
	reply_send(&r, q);
}

/* --- the bench --- */

static int setup(void **state)
{
	(void)state;
	memset(&told, 0, sizeof(told));
	log_level = LOG_LVL_DEBUG;
	log_fd = memfd_create("log", MFD_CLOEXEC);
	dice = 0;
	held_ms = 0;
	away = NULL;
	begun_ms = virtual_ms();
	virtual_grace_ms = 5;
	dns_start(fine, usual);
	dns_listen();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	dns_stop();
	close(log_fd);
	assert_true(held_ms < HELD_MS);
	return 0;
}

static void on_addrs(void *arg, const struct addr *addrs, size_t count)
{
	(void)arg;
	memcpy(told.addrs, addrs, count * sizeof(*addrs));
	told.count = count;
	told.calls++;
	told.at_ms = since_ms();
}

static struct resolve *start_at(const char *host, bool private_ok)
{
	struct resolve *r;

	r = resolve_new(dns.base, host, 7200, dns.address, private_ok, on_addrs, NULL);
	assert_non_null(r);
	return r;
}

static struct resolve *start(void)
{
	return start_at(NAME, false);
}

/* Nothing moves any more in that millisecond. What is due in the next one is not for this pass. */
static void on_end(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	*(bool *)arg = true;
	event_base_loopbreak(dns.base);
}

static void pass(void)
{
	uint64_t before = real_ms();

	event_base_loop(dns.base, EVLOOP_ONCE);
	if (real_ms() - before > held_ms)
		held_ms = real_ms() - before;
	if (away)
		resolve_failed(away);
}

/* Runs the loop until so many were told, but not beyond this millisecond. What it logs is kept. */
static void run(unsigned calls, uint64_t until_ms)
{
	bool over = false;
	struct event *end = evtimer_new(dns.base, on_end, &over);
	uint64_t left = until_ms - since_ms();

	assert_true(until_ms >= since_ms());
	event_add(end, &(struct timeval){ .tv_sec = (time_t)(left / 1000),
					  .tv_usec = (suseconds_t)(left % 1000 * 1000) + 500 });
	stderr_fd = dup(STDERR_FILENO);
	dup2(log_fd, STDERR_FILENO);
	while (told.calls < calls && !over)
		pass();
	dup2(stderr_fd, STDERR_FILENO);
	close(stderr_fd);
	event_free(end);
}

static const char *logged(void)
{
	static char text[1 << 16];
	ssize_t n = pread(log_fd, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = 0;
	return text;
}

static void is_told(size_t i, const char *text)
{
	char buf[ADDR_STRLEN];

	assert_true(i < told.count);
	assert_string_equal(addr_print(&told.addrs[i], buf), text);
}


/* --- what can be wrong with an answer --- */

static const char *const only_private[] = {
	"10.0.0.1", "127.0.0.1", "192.168.77.1", "169.254.9.9", "100.64.0.1", "0.0.0.0", "224.0.0.1",
	"::1", "::", "fd00::1", "fe80::1", "ff02::1", "::ffff:127.0.0.1", NULL,
};

static void forbidden(struct question *q)
{
	const char *const *right = dns.addresses;

	dns.addresses = only_private;
	fine(q);
	dns.addresses = right;
}

/* When nobody answers, a round of three tries takes c-ares 2 + 4 + 8 s; over TCP it tries once. */
static const struct fault {
	const char *what;
	mood mood;
	unsigned asked; /* questions in a round, over UDP */
	uint64_t takes_ms;
	enum { HANGS_UP, HANGS, REFUSES } tcp;
} faults[] = {
	{ "no such name", nxdomain, 2, 0, HANGS_UP },
	{ "server failure", servfail, 6, 0, HANGS_UP },
	{ "refused", refused, 6, 0, HANGS_UP },
	{ "silence", silent, 6, 14000, HANGS_UP },
	{ "truncated, and silence over TCP", truncated, 2, 2000, HANGS },
	{ "truncated, and TCP is closed", truncated, 2, 0, HANGS_UP },
	{ "truncated, and TCP is refused", truncated, 2, 0, REFUSES },
	{ "cut short", cut_short, 4, 14000, HANGS_UP },
	{ "no bytes", zero_bytes, 6, 14000, HANGS_UP },
	{ "spoofed", spoofed, 6, 14000, HANGS_UP },
	{ "all ones", all_ones, 6, 14000, HANGS_UP },
	{ "garbage", garbage, 6, 14000, HANGS_UP },
	{ "no addresses", no_addresses, 2, 0, HANGS_UP },
	{ "a is b, b is a", alias_loop, 2, 0, HANGS_UP },
	{ "an alias of itself", alias_of_itself, 2, 0, HANGS_UP },
	{ "only private addresses", forbidden, 2, 0, HANGS_UP },
};

#define FAULTS (sizeof(faults) / sizeof(*faults))
#define ROUNDS 4 /* of each fault: pauses of 1, 2, 4 and 8 s, less the quarter that the dice take */

static void begin(const struct fault *f)
{
	setup(NULL);
	dns.hangs = f->tcp == HANGS;
	if (f->tcp == REFUSES) {
		event_del(dns.tcp_ev);
		close(dns.tcp);
		dns.tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	}
}

/* Whoever reads a failure wants to know of which mood it is. */
static void is_exactly(const char *what, const char *figure, uint64_t got, uint64_t want)
{
	if (got != want)
		fail_msg("%s: %s: %lu instead of %lu", what, figure, (unsigned long)got,
			 (unsigned long)want);
}

/* ROUNDS rounds began at from_ms, and after each came the pause, which doubles. When the next is
 * due. */
static uint64_t rounds_were(const struct fault *f, size_t i, uint64_t from_ms, uint64_t pause_ms)
{
	for (unsigned k = 0; k < ROUNDS; k++, pause_ms *= 2) {
		uint64_t next_ms = from_ms + f->takes_ms + pause_ms * 3 / 4;
		unsigned n[2] = { 0, 0 };

		assert_true(i < dns.n_asked);
		is_exactly(f->what, "a round begins", dns.asked[i].at_ms - begun_ms, from_ms);
		for (; i < dns.n_asked && dns.asked[i].at_ms - begun_ms < next_ms; i++)
			n[dns.asked[i].tcp]++;
		is_exactly(f->what, "questions of a round", n[0], f->asked);
		is_exactly(f->what, "more than three tries over TCP", n[1] > 6, false);
		is_exactly(f->what, "TCP was tried", n[1] > 0,
			   f->mood == truncated && f->tcp != REFUSES);
		from_ms = next_ms;
	}
	is_exactly(f->what, "questions before their time", dns.n_asked - i, 0);
	return from_ms;
}

/* The end of the last of ROUNDS rounds and its pause. */
static uint64_t rounds_end(const struct fault *f, uint64_t from_ms, uint64_t pause_ms)
{
	for (unsigned k = 0; k < ROUNDS; k++, pause_ms *= 2)
		from_ms += f->takes_ms + pause_ms * 3 / 4;
	return from_ms;
}

static void comes_back(const struct fault *f, struct resolve *r, uint64_t due_ms,
		       const char *address)
{
	unsigned before = told.calls;

	assert_null(strstr(logged(), WRONG));
	dns.mood = fine;
	run(before + 1, due_ms);
	is_exactly(f->what, "told", told.calls, before + 1);
	is_exactly(f->what, "told at", told.at_ms, due_ms);
	assert_int_equal(told.count, 1);
	is_told(0, address);
	resolve_free(r);
	teardown(NULL);
}

/* There is no address yet. It is asked for again, more and more rarely, and used when it comes. */
static void no_answer_at_the_start(void **state)
{
	(void)state;
	for (const struct fault *f = faults; f < faults + FAULTS; f++) {
		struct resolve *r;
		uint64_t due_ms = rounds_end(f, 0, 1000);

		begin(f);
		dns.mood = f->mood;
		r = start();
		run(1, due_ms - 1);
		is_exactly(f->what, "told", told.calls, 0);
		assert_int_equal(rounds_were(f, 0, 0, 1000), due_ms);
		assert_non_null(strstr(logged(), f->mood == forbidden ? ALLOW : NAME ": "));
		assert_null(strstr(logged(), "what is known so far stays"));
		comes_back(f, r, due_ms, "198.51.100.7:7200");
	}
}

/* The remote is away, and says so as often as it can, and there is only this for an answer. */
static void last_good_address_is_kept(void **state)
{
	(void)state;
	for (const struct fault *f = faults; f < faults + FAULTS; f++) {
		struct resolve *r;
		uint64_t due_ms = rounds_end(f, 750, 2000);

		begin(f);
		r = start();
		run(1, 0);
		is_told(0, "198.51.100.7:7200");
		dns.mood = f->mood;
		resolve_failed(r);
		away = r;
		run(2, due_ms - 1);
		is_exactly(f->what, "told", told.calls, 1);
		assert_int_equal(rounds_were(f, 2, 750, 2000), due_ms);
		assert_non_null(strstr(logged(), f->mood == forbidden ? ALLOW : "; what is known so far stays"));
		dns.addresses = moved;
		comes_back(f, r, due_ms, "198.51.100.8:7200");
	}
}

/* 1, 2, 4 ... 60, 60 s. */
static void pauses_double_up_to_a_minute(void **state)
{
	static const unsigned pauses_s[] = { 1, 2, 4, 8, 16, 32, 60, 60, 60 };
	struct resolve *r;
	uint64_t at_ms = 0;

	(void)state;
	dns.mood = nxdomain;
	r = start();
	for (size_t i = 0; i < sizeof(pauses_s) / sizeof(*pauses_s); i++) {
		at_ms += pauses_s[i] * 750;
		run(1, at_ms - 1);
		assert_int_equal(dns.n_asked, 2 * (i + 1));
		run(1, at_ms);
		assert_int_equal(dns.n_asked, 2 * (i + 2));
	}
	resolve_free(r);
}

/* Gateways that lost their remote together do not ask together. */
static void a_pause_is_given_or_taken_a_quarter(void **state)
{
	static const struct {
		uint32_t dice;
		uint64_t pause_ms;
	} falls[] = { { 0, 750 }, { 250, 1000 }, { 499, 1249 }, { 500, 750 } };

	(void)state;
	for (size_t i = 0; i < sizeof(falls) / sizeof(*falls); i++) {
		struct resolve *r;

		setup(NULL);
		dns.mood = nxdomain;
		dice = falls[i].dice;
		r = start();
		run(1, falls[i].pause_ms);
		assert_int_equal(dns.n_asked, 4);
		assert_int_equal(dns.asked[2].at_ms - begun_ms, falls[i].pause_ms);
		resolve_free(r);
		teardown(NULL);
	}
}

/* The address is right, but who lives there is dead: that must not become a load on DNS either. */
static void asking_in_vain_becomes_rare(void **state)
{
	static const unsigned pauses_s[] = { 1, 2, 4, 8, 16, 32, 60, 60 };
	struct resolve *r = start();
	uint64_t at_ms = 0;
	size_t n = sizeof(pauses_s) / sizeof(*pauses_s);

	(void)state;
	dns.ttl = 3600;
	run(1, 0);
	resolve_failed(r);
	away = r;
	for (size_t i = 0; i < n; i++)
		at_ms += pauses_s[i] * 750;
	run(2, at_ms);
	assert_int_equal(dns.n_asked, 2 * (n + 1));
	assert_int_equal(dns.asked[2 * n].at_ms - begun_ms, at_ms);
	assert_int_equal(told.calls, 1); /* the same is no news */
	dns.addresses = moved;
	run(2, at_ms + 45000);
	assert_int_equal(told.at_ms, at_ms + 45000);
	run(3, at_ms + 45000 + 750); /* and with a new one hope begins anew */
	assert_int_equal(dns.asked[2 * n + 4].at_ms - begun_ms, at_ms + 45000 + 750);
	resolve_free(r);
}

/* --- time to live --- */

static void minute_for_ipv6(struct question *q)
{
	dns.ttl = q->type == DNS_AAAA ? 60 : 300;
	fine(q);
}

static void answers_rest_for_their_ttl(void **state)
{
	static const char *const both[] = { "198.51.100.7", "2606:4700::7", NULL };
	static const struct {
		mood mood;
		uint32_t ttl;
		uint64_t rest_ms;
	} rests[] = {
		{ fine, 300, 300000 }, { fine, 0, 30000 }, { fine, 1, 30000 }, { fine, 31, 31000 },
		{ fine, 86400, 3600000 }, { minute_for_ipv6, 0, 60000 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rests) / sizeof(*rests); i++) {
		struct resolve *r;

		setup(NULL);
		dns.mood = rests[i].mood;
		dns.addresses = both;
		dns.ttl = rests[i].ttl;
		r = start();
		run(2, rests[i].rest_ms - 1);
		assert_int_equal(dns.n_asked, 2);
		run(2, rests[i].rest_ms);
		assert_int_equal(dns.n_asked, 4);
		assert_int_equal(told.calls, 1); /* the same is no news */
		resolve_free(r);
		teardown(NULL);
	}
}

/* --- good answers --- */

static void a_number_needs_no_server(void **state)
{
	struct resolve *r = start_at("127.0.0.1", false);

	(void)state;
	assert_int_equal(told.calls, 0); /* not from inside */
	run(1, 0);
	is_told(0, "127.0.0.1:7200");
	resolve_failed(r);
	run(2, 3600000);
	assert_int_equal(told.calls, 1);
	assert_int_equal(dns.n_asked, 0);
	resolve_free(r);
}

static void both_families(void **state)
{
	static const char *const both[] = { "198.51.100.7", "2606:4700::7", NULL };
	struct resolve *r;

	(void)state;
	dns.addresses = both;
	r = start();
	run(1, 0);
	assert_int_equal(told.count, 2);
	assert_int_equal(dns.n_asked, 2);
	assert_true(addr_is_v4(&told.addrs[0]) != addr_is_v4(&told.addrs[1]));
	assert_int_equal(told.addrs[0].port, 7200);
	assert_int_equal(told.addrs[1].port, 7200);
	resolve_free(r);
}

/* Servers turn the order round on purpose. */
static void another_order_is_no_news(void **state)
{
	static const char *const one[] = { "198.51.100.7", "198.51.100.8", NULL };
	static const char *const two[] = { "198.51.100.8", "198.51.100.7", NULL };
	struct resolve *r;

	(void)state;
	dns.addresses = one;
	r = start();
	run(1, 0);
	assert_int_equal(told.count, 2);
	dns.addresses = two;
	run(2, 300000);
	assert_int_equal(dns.n_asked, 4);
	assert_int_equal(told.calls, 1);
	resolve_free(r);
}

/* Neither believed nor waited for: the right one behind it counts. */
static void a_spoofed_answer_before_the_right_one(void **state)
{
	struct resolve *r;

	(void)state;
	dns.mood = spoofed_first;
	r = start();
	run(1, 0);
	assert_int_equal(told.count, 1);
	is_told(0, "198.51.100.7:7200");
	assert_null(strstr(logged(), WRONG));
	resolve_free(r);
}

static void an_alias_is_followed(void **state)
{
	struct resolve *r;

	(void)state;
	dns.mood = by_alias;
	r = start();
	run(1, 0);
	assert_int_equal(told.count, 1);
	is_told(0, "198.51.100.7:7200");
	resolve_free(r);
}

/* Bytes in use once the answer is there. */
static size_t takes_bytes(mood m, size_t count)
{
	struct resolve *r;
	size_t bytes;

	setup(NULL);
	dns.mood = m;
	r = start();
	run(1, 0);
	assert_int_equal(told.count, count);
	is_told(0, "198.51.100.7:7200");
	bytes = __sanitizer_get_current_allocated_bytes();
	resolve_free(r);
	teardown(NULL);
	return bytes;
}

/* Some are kept, the right one among them, and the rest costs no memory. */
static void five_hundred_addresses_are_cut(void **state)
{
	size_t one, most;

	(void)state;
	takes_bytes(by_alias, 1); /* what is allocated once is */
	one = takes_bytes(by_alias, 1);
	most = takes_bytes(twenty_eight, RESOLVE_MAX);
	assert_true(most < one + 1024);
	most = takes_bytes(five_hundred, RESOLVE_MAX);
	assert_int_equal(dns_count(0, false), 2);
	assert_int_equal(dns_count(0, true), 2);
	assert_true(most < one + 1024);
	takes_bytes(five_hundred_at_once, RESOLVE_MAX); /* in a datagram of 8,000 bytes */
}

/* --- private addresses --- */

/* What the log says of one that is not used. */
static const char *private_said(const char *address)
{
	static char text[160];

	snprintf(text, sizeof(text), NAME " has the private address %s: not used " ALLOW "\n", address);
	return text;
}

static void each_private_address_is_refused(void **state)
{
	static const char *const more[] = {
		"0.255.255.255", "10.255.255.255", "100.127.255.255", "127.255.255.255", "172.16.0.1",
		"172.31.255.255", "192.168.0.0", "255.255.255.255", "fdff::1", "fec0::1", "febf::1", "::2",
		"::ffff:10.0.0.1", NULL,
	};
	const char *const *lists[] = { only_private, more };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		for (const char *const *a = lists[i]; *a; a++) {
			const char *alone[] = { *a, NULL };
			const char *plain = strncmp(*a, "::ffff:", 7) ? *a : *a + 7;
			struct resolve *r;

			setup(NULL);
			dns.addresses = alone;
			r = start();
			run(1, 700);
			if (told.calls || !strstr(logged(), private_said(plain)))
				fail_msg("%s: told %u times, and \"%s\"", *a, told.calls, logged());
			resolve_free(r);
			teardown(NULL);
		}
	}
}

static void what_is_next_to_private_is_used(void **state)
{
	static const char *const good[] = {
		"1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
		"128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0",
		"192.167.255.255", "192.169.0.0", "223.255.255.255", "2000::1", "64:ff9b::b00:1", NULL,
	};
	struct resolve *r;

	(void)state;
	dns.addresses = good;
	r = start();
	run(1, 0);
	assert_int_equal(told.count, 16);
	resolve_free(r);
}

static void permission_makes_private_ones_good(void **state)
{
	static const char *const loopback[] = { "127.0.0.1", "::1", NULL };
	struct resolve *r;

	(void)state;
	dns.addresses = loopback;
	r = start_at(NAME, true);
	run(1, 0);
	assert_int_equal(told.count, 2);
	assert_string_equal(logged(), "");
	resolve_free(r);
}

static void a_public_address_among_private_ones_is_used(void **state)
{
	static const char *const mixed[] = { "10.0.0.1", "198.51.100.7", "::1", NULL };
	struct resolve *r;

	(void)state;
	dns.addresses = mixed;
	r = start();
	run(1, 0);
	assert_int_equal(told.count, 1);
	is_told(0, "198.51.100.7:7200");
	assert_non_null(strstr(logged(), ALLOW));
	resolve_free(r);
}

/* --- services --- */

#define SERVICE "_plait._tcp.example"

struct target {
	const char *host;
	uint16_t priority, weight, port;
};

#define LAST { NULL, 0, 0, 0 }

static const struct target *offered;

static struct {
	struct srv list[RESOLVE_SRV_MAX];
	size_t count;
} targets;

static void service(struct question *q)
{
	struct reply r;

	assert_int_equal(q->type, DNS_SRV);
	assert_string_equal(q->name, SERVICE);
	reply_begin(&r, q, 0);
	for (const struct target *t = offered; t->host; t++) {
		uint16_t numbers[3] = { htons(t->priority), htons(t->weight), htons(t->port) };
		uint8_t data[sizeof(numbers) + DNS_NAME_MAX + 2];

		memcpy(data, numbers, sizeof(numbers));
		reply_record(&r, NULL, DNS_SRV, data,
			     sizeof(numbers) + dns_labels(data + sizeof(numbers), t->host));
	}
	reply_send(&r, q);
}

static void on_targets(void *arg, const struct srv *list, size_t count)
{
	(void)arg;
	memcpy(targets.list, list, count * sizeof(*list));
	targets.count = count;
	told.calls++;
}

static struct resolve *start_service(const struct target *first)
{
	struct resolve *r = resolve_srv_new(dns.base, SERVICE, dns.address, on_targets, NULL);

	assert_non_null(r);
	dns.mood = service;
	offered = first;
	return r;
}

static void target_is(size_t i, const struct target *t)
{
	assert_true(i < targets.count);
	assert_string_equal(targets.list[i].host, t->host);
	assert_int_equal(targets.list[i].priority, t->priority);
	assert_int_equal(targets.list[i].weight, t->weight);
	assert_int_equal(targets.list[i].port, t->port);
}

/* What cannot be dialled is no target, and nobody is one twice. */
static void a_service_names_its_targets(void **state)
{
	static const struct target list[] = { { "a.example", 1, 2, 7200 }, { "b.example", 10, 0, 443 },
					      { "a.example", 1, 2, 7200 }, { "", 1, 1, 7200 },
					      { "c.example", 1, 1, 0 }, LAST };
	struct resolve *r = start_service(list);

	(void)state;
	run(1, 0);
	assert_int_equal(targets.count, 2);
	target_is(0, &list[0]);
	target_is(1, &list[1]);
	resolve_free(r);
}

/* Every five minutes; another order is no news, another target is, and so is that none is left. */
static void a_service_is_asked_every_five_minutes(void **state)
{
	static const struct target list[] = { { "a.example", 1, 2, 7200 }, { "b.example", 1, 2, 7200 }, LAST };
	static const struct target turned[] = { { "b.example", 1, 2, 7200 }, { "a.example", 1, 2, 7200 }, LAST };
	static const struct target next[] = { { "b.example", 1, 3, 7200 }, { "a.example", 1, 2, 7200 }, LAST };
	static const struct target none[] = { { "", 0, 0, 0 }, LAST };
	struct resolve *r = start_service(list);

	(void)state;
	run(1, 0);
	offered = turned;
	run(2, 300000);
	assert_int_equal(dns.n_asked, 2);
	assert_int_equal(dns.asked[1].at_ms - begun_ms, 300000);
	assert_int_equal(told.calls, 1);
	offered = next;
	run(2, 600000);
	assert_int_equal(told.calls, 2);
	target_is(0, &next[0]);
	offered = none;
	run(3, 900000);
	assert_int_equal(told.calls, 3);
	assert_int_equal(targets.count, 0);
	resolve_free(r);
}

static void targets_stay_while_nobody_answers(void **state)
{
	static const struct target list[] = { { "a.example", 1, 2, 7200 }, LAST };
	static const mood moods[] = { nxdomain, servfail, silent, no_addresses, garbage };

	(void)state;
	for (size_t i = 0; i < sizeof(moods) / sizeof(*moods); i++) {
		struct resolve *r;

		setup(NULL);
		r = start_service(list);
		run(1, 0);
		dns.mood = moods[i];
		resolve_failed(r);
		run(2, 60000);
		assert_int_equal(told.calls, 1);
		assert_true(dns.n_asked > 2);
		assert_int_equal(dns.asked[1].at_ms - begun_ms, 750);
		assert_non_null(strstr(logged(), SERVICE ": "));
		assert_non_null(strstr(logged(), "; what is known so far stays"));
		resolve_free(r);
		teardown(NULL);
	}
}

static void forty_targets_are_cut(void **state)
{
	static char names[40][16];
	static struct target list[41];
	struct resolve *r;

	(void)state;
	for (size_t i = 0; i < 40; i++) {
		snprintf(names[i], sizeof(names[i]), "h%zu.example", i);
		list[i] = (struct target){ names[i], 1, 1, 7200 };
	}
	r = start_service(list);
	run(1, 0);
	assert_int_equal(targets.count, RESOLVE_SRV_MAX);
	target_is(RESOLVE_SRV_MAX - 1, &list[RESOLVE_SRV_MAX - 1]);
	resolve_free(r);
}

/* --- the end --- */

static void freed_while_asking(void **state)
{
	static const mood moods[] = { silent, truncated }; /* the second: while asking over TCP */

	(void)state;
	for (size_t i = 0; i < sizeof(moods) / sizeof(*moods); i++) {
		struct resolve *r;

		setup(NULL);
		dns.hangs = true;
		dns.mood = moods[i];
		r = start();
		resolve_free(r); /* before it could */
		r = start();
		run(1, 0);
		assert_int_equal(dns.n_asked, i ? 4 : 2);
		resolve_free(r);
		run(1, 20000);
		assert_int_equal(dns.n_asked, i ? 4 : 2);
		assert_int_equal(told.calls, 0);
		teardown(NULL);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_answer_at_the_start),
		cmocka_unit_test(last_good_address_is_kept),
		TEST(pauses_double_up_to_a_minute),
		cmocka_unit_test(a_pause_is_given_or_taken_a_quarter),
		TEST(asking_in_vain_becomes_rare),
		cmocka_unit_test(answers_rest_for_their_ttl),
		TEST(a_number_needs_no_server),
		TEST(both_families),
		TEST(another_order_is_no_news),
		TEST(a_spoofed_answer_before_the_right_one),
		TEST(an_alias_is_followed),
		cmocka_unit_test(five_hundred_addresses_are_cut),
		cmocka_unit_test(each_private_address_is_refused),
		TEST(what_is_next_to_private_is_used),
		TEST(permission_makes_private_ones_good),
		TEST(a_public_address_among_private_ones_is_used),
		TEST(a_service_names_its_targets),
		TEST(a_service_is_asked_every_five_minutes),
		cmocka_unit_test(targets_stay_while_nobody_answers),
		TEST(forty_targets_are_cut),
		cmocka_unit_test(freed_while_asking),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
