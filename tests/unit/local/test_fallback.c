/* SPDX-License-Identifier: BSD-2-Clause */
/* When does the tunnel take to the control connection, and when back? By a clock of the test's;
 * tunnel and VPSs are what it says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <event2/event.h>
#include <string.h>

#include "fallback.h"
#include "sock.h"
#include "virtual_time.h"

static struct {
	struct event_base *base;
	struct fallback *carrier;
	bool path, hope, stream;
	uint64_t heard_ms, stream_ms; /* when the remote was heard; since when the stream carries */
	unsigned moved, suspected, wanted, changes;
	int told; /* -1: nothing */
	bool session;
	struct wire_welcome welcome;
} w;

bool tunnel_has_path(const struct tunnel *t)
{
	(void)t;
	return w.path;
}

bool tunnel_has_hope(const struct tunnel *t)
{
	(void)t;
	return w.hope;
}

bool tunnel_by_stream(const struct tunnel *t)
{
	(void)t;
	return w.stream;
}

uint64_t tunnel_stream_moved(const struct tunnel *t)
{
	(void)t;
	return w.moved;
}

void tunnel_carry(struct tunnel *t, bool by_stream)
{
	(void)t;
	w.stream = by_stream;
	w.stream_ms = virtual_ms();
}

void tunnel_stream_way(struct tunnel *t, bool (*offer)(void *arg, const uint8_t *packet, size_t len), void *arg)
{
	(void)t, (void)offer, (void)arg;
}

void tunnel_stream_got(struct tunnel *t, const uint8_t *packet, size_t len)
{
	(void)t, (void)packet, (void)len;
}

void tunnel_stream_room(struct tunnel *t)
{
	(void)t;
}

void vps_choice_carrier(struct vps_choice *r, enum wire_carrier carrier, const char *congestion)
{
	(void)r;
	w.told = carrier;
	assert_string_equal(congestion, carrier == WIRE_BY_STREAM ? "cubic" : SOCK_WAITING);
}

bool vps_choice_heard_since(const struct vps_choice *r, uint64_t ms)
{
	(void)r;
	return w.heard_ms >= ms;
}

void vps_choice_suspect(struct vps_choice *r)
{
	(void)r;
	w.suspected++;
}

void vps_choice_wanted(struct vps_choice *r)
{
	(void)r;
	w.wanted++;
}

bool vps_choice_offer(struct vps_choice *r, const uint8_t *packet, size_t len)
{
	(void)r, (void)packet, (void)len;
	return true;
}

void tundev_paths_changed(void *tundev)
{
	(void)tundev;
	w.changes++;
}

bool tundev_works(const struct tundev *t)
{
	(void)t;
	return true;
}

struct tunnel *tundev_tunnel(const struct tundev *t)
{
	(void)t;
	return NULL;
}

const struct wire_welcome *vps_choice_welcome(const struct vps_choice *r)
{
	(void)r;
	return w.session ? &w.welcome : NULL;
}

static void session(bool up, uint8_t flags)
{
	w.session = up;
	w.welcome.flags = flags;
	fallback_vps_changed(w.carrier);
}

/* Time passes, exactly so much; the remote answers what it is asked if it is there. */
static void pass(unsigned ms, bool answers)
{
	for (unsigned i = 0; i < ms; i++) {
		event_base_loop(w.base, EVLOOP_NONBLOCK);
		virtual_us += 1000;
		if (answers)
			w.heard_ms = virtual_ms();
	}
	event_base_loop(w.base, EVLOOP_NONBLOCK);
}

static void path(bool is_there)
{
	w.path = is_there;
	fallback_paths_changed(w.carrier);
	pass(0, false);
}

static int begin(void **state)
{
	(void)state;
	memset(&w, 0, sizeof(w));
	w.told = -1;
	w.path = true;
	w.base = event_base_new();
	w.carrier = fallback_new(w.base, NULL, NULL, "cubic");
	session(true, WIRE_F_STREAM);
	pass(10, true);
	assert_int_equal(w.told, WIRE_BY_UDP);
	return 0;
}

static int end(void **state)
{
	(void)state;
	fallback_free(w.carrier);
	assert_false(w.stream);
	event_base_free(w.base);
	return 0;
}

static void by_stream_after_a_second_without_a_path(void **state)
{
	(void)state;
	path(false);
	assert_int_equal(w.suspected, 1); /* filtered, or dead? */
	pass(999, true);
	assert_false(w.stream);
	assert_int_equal(w.changes, 0);
	pass(1, true);
	assert_true(w.stream);
	assert_int_equal(w.told, WIRE_BY_STREAM);
	assert_int_equal(w.changes, 1);
	pass(20000, true);
	assert_int_equal(w.changes, 1);
	path(true);
	assert_false(w.stream);
	assert_int_equal(w.told, WIRE_BY_UDP);
	assert_int_equal(w.changes, 2);
}

static void three_seconds_where_a_path_is_heard_of(void **state)
{
	(void)state;
	w.hope = true;
	path(false);
	pass(2999, true);
	assert_false(w.stream);
	pass(1, true);
	assert_true(w.stream);
}

static void a_short_silence_changes_nothing(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		path(false);
		pass(990, true);
		path(true);
		pass(10, true);
	}
	assert_int_equal(w.changes, 0);
	assert_int_equal(w.told, WIRE_BY_UDP);
}

/* A remote that is not heard either: another way would be no way. When it answers at last, there is
 * one within the quarter of a second. */
static void dead_lines_are_no_filter(void **state)
{
	(void)state;
	pass(1, false); /* so that it was heard before */
	path(false);
	pass(60000, false);
	assert_false(w.stream);
	assert_true(w.wanted > 200);
	pass(251, true);
	assert_true(w.stream);
}

static void without_a_session_or_such_frames_there_is_no_stream(void **state)
{
	(void)state;
	session(true, 0);
	path(false);
	pass(10000, true);
	assert_false(w.stream);
	assert_int_equal(w.suspected, 0);
	session(true, WIRE_F_STREAM);
	pass(1000, true);
	assert_true(w.stream);
	session(false, 0);
	pass(1, true);
	assert_false(w.stream);
}

/* While the stream carries something the remote has to answer; while it does not, it is left
 * alone. */
static void asks_while_something_moves(void **state)
{
	(void)state;
	path(false);
	pass(1000, true);
	w.wanted = 0;
	pass(10000, true);
	assert_int_equal(w.wanted, 0);
	for (unsigned i = 0; i < 10; i++, w.moved++)
		pass(1000, true);
	assert_in_range(w.wanted, 9, 10);
}

/* Each new control connection is told anew. */
static void a_new_session_hears_how_it_is_carried(void **state)
{
	(void)state;
	path(false);
	pass(1000, true);
	w.told = -1;
	session(true, WIRE_F_STREAM);
	assert_int_equal(w.told, WIRE_BY_STREAM);
	pass(1000, true);
	assert_true(w.stream);
	assert_int_equal(w.changes, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(by_stream_after_a_second_without_a_path),
		TEST(three_seconds_where_a_path_is_heard_of),
		TEST(a_short_silence_changes_nothing),
		TEST(dead_lines_are_no_filter),
		TEST(without_a_session_or_such_frames_there_is_no_stream),
		TEST(asks_while_something_moves),
		TEST(a_new_session_hears_how_it_is_carried),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
