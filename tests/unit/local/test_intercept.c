/* SPDX-License-Identifier: BSD-2-Clause */
/* intercept: when the LAN's connections are taken, and when not any more. The firewall is the
 * test's: it notes what is done to it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "virtual_time.h"

#include "firewall.h"
#include "intercept.h"

static struct event_base *base;
static struct intercept *i;
static struct config config;
static char ran[256]; /* "up drain ...", in their order */
static uint64_t ran_ms[32];
static unsigned n_ran, taken;
static bool is_up; /* a session with the VPS */
static struct addr vps[2];
static size_t n_vps;
static int up_fails; /* so often */

static void note(const char *verb)
{
	snprintf(ran + strlen(ran), sizeof(ran) - strlen(ran), "%s ", verb);
	ran_ms[n_ran++ % 32] = virtual_ms();
}

struct firewall {
	enum firewall_state state;
};

static struct firewall fw;

struct firewall *firewall_new(const struct firewall_setup *setup)
{
	(void)setup;
	fw.state = FIREWALL_OUT;
	return &fw;
}

int firewall_put_in(struct firewall *f, char *err, size_t err_len)
{
	note("up");
	snprintf(err, err_len, "as the test wants it");
	f->state = up_fails-- > 0 ? FIREWALL_OUT : FIREWALL_IN;
	return f->state == FIREWALL_IN ? 0 : -1;
}

int firewall_drain(struct firewall *f, char *err, size_t err_len)
{
	(void)err, (void)err_len;
	note("drain");
	f->state = FIREWALL_DRAINED;
	return 0;
}

void firewall_take_out(struct firewall *f)
{
	if (f->state != FIREWALL_OUT)
		note("down");
	f->state = FIREWALL_OUT;
}

void firewall_free(struct firewall *f)
{
	firewall_take_out(f);
}

bool firewall_is_stale(const struct firewall *f)
{
	(void)f;
	return false;
}

enum firewall_state firewall_state(const struct firewall *f)
{
	return f->state;
}

const char *firewall_way(const struct firewall *f)
{
	return f->state == FIREWALL_IN ? "nftables" : "out";
}

void lan_redirected(struct lan *l, bool redirect)
{
	(void)l, (void)redirect;
}

unsigned relay_loop_count(const struct relay_loop *loop)
{
	(void)loop;
	return taken;
}

struct session *vps_choice_session(const struct vps_choice *c)
{
	(void)c;
	return is_up ? (struct session *)&is_up : NULL;
}

size_t vps_choice_targets(const struct vps_choice *c, struct addr *out, size_t max)
{
	(void)c, (void)max;
	memcpy(out, vps, n_vps * sizeof(*vps));
	return n_vps;
}

static void session(bool up)
{
	is_up = up;
	intercept_vps_changed(i);
}

static void pass(unsigned ms)
{
	event_base_loopexit(base, &(struct timeval){ .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 });
	event_base_dispatch(base);
}

static void begin(enum config_down down)
{
	config = (struct config){ .on_vps_down = down };
	i = intercept_new(base, &config, NULL, NULL, NULL, NULL);
	assert_non_null(i);
}

static int setup(void **state)
{
	(void)state;
	virtual_grace_ms = 0;
	ran[0] = 0;
	n_ran = taken = 0;
	up_fails = 0;
	is_up = false;
	n_vps = 0;
	base = event_base_new();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	intercept_free(i);
	event_base_free(base);
	return 0;
}

static void the_first_session_takes_at_once_and_its_end_lets_go_at_once(void **state)
{
	(void)state;
	begin(DOWN_DIRECT);
	pass(60000);
	assert_string_equal(ran, "");
	session(true);
	assert_string_equal(ran, "up ");
	assert_string_equal(intercept_mode(i), "nftables");
	pass(60000);
	session(false);
	assert_string_equal(ran, "up drain ");
	assert_string_equal(intercept_mode(i), "out");
}

static void a_vps_that_came_back_is_used_after_ten_good_seconds(void **state)
{
	uint64_t back;

	(void)state;
	begin(DOWN_DIRECT);
	session(true);
	session(false);
	taken = 1;
	for (int blink = 0; blink < 5; blink++) { /* it comes and goes: no two ways over and over */
		pass(3000);
		session(true);
		pass(9999);
		session(false);
	}
	assert_string_equal(ran, "up drain ");
	back = virtual_ms();
	session(true);
	pass(30000);
	assert_string_equal(ran, "up drain up ");
	assert_int_equal(ran_ms[2] - back, 10000);
	assert_string_equal(intercept_mode(i), "nftables");
}

static void drained_rules_go_within_five_seconds_of_the_last_connection(void **state)
{
	uint64_t lost;

	(void)state;
	begin(DOWN_DIRECT);
	session(true);
	taken = 3;
	lost = virtual_ms();
	session(false);
	pass(5500);
	assert_string_equal(ran, "up drain ");
	taken = 0;
	pass(60000);
	assert_string_equal(ran, "up drain down ");
	assert_int_equal(ran_ms[2] - lost, 10000);
}

static void a_script_that_fails_is_tried_again_ever_later(void **state)
{
	static const unsigned pause[] = { 1, 2, 4, 8, 16, 32, 60, 60, 60 };
	size_t n = sizeof(pause) / sizeof(*pause);

	(void)state;
	begin(DOWN_DIRECT);
	up_fails = (int)n;
	session(true);
	pass(1000000);
	assert_int_equal(n_ran, n + 1);
	for (size_t k = 0; k < n; k++)
		assert_int_equal(ran_ms[k + 1] - ran_ms[k], pause[k] * 1000);
	assert_string_equal(intercept_mode(i), "nftables");
	session(false);
	session(true);
	n_ran = 0;
	up_fails = 1;
	pass(12000);
	assert_int_equal(ran_ms[1] - ran_ms[0], 1000); /* what was long ago is forgotten */
}

static void with_reject_they_are_in_from_the_start_to_the_end(void **state)
{
	(void)state;
	begin(DOWN_REJECT);
	pass(1);
	assert_string_equal(ran, "up ");
	for (int n = 0; n < 3; n++) {
		session(true);
		pass(20000);
		session(false);
		pass(20000);
	}
	assert_string_equal(ran, "up ");
	assert_string_equal(intercept_mode(i), "nftables");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(the_first_session_takes_at_once_and_its_end_lets_go_at_once),
		T(a_vps_that_came_back_is_used_after_ten_good_seconds),
		T(drained_rules_go_within_five_seconds_of_the_last_connection),
		T(a_script_that_fails_is_tried_again_ever_later),
		T(with_reject_they_are_in_from_the_start_to_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
