/* SPDX-License-Identifier: BSD-2-Clause */
/* vps: when it is asked, doubted, given up and tried again, to the millisecond. Control connections
 * are the test's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "virtual_time.h"

#include "control_conn.h"
#include "relay.h"
#include "resolve.h"
#include "vps.h"

struct control_conn {
	const struct control_conn_ops *ops;
	void *arg;
	struct wire_welcome welcome;
	uint64_t begun, welcomed, heard, asked;
	unsigned patience, rtt, dial;
	bool speaks, bye;
};

#define TALKS 2048

static struct event_base *base;
static struct vps *v;
static struct control_conn control_conn[TALKS];
static unsigned n_talks, pings, news, lookups;
static bool is_session, was_restarted, relays_hear;
static uint64_t events_ms, bye_ms, pinged_ms;
static resolve_cb resolved;
static void *resolved_arg;

struct control_conn *control_conn_new(const struct control_conn_setup *setup, const struct addr *targets, size_t count, unsigned patience_ms,
		      const struct control_conn_ops *ops, void *arg)
{
	struct control_conn *t = &control_conn[n_talks++];

	(void)setup, (void)targets, (void)count;
	assert_true(n_talks <= TALKS);
	*t = (struct control_conn){ .ops = ops, .arg = arg, .begun = virtual_ms(), .patience = patience_ms };
	return t;
}

void control_conn_end(struct control_conn *t, struct control_conn_over *over)
{
	(void)t, (void)over;
}

void control_conn_sweep(struct control_conn_over *over)
{
	(void)over;
}

struct session *control_conn_session(const struct control_conn *t)
{
	(void)t;
	return NULL;
}

const struct wire_welcome *control_conn_welcome(const struct control_conn *t)
{
	return &t->welcome;
}

bool control_conn_speaks(const struct control_conn *t)
{
	return t->speaks;
}

uint64_t control_conn_age_ms(const struct control_conn *t)
{
	return virtual_ms() - t->welcomed;
}

void control_conn_send(struct control_conn *t, enum wire_frame type, const void *value, size_t len)
{
	(void)value, (void)len;
	if (type == WIRE_BYE) {
		t->bye = true;
		bye_ms = virtual_ms();
	}
}

bool control_conn_offer(struct control_conn *t, enum wire_frame type, const void *value, size_t len)
{
	(void)t, (void)type, (void)value, (void)len;
	return false;
}

void control_conn_congestion(struct control_conn *t, const char *name)
{
	(void)t, (void)name;
}

/* It is answered at once, unless the remote is silent. */
static bool answers;

void control_conn_ping(struct control_conn *t)
{
	if (t->asked)
		return;
	pings++;
	pinged_ms = virtual_ms();
	if (answers)
		t->heard = virtual_ms();
	else
		t->asked = virtual_ms();
}

void control_conn_forgive(struct control_conn *t)
{
	t->asked = 0;
}

uint64_t control_conn_heard_ms(const struct control_conn *t)
{
	return t->heard;
}

uint64_t control_conn_asked_ms(const struct control_conn *t)
{
	return t->asked;
}

unsigned control_conn_rtt_ms(const struct control_conn *t)
{
	return t->rtt;
}

unsigned control_conn_dial_ms(const struct control_conn *t)
{
	return t->dial;
}

struct resolve *resolve_new(struct event_base *b, const char *host, uint16_t port, const char *servers, bool private_ok, resolve_cb cb,
			    void *arg)
{
	(void)b, (void)host, (void)port, (void)servers, (void)private_ok;
	resolved = cb;
	resolved_arg = arg;
	return (struct resolve *)&lookups;
}

void resolve_free(struct resolve *res)
{
	(void)res;
}

void resolve_failed(struct resolve *res)
{
	(void)res;
	lookups++;
}

bool relay_loop_heard_since(const struct relay_loop *loop, const void *group, uint64_t ms)
{
	(void)loop, (void)group, (void)ms;
	return relays_hear;
}

struct dial *dial_start(struct event_base *b, struct links *links, const struct addr *targets, size_t count, const struct sock_wan *opt,
			dial_cb cb, void *arg)
{
	(void)b, (void)links, (void)targets, (void)count, (void)opt, (void)cb, (void)arg;
	return NULL;
}

static void told(void *arg, struct vps *who, bool up, bool restarted)
{
	(void)arg, (void)who;
	news++;
	is_session = up;
	was_restarted = restarted;
	events_ms = virtual_ms();
}

static void addresses(void *arg, struct vps *who)
{
	(void)arg, (void)who;
}

static void pass(unsigned ms)
{
	event_base_loopexit(base, &(struct timeval){ .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 });
	event_base_dispatch(base);
}

static int setup(void **state)
{
	static const struct vps_ops ops = { .session = told, .addresses = addresses };
	static const struct config_vps config = { .host = "vps.example" };
	struct vps_house house = { 0 };
	struct addr a;

	(void)state;
	virtual_grace_ms = 0;
	n_talks = pings = news = lookups = 0;
	is_session = was_restarted = relays_hear = false;
	answers = true;
	base = house.base = event_base_new();
	v = vps_new(&house, &config, config.host, 7200, &ops, NULL);
	memset(&a, 0, sizeof(a));
	pass(1); /* a tick is over when a test begins */
	resolved(resolved_arg, &a, 1);
	return n_talks == 1 ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	vps_free(v);
	event_base_free(base);
	return 0;
}

static struct control_conn *newest(void)
{
	return &control_conn[n_talks - 1];
}

static void fails(void)
{
	newest()->ops->broke(newest()->arg, newest(), "the test wants it");
}

static struct control_conn *welcomed(uint8_t boot)
{
	struct control_conn *t = newest();

	t->welcome.boot[0] = boot;
	t->speaks = true;
	t->welcomed = t->heard = virtual_ms();
	t->ops->welcomed(t->arg, t);
	return t;
}

/* How long after the last attempt, which failed at once, the next one is. */
static uint64_t pause_ms(void)
{
	unsigned before = n_talks;
	uint64_t begun = newest()->begun;

	fails();
	while (n_talks == before)
		pass(10);
	return newest()->begun - begun;
}

static void a_remote_that_is_away_is_tried_every_second_and_after_ten_minutes_every_five(void **state)
{
	static const unsigned pause[] = { 200, 400, 800, 1000, 1000, 1000, 1000 };
	uint64_t away = virtual_ms();

	(void)state;
	for (size_t i = 0; i < sizeof(pause) / sizeof(*pause); i++)
		assert_int_equal(pause_ms(), pause[i]);
	while (virtual_ms() - away < 600000 - 1000)
		assert_int_equal(pause_ms(), 1000);
	for (int i = 0; i < 4; i++)
		pause_ms();
	for (int i = 0; i < 10; i++)
		assert_int_equal(pause_ms(), 5000);
	assert_int_equal(lookups, n_talks - 1); /* perhaps its address is another one */
}

static void an_attempt_that_took_its_time_was_a_pause_already(void **state)
{
	uint64_t failed;

	(void)state;
	for (int i = 0; i < 5; i++)
		pause_ms();
	pass(1500);
	failed = virtual_ms();
	fails();
	pass(1000);
	assert_int_equal(newest()->begun - failed, 200);
}

static void patience_with_a_dial_follows_what_one_took(void **state)
{
	(void)state;
	assert_int_equal(newest()->patience, 1500);
	for (int i = 1; i < 32; i++) { /* each sixteenth may take what a far link that loses SYNs takes */
		pause_ms();
		assert_int_equal(newest()->patience, i % 16 == 15 ? 4500 : 1500);
	}
	newest()->dial = 900;
	welcomed(1);
	vps_session_refused(v, NULL);
	assert_int_equal(newest()->patience, 3600);
}

static void silence_is_doubted_after_a_second_and_a_half_and_given_up_after_four_and_a_half(void **state)
{
	struct control_conn *t = welcomed(1);
	uint64_t silent;

	(void)state;
	pass(2000);
	answers = false;
	silent = virtual_ms();
	vps_suspect(v); /* it is asked at once */
	assert_int_equal(t->asked, silent);
	assert_int_equal(vps_silent_ms(v), 0);
	pass(1400);
	assert_int_equal(n_talks, 1);
	assert_int_not_equal(vps_well_ms(v), 0);
	pass(350);
	assert_int_equal(n_talks, 2); /* another connection: this one may be at fault */
	assert_in_range(newest()->begun - silent, 1500, 1749);
	assert_int_equal(vps_well_ms(v), 0);
	assert_int_equal(news, 1);
	pass(9000);
	assert_int_equal(news, 2);
	assert_false(is_session);
	assert_in_range(events_ms - silent, 4500, 4749); /* looked at four times a second */
}

static void a_far_remote_has_three_round_trips_but_not_for_ever(void **state)
{
	static const unsigned rtt[] = { 700, 5000 }, doubt[] = { 2100, 3000 };
	(void)state;
	for (int i = 0; i < 2; i++) {
		uint64_t silent;
		struct control_conn *t = welcomed(1);

		t->rtt = rtt[i];
		answers = true;
		pass(2000);
		answers = false;
		silent = virtual_ms();
		vps_suspect(v);
		pass(4000);
		assert_in_range(newest()->begun - silent, doubt[i], doubt[i] + 249);
	}
}

static void who_hears_relays_gives_nothing_up(void **state)
{
	(void)state;
	welcomed(1);
	answers = false;
	relays_hear = true;
	vps_suspect(v);
	pass(60000);
	assert_int_equal(news, 1);
	relays_hear = false;
	pass(500);
	assert_int_equal(news, 2);
}

static void an_answer_in_time_takes_the_doubt_back(void **state)
{
	struct control_conn *t = welcomed(1);

	(void)state;
	answers = false;
	vps_suspect(v);
	pass(4000);
	t->asked = 0;
	t->heard = virtual_ms();
	answers = true;
	pass(20000);
	assert_int_equal(news, 1);
	assert_true(is_session);
	assert_int_not_equal(vps_well_ms(v), 0);
}

static void wanted_it_is_asked_every_second_and_else_every_minute(void **state)
{
	(void)state;
	welcomed(1);
	for (int i = 0; i < 40; i++) {
		vps_wanted(v);
		pass(250);
	}
	assert_in_range(pings, 8, 10);
	pass(5000); /* wanted for so long after the last */
	pings = 0;
	pass(600000);
	assert_in_range(pings, 9, 10);
}

static void the_old_connection_is_kept_a_second_when_a_new_one_has_its_place(void **state)
{
	struct control_conn *old = welcomed(1);
	uint64_t replaced;

	(void)state;
	old->welcome.rekey = 10;
	pass(10300);
	assert_int_equal(n_talks, 2);
	assert_in_range(newest()->begun - old->welcomed, 10000, 10249);
	assert_false(old->bye);
	replaced = virtual_ms();
	welcomed(1);
	assert_false(old->bye);
	pass(3000);
	assert_true(old->bye);
	assert_in_range(bye_ms - replaced, 1000, 1249); /* packets of the tunnel are on their way in it */
	assert_true(is_session && !was_restarted);
	assert_int_equal(news, 2);
}

static void another_process_is_told_apart(void **state)
{
	struct control_conn *t = welcomed(1);

	(void)state;
	t->ops->broke(t->arg, t, "its process is gone");
	assert_int_equal(n_talks, 2); /* at once */
	welcomed(2);
	assert_true(is_session && was_restarted);
	assert_true(t->bye);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_remote_that_is_away_is_tried_every_second_and_after_ten_minutes_every_five),
		T(an_attempt_that_took_its_time_was_a_pause_already),
		T(patience_with_a_dial_follows_what_one_took),
		T(silence_is_doubted_after_a_second_and_a_half_and_given_up_after_four_and_a_half),
		T(a_far_remote_has_three_round_trips_but_not_for_ever),
		T(who_hears_relays_gives_nothing_up),
		T(an_answer_in_time_takes_the_doubt_back),
		T(wanted_it_is_asked_every_second_and_else_every_minute),
		T(the_old_connection_is_kept_a_second_when_a_new_one_has_its_place),
		T(another_process_is_told_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
