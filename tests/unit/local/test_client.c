/* SPDX-License-Identifier: BSD-2-Clause */
/* What is malformed between two who know each other: plait-local against a remote that is broken,
 * or somebody in its place. What its LAN client then sees is a reset, and never a second try of
 * what may have been served. */
#include "bad_remote.h"

#define ATTACH_MS 5000 /* so long the pool waits for an answer */
#define TICK_MS 250

static const char request[] = "request";

/* A client whose OPEN has come to the remote. */
static int client_that_asked(struct house *h)
{
	int fd = house_client(h, request);

	house_until(h, h->asked);
	return fd;
}

static void got_reset_and_nothing_else(struct house *h, int fd, const char *why)
{
	char got[1000];
	enum ending how = house_ending(h, fd, got, sizeof(got) - 1);

	if (how != AT_RESET || got[0])
		fail_msg("%s: the client got \"%s\" and %s", why, got, how == AT_EOF ? "the end" : how == AT_RESET ? "a reset" : "nothing more");
	close(fd);
}

/* Otherwise the tests below would prove nothing. */
static void the_remote_can_be_honest(void **state)
{
	struct house *h = *state;
	int fd = client_that_asked(h);
	char got[100];

	fallback_accept(h->asked, WIRE_OK, "first ");
	fallback_send(h->asked, WIRE_DATA, "second", 6);
	fallback_send(h->asked, WIRE_FIN, "", 0);
	assert_int_equal(house_ending(h, fd, got, sizeof(got) - 1), AT_EOF);
	assert_string_equal(got, "first second");
	close(fd);
}

/* --- cut --- */

static void end_the_stream(struct fallback *c)
{
	shutdown(c->fd, SHUT_WR);
}

static void end_inside_a_record(struct fallback *c)
{
	uint8_t record[600], x[500] = { 0 };

	fallback_seal(c, WIRE_DATA, x, sizeof(x), record);
	fallback_say(c, record, 300);
	shutdown(c->fd, SHUT_WR);
}

static void abort_it(struct fallback *c)
{
	house_wait(c->house, 100);
	fallback_abort(c);
}

/* The client gets what came and then a reset: never the end of a file that was not meant. */
static void a_stream_that_is_cut_on_its_way_down_is_no_end_of_a_file(void **state)
{
	static void (*const cut[])(struct fallback *c) = { end_the_stream, end_inside_a_record, abort_it };
	struct house *h = *state;

	for (unsigned i = 0; i < 3; i++) {
		int fd = client_that_asked(h);
		char got[1000];

		fallback_accept(h->asked, WIRE_OK, "half of ");
		fallback_send(h->asked, WIRE_DATA, "the answer", 10);
		cut[i](h->asked);
		assert_int_equal(house_ending(h, fd, got, sizeof(got) - 1), AT_RESET);
		assert_memory_equal("half of the answer", got, strlen(got));
		close(fd);
	}
	assert_int_equal(counters.streams_cut, 2);
}

static void every_refusal_is_a_reset(void **state)
{
	static const uint16_t statuses[] = { WIRE_MALFORMED, WIRE_UNSUPPORTED, WIRE_FORBIDDEN, WIRE_NO_RESOURCES, WIRE_NET_FAILURE,
					     WIRE_WAS_RESET, WIRE_UNREACHABLE, 1, 0xffff };
	struct house *h = *state;

	for (unsigned i = 0; i < sizeof(statuses) / sizeof(*statuses); i++) {
		int fd = client_that_asked(h);

		fallback_accept(h->asked, statuses[i], "");
		got_reset_and_nothing_else(h, fd, wire_status_name(statuses[i]));
		assert_int_equal(h->opens, i + 1);
	}
	assert_true(strstr(logged, "the VPS says: "));
}

/* --- in the place of ACCEPT --- */

static void say_junk(struct fallback *c)
{
	uint8_t junk[2 + 4000];

	seal_random(junk, sizeof(junk));
	wire_put16(junk, WIRE_OPEN << 14 | 100);
	fallback_say(c, junk, sizeof(junk));
}

static void send_data_first(struct fallback *c)
{
	fallback_send(c, WIRE_DATA, "not yet", 7);
}

static void attach_twice(struct fallback *c)
{
	fallback_send(c, WIRE_OPEN, "\0\0\0", 3);
}

static void accept_too_short(struct fallback *c)
{
	fallback_send(c, WIRE_OPEN, "\1\0", 2);
}

static void answer_what_nobody_knows(struct fallback *c)
{
	fallback_send(c, WIRE_OPEN, "\2\0\0", 3);
}

static void impossible_length(struct fallback *c)
{
	uint8_t raw[2 + 15] = { 0 };

	wire_put16(raw, WIRE_OPEN << 14 | 15);
	fallback_say(c, raw, sizeof(raw));
}

/* What was just read, sent back. */
static void mirror(struct fallback *c)
{
	struct wire_open o = { .mode = WIRE_SEALED };
	uint8_t plain[WIRE_OPEN_LEN + sizeof(request)], record[sizeof(plain) + WIRE_RECORD_OVERHEAD];
	struct seal_key key = c->up;
	ssize_t n;

	key.ctr--;
	assert_int_equal(addr_parse(&o.dst, "11.9.0.2", 7001), 0);
	wire_put_open(plain, &o);
	memcpy(plain + WIRE_OPEN_LEN, request, strlen(request));
	n = record_seal(far_seal(c), c->alg, &key, WIRE_OPEN, plain, WIRE_OPEN_LEN + strlen(request), record);
	fallback_say(c, record, (size_t)n);
}

struct bad {
	void (*say)(struct fallback *c);
	const char *what;
};

/* The request is not sent a second time, since it may have been served, and the session lives
 * on. */
static void a_bad_answer_is_a_reset_and_the_request_is_not_sent_again(void **state)
{
	static const struct bad bad[] = { { say_junk, "junk" }, { send_data_first, "DATA before ACCEPT" }, { attach_twice, "ATTACHED twice" },
					  { accept_too_short, "a short ACCEPT" }, { answer_what_nobody_knows, "an unknown answer" },
					  { forge_reset, "RESET after ATTACHED" }, { impossible_length, "an impossible length" },
					  { mirror, "the request itself" } };
	struct house *h = *state;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		int fd = client_that_asked(h);

		bad[i].say(h->asked);
		house_wait(h, 500);
		fallback_abort(h->asked);
		got_reset_and_nothing_else(h, fd, bad[i].what);
		house_wait(h, 5000);
		assert_int_equal(h->opens, i + 1);
		assert_non_null(vps_choice_session(h->vps));
		assert_int_equal(h->n_calls, 1);
	}
}

/* --- behind ACCEPT --- */

static void forge_a_record(struct fallback *c)
{
	uint8_t record[200], x[100] = { 0 };
	size_t n = fallback_seal(c, WIRE_DATA, x, sizeof(x), record);

	record[40] ^= 1;
	fallback_say(c, record, n);
}

static void send_data_after_fin(struct fallback *c)
{
	uint8_t both[100];
	size_t n = fallback_seal(c, WIRE_FIN, "", 0, both);

	n += fallback_seal(c, WIRE_DATA, "more", 4, both + n);
	fallback_say(c, both, n);
}

static void send_too_long_a_record(struct fallback *c)
{
	uint8_t raw[2 + 100] = { 0 };

	wire_put16(raw, WIRE_DATA << 14 | (WIRE_RECORD_MAX + 17));
	fallback_say(c, raw, sizeof(raw));
}

static void repeat_a_record(struct fallback *c)
{
	uint8_t twice[100];
	size_t n = fallback_seal(c, WIRE_DATA, "", 0, twice);

	memcpy(twice + n, twice, n);
	fallback_say(c, twice, 2 * n);
}

static void send_rst(struct fallback *c)
{
	fallback_send(c, WIRE_RST, "\1\x60", 2);
}

static void a_bad_record_is_a_reset(void **state)
{
	static const struct bad bad[] = { { forge_a_record, "a forged record" }, { send_data_after_fin, "DATA after FIN" },
					  { send_too_long_a_record, "a record too long" }, { repeat_a_record, "a record twice" },
					  { send_rst, "RST" } };
	struct house *h = *state;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		int fd = client_that_asked(h);

		fallback_accept(h->asked, WIRE_OK, "");
		bad[i].say(h->asked);
		got_reset_and_nothing_else(h, fd, bad[i].what);
	}
}

/* --- in the place of ATTACHED --- */

/* A broken connection then, and no proof: no new session, and no answer twice. The first clients
 * find connections that were warm before. */
static void a_reset_with_another_token_proves_nothing(void **state)
{
	struct house *h = *state;
	bool cold = false;

	h->attach = FORGED_RESET;
	for (unsigned i = 0; i < 5; i++) {
		unsigned before = h->opens;
		int fd = house_client(h, request);

		house_until(h, h->opens > before);
		cold |= !h->asked;
		if (h->asked)
			end_the_stream(h->asked);
		got_reset_and_nothing_else(h, fd, h->asked ? "cut" : "a forged RESET");
		house_wait(h, 5000);
		assert_int_equal(h->opens, before + 1);
	}
	assert_true(cold);
	assert_int_equal(h->n_calls, 1);
	assert_true(strstr(logged, "may have been served"));
}

/* They did use it up, sixteen times: when each had begun on a link that died before its ATTACH
 * arrived, none was ever made again. */
static void attaches_without_an_answer_do_not_use_up_the_pool(void **state)
{
	struct house *h = *state;
	uint64_t since;
	int fd;

	h->attach = MUTE;
	fd = house_client(h, request); /* takes what is warm */
	house_until(h, !pool_says(h, "warm") && pool_says(h, "dialling") >= pool_says(h, "want") &&
		       h->mute >= (unsigned)pool_says(h, "dialling"));
	since = virtual_ms();
	h->attach = HONEST;
	house_until(h, pool_says(h, "warm") > 0);
	assert_in_range(virtual_ms() - since, ATTACH_MS - TICK_MS, ATTACH_MS + TICK_MS);
	close(fd);
}

static void says(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* A destination that is slow to connect: after a second the VPS is asked whether it served the
 * request, and the client goes on meanwhile. What it said then was lost in the middle of a stream
 * that otherwise was whole. */
static void what_is_said_while_the_vps_is_asked_arrives(void **state)
{
	struct house *h = *state;
	char got[100] = "";
	int fd;

	h->slow = true;
	fd = client_that_asked(h);
	says(fd, " before");
	house_until(h, h->doubter);
	says(fd, " meanwhile");
	house_wait(h, 10);
	house_answer_revoke(h);
	house_wait(h, 10);
	says(fd, " behind");
	house_wait(h, 10);
	fallback_accept(h->asked, WIRE_OK, "");
	house_wait(h, 10);
	says(fd, " after");
	house_wait(h, 10);
	fallback_rest(h->asked, got, sizeof(got));
	assert_string_equal(got, " before meanwhile behind after");
	close(fd);
}

static int setup_with_resume(void **state)
{
	int rc;

	welcome_flags = WIRE_F_RESUME;
	rc = house_setup(state);
	welcome_flags = 0;
	return rc;
}

/* What leaves together with ATTACH may lose its only link before it is answered. */
static void one_without_a_warm_connection_asks_to_be_kept(void **state)
{
	struct house *h = *state;
	int warm, cold;

	warm = client_that_asked(h);
	assert_false(h->open_flags & WIRE_OPEN_KEEP);
	h->config.pool_max = 0;
	pool_distrust(h->pool);
	cold = client_that_asked(h);
	assert_true(h->open_flags & WIRE_OPEN_KEEP);
	close(cold);
	close(warm);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, house_setup, house_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_remote_can_be_honest),
		TEST(a_stream_that_is_cut_on_its_way_down_is_no_end_of_a_file),
		TEST(every_refusal_is_a_reset),
		TEST(a_bad_answer_is_a_reset_and_the_request_is_not_sent_again),
		TEST(a_bad_record_is_a_reset),
		TEST(a_reset_with_another_token_proves_nothing),
		TEST(attaches_without_an_answer_do_not_use_up_the_pool),
		TEST(what_is_said_while_the_vps_is_asked_arrives),
		cmocka_unit_test_setup_teardown(one_without_a_warm_connection_asks_to_be_kept, setup_with_resume, house_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
