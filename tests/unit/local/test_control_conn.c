/* SPDX-License-Identifier: BSD-2-Clause */
/* control_conn: each transition, and what an end means in each state. Dials and TLS are the
 * test's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "virtual_time.h"

#include "control_conn.h"
#include "dial.h"

static struct event_base *base;
static struct control_conn *conn;
static struct control_conn_over over;
static dial_cb dialled;
static const struct control_ops *control;
static void *control_arg;
static unsigned n_welcomed, n_broke, hellos, cancelled, freed;
static char reason[256];

struct dial *dial_start(struct event_base *b, struct links *links, const struct addr *targets, size_t count,
			const struct sock_wan *opt, dial_cb cb, void *arg)
{
	(void)b, (void)links, (void)targets, (void)count, (void)opt, (void)arg;
	dialled = cb;
	return (struct dial *)&dialled;
}

void dial_cancel(struct dial *d)
{
	cancelled += d != NULL;
}

struct control *control_new(struct event_base *b, struct tls_ctx *ctx, int fd, const uint8_t *pin,
			    const struct control_ops *ops, void *arg)
{
	(void)b, (void)ctx, (void)fd, (void)pin;
	control = ops;
	control_arg = arg;
	return (struct control *)&control;
}

void control_free(struct control *c)
{
	(void)c;
	freed++;
}

int control_send(struct control *c, enum wire_frame type, const void *value, size_t len)
{
	(void)c, (void)value, (void)len;
	hellos += type == WIRE_HELLO;
	return 0;
}

bool control_offer(struct control *c, enum wire_frame type, const void *value, size_t len)
{
	(void)c, (void)type, (void)value, (void)len;
	return false;
}

int control_export(struct control *c, const uint8_t sid[WIRE_SID], uint8_t out[32])
{
	(void)c, (void)sid;
	memset(out, 7, 32);
	return 0;
}

int control_fd(const struct control *c)
{
	(void)c;
	return -1;
}

const char *links_name(const struct links *l, const struct addr *src)
{
	(void)l, (void)src;
	return "a";
}

static void welcomed(void *arg, struct control_conn *c)
{
	(void)arg;
	assert_true(control_conn_speaks(c));
	n_welcomed++;
}

static void frame(void *arg, struct control_conn *c, uint8_t type, const uint8_t *value, size_t len)
{
	(void)arg, (void)c, (void)type, (void)value, (void)len;
}

static void room(void *arg, struct control_conn *c)
{
	(void)arg, (void)c;
}

static void broke(void *arg, struct control_conn *c, const char *why)
{
	(void)arg;
	assert_false(control_conn_speaks(c));
	n_broke++;
	strncpy(reason, why, sizeof(reason) - 1);
}

static const uint8_t pin[WIRE_PIN] = { 1 };
static struct control_conn_setup setup = { .pin = pin };
static struct addr target;

static int begin(void **state)
{
	static const struct control_conn_ops ops = { welcomed, frame, room, broke };

	(void)state;
	n_welcomed = n_broke = hellos = cancelled = freed = 0;
	setup.base = base = event_base_new();
	conn = control_conn_new(&setup, &target, 1, 1500, &ops, NULL);
	return conn ? 0 : -1;
}

static int end(void **state)
{
	(void)state;
	control_conn_end(conn, &over);
	control_conn_sweep(&over);
	event_base_free(base);
	return 0;
}

static void run_ms(unsigned ms)
{
	struct timeval tv = { ms / 1000, (ms % 1000) * 1000 };

	event_base_loopexit(base, &tv);
	event_base_dispatch(base);
}

static void knock(void)
{
	dialled(conn, 3, &target);
}

static void greet(void)
{
	knock();
	control->up(control_arg, pin);
	assert_int_equal(hellos, 1);
}

static void welcome(void)
{
	struct wire_welcome w = { .version = WIRE_VERSION, .aead = SEAL_CHACHA20_POLY1305 };
	uint8_t out[512];
	size_t len = (size_t)wire_put_welcome(out, &w);

	control->frame(control_arg, WIRE_WELCOME, out, len);
}

static void ended(const char *why)
{
	assert_int_equal(n_broke, 1);
	assert_non_null(strstr(reason, why));
}

static void test_dialling_has_the_owners_patience(void **state)
{
	(void)state;
	run_ms(1400);
	assert_int_equal(n_broke, 0);
	run_ms(200);
	ended("no link connects to it");
	assert_int_equal(cancelled, 1);
}

static void test_knocking_has_five_seconds(void **state)
{
	(void)state;
	knock();
	run_ms(4900);
	assert_int_equal(n_broke, 0);
	run_ms(200);
	ended("is it a plait-remote");
	assert_int_equal(freed, 1);
}

static void test_another_key(void **state)
{
	static const uint8_t other[WIRE_PIN] = { 2 };

	(void)state;
	knock();
	control->up(control_arg, other);
	ended("its key is not the one");
	assert_int_equal(hellos, 0);
}

static void test_greeting_shares_the_five_seconds(void **state)
{
	(void)state;
	knock();
	run_ms(3000);
	control->up(control_arg, pin);
	run_ms(2100);
	ended("it did not welcome us");
}

static void test_welcome_before_hello_is_nothing(void **state)
{
	(void)state;
	knock();
	welcome();
	assert_int_equal(n_welcomed + n_broke, 0);
}

static void test_welcomed_has_no_timer_and_keeps_its_session(void **state)
{
	(void)state;
	greet();
	welcome();
	welcome();
	assert_int_equal(n_welcomed, 1);
	run_ms(60000);
	assert_int_equal(n_broke, 0);
	control->down(control_arg, "reset");
	ended("reset");
	assert_non_null(control_conn_session(conn));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)
	const struct CMUnitTest tests[] = {
		T(test_dialling_has_the_owners_patience), T(test_knocking_has_five_seconds),
		T(test_another_key), T(test_greeting_shares_the_five_seconds),
		T(test_welcome_before_hello_is_nothing), T(test_welcomed_has_no_timer_and_keeps_its_session),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
