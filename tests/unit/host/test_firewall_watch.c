/* SPDX-License-Identifier: BSD-2-Clause */
/* Fear: another program takes our rules out of the firewall, and nobody knows. Scripts and kernel
 * are the test's: what the scripts put in is a word. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "counter.h"
#include "firewall.h"
#include "log.h"
#include "nft_monitor.h"
#include "rtnl.h"
#include "script_ask.h"

static const char *kernel; /* what is in */
static bool up_fails, state_fails, state_is_slow;
static char told[640];
static unsigned n_told, n_asking;
static struct event_base *base;
static struct firewall *f;
static void (*news)(void *arg);
static void *news_arg;

struct script_ask {
	struct event *due;
	void (*answered)(void *arg, const char *line);
	void *arg;
};

static void answer(evutil_socket_t fd, short what, void *arg)
{
	struct script_ask *a = arg;

	(void)fd, (void)what;
	a->answered(a->arg, state_fails ? NULL : kernel);
}

struct script_ask *script_ask_new(struct event_base *b, const struct script *s, unsigned limit_ms,
				  void (*answered)(void *arg, const char *line), void *arg)
{
	struct script_ask *a = calloc(1, sizeof(*a));

	(void)limit_ms;
	assert_string_equal(s->verb, "state");
	a->answered = answered;
	a->arg = arg;
	a->due = event_new(b, -1, 0, answer, a);
	if (!state_is_slow)
		event_active(a->due, 0, 0);
	n_asking++;
	return a;
}

void script_ask_free(struct script_ask *a)
{
	if (!a)
		return;
	event_free(a->due);
	free(a);
	n_asking--;
}

int script_run(const struct script *s, unsigned limit_ms, char *out, size_t out_len)
{
	(void)limit_ms;
	out[0] = 0;
	if (!strcmp(s->verb, "up") && up_fails) {
		snprintf(out, out_len, "no; exit 1");
		return -1;
	}
	kernel = !strcmp(s->verb, "up") ? "in" : "";
	return 0;
}

struct nft_monitor *nft_monitor_new(struct event_base *b, const char *ours, unsigned delay_ms, void (*changed)(void *arg), void *arg)
{
	(void)b, (void)ours, (void)delay_ms;
	news = changed;
	news_arg = arg;
	return NULL;
}

void nft_monitor_free(struct nft_monitor *m)
{
	(void)m;
}

struct rtnl_monitor *rtnl_monitor_new(struct event_base *b, unsigned topics, unsigned delay_ms, void (*changed)(void *arg), void *arg)
{
	(void)b, (void)topics, (void)delay_ms, (void)changed, (void)arg;
	return NULL;
}

void rtnl_monitor_free(struct rtnl_monitor *m)
{
	(void)m;
}

static int describe(void *arg, bool undo, struct script *out)
{
	(void)arg, (void)undo, (void)out;
	return 0;
}

static void changed(void *arg, const char *why)
{
	(void)arg;
	n_told++;
	snprintf(told, sizeof(told), "%s", why ? why : "");
}

/* All that is due now, and what follows from it. */
static void turn(void)
{
	for (int i = 0; i < 20; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
}

static void somebody_makes_it(const char *what)
{
	kernel = what;
	news(news_arg);
	turn();
}

static int begin(void **state)
{
	static const char *const ways[] = { "one", NULL };
	char err[640];

	(void)state;
	log_level = LOG_LVL_ERROR;
	up_fails = state_fails = state_is_slow = false;
	kernel = "";
	base = event_base_new();
	f = firewall_new(&(struct firewall_setup){ .base = base,
						   .what = "a test",
						   .ways = ways,
						   .dir = "/test",
						   .describe = describe,
						   .changed = changed });
	n_told = 0;
	counters.rules_lost = 0;
	assert_int_equal(firewall_put_in(f, err, sizeof(err)), 0);
	turn();
	return 0;
}

static int end(void **state)
{
	(void)state;
	firewall_free(f);
	event_base_free(base);
	assert_int_equal(n_asking, 0);
	return 0;
}

static void what_is_as_it_was_is_left_alone(void **state)
{
	(void)state;
	somebody_makes_it("in");
	assert_int_equal(n_told, 0);
	assert_int_equal(counters.rules_lost, 0);
}

static void what_was_taken_out_is_put_in_again(void **state)
{
	(void)state;
	for (unsigned i = 1; i <= 3; i++) {
		somebody_makes_it(i == 2 ? "something else" : "");
		assert_string_equal(kernel, "in");
		assert_int_equal(n_told, i);
		assert_string_equal(told, "");
	}
	assert_int_equal(counters.rules_lost, 3);
	assert_int_equal(firewall_state(f), FIREWALL_IN);
}

static void who_does_so_again_and_again_is_not_fought(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++)
		somebody_makes_it("");
	assert_int_equal(firewall_state(f), FIREWALL_OUT);
	assert_non_null(strstr(told, "another program takes out our rules (one) again and again"));
	assert_string_equal(kernel, "");
	somebody_makes_it("");
	assert_int_equal(n_told, 4);
}

static void what_cannot_be_put_in_again_is_said(void **state)
{
	(void)state;
	up_fails = true;
	somebody_makes_it("");
	assert_int_equal(firewall_state(f), FIREWALL_OUT);
	assert_non_null(strstr(told, "up: no; exit 1"));
}

static void a_script_that_cannot_say_changes_nothing(void **state)
{
	(void)state;
	state_fails = true;
	somebody_makes_it("");
	assert_int_equal(n_told, 0);
	assert_int_equal(firewall_state(f), FIREWALL_IN);
}

static void what_was_drained_is_not_looked_at(void **state)
{
	char err[640];

	(void)state;
	assert_int_equal(firewall_drain(f, err, sizeof(err)), 0);
	somebody_makes_it("");
	assert_int_equal(n_told, 0);
}

static void it_may_end_while_a_script_runs(void **state)
{
	(void)state;
	state_is_slow = true;
	news(news_arg); /* end() finds it still running */
	assert_int_equal(n_asking, 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		T(what_is_as_it_was_is_left_alone),
		T(what_was_taken_out_is_put_in_again),
		T(who_does_so_again_and_again_is_not_fought),
		T(what_cannot_be_put_in_again_is_said),
		T(a_script_that_cannot_say_changes_nothing),
		T(what_was_drained_is_not_looked_at),
		T(it_may_end_while_a_script_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
