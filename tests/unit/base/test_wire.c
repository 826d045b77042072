/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "wire.h"

/* Reads with every shorter length first: 0 each time, and never a byte beyond (each length is a
 * block of its own, so the address sanitizer watches the end). */
#define SHORTER(get, s, bytes, total)                                            \
	do {                                                                     \
		for (size_t n_ = 0; n_ < (total); n_++) {                        \
			uint8_t *cut_ = test_malloc(n_ + 1);                     \
			memcpy(cut_ + 1, bytes, n_);                             \
			assert_int_equal(get(s, cut_ + 1, n_), 0);               \
			test_free(cut_);                                         \
		}                                                                \
		assert_int_equal(get(s, bytes, total), total);                   \
	} while (0)

static void fill(void *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)p)[i] = (uint8_t)(0xa0 + i);
}

static void knock(void **st)
{
	struct wire_knock k, got;
	uint8_t b[WIRE_KNOCK_LEN];

	(void)st;
	fill(&k, sizeof(k));
	assert_int_equal(wire_put_knock(b, &k), 34);
	assert_memory_equal(b, "\x01\x01\xa0", 3);
	SHORTER(wire_get_knock, &got, b, sizeof(b));
	assert_memory_equal(&k, &got, sizeof(k));
	b[1] = 0;
	assert_int_equal(wire_get_knock(&got, b, 2), -1);
	b[1] = 255;
	assert_int_equal(wire_get_knock(&got, b, sizeof(b)), -1);
	assert_int_equal(wire_get_knock(&got, (const uint8_t *)"GET / HTTP/1.1", 14), -1);
	assert_int_equal(wire_get_knock(&got, (const uint8_t *)"\x16\x03\x01", 3), -1);
}

static void attach(void **st)
{
	struct wire_attach a, got;
	uint8_t b[WIRE_ATTACH_LEN];

	(void)st;
	fill(&a, sizeof(a));
	a.ctr = 0x0102030405060708;
	assert_int_equal(wire_put_attach(b, &a), 60);
	assert_memory_equal(b, "\x02\x01\x00\x38", 4);
	assert_memory_equal(b + 20, "\x01\x02\x03\x04\x05\x06\x07\x08", 8);
	SHORTER(wire_get_attach, &got, b, sizeof(b));
	assert_memory_equal(a.sid, got.sid, sizeof(a.sid));
	assert_memory_equal(a.salt, got.salt, sizeof(a.salt));
	assert_memory_equal(a.tag, got.tag, sizeof(a.tag));
	assert_int_equal(a.ctr, got.ctr);
	for (int len = 0; len <= 0xffff; len++) { /* any other length */
		wire_put16(b + 2, (uint16_t)len);
		assert_int_equal(wire_get_attach(&got, b, sizeof(b)), len == 56 ? 60 : -1);
	}
}

static void reset(void **st)
{
	struct wire_reset r, got;
	uint8_t b[WIRE_RESET_LEN];

	(void)st;
	fill(&r, sizeof(r));
	assert_int_equal(wire_put_reset(b, &r), 34);
	SHORTER(wire_get_reset, &got, b, sizeof(b));
	assert_memory_equal(&r, &got, sizeof(r));
	b[0] = 2;
	assert_int_equal(wire_get_reset(&got, b, 1), -1);
}

/* All 65,536 headers: below the tag or above 16,016 is never a record. */
static void record_lengths(void **st)
{
	enum wire_kind kind;
	uint8_t b[2] = { 0 };
	size_t len;

	(void)st;
	assert_int_equal(wire_get_record_hdr(&kind, &len, b, 0), 0);
	assert_int_equal(wire_get_record_hdr(&kind, &len, b, 1), 0);
	for (unsigned v = 0; v <= 0xffff; v++) {
		size_t n = v & 0x3fff;
		ssize_t r;

		wire_put16(b, (uint16_t)v);
		r = wire_get_record_hdr(&kind, &len, b, 2);
		assert_int_equal(r, n >= 16 && n <= 16016 ? 2 : -1);
		if (r > 0) {
			assert_int_equal(len, n);
			assert_int_equal(kind, v >> 14);
			wire_put_record_hdr(b, kind, len - WIRE_TAG);
			assert_int_equal(wire_get16(b), v);
		}
	}
}

static void open_(void **st)
{
	struct wire_open o = { .mode = WIRE_CLEAR }, got;
	uint8_t b[WIRE_OPEN_LEN];

	(void)st;
	assert_int_equal(addr_parse(&o.dst, "192.0.2.1:443", 0), 0);
	assert_int_equal(addr_parse(&o.src, "[2001:db8::5]:50000", 0), 0);
	assert_int_equal(wire_put_open(b, &o), 38);
	SHORTER(wire_get_open, &got, b, sizeof(b));
	assert_int_equal(got.mode, WIRE_CLEAR);
	assert_true(addr_equal(&o.dst, &got.dst));
	assert_true(addr_equal(&o.src, &got.src));
	assert_int_equal(got.flags, 0);
	b[1] = WIRE_OPEN_KEEP;
	assert_int_equal(wire_get_open(&got, b, sizeof(b)), 38);
	assert_int_equal(got.flags, WIRE_OPEN_KEEP);
	for (int i = 2; i < 256; i++) { /* flags that nobody knows */
		b[1] = (uint8_t)i;
		assert_int_equal(wire_get_open(&got, b, sizeof(b)), -1);
	}
	b[1] = 0;
	for (int i = 2; i < 256; i++) {
		b[0] = (uint8_t)i;
		assert_int_equal(wire_get_open(&got, b, 1), -1);
	}
}

static void resume(void **st)
{
	struct wire_resume r = { .ctr = 0x0102030405060708 }, got;
	uint8_t b[WIRE_RESUME_LEN + 1];

	(void)st;
	memset(r.sid, 0xab, sizeof(r.sid));
	assert_int_equal(wire_put_resume(b, &r), 26);
	SHORTER(wire_get_resume, &got, b, WIRE_RESUME_LEN);
	assert_int_equal(got.ctr, r.ctr);
	assert_memory_equal(got.sid, r.sid, sizeof(r.sid));
	assert_int_equal(wire_get_resume(&got, b, sizeof(b)), -1);
	for (int i = 1; i < 256; i++) {
		b[1] = (uint8_t)i;
		assert_int_equal(wire_get_resume(&got, b, WIRE_RESUME_LEN), -1);
	}
	b[1] = 0;
	for (int i = 0; i < 256; i++) {
		b[0] = (uint8_t)i;
		assert_int_equal(wire_get_resume(&got, b, WIRE_RESUME_LEN), i == 2 ? 26 : -1);
	}
}

static void answer(void **st)
{
	struct wire_answer a = { .what = WIRE_ACCEPT, .status = WIRE_FORBIDDEN }, got;
	uint8_t b[WIRE_ANSWER_LEN];

	(void)st;
	assert_int_equal(wire_put_answer(b, &a), 3);
	assert_memory_equal(b, "\x01\x01\x20", 3);
	SHORTER(wire_get_answer, &got, b, sizeof(b));
	assert_int_equal(got.what, WIRE_ACCEPT);
	assert_int_equal(got.status, WIRE_FORBIDDEN);
	b[0] = 2;
	assert_int_equal(wire_get_answer(&got, b, sizeof(b)), -1);
}

static void status_names(void **st)
{
	(void)st;
	for (unsigned i = 0; i <= 0xffff; i++)
		assert_non_null(wire_status_name((uint16_t)i));
	assert_string_equal(wire_status_name(WIRE_WAS_RESET), "connection reset (96)");
}

static void frames(void **st)
{
	uint8_t b[WIRE_FRAME_HDR], type;
	size_t len;

	(void)st;
	for (size_t n = 0; n <= 0xffff; n++) {
		wire_put_frame_hdr(b, WIRE_PING, n);
		assert_int_equal(wire_get_frame_hdr(&type, &len, b, 2), 0);
		assert_int_equal(wire_get_frame_hdr(&type, &len, b, 3), n <= WIRE_FRAME_MAX ? 3 : -1);
		if (n <= WIRE_FRAME_MAX)
			assert_int_equal(len, n);
	}
	assert_int_equal(type, WIRE_PING);
	for (size_t n = 0; n <= 0xffff; n++) { /* packets may be longer, and nothing else */
		wire_put_frame_hdr(b, WIRE_PACKET, n);
		assert_int_equal(wire_get_frame_hdr(&type, &len, b, 3), n <= 1476 ? 3 : -1);
		wire_put_frame_hdr(b, WIRE_CARRIER, n);
		assert_int_equal(wire_get_frame_hdr(&type, &len, b, 3), n <= WIRE_FRAME_MAX ? 3 : -1);
	}
}

static void carrier(void **st)
{
	enum wire_carrier c = WIRE_BY_STREAM, got;
	uint8_t b[3] = { 0 };

	(void)st;
	assert_int_equal(wire_put_carrier(b, &c), 1);
	SHORTER(wire_get_carrier, &got, b, WIRE_CARRIER_LEN);
	assert_int_equal(got, WIRE_BY_STREAM);
	assert_int_equal(wire_get_carrier(&got, b, sizeof(b)), 1); /* a later version says more */
	for (unsigned i = 0; i < 256; i++) {
		b[0] = (uint8_t)i;
		assert_int_equal(wire_get_carrier(&got, b, 1), i < 2 ? 1 : -1);
	}
}

static void hello(void **st)
{
	struct wire_hello h, got;
	uint8_t b[WIRE_HELLO_LEN + 5] = { 0 };

	(void)st;
	fill(&h, sizeof(h));
	assert_int_equal(wire_put_hello(b, &h), 18);
	SHORTER(wire_get_hello, &got, b, WIRE_HELLO_LEN);
	assert_memory_equal(&h, &got, sizeof(h));
	assert_int_equal(wire_get_hello(&got, b, sizeof(b)), WIRE_HELLO_LEN); /* a later version says more */
	b[0] = 0;
	assert_int_equal(wire_get_hello(&got, b, sizeof(b)), -1);
}

static void welcome(void **st)
{
	struct wire_welcome w = { .version = 1, .flags = 2, .aead = 2, .mtu = 1400, .pool_cap = 64, .pool_age = 120,
				  .rekey = 3600, .relays = 2000, .opens = 200, .index = 0xabcdef };
	struct wire_welcome got;
	uint8_t b[WIRE_WELCOME_LEN];

	(void)st;
	fill(w.sid, 16);
	fill(w.token, 16);
	fill(w.boot, 16);
	fill(w.inner4, 4);
	fill(w.inner6, 16);
	assert_int_equal(wire_put_welcome(b, &w), 92);
	assert_memory_equal(b + 84, "\0\0\0\xc8\0\xab\xcd\xef", 8);
	SHORTER(wire_get_welcome, &got, b, sizeof(b));
	assert_memory_equal(got.sid, w.sid, 16 * 3 + 4 + 16);
	assert_int_equal(got.mtu, 1400);
	assert_int_equal(got.pool_cap, 64);
	assert_int_equal(got.pool_age, 120);
	assert_int_equal(got.rekey, 3600);
	assert_int_equal(got.relays, 2000);
	assert_int_equal(got.opens, 200);
	assert_int_equal(got.index, 0xabcdef);
	b[88] = 1; /* an index has 24 bits */
	assert_int_equal(wire_get_welcome(&got, b, sizeof(b)), -1);
	b[88] = 0;
	b[2] = 0;
	assert_int_equal(wire_get_welcome(&got, b, sizeof(b)), -1);
	b[2] = 3;
	assert_int_equal(wire_get_welcome(&got, b, sizeof(b)), -1);
	b[2] = 1, b[3] = 1;
	assert_int_equal(wire_get_welcome(&got, b, sizeof(b)), -1);
}

static void revoke(void **st)
{
	struct wire_revoke r = { .ctr = 77, .verdict = WIRE_SERVED }, got;
	uint8_t b[WIRE_REVOKED_LEN];

	(void)st;
	fill(r.sid, 16);
	assert_int_equal(wire_put_revoke(b, &r), 24);
	SHORTER(wire_get_revoke, &got, b, WIRE_REVOKE_LEN);
	assert_int_equal(got.ctr, 77);
	assert_int_equal(wire_put_revoked(b, &r), 25);
	SHORTER(wire_get_revoked, &got, b, WIRE_REVOKED_LEN);
	assert_int_equal(got.verdict, WIRE_SERVED);
	assert_memory_equal(got.sid, r.sid, 16);
	b[24] = 2;
	assert_int_equal(wire_get_revoked(&got, b, sizeof(b)), -1);
}

static void tls_is_recognised(void **st)
{
	const uint8_t client_hello[] = { 22, 3, 1, 2, 0, 1, 0, 1, 0xfc };

	(void)st;
	for (size_t n = 0; n <= sizeof(client_hello); n++)
		assert_int_equal(wire_is_tls(client_hello, n), n >= 3);
	assert_false(wire_is_tls((const uint8_t *)"GET / HTTP/1.1\r\n", 16));
	assert_false(wire_is_tls((const uint8_t *)"SSH-2.0-x\r\n", 11));
	assert_false(wire_is_tls((const uint8_t *)"\x17\x03\x03\x00\x20", 5));	   /* application data */
	assert_false(wire_is_tls((const uint8_t *)"\x16\x02\x03\x00\x20", 5));
	assert_false(wire_is_tls((const uint8_t *)"\x16\x03\x05\x00\x20", 5));
	assert_false(wire_is_tls((const uint8_t *)"\x16\x03\x01\x00\x00", 5));
	assert_false(wire_is_tls((const uint8_t *)"\x16\x03\x01\x40\x01", 5));
	assert_false(wire_is_tls((const uint8_t *)"\x16\x03\x01\x00\x20\x02", 6)); /* a ServerHello */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(knock), cmocka_unit_test(attach),  cmocka_unit_test(reset),
		cmocka_unit_test(record_lengths), cmocka_unit_test(open_),
		cmocka_unit_test(resume),   cmocka_unit_test(answer),
		cmocka_unit_test(status_names), cmocka_unit_test(frames), cmocka_unit_test(carrier),  cmocka_unit_test(hello),
		cmocka_unit_test(welcome), cmocka_unit_test(revoke),  cmocka_unit_test(tls_is_recognised),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
