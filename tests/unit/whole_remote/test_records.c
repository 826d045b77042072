/* SPDX-License-Identifier: BSD-2-Clause */
/* What is malformed on the attached connections of one who is known: the remote against a bad
 * gateway. */
#include "caller.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

#include "seal.h"

#define POOL_AGE_MS (120 * 1200) /* whoever waits is reset then */

/* A relay that has moved a byte each way. */
struct relayed {
	struct world *w;
	struct gateway *g;
	struct upstream *up;
	struct arrival *dest;
};

static struct relayed relay_a_byte(struct world *w)
{
	struct relayed r = { .w = w, .g = gateway_call(w, USER_A) };

	r.up = upstream_new(r.g);
	assert_int_equal(upstream_open(r.up, NULL, ""), WIRE_OK);
	upstream_send(r.up, WIRE_DATA, "1", 1);
	upstream_expect_echo(r.up, "1", 1);
	r.dest = world_last(w);
	return r;
}

static void both_ends_are_reset(struct relayed *r)
{
	assert_int_equal(upstream_ending(r->up), AT_RESET);
	world_until(r->w, r->dest->end != STILL_OPEN);
	assert_int_equal(r->dest->end, AT_RESET);
	assert_int_equal(users_relays(r->w->r.users), 0);
}

/* --- OPEN --- */

static size_t resume_plain(uint8_t *out)
{
	return wire_put_resume(out, &(struct wire_resume){ .ctr = 0 });
}

static void refused_as_malformed(struct gateway *g, const uint8_t *plain, size_t len, const char *why)
{
	struct upstream *up = upstream_new(g);
	struct wire_answer a;
	size_t more;

	upstream_send(up, WIRE_OPEN, plain, len);
	a = upstream_answer(up, NULL, &more);
	if (a.what != WIRE_ACCEPT || a.status != WIRE_MALFORMED || more)
		fail_msg("%s: %d, status %#x, %zu bytes", why, a.what, a.status, more);
	upstream_abort(up);
}

static void a_malformed_open_is_refused_and_dials_nobody(void **state)
{
	static const struct { size_t at, len; uint8_t value; const char *why; } bad[] = {
		{ 0, 0, 0, "empty" },
		{ 0, WIRE_OPEN_LEN - 1, WIRE_SEALED, "one byte short" },
		{ 1, WIRE_OPEN_LEN, 2, "a flag nobody knows" },
		{ 1, WIRE_OPEN_LEN, 255, "all flags" },
		{ 0, WIRE_OPEN_LEN, 2, "mode 2" },
		{ 0, WIRE_OPEN_LEN, 255, "mode 255" },
	};
	struct world *w = *state;
	struct gateway *g = gateway_call(w, USER_A);
	uint8_t plain[WIRE_OPEN_LEN];

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		open_plain(plain, &w->server_addr, "", 0);
		plain[bad[i].at] = bad[i].value;
		refused_as_malformed(g, plain, bad[i].len, bad[i].why);
	}
	assert_int_equal(w->dialled, 0);
}

static void a_malformed_resume_is_refused(void **state)
{
	struct world *w = *state;
	struct gateway *g = gateway_call(w, USER_A);
	uint8_t plain[WIRE_RESUME_LEN + 1] = { 0 };

	resume_plain(plain);
	refused_as_malformed(g, plain, WIRE_RESUME_LEN - 1, "one byte short");
	refused_as_malformed(g, plain, WIRE_RESUME_LEN + 1, "one byte long");
	plain[1] = 1;
	refused_as_malformed(g, plain, WIRE_RESUME_LEN, "reserved is not 0");
	assert_int_equal(w->dialled, 0);
}

static void clear_is_unsupported_where_the_config_does_not_allow_it(void **state)
{
	struct world *w = *state;
	struct upstream *up = upstream_new(gateway_call(w, USER_A));
	uint8_t plain[WIRE_OPEN_LEN + 3];

	open_plain(plain, &w->server_addr, "\x16\x03\x01", 3);
	plain[0] = WIRE_CLEAR;
	upstream_send(up, WIRE_OPEN, plain, sizeof(plain));
	assert_int_equal(upstream_answer(up, NULL, NULL).status, WIRE_UNSUPPORTED);
	assert_int_equal(w->dialled, 0);
}

static void the_remotes_inside_is_no_destination(void **state)
{
	static const char *const inside[] = { "127.0.0.1", "::1", "0.0.0.0", "11.7.0.2", "2a11:7::2", "169.254.169.254", "10.0.0.1" };
	struct world *w = *state;
	struct gateway *g = gateway_call(w, USER_A);
	struct addr dst;

	for (size_t i = 0; i < sizeof(inside) / sizeof(*inside); i++) {
		assert_int_equal(addr_parse(&dst, inside[i], 7200), 0);
		if (upstream_open(upstream_new(g), &dst, "") != WIRE_FORBIDDEN)
			fail_msg("%s was dialled", inside[i]);
	}
	assert_int_equal(counters.refused_policy, sizeof(inside) / sizeof(*inside));
}

static void a_first_record_that_is_no_open_is_a_forgery(void **state)
{
	static const enum wire_kind kinds[] = { WIRE_DATA, WIRE_FIN, WIRE_RST };
	struct world *w = *state;
	struct gateway *g = gateway_call(w, USER_A);
	size_t len;

	for (size_t i = 0; i < 3; i++) {
		struct upstream *up = upstream_new(g);
		uint8_t byte;

		upstream_send(up, kinds[i], "", 0);
		assert_int_equal(world_listen(w, up->fd, 1000, &byte, 1, &len), AT_RESET);
		assert_int_equal(len, 0);
	}
	assert_int_equal(counters.records_forged, 3);
}

#define EARLY 9000
#define MORE 16000

/* OPEN, DATA and FIN as one run of bytes. */
static size_t whole_request(struct upstream *up, const uint8_t *data, uint8_t *out)
{
	uint8_t plain[WIRE_RECORD_MAX];
	size_t n = upstream_seal(up, WIRE_OPEN, plain, open_plain(plain, &up->world->server_addr, data, EARLY), out);

	n += upstream_seal(up, WIRE_DATA, data + EARLY, MORE, out + n);
	return n + upstream_seal(up, WIRE_FIN, "", 0, out + n);
}

static void an_open_in_pieces_is_one_and_what_follows_it_is_not_lost(void **state)
{
	static uint8_t data[EARLY + MORE], request[EARLY + MORE + 200], first[WIRE_RECORD_MAX];
	struct world *w = *state;
	struct upstream *up = upstream_new(gateway_call(w, USER_A));
	size_t len, cuts[] = { 1, 2, 3, 500, 0, 0 }, at = 0;
	struct wire_answer a;

	seal_random(data, sizeof(data));
	cuts[5] = len = whole_request(up, data, request);
	cuts[4] = len - 1;
	for (size_t i = 0; i < 6; at = cuts[i++]) {
		world_say(up->fd, request + at, cuts[i] - at);
		world_wait(w, 10);
	}
	a = upstream_answer(up, first, &len);
	assert_int_equal(a.what, WIRE_ACCEPT);
	assert_int_equal(a.status, WIRE_OK);
	assert_memory_equal(first, data, len);
	upstream_expect_echo(up, data + len, sizeof(data) - len);
	assert_int_equal(upstream_read(up, NULL, &len), WIRE_FIN);
	assert_int_equal(len, 0);
	assert_int_equal(world_listen(w, up->fd, 1000, first, 1, &len), AT_EOF);
}

/* Sends an OPEN with one bit flipped behind a good ATTACH, and perhaps the end of the stream. */
static int send_flipped(struct gateway *g, size_t bit, bool end)
{
	uint8_t message[MESSAGE_MAX];
	size_t len = gateway_cold(g, NEXT, "early", message);
	int fd = world_connect(g->world, NULL);

	message[WIRE_ATTACH_LEN + bit / 8] ^= (uint8_t)(1 << bit % 8);
	world_say(fd, message, len);
	if (end)
		shutdown(fd, SHUT_WR);
	return fd;
}

#define LENGTH_BITS 16
#define OPEN_BITS (8 * (WIRE_RECORD_OVERHEAD + WIRE_OPEN_LEN + 5))

static void expect_reset(struct world *w, int fd, size_t bit)
{
	enum ending how = world_ending(w, fd);

	if (how != AT_RESET)
		fail_msg("bit %zu: %d", bit, how);
	world_abort(fd);
}

static void a_flipped_bit_of_open_dials_nobody(void **state)
{
	struct world *w = *state;
	struct gateway *g = gateway_call(w, USER_A);

	for (size_t bit = LENGTH_BITS; bit < OPEN_BITS; bit++)
		expect_reset(w, send_flipped(g, bit, false), bit);
	assert_int_equal(w->dialled, 0);
	assert_int_equal(counters.records_forged, OPEN_BITS - LENGTH_BITS);
}

/* A length that grew is waited for, until the connection is too old. */
static void a_flipped_bit_of_opens_length_dials_nobody(void **state)
{
	struct world *w = *state;
	struct gateway *g = gateway_call(w, USER_A);
	int fd[LENGTH_BITS];

	for (size_t bit = 0; bit < LENGTH_BITS; bit++)
		fd[bit] = send_flipped(g, bit, false);
	world_wait(w, POOL_AGE_MS);
	for (size_t bit = 0; bit < LENGTH_BITS; bit++)
		expect_reset(w, fd[bit], bit);
	assert_int_equal(w->dialled, 0);
}

static void a_flipped_bit_of_open_and_then_the_end_dials_nobody(void **state)
{
	struct world *w = *state;
	struct gateway *g = gateway_call(w, USER_A);

	for (size_t bit = 0; bit < OPEN_BITS; bit++)
		expect_reset(w, send_flipped(g, bit, true), bit);
	assert_int_equal(w->dialled, 0);
}

static void a_request_without_its_last_byte_dials_nobody(void **state)
{
	struct world *w = *state;
	struct gateway *g = gateway_call(w, USER_A);
	uint8_t message[MESSAGE_MAX];
	size_t len;
	struct upstream *up = upstream_cold(g, "cut", message, &len);

	world_say(up->fd, message, len - 1);
	shutdown(up->fd, SHUT_WR);
	assert_int_equal(upstream_ending(up), AT_RESET);
	assert_int_equal(w->dialled, 0);
	assert_int_equal(requests_waiting(w->r.requests, world_user(w, USER_A)), 0);
}

/* --- records --- */

static const uint16_t impossible[] = { 0, 15, WIRE_RECORD_MAX + 17, 16383 };

static void say_impossible(struct upstream *up, unsigned i)
{
	uint8_t raw[2 + 16] = { 0 };

	wire_put16(raw, (uint16_t)((i % 4) << 14 | impossible[i / 4]));
	world_say(up->fd, raw, sizeof(raw));
}

static void an_impossible_length_resets_a_relay(void **state)
{
	for (unsigned i = 0; i < 16; i++) {
		struct relayed r = relay_a_byte(*state);

		say_impossible(r.up, i);
		both_ends_are_reset(&r);
	}
}

static void an_impossible_length_in_the_place_of_open_is_a_reset(void **state)
{
	struct world *w = *state;
	struct gateway *g = gateway_call(w, USER_A);

	for (unsigned i = 0; i < 16; i++) {
		struct upstream *up = upstream_new(g);
		uint8_t byte;
		size_t len;

		say_impossible(up, i);
		assert_int_equal(world_listen(w, up->fd, 1000, &byte, 1, &len), AT_RESET);
		assert_int_equal(len, 0);
	}
	assert_int_equal(counters.records_forged, 16);
}

static void the_longest_record_is_one(void **state)
{
	static uint8_t data[WIRE_RECORD_MAX];
	struct relayed r = relay_a_byte(*state);

	seal_random(data, sizeof(data));
	upstream_send(r.up, WIRE_DATA, data, sizeof(data));
	upstream_expect_echo(r.up, data, sizeof(data));
}

struct said {
	enum wire_kind kind;
	const char *plain;
	size_t len;
};

static void nothing_may_follow_fin(void **state)
{
	static const struct said after[] = { { WIRE_DATA, "more", 4 }, { WIRE_DATA, "", 0 }, { WIRE_FIN, "", 0 }, { WIRE_OPEN, "again", 5 } };

	for (size_t i = 0; i < sizeof(after) / sizeof(*after); i++) {
		struct relayed r = relay_a_byte(*state);
		uint8_t both[100];
		size_t n = upstream_seal(r.up, WIRE_FIN, "", 0, both);

		n += upstream_seal(r.up, after[i].kind, after[i].plain, after[i].len, both + n);
		world_say(r.up->fd, both, n);
		assert_int_equal(upstream_ending(r.up), AT_RESET);
	}
}

static void a_record_of_the_wrong_shape_resets_both_ends(void **state)
{
	static const struct said wrong[] = { { WIRE_OPEN, NULL, WIRE_OPEN_LEN }, { WIRE_FIN, "x", 1 }, { WIRE_RST, "", 0 },
					     { WIRE_RST, "\1", 1 }, { WIRE_RST, "\1\x60\0", 3 } };
	uint8_t open[WIRE_OPEN_LEN];

	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		struct relayed r = relay_a_byte(*state);

		open_plain(open, &r.w->server_addr, "", 0);
		upstream_send(r.up, wrong[i].kind, wrong[i].plain ? wrong[i].plain : (const char *)open, wrong[i].len);
		both_ends_are_reset(&r);
	}
}

static void an_rst_record_resets_the_destination(void **state)
{
	struct relayed r = relay_a_byte(*state);

	upstream_send(r.up, WIRE_RST, "\1\x60", 2);
	world_until(r.w, r.dest->end != STILL_OPEN);
	assert_int_equal(r.dest->end, AT_RESET);
}

static void a_flipped_bit_ends_one_relay_and_no_other(void **state)
{
	struct relayed r = relay_a_byte(*state), other = relay_a_byte(*state);
	uint8_t record[200], x[100] = { 0 };
	size_t len = upstream_seal(r.up, WIRE_DATA, x, sizeof(x), record);

	record[50] ^= 4;
	world_say(r.up->fd, record, len);
	assert_int_equal(upstream_ending(r.up), AT_RESET);
	world_until(r.w, r.dest->end != STILL_OPEN);
	assert_int_equal(r.dest->end, AT_RESET);
	assert_int_equal(counters.relays_failed, 1);
	upstream_send(other.up, WIRE_DATA, "alive", 5);
	upstream_expect_echo(other.up, "alive", 5);
}

/* Three records of one byte; they are said in this order. */
static void say_in_order(struct relayed *r, const char *order)
{
	uint8_t record[3][32], all[100];
	size_t len = 0, n = 0;

	for (size_t i = 0; i < 3; i++)
		len = upstream_seal(r->up, WIRE_DATA, &"123"[i], 1, record[i]);
	for (; *order; order++, n += len)
		memcpy(all + n, record[*order - '1'], len);
	world_say(r->up->fd, all, n);
}

static void records_keep_their_order(void **state)
{
	static const struct { const char *order; size_t may_come; } wrong[] = { { "21", 0 }, { "11", 1 }, { "13", 1 } };

	for (size_t i = 0; i < 3; i++) {
		struct relayed r = relay_a_byte(*state);
		uint8_t got[100];
		size_t len;

		say_in_order(&r, wrong[i].order);
		assert_int_equal(world_listen(r.w, r.up->fd, 1000, got, sizeof(got), &len), AT_RESET);
		assert_true(len == 0 || len == wrong[i].may_come * (WIRE_RECORD_OVERHEAD + 1));
		assert_in_range(r.dest->bytes, 1, 1 + wrong[i].may_come); /* it had a byte before */
	}
}

static void what_came_down_is_no_record_up(void **state)
{
	struct relayed r = relay_a_byte(*state);
	uint8_t raw[100];
	size_t len;

	upstream_send(r.up, WIRE_DATA, "mirror", 6);
	world_listen(r.w, r.up->fd, 1000, raw, WIRE_RECORD_OVERHEAD + 6, &len);
	assert_int_equal(len, WIRE_RECORD_OVERHEAD + 6);
	world_say(r.up->fd, raw, len);
	both_ends_are_reset(&r);
}

static void attached_sent_back_is_no_open(void **state)
{
	struct world *w = *state;
	struct gateway *g = gateway_call(w, USER_A);
	uint8_t attach[WIRE_ATTACH_LEN], raw[WIRE_RECORD_OVERHEAD + WIRE_ANSWER_LEN];
	struct seal_key keys[2];
	int fd = world_connect(w, NULL);
	size_t len;

	gateway_attach(g, NEXT, attach, keys);
	world_say(fd, attach, sizeof(attach));
	world_listen(w, fd, 1000, raw, sizeof(raw), &len);
	assert_int_equal(len, sizeof(raw));
	world_say(fd, raw, sizeof(raw));
	assert_int_equal(world_listen(w, fd, 1000, raw, 1, &len), AT_RESET);
	assert_int_equal(len, 0);
	world_abort(fd);
}

static void the_end_without_fin_is_a_cut_and_the_destination_sees_a_reset(void **state)
{
	struct relayed r = relay_a_byte(*state);

	shutdown(r.up->fd, SHUT_WR);
	both_ends_are_reset(&r);
	assert_int_equal(counters.streams_cut, 1);
}

static void a_record_cut_short_is_a_cut_and_nothing_of_it_arrives(void **state)
{
	struct relayed r = relay_a_byte(*state);
	uint8_t record[1100], x[1000] = { 0 };

	upstream_seal(r.up, WIRE_DATA, x, sizeof(x), record);
	world_say(r.up->fd, record, 500);
	shutdown(r.up->fd, SHUT_WR);
	both_ends_are_reset(&r);
	assert_int_equal(counters.streams_cut, 1);
	assert_int_equal(r.dest->bytes, 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_malformed_open_is_refused_and_dials_nobody),
		TEST(a_malformed_resume_is_refused),
		TEST(clear_is_unsupported_where_the_config_does_not_allow_it),
		TEST(the_remotes_inside_is_no_destination),
		TEST(a_first_record_that_is_no_open_is_a_forgery),
		TEST(an_open_in_pieces_is_one_and_what_follows_it_is_not_lost),
		TEST(a_flipped_bit_of_open_dials_nobody),
		TEST(a_flipped_bit_of_opens_length_dials_nobody),
		TEST(a_flipped_bit_of_open_and_then_the_end_dials_nobody),
		TEST(a_request_without_its_last_byte_dials_nobody),
		TEST(an_impossible_length_resets_a_relay),
		TEST(an_impossible_length_in_the_place_of_open_is_a_reset),
		TEST(the_longest_record_is_one),
		TEST(nothing_may_follow_fin),
		TEST(a_record_of_the_wrong_shape_resets_both_ends),
		TEST(an_rst_record_resets_the_destination),
		TEST(a_flipped_bit_ends_one_relay_and_no_other),
		TEST(records_keep_their_order),
		TEST(what_came_down_is_no_record_up),
		TEST(attached_sent_back_is_no_open),
		TEST(the_end_without_fin_is_a_cut_and_the_destination_sees_a_reset),
		TEST(a_record_cut_short_is_a_cut_and_nothing_of_it_arrives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
