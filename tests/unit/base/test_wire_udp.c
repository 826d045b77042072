/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "wire_udp.h"

/* Each byte of the vectors below is docs/protocol.md's. */
static void dgram(void **state)
{
	struct wire_dgram d = { .type = WIRE_DG_FRAGMENT, .class = WIRE_CLASS_B, .index = 0xabcdef, .low = 0x01020304 }, got;
	uint8_t b[WIRE_DG_MAX + 1] = { 0 };

	(void)state;
	assert_int_equal(wire_put_dgram(b, &d), 8);
	assert_memory_equal(b, "\x5b\xab\xcd\xef\x01\x02\x03\x04", 8);
	assert_int_equal(wire_get_dgram(&got, b, WIRE_DG_OVERHEAD), 8);
	assert_int_equal(got.type, d.type);
	assert_int_equal(got.class, d.class);
	assert_int_equal(got.index, d.index);
	assert_int_equal(got.low, d.low);
	assert_int_equal(wire_get_dgram(&got, b, WIRE_DG_MAX), 8);
	for (size_t len = 0; len < WIRE_DG_OVERHEAD; len++)
		assert_int_equal(wire_get_dgram(&got, b, len), -1);
	assert_int_equal(wire_get_dgram(&got, b, sizeof(b)), -1);
}

static void only_known_first_bytes(void **state)
{
	uint8_t b[WIRE_DG_OVERHEAD] = { 0 };
	struct wire_dgram got;
	unsigned known = 0;

	(void)state;
	for (unsigned first = 0; first < 256; first++) {
		b[0] = (uint8_t)first;
		if (wire_get_dgram(&got, b, sizeof(b)) > 0) {
			known++;
			assert_int_equal(first >> 6, 1);
			assert_true(got.type <= WIRE_DG_FRAGMENT && got.class < WIRE_CLASSES);
		}
	}
	assert_int_equal(known, 4 * WIRE_CLASSES);
	b[0] = 0x78;
	assert_int_equal(wire_get_dgram(&got, b, 8), 8);
	assert_int_equal(got.type, WIRE_DG_UNKNOWN);
	assert_int_equal(wire_get_dgram(&got, b, 9), -1);
}

static void frames(void **state)
{
	const uint8_t *value;
	uint8_t b[64], type;
	size_t len, n;

	(void)state;
	n = wire_put_ctl(b, WIRE_CTL_CHALLENGE, "12345678", 8);
	n += wire_put_ctl(b + n, WIRE_CTL_PAD, NULL, 0);
	assert_int_equal(n, 12);
	assert_int_equal(wire_get_ctl(&type, &value, &len, b, n), 10);
	assert_int_equal(type, WIRE_CTL_CHALLENGE);
	assert_int_equal(len, 8);
	assert_ptr_equal(value, b + 2);
	assert_int_equal(wire_get_ctl(&type, &value, &len, b + 10, 2), 2);
	assert_int_equal(len, 0);
	assert_int_equal(wire_get_ctl(&type, &value, &len, b, 0), 0);
	for (size_t cut = 1; cut < 10; cut++)
		assert_int_equal(wire_get_ctl(&type, &value, &len, b, cut), -1);
}

static void probe(void **state)
{
	struct wire_probe p = { .path = 7, .use = WIRE_USE_NOT, .seq = 0x01020304, .time_us = 0x05060708, .packets = 0x090a0b0c,
				.bytes = 0x0d0e0f1011121314 }, got;
	uint8_t b[WIRE_PROBE_LEN];

	(void)state;
	assert_int_equal(wire_put_probe(b, &p), 22);
	assert_memory_equal(b, "\x07\x03\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14", 22);
	assert_int_equal(wire_get_probe(&got, b, sizeof(b)), 22);
	assert_true(got.seq == p.seq && got.time_us == p.time_us && got.packets == p.packets && got.bytes == p.bytes);
	assert_int_equal(wire_get_probe(&got, b, sizeof(b) - 1), -1);
	b[0] = 8;
	assert_int_equal(wire_get_probe(&got, b, sizeof(b)), -1);
	b[0] = 0, b[1] = 4;
	assert_int_equal(wire_get_probe(&got, b, sizeof(b)), -1);
}

static void report(void **state)
{
	struct wire_report r = { .path = 1, .flags = WIRE_REPORT_HEARD, .seq = 2, .time_us = 3, .hold_us = 4, .packets = 5, .bytes = 6,
				 .queue_us = 7, .rate = 0xfffffffe }, got;
	uint8_t b[WIRE_REPORT_LEN];

	(void)state;
	assert_int_equal(wire_put_report(b, &r), 34);
	assert_memory_equal(b, "\x01\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\x05\0\0\0\0\0\0\0\x06\0\0\0\x07\xff\xff\xff\xfe", 34);
	assert_int_equal(wire_get_report(&got, b, sizeof(b)), 34);
	assert_true(got.hold_us == 4 && got.packets == 5 && got.bytes == 6 && got.queue_us == 7 && got.rate == 0xfffffffe);
	assert_int_equal(wire_get_report(&got, b, sizeof(b) - 1), -1);
	b[0] = 8;
	assert_int_equal(wire_get_report(&got, b, sizeof(b)), -1);
}

static void ack(void **state)
{
	struct wire_ack a = { .type = WIRE_DG_DATA, .class = WIRE_CLASS_R, .top = 0x0102030405060708, .n = 2, .map = { 0x81, 0xff } }, got;
	uint8_t b[WIRE_ACK_LEN_MIN + WIRE_ACK_MAP + 1] = { 0 };

	(void)state;
	assert_int_equal(wire_put_ack(b, &a), 13);
	assert_memory_equal(b, "\0\x01\x01\x02\x03\x04\x05\x06\x07\x08\x02\x81\xff", 13);
	assert_int_equal(wire_get_ack(&got, b, 13), 13);
	assert_true(got.top == a.top && got.n == 2 && got.map[1] == 0xff && got.map[2] == 0);
	for (size_t cut = 0; cut < 13; cut++)
		assert_int_equal(wire_get_ack(&got, b, cut), -1);
	b[10] = WIRE_ACK_MAP + 1;
	assert_int_equal(wire_get_ack(&got, b, sizeof(b)), -1);
	b[10] = 2, b[0] = WIRE_DG_UNKNOWN;
	assert_int_equal(wire_get_ack(&got, b, sizeof(b)), -1);
	b[0] = 0, b[1] = WIRE_CLASSES;
	assert_int_equal(wire_get_ack(&got, b, sizeof(b)), -1);
}

static void pieces(void **state)
{
	struct wire_fragment f = { .id = 0x1234, .offset = 0x2bcd, .more = 1 }, gotf;
	struct wire_repair r = { .base = 0x0102030405060708, .window = 32, .seed = 0x0a0b, .len_xor = 0x0c0d }, gotr;
	uint8_t b[16];

	(void)state;
	assert_int_equal(wire_put_fragment(b, &f), 4);
	assert_memory_equal(b, "\x12\x34\x57\x9b", 4);
	assert_int_equal(wire_get_fragment(&gotf, b, 4), 4);
	assert_true(gotf.id == f.id && gotf.offset == f.offset && gotf.more == 1);
	assert_int_equal(wire_get_fragment(&gotf, b, 3), -1);
	assert_int_equal(wire_put_repair(b, &r), 13);
	assert_memory_equal(b, "\x01\x02\x03\x04\x05\x06\x07\x08\x20\x0a\x0b\x0c\x0d", 13);
	assert_int_equal(wire_get_repair(&gotr, b, 13), 13);
	assert_true(gotr.base == r.base && gotr.window == 32 && gotr.seed == r.seed && gotr.len_xor == r.len_xor);
	assert_int_equal(wire_get_repair(&gotr, b, 12), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dgram), cmocka_unit_test(only_known_first_bytes), cmocka_unit_test(frames), cmocka_unit_test(probe),
		cmocka_unit_test(report), cmocka_unit_test(ack), cmocka_unit_test(pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
