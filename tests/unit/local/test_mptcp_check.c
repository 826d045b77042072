/* SPDX-License-Identifier: BSD-2-Clause */
/* mptcp_check: how long a link is asked whether Multipath TCP passes, how often, and after how many
 * answers it is believed. The sockets are the test's: a connection is answered at once, or
 * never. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "virtual_time.h"

#include "log.h"
#include "mptcp_check.h"
#include "sock.h"

static struct event_base *base;
static struct mptcp_check *s;
static struct config config;
static bool mptcp_answered, mptcp_passes, tcp_answered;
static unsigned mptcp_asked, tcp_asked;
static uint64_t mptcp_ms, tcp_ms, verdict_ms; /* the last time */
static enum links_standing verdict;
static const char *why;

/* Writable at once, or never. */
static int dialled(bool answered)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	uint64_t full = UINT64_MAX - 1;

	if (!answered)
		assert_int_equal(write(fd, &full, sizeof(full)), sizeof(full));
	return fd;
}

int sock_dial_wan(const struct addr *to, const struct addr *src, const struct sock_wan *opt)
{
	(void)to, (void)src, (void)opt;
	mptcp_asked++;
	mptcp_ms = virtual_ms();
	return dialled(mptcp_answered);
}

int sock_dial_tcp_from(const struct addr *to, const struct addr *src, uint32_t mark)
{
	(void)to, (void)src, (void)mark;
	tcp_asked++;
	tcp_ms = virtual_ms();
	return dialled(tcp_answered);
}

int sock_connect_error(int fd)
{
	(void)fd;
	return 0;
}

bool sock_is_mptcp(int fd)
{
	(void)fd;
	return mptcp_passes;
}

void sock_close_reset(int fd)
{
	close(fd);
}

void links_set_verdict(struct links *l, size_t link, enum links_judge who, enum links_standing standing, const char *clause)
{
	(void)l, (void)link, (void)who;
	verdict = standing;
	verdict_ms = virtual_ms();
	why = clause;
}

enum links_standing links_standing(const struct links *l, size_t link, const char **clause)
{
	(void)l, (void)link, (void)clause;
	return verdict;
}

bool links_address(const struct links *l, size_t link, int family, struct addr *out)
{
	(void)l, (void)link;
	return family == AF_INET && addr_parse(out, "192.168.2.2", 0) == 0;
}

static void pass(unsigned ms)
{
	event_base_loopexit(base, &(struct timeval){ .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 });
	event_base_dispatch(base);
}

static int setup(void **state)
{
	(void)state;
	virtual_grace_ms = 0;
	config = (struct config){ .n_links = 1 };
	mptcp_answered = mptcp_passes = tcp_answered = true;
	mptcp_asked = tcp_asked = 0;
	verdict = LINKS_IN;
	base = event_base_new();
	s = mptcp_check_new(base, &config, NULL, 0);
	return s ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	mptcp_check_free(s);
	event_base_free(base);
	return 0;
}

static void begin(bool session)
{
	struct addr vps;

	assert_int_equal(addr_parse(&vps, "11.7.0.2", 7200), 0);
	mptcp_check_targets(s, &vps, 1, session);
}

/* When it is asked the next time, within so many seconds. */
static uint64_t next_ms(unsigned seconds)
{
	unsigned before = mptcp_asked;

	for (unsigned n = 0; n < seconds && mptcp_asked == before; n++)
		pass(1000);
	assert_int_equal(mptcp_asked, before + 1);
	return mptcp_ms;
}

static void a_sound_line_is_asked_once_a_quarter_of_an_hour(void **state)
{
	uint64_t last = virtual_ms(), next;

	(void)state;
	begin(true);
	pass(100);
	assert_int_equal(mptcp_asked, 1);
	for (int n = 0; n < 20; n++, last = next) {
		next = next_ms(2000);
		assert_in_range(next - last, 787500, 1012500 + 1000); /* by chance, so that houses do not ask together; looked at once a second */
	}
	assert_int_equal(tcp_asked, 0);
	assert_int_equal(verdict, LINKS_IN);
}

static void a_metered_one_every_six_hours(void **state)
{
	uint64_t begun = virtual_ms();

	(void)state;
	config.links[0].metered = true;
	begin(true);
	pass(100);
	assert_in_range(next_ms(30000) - begun, 18900000, 24300000 + 1000);
}

static void options_taken_out_are_believed_at_once(void **state)
{
	uint64_t begun = virtual_ms();

	(void)state;
	mptcp_passes = false;
	begin(true);
	pass(100);
	assert_int_equal(verdict, LINKS_PLAIN);
	assert_int_equal(verdict_ms, begun);
	mptcp_passes = true;
	next_ms(2000);
	pass(100);
	assert_int_equal(verdict, LINKS_IN);
}

static void dropped_syns_are_believed_the_second_time(void **state)
{
	uint64_t begun = virtual_ms();

	(void)state;
	mptcp_answered = false;
	begin(true);
	pass(4000);
	assert_int_equal(tcp_ms - begun, 3500); /* a lost SYN is sent again after one second, and after three */
	assert_int_equal(verdict, LINKS_IN);
	pass(20000);
	assert_int_equal(mptcp_asked, 2);
	assert_int_equal(verdict, LINKS_PLAIN);
	assert_in_range(verdict_ms - begun, 3500 + 2000 + 3500, 3500 + 2000 + 3500 + 1000);
	assert_non_null(strstr(why, "dropped on the way"));
}

static void one_answer_between_them_and_it_begins_anew(void **state)
{
	(void)state;
	mptcp_answered = false;
	begin(true);
	pass(4000);
	mptcp_answered = true;
	pass(3000);
	mptcp_answered = false;
	next_ms(2000);
	pass(4000);
	assert_int_equal(verdict, LINKS_IN);
}

static void where_nobody_answers_nothing_is_known(void **state)
{
	uint64_t first;

	(void)state;
	mptcp_answered = tcp_answered = false;
	begin(true);
	first = mptcp_ms;
	assert_in_range(next_ms(60) - first, 3500 + 3500 + 2000, 3500 + 3500 + 2000 + 1000);
	pass(600000);
	assert_int_equal(verdict, LINKS_IN);
}

static void without_a_session_the_vps_may_be_away(void **state)
{
	uint64_t first;

	(void)state;
	mptcp_answered = tcp_answered = false;
	begin(false);
	first = mptcp_ms;
	assert_in_range(next_ms(60) - first, 3500 + 3500 + 10000, 3500 + 3500 + 10000 + 1000);
	first = virtual_ms();
	begin(true); /* there it is: what was found before is nothing to go by */
	assert_int_equal(mptcp_ms, first);
}

static void a_connection_that_fell_back_has_its_line_asked_within_three_seconds(void **state)
{
	struct addr from;
	uint64_t doubted;

	(void)state;
	begin(true);
	pass(60000);
	assert_int_equal(mptcp_asked, 1);
	assert_int_equal(addr_parse(&from, "192.168.2.2", 0), 0);
	doubted = virtual_ms();
	mptcp_check_doubt(s, &from);
	assert_in_range(next_ms(10) - doubted, 2000, 3000);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_sound_line_is_asked_once_a_quarter_of_an_hour),
		T(a_metered_one_every_six_hours),
		T(options_taken_out_are_believed_at_once),
		T(dropped_syns_are_believed_the_second_time),
		T(one_answer_between_them_and_it_begins_anew),
		T(where_nobody_answers_nothing_is_known),
		T(without_a_session_the_vps_may_be_away),
		T(a_connection_that_fell_back_has_its_line_asked_within_three_seconds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
