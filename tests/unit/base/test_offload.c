/* SPDX-License-Identifier: BSD-2-Clause */
/* offload: what was cut can be put together, what was put together is cut to what it was, and
 * nothing is repaired. Checksums are computed here once more, in the simplest way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "offload.h"

#define MTU 1500

static uint32_t plain_sum(const uint8_t *p, size_t len, uint32_t sum)
{
	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static void put16(uint8_t *p, size_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static size_t header(const uint8_t *p)
{
	return p[0] >> 4 == 6 ? 40 : 20;
}

static uint32_t pseudo(const uint8_t *p, uint8_t proto, size_t upper)
{
	return plain_sum(p + (header(p) == 40 ? 8 : 12), header(p) == 40 ? 32 : 8, (uint32_t)(proto + upper));
}

static bool right(const uint8_t *p, size_t len, uint8_t proto)
{
	size_t ip = header(p);

	if (ip == 20 && (plain_sum(p, 20, 0) != 0xffff || (size_t)(p[2] << 8 | p[3]) != len))
		return false;
	if (ip == 40 && (size_t)(p[4] << 8 | p[5]) != len - 40)
		return false;
	return plain_sum(p + ip, len - ip, pseudo(p, proto, len - ip)) == 0xffff;
}

/* A datagram or segment with right checksums. */
static size_t make(uint8_t *p, bool v6, uint8_t proto, size_t payload, unsigned id)
{
	size_t ip = v6 ? 40 : 20, upper = (proto == 17 ? 8 : 32), len = ip + upper + payload;
	uint8_t *field = p + ip + (proto == 17 ? 6 : 16);

	memset(p, 0, len);
	p[0] = v6 ? 0x60 : 0x45;
	if (v6) {
		put16(p + 4, len - 40);
		p[6] = proto;
		p[7] = 63;
		p[8] = p[24] = 0x20;
		p[23] = 1;
		p[39] = 2;
	} else {
		put16(p + 2, len);
		put16(p + 4, id);
		p[8] = 63;
		p[9] = proto;
		memcpy(p + 12, "\x0a\x01\x02\x03\x0b\x01\x02\x03", 8);
		put16(p + 10, ~plain_sum(p, 20, 0) & 0xffff);
	}
	put16(p + ip, 4711);
	put16(p + ip + 2, 53);
	if (proto == 17)
		put16(p + ip + 4, 8 + payload);
	else
		p[ip + 12] = 0x80;
	for (size_t i = 0; i < payload; i++)
		p[ip + upper + i] = (uint8_t)(id * 7 + i);
	put16(field, ~plain_sum(p + ip, len - ip, pseudo(p, proto, len - ip)) & 0xffff);
	return len;
}

static void test_sum(void **state)
{
	uint8_t data[1600];

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)rand();
	for (size_t len = 0; len < 1500; len += 1 + len / 7)
		for (size_t at = 0; at < 4; at++)
			assert_int_equal(offload_sum(data + at, len, 99), plain_sum(data + at, len, 99));
	memset(data, 0xff, sizeof(data));
	assert_int_equal(offload_sum(data, 1501, 0xffff), plain_sum(data, 1501, 0xffff));
}

/* n datagrams, the last one shorter: together, and cut again to the same bytes. */
static void there_and_back(bool v6, size_t payload, unsigned n)
{
	static uint8_t before[OFFLOAD_RUN][MTU], work[OFFLOAD_RUN][MTU], whole[70000], out[MTU];
	size_t len[OFFLOAD_RUN], total;
	struct offload_split s;
	struct offload_run r;
	struct offload how;
	uint8_t hdr[OFFLOAD_HDR];

	for (unsigned i = 0; i < n; i++) {
		len[i] = make(before[i], v6, 17, i + 1 == n ? payload / 2 + 1 : payload, 100 + i);
		memcpy(work[i], before[i], len[i]);
		assert_true(offload_is_udp(work[i], len[i]));
		if (i)
			assert_true(offload_same_flow(&r, work[i], len[i]));
		assert_true(i ? offload_run_add(&r, work[i], len[i]) : offload_run_start(&r, work[i], len[i]));
	}
	offload_run_end(&r, &how);
	offload_put(hdr, &how, r.headers);
	memcpy(whole, r.head, r.headers);
	total = r.headers;
	for (unsigned i = 0; i < r.n; i++) {
		memcpy(whole + total, r.payload[i], r.len[i]);
		total += r.len[i];
	}
	offload_get(&how, hdr);
	assert_int_equal(how.kind, n > 1 ? OFFLOAD_UDP : OFFLOAD_NONE);
	assert_int_equal(offload_split(&s, &how, whole, total), 0);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(offload_split_next(&s, out, sizeof(out)), len[i]);
		assert_memory_equal(out, before[i], len[i]);
	}
	assert_int_equal(offload_split_next(&s, out, sizeof(out)), 0);
}

static void test_there_and_back(void **state)
{
	(void)state;
	for (unsigned n = 1; n <= OFFLOAD_RUN; n += 1 + n / 5) {
		there_and_back(false, 1 + n, n);
		there_and_back(true, 1 + n, n);
		there_and_back(false, 1000, n);
		there_and_back(true, 999, n);
	}
}

/* A TCP super-packet as a sender's kernel makes it. */
static void test_tcp(void **state)
{
	static uint8_t whole[9000], out[MTU];
	struct offload how = { .kind = OFFLOAD_TCP, .checksum = true, .segment = 1400, .start = 20, .offset = 16 };
	struct offload_split s;
	size_t len = make(whole, false, 6, 5000, 9), got, at = 0;
	unsigned n = 0;

	(void)state;
	whole[20 + 13] = 0x99; /* CWR ACK PSH FIN */
	put16(whole + 20 + 4, 0xffff);
	put16(whole + 20 + 6, 0xff00); /* the sequence number wraps */
	put16(whole + 36, pseudo(whole, 6, len - 20));
	assert_int_equal(offload_split(&s, &how, whole, len), 0);
	while ((got = offload_split_next(&s, out, sizeof(out)))) {
		assert_true(right(out, got, 6));
		assert_int_equal((uint32_t)out[24] << 24 | out[25] << 16 | out[26] << 8 | out[27], (uint32_t)(0xffffff00u + at));
		assert_int_equal(out[33], n == 0 ? 0x90 : n == 3 ? 0x19 : 0x10);
		assert_int_equal(out[4] << 8 | out[5], 9 + n);
		assert_memory_equal(out + 52, whole + 52 + at, got - 52);
		at += got - 52;
		n++;
	}
	assert_int_equal(n, 4);
	assert_int_equal(at, 5000);
}

static bool joins(uint8_t *a, size_t alen, uint8_t *b, size_t blen)
{
	struct offload_run r;

	return offload_run_start(&r, a, alen) && offload_is_udp(b, blen) && offload_same_flow(&r, b, blen) && offload_run_add(&r, b, blen);
}

static void resign(uint8_t *p)
{
	put16(p + 10, 0);
	put16(p + 10, ~plain_sum(p, 20, 0) & 0xffff);
}

/* What must stay alone. */
static void test_refusals(void **state)
{
	uint8_t a[MTU], b[MTU];
	struct offload_run r;
	size_t len;

	(void)state;
#define FRESH() (make(a, false, 17, 500, 7), len = make(b, false, 17, 500, 8))
	FRESH();
	assert_true(joins(a, len, b, len));
	FRESH();
	b[100] ^= 1; /* its checksum is wrong, and stays wrong */
	assert_false(joins(a, len, b, len));
	FRESH();
	put16(b + 26, 0); /* it has none */
	assert_false(joins(a, len, b, len));
	assert_false(offload_run_start(&r, b, len));
	FRESH();
	b[11] ^= 1; /* the IP header's */
	assert_false(joins(a, len, b, len));
	FRESH();
	b[1] = 0x03; /* congestion experienced */
	resign(b);
	assert_false(joins(a, len, b, len));
	FRESH();
	b[8]--;
	resign(b);
	assert_false(joins(a, len, b, len));
	FRESH();
	put16(b + 4, 99); /* not the next number, and it may be fragmented later */
	resign(b);
	assert_false(joins(a, len, b, len));
	FRESH();
	b[6] |= 0x20; /* a piece */
	resign(b);
	assert_false(offload_is_udp(b, len));
	FRESH();
	len = make(b, false, 17, 501, 8);
	assert_false(joins(a, len - 1, b, len));
	FRESH();
	b[21] ^= 1; /* another flow */
	assert_false(joins(a, len, b, len));
	len = make(a, true, 17, 500, 7);
	make(b, true, 17, 500, 8);
	assert_true(joins(a, len, b, len));
	b[3] ^= 1; /* another flow label */
	assert_false(joins(a, len, b, len));
	assert_false(offload_is_udp(b, len - 1));
	assert_false(offload_is_udp(b, 47));
}

/* Whatever the header claims, nothing is read or written outside. */
static void test_nonsense(void **state)
{
	(void)state;
	for (int i = 0; i < 200000; i++) {
		size_t len = (size_t)rand() % 200, room = (size_t)rand() % 300, got;
		uint8_t *packet = malloc(len ? len : 1), *out = malloc(room ? room : 1);
		struct offload how = { .kind = (enum offload_kind)(rand() % 4), .checksum = rand() % 4, .segment = (uint16_t)(rand() % 80),
				       .start = (uint16_t)(rand() % 80), .offset = (uint16_t)(rand() % 2 ? 6 : 16) };
		struct offload_split s;

		for (size_t j = 0; j < len; j++)
			packet[j] = (uint8_t)rand();
		if (len > 20 && rand() % 8)
			packet[0] = rand() % 2 ? 0x45 : 0x60;
		if (len && !offload_split(&s, &how, packet, len)) {
			while ((got = offload_split_next(&s, out, room)))
				assert_true(got <= room);
		}
		if (len)
			offload_complete(&how, packet, len);
		offload_is_udp(packet, len);
		free(packet);
		free(out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sum),	 cmocka_unit_test(test_there_and_back), cmocka_unit_test(test_tcp),
		cmocka_unit_test(test_refusals), cmocka_unit_test(test_nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
