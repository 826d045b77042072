/* SPDX-License-Identifier: BSD-2-Clause */
/* udp: what is sent arrives once, whole, in order and with its TOS and addresses, whatever the
 * kernel's batches look like. */
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "udp.h"

#define MOST 512

struct seen {
	struct udp_got got[MOST];
	uint8_t first[MOST];
	unsigned n, ends;
};

static struct addr text(const char *s)
{
	struct addr a;

	assert_int_equal(addr_parse(&a, s, 0), 0);
	return a;
}

static struct addr own_name(const struct udp *u)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct addr a;

	assert_int_equal(getsockname(udp_fd(u), (struct sockaddr *)&ss, &len), 0);
	assert_int_equal(addr_from_sockaddr(&a, (struct sockaddr *)&ss), 0);
	return a;
}

static void hear(void *arg, const struct udp_got *got)
{
	struct seen *s = arg;

	assert_true(s->n < MOST);
	s->got[s->n] = *got;
	s->first[s->n] = got->len ? got->data[0] : 0;
	for (size_t i = 1; i < got->len; i++)
		assert_int_equal(got->data[i], got->data[0]);
	memset(got->data - 16, 0xee, 16); /* allowed, and must not hurt the next one */
	s->n++;
	s->ends += !got->more;
}

static void hear_until(struct udp *u, struct seen *s, unsigned n)
{
	memset(s, 0, sizeof(*s));
	for (int i = 0; i < 200 && s->n < n; i++) {
		if (!udp_receive(u, hear, s))
			usleep(1000);
	}
	assert_int_equal(s->n, n);
	assert_int_not_equal(s->ends, 0);
}

/* 200 datagrams of changing sizes and marks, from a connected socket to a bound one, and one
 * back. */
static void converse(const char *at, const char *from)
{
	static uint8_t data[200][1400];
	struct addr where = text(at), source = text(from), to;
	struct udp *there = udp_bind(&where, 0), *here;
	static struct seen s;

	assert_non_null(there);
	to = source;
	to.port = own_name(there).port;
	here = udp_connect(&source, &to, 0);
	assert_non_null(here);
	for (unsigned i = 0; i < 200; i++) {
		size_t len = i % 20 == 19 ? 100 : i < 100 ? 1400 : 300;

		memset(data[i], (int)i, len);
		udp_send(here, NULL, i % 50 < 25 ? 0xb8 : 0, data[i], len);
	}
	assert_int_equal(udp_flush(here), 0);
	assert_int_equal(udp_count(here)->sent, 200);
	hear_until(there, &s, 200);
	for (unsigned i = 0; i < 200; i++) {
		assert_int_equal(s.first[i], i);
		assert_int_equal(s.got[i].len, i % 20 == 19 ? 100 : i < 100 ? 1400 : 300);
		assert_int_equal(s.got[i].tos, i % 50 < 25 ? 0xb8 : 0);
		assert_true(addr_same_ip(&s.got[i].from, &source));
		assert_true(addr_same_ip(&s.got[i].to, &source));
	}
	udp_send_from(there, &s.got[0].to, &s.got[0].from, 0x2e, data[7], 10);
	assert_int_equal(udp_flush(there), 0);
	hear_until(here, &s, 1);
	assert_int_equal(s.got[0].tos, 0x2e);
	assert_true(addr_same_ip(&s.got[0].from, &source));
	udp_close(here);
	udp_close(there);
}

static void test_both_families(void **state)
{
	(void)state;
	converse("127.0.0.1", "127.0.0.1");
	converse("::1", "::1");
}

static void test_dual_stack(void **state)
{
	(void)state;
	converse("::", "127.0.0.1");
	converse("::", "::1");
	converse("0.0.0.0", "127.0.0.2");
}

static void test_without(void **state)
{
	static const char *const less[] = { "gso", "gro", "mmsg", "gso,gro", "gso,gro,mmsg" };

	(void)state;
	for (size_t i = 0; i < sizeof(less) / sizeof(*less); i++) {
		setenv("PLAIT_WITHOUT", less[i], 1);
		converse("::", "127.0.0.1");
		converse("::1", "::1");
	}
	unsetenv("PLAIT_WITHOUT");
}

static void test_caps(void **state)
{
	struct addr any = text("::");
	struct udp *u = udp_bind(&any, 0);

	(void)state;
	assert_true(udp_caps(u)->gso && udp_caps(u)->gro && udp_caps(u)->mmsg);
	udp_close(u);
	setenv("PLAIT_WITHOUT", "gso,mmsg", 1);
	u = udp_bind(&any, 0);
	assert_true(!udp_caps(u)->gso && udp_caps(u)->gro && !udp_caps(u)->mmsg);
	udp_close(u);
	unsetenv("PLAIT_WITHOUT");
}

/* One that is too long is lost alone. */
static void test_refused(void **state)
{
	static uint8_t data[70000];
	struct addr lo = text("127.0.0.1"), to;
	struct udp *there = udp_bind(&lo, 0), *here;
	static struct seen s;

	(void)state;
	to = own_name(there);
	here = udp_connect(&lo, &to, 0);
	udp_send(here, NULL, 0, data, 100);
	udp_send(here, NULL, 0, data, sizeof(data));
	udp_send(here, NULL, 0, data, 101);
	assert_int_equal(udp_flush(here), EMSGSIZE);
	assert_int_equal(udp_count(here)->refused, 1);
	hear_until(there, &s, 2);
	assert_int_equal(s.got[1].len, 101);
	assert_int_equal(udp_flush(here), 0);
	udp_close(here);
	udp_close(there);
}

/* ICMP's word about an earlier datagram costs neither a later one nor the ones that wait to be
 * read. */
static void test_stale_errors(void **state)
{
	struct addr lo = text("127.0.0.1"), to;
	struct udp *there = udp_bind(&lo, 0), *here;
	static struct seen s;

	(void)state;
	to = own_name(there);
	here = udp_connect(&lo, &to, 0);
	udp_close(there);
	udp_send(here, NULL, 0, "x", 1);
	assert_int_equal(udp_flush(here), 0);
	there = udp_bind(&to, 0);
	assert_non_null(there);
	udp_send(here, NULL, 0, "y", 1);
	assert_int_equal(udp_flush(here), 0);
	hear_until(there, &s, 1);
	assert_int_equal(s.first[0], 'y');
	udp_close(here);
	udp_close(there);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_families), cmocka_unit_test(test_dual_stack), cmocka_unit_test(test_without),
		cmocka_unit_test(test_caps),	      cmocka_unit_test(test_refused),	 cmocka_unit_test(test_stale_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
