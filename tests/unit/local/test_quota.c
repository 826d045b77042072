/* SPDX-License-Identifier: BSD-2-Clause */
/* quota: warned at four fifths, out at the whole, in again with the new month, each said once; what
 * was counted is on the disk within a minute. The device's counters and the date are the test's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "virtual_time.h"

#include "netlink.h"
#include "quota.h"
#include "rtnl_stats.h"

static struct event_base *base;
static struct quota *q;
static struct config config;
static uint64_t carried;
static time_t date;
static enum links_standing verdict;
static unsigned told[3];
static char why[160], dir[] = "/tmp/plait-quota-XXXXXX", file[64];

time_t time(time_t *t)
{
	if (t)
		*t = date;
	return date;
}

struct netlink *netlink_open(int protocol)
{
	(void)protocol;
	return (struct netlink *)&date;
}

void netlink_close(struct netlink *nl)
{
	(void)nl;
}

int rtnl_stats(struct netlink *nl, const char *device, struct rtnl_stats *out)
{
	(void)nl, (void)device;
	*out = (struct rtnl_stats){ .index = 7, .rx = carried, .tx = 0 };
	return 0;
}

void links_set_verdict(struct links *l, size_t link, enum links_judge who, enum links_standing standing, const char *clause)
{
	(void)l, (void)link, (void)clause;
	assert_int_equal(who, LINKS_QUOTA);
	verdict = standing;
}

static void on_told(void *arg, size_t link, enum quota_event event, const char *clause)
{
	(void)arg, (void)link;
	told[event]++;
	snprintf(why, sizeof(why), "%s", clause);
}

static void pass(unsigned seconds)
{
	date += seconds;
	event_base_loopexit(base, &(struct timeval){ .tv_sec = seconds });
	event_base_dispatch(base);
}

static int setup(void **state)
{
	(void)state;
	virtual_grace_ms = 0;
	setenv("TZ", "UTC", 1);
	strcpy(dir + strlen(dir) - 6, "XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(file, sizeof(file), "%s/quota.json", dir);
	config = (struct config){ .n_links = 1 };
	config.links[0] = (struct config_link){ .name = "lte", .device = "wan2", .quota = 20000000, .quota_day = 1 };
	strcpy(config.state_dir, dir);
	carried = 5000000; /* before we came */
	date = 1767225600 + 10 * 86400; /* 11 January 2026 */
	verdict = LINKS_IN;
	memset(told, 0, sizeof(told));
	base = event_base_new();
	q = quota_new(base, &config, NULL, on_told, NULL);
	return q ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	quota_free(q);
	event_base_free(base);
	unlink(file);
	return rmdir(dir);
}

static void each_step_is_taken_once_and_within_a_second(void **state)
{
	(void)state;
	pass(2);
	carried += 15999999;
	pass(60);
	assert_int_equal(told[QUOTA_WARNING], 0);
	carried += 1;
	pass(1);
	assert_int_equal(told[QUOTA_WARNING], 1);
	assert_non_null(strstr(why, "80 % of its quota of 20M is used, it begins anew on 1 February"));
	carried += 3999999;
	pass(60);
	assert_int_equal(verdict, LINKS_IN);
	carried += 1;
	pass(1);
	assert_int_equal(verdict, LINKS_OUT);
	assert_string_equal(why, "quota of 20M is used up, again on 1 February");
	carried += 50000000;
	pass(600);
	assert_int_equal(told[QUOTA_WARNING], 1);
	assert_int_equal(told[QUOTA_SPENT], 1);
	assert_int_equal(told[QUOTA_RENEWED], 0);
	assert_int_equal(verdict, LINKS_OUT);
}

static void a_new_month_begins_at_nothing(void **state)
{
	(void)state;
	carried += 30000000;
	pass(2);
	assert_int_equal(verdict, LINKS_OUT);
	for (int hour = 0; hour < 24 * 22; hour++) { /* it has to pass, not to be claimed; the machine sleeps through most of it */
		virtual_us += 3599000000;
		date += 3599;
		pass(1);
	}
	assert_int_equal(verdict, LINKS_IN);
	assert_int_equal(told[QUOTA_RENEWED], 1);
	carried += 16000000;
	pass(2);
	assert_int_equal(told[QUOTA_WARNING], 1);
}

static void what_was_counted_is_kept_within_a_minute(void **state)
{
	struct stat st;

	(void)state;
	carried += 1000000;
	pass(59);
	assert_int_equal(stat(file, &st), -1);
	pass(1);
	assert_int_equal(stat(file, &st), 0);
}

static void more_quota_is_a_way_out(void **state)
{
	(void)state;
	carried += 30000000;
	pass(2);
	assert_int_equal(verdict, LINKS_OUT);
	config.links[0].quota = 100000000;
	quota_reload(q);
	assert_int_equal(verdict, LINKS_IN);
	assert_int_equal(told[QUOTA_RENEWED], 1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(each_step_is_taken_once_and_within_a_second),
		T(a_new_month_begins_at_nothing),
		T(what_was_counted_is_kept_within_a_minute),
		T(more_quota_is_a_way_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
