/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "classify.h"

static uint8_t p[2048];

static void put16(uint8_t *at, unsigned n)
{
	at[0] = (uint8_t)(n >> 8);
	at[1] = (uint8_t)n;
}

static uint16_t sum_of(const uint8_t *h, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i += 2)
		sum += (uint32_t)(h[i] << 8 | h[i + 1]);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void v4(size_t len, uint8_t proto, unsigned sport, unsigned dport)
{
	memset(p, 0, sizeof(p));
	p[0] = 0x45;
	put16(p + 2, (unsigned)len);
	p[8] = 64;
	p[9] = proto;
	memcpy(p + 12, "\x0a\x00\x00\x01\x0a\x00\x00\x02", 8);
	put16(p + 20, sport);
	put16(p + 22, dport);
	put16(p + 10, sum_of(p, 20));
}

static void v6(size_t len, uint8_t next)
{
	memset(p, 0, sizeof(p));
	p[0] = 0x60;
	put16(p + 4, (unsigned)len - 40);
	p[6] = next;
	p[8] = p[24] = 0xfd;
	p[39] = 1;
}

static void headers_are_read(void **st)
{
	struct inner in, other;

	(void)st;
	v4(100, 17, 1000, 53);
	p[1] = 0xb8;
	assert_int_equal(inner_parse(&in, p, 100), 0);
	assert_int_equal(in.src.port, 1000);
	assert_int_equal(in.dst.port, 53);
	assert_int_equal(in.proto, 17);
	assert_int_equal(in.tos, 0xb8);
	assert_false(in.fragment);
	assert_true(addr_is_v4(&in.src));
	put16(p + 20, 1001);
	assert_int_equal(inner_parse(&other, p, 100), 0);
	assert_int_not_equal(in.flow, other.flow);
	p[0] = 0x4f; /* a header of 60 bytes: ports behind it */
	put16(p + 60, 77);
	assert_int_equal(inner_parse(&in, p, 100), 0);
	assert_int_equal(in.src.port, 77);
}

static void lengths_must_fit(void **st)
{
	struct inner in;

	(void)st;
	for (size_t len = 0; len < 60; len++) {
		v4(60, 17, 1, 2);
		assert_int_equal(inner_parse(&in, p, len), -1);
		v6(60, 17);
		assert_int_equal(inner_parse(&in, p, len), -1);
	}
	assert_int_equal(inner_parse(&in, p, 61), -1);
	v4(60, 17, 1, 2);
	p[0] = 0x44;
	assert_int_equal(inner_parse(&in, p, 60), -1);
	v4(24, 17, 1, 2);
	p[0] = 0x47;
	assert_int_equal(inner_parse(&in, p, 24), -1);
	v4(60, 17, 1, 2);
	p[0] = 0x55;
	assert_int_equal(inner_parse(&in, p, 60), -1);
}

static void pieces_belong_together(void **st)
{
	struct inner first, later;

	(void)st;
	v4(100, 17, 1000, 2000);
	put16(p + 6, 0x2000); /* more to come */
	assert_int_equal(inner_parse(&first, p, 100), 0);
	assert_int_equal(first.src.port, 1000);
	assert_false(first.fragment);
	v4(100, 17, 7, 8);
	put16(p + 6, 10);
	assert_int_equal(inner_parse(&later, p, 100), 0);
	assert_true(later.fragment);
	assert_int_equal(later.src.port, 0);
	assert_int_equal(first.flow, later.flow);
}

/* As many extension headers as asked for, then UDP. */
static size_t chain(unsigned n)
{
	size_t at = 40;

	v6(40 + 8 * n + 16, n ? 60 : 17);
	for (unsigned i = 0; i < n; i++, at += 8)
		p[at] = i + 1 < n ? 60 : 17;
	put16(p + at, 5353);
	return at + 16;
}

static void extension_headers_are_walked(void **st)
{
	struct inner in;
	size_t len;

	(void)st;
	for (unsigned n = 0; n <= 8; n++) {
		len = chain(n);
		assert_int_equal(inner_parse(&in, p, len), 0);
		assert_int_equal(in.proto, 17);
		assert_int_equal(in.src.port, 5353);
	}
	len = chain(9);
	assert_int_equal(inner_parse(&in, p, len), -1);
	len = chain(1);
	p[41] = 200; /* longer than the packet */
	assert_int_equal(inner_parse(&in, p, len), -1);
	v6(44, 60); /* cut short */
	assert_int_equal(inner_parse(&in, p, 44), -1);
	v6(64, 44); /* a later fragment: what follows is not a header */
	p[40] = 60;
	put16(p + 42, 8);
	p[48] = 255;
	assert_int_equal(inner_parse(&in, p, 64), 0);
	assert_true(in.fragment);
	assert_int_equal(in.proto, 60);
}

/* Nothing is read behind the end, whatever the bytes say: the sanitizer watches. */
static void rubbish_is_survived(void **st)
{
	struct inner in;
	uint32_t r = 1;

	(void)st;
	for (unsigned i = 0; i < 200000; i++) {
		size_t len = i % 120;
		uint8_t *exact = malloc(len ? len : 1);

		for (size_t n = 0; n < len; n++)
			exact[n] = (uint8_t)((r = r * 1664525 + 1013904223) >> 24);
		if (len > 6 && i % 2) {
			exact[0] = i % 4 == 1 ? 0x45 : 0x60;
			put16(exact + 2, (unsigned)len);
			if (i % 4 == 3)
				put16(exact + 4, (unsigned)len - 40);
		}
		inner_parse(&in, exact, len);
		free(exact);
	}
}

static void a_new_mark_mends_the_checksum(void **st)
{
	(void)st;
	for (unsigned tos = 0; tos < 256; tos++) {
		v4(60, 17, 1, 2);
		p[1] = (uint8_t)(tos * 7);
		put16(p + 10, 0);
		put16(p + 10, sum_of(p, 20));
		inner_set_tos(p, (uint8_t)tos);
		assert_int_equal(p[1], tos);
		assert_int_equal(sum_of(p, 20), 0);
	}
	v6(60, 17);
	p[1] = 0x0f;
	inner_set_tos(p, 0xb9);
	assert_int_equal(p[0], 0x6b);
	assert_int_equal(p[1], 0x9f);
}

static void marks_combine_as_the_rfc_says(void **st)
{
	/* [inner][outer]: 0 not ECT, 1 ECT(1), 2 ECT(0), 3 CE; -1 drop */
	static const int table[4][4] = { { 0, 0, 0, -1 }, { 1, 1, 1, 3 }, { 2, 1, 2, 3 }, { 3, 3, 3, 3 } };

	(void)st;
	for (uint8_t in = 0; in < 4; in++)
		for (uint8_t out = 0; out < 4; out++) {
			v4(60, 17, 1, 2);
			inner_set_tos(p, (uint8_t)(0xb8 | in));
			assert_int_equal(inner_take_ecn(p, (uint8_t)(0x20 | out)), table[in][out] >= 0);
			if (table[in][out] >= 0)
				assert_int_equal(p[1], 0xb8 | table[in][out]);
			assert_int_equal(sum_of(p, 20), 0);
		}
}

/* The class of the last of `n` packets, evenly `ms` apart. */
static enum wire_class class_of(struct classify *c, uint8_t proto, unsigned port, size_t len, unsigned n, double apart_ms)
{
	static uint64_t now = 1000000;
	struct classify_flow *f;
	enum wire_class class = WIRE_CLASS_CONTROL;
	struct inner in;

	now += 100000;
	for (unsigned i = 0; i < n; i++) {
		v4(len, proto, 4000, port);
		assert_int_equal(inner_parse(&in, p, len), 0);
		class = classify_packet(c, &in, len, now + (uint64_t)(i * apart_ms), &f);
		assert_non_null(f);
	}
	return class;
}

static void classes_follow_from_what_loss_costs(void **st)
{
	struct classify *c = calloc(1, sizeof(*c));

	(void)st;
	assert_int_equal(class_of(c, 17, 5060, 200, 500, 20), WIRE_CLASS_R);   /* a call */
	assert_int_equal(class_of(c, 17, 443, 1200, 16, 0.1), WIRE_CLASS_R);   /* a flow begins */
	assert_int_equal(class_of(c, 17, 443, 1200, 120, 0.1), WIRE_CLASS_B);   /* ... with full force */
	assert_int_equal(class_of(c, 17, 443, 1200, 2000, 0.5), WIRE_CLASS_B); /* 19 Mbit/s */
	assert_int_equal(class_of(c, 17, 443, 1200, 2000, 3), WIRE_CLASS_F);   /* 3.2 Mbit/s */
	assert_int_equal(class_of(c, 17, 443, 1200, 500, 12), WIRE_CLASS_R);   /* 0.8 Mbit/s */
	assert_int_equal(class_of(c, 17, 443, 80, 2000, 2), WIRE_CLASS_R);     /* acknowledgements, 500 a second */
	assert_int_equal(class_of(c, 17, 443, 80, 9000, 0.3), WIRE_CLASS_F);   /* 3300 a second */
	assert_int_equal(class_of(c, 1, 0, 1400, 2000, 1), WIRE_CLASS_R);      /* ping */
	assert_int_equal(class_of(c, 17, 53, 1200, 500, 1), WIRE_CLASS_R);     /* DNS */
	free(c);
}

/* A flood of new flows: the table stays what it is, and an old flow that goes on keeps its place
 * mostly. */
static void the_table_is_bounded(void **st)
{
	struct classify *c = calloc(1, sizeof(*c));
	struct classify_flow *f;
	struct inner in;

	(void)st;
	for (unsigned i = 0; i < 100000; i++) {
		v4(300, 17, i % 60000, i / 60000);
		assert_int_equal(inner_parse(&in, p, 300), 0);
		assert_int_equal(classify_packet(c, &in, 300, i, &f), WIRE_CLASS_R);
		assert_true(f >= c->flow && f < c->flow + CLASSIFY_FLOWS);
		assert_int_equal(f->key, in.flow);
	}
	free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(headers_are_read),
		cmocka_unit_test(lengths_must_fit),
		cmocka_unit_test(pieces_belong_together),
		cmocka_unit_test(extension_headers_are_walked),
		cmocka_unit_test(rubbish_is_survived),
		cmocka_unit_test(a_new_mark_mends_the_checksum),
		cmocka_unit_test(marks_combine_as_the_rfc_says),
		cmocka_unit_test(classes_follow_from_what_loss_costs),
		cmocka_unit_test(the_table_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
