/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "config.h"

#include "config_faults.h"

#define PIN "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
#define KEY1 "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define KEY2 "AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define KEY3 "AgECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define BOB "[user bob]\nkey = " KEY1 "\n"

static void defaults(void **state)
{
	(void)state;
	assert_int_equal(load(BOB), 0);
	assert_true(addr_is_any(&c.listen));
	assert_int_equal(addr_family(&c.listen), AF_INET6);
	assert_int_equal(c.listen.port, 7200);
	assert_string_equal(c.key_file, PLAIT_SYSCONFDIR "/plait/remote.key");
	assert_string_equal(c.control, "/run/plait/remote.sock");
	assert_int_equal(c.log, LOG_LVL_INFO);
	assert_int_equal(c.max_relays, 8000);
	assert_int_equal(c.pool_cap, 64);
	assert_int_equal(c.pool_age_s, 120);
	assert_int_equal(c.rekey_s, 3600);
	assert_int_equal(c.n_deny_ports, 1);
	assert_int_equal(c.deny_ports[0], 25);
	assert_false(c.clear);
	assert_string_equal(c.congestion, "auto");
	assert_int_equal(c.notsent_lowat, 131072);
	assert_int_equal(c.initcwnd, CONFIG_AUTO);
	assert_int_equal(c.idle_s, 7440);
	assert_int_equal(c.stall_s, 90);
	assert_int_equal(c.dial_s, 15);
	assert_int_equal(c.n_users, 1);
	assert_string_equal(c.users[0].name, "bob");
	assert_int_equal(c.users[0].relays, 8000);
	assert_int_equal(c.users[0].opens, 2000);
	assert_int_equal(c.users[0].buffer, 64 << 20);
}

static void port_and_address_in_any_order(void **state)
{
	(void)state;
	assert_int_equal(load("[listen]\nport = 443\naddress = 192.0.2.7\nannounce = 2001:db8::1 192.0.2.8\n" BOB), 0);
	assert_int_equal(c.listen.port, 443);
	assert_true(addr_is_v4(&c.listen));
	assert_int_equal(c.n_announce, 2);
	assert_int_equal(c.announce[1].port, 443);
	assert_int_equal(load("[listen]\naddress = 192.0.2.7\nport = 443\n" BOB), 0);
	assert_int_equal(c.listen.port, 443);
}

static void what_must_fit_together(void **state)
{
	(void)state;
	refuses("[listen]\n", "there is no [user NAME] section");
	refuses(BOB "[user ann]\nkey = " KEY1 "\n", ":3: [user ann]: has the same key as [user bob]");
	assert_int_equal(load(BOB "[user ann]\nkey = " KEY2 "\n"), 0);
	refuses("[user ann]\n" BOB, ":1: [user ann] needs key =");
	refuses("[listen]\nannounce = 192.0.2.1, 192.0.2.2\n" BOB, ":1: [listen]: announce takes");
	refuses("[listen]\nannounce = ::\n" BOB, ":1: [listen]: announce needs");
	refuses("[pool]\nage = 20h\n" BOB, ":2: age: 20h is not");
	refuses("[policy]\ndeny = 10.0.0.0/8/8\n" BOB, ":2: deny:");
}

static char heard[256];

static void note(void *arg, const char *option, bool taken)
{
	(void)arg;
	snprintf(heard + strlen(heard), sizeof(heard) - strlen(heard), "%s%s;", option, taken ? "" : "!");
}

static const char *adopt(struct config *is, const char *text, const bool *busy)
{
	heard[0] = 0;
	assert_int_equal(load(text), 0);
	config_adopt(is, &c, busy, note, NULL);
	return heard;
}

/* Users are their keys, keep their places, and leave a hole that is filled when nothing of them is
 * left. */
static void users_keep_their_places(void **state)
{
	static struct config is;
	bool busy[CONFIG_USERS] = { true, true };

	(void)state;
	assert_int_equal(load(BOB "[user ann]\nkey = " KEY2 "\n"), 0);
	is = c;
	assert_string_equal(adopt(&is, "[user ann]\nkey = " KEY2 "\nopens = 7\ninner = 10.78.0.9\n", busy),
			    "[user bob];[user ann] opens;[user ann] inner!;");
	assert_true(is.users[0].gone && !is.users[1].gone && is.n_users == 2);
	assert_int_equal(is.users[1].opens, 7);
	assert_string_equal(adopt(&is, "[user anna]\nkey = " KEY2 "\nopens = 7\n[user eve]\nkey = " KEY3 "\n", busy), "[user eve];");
	assert_string_equal(is.users[1].name, "anna");
	assert_string_equal(is.users[2].name, "eve");
	busy[0] = false;
	assert_string_equal(adopt(&is, "[user anna]\nkey = " KEY2 "\nopens = 7\n[user eve]\nkey = " KEY3 "\n" BOB, busy), "[user bob];");
	assert_string_equal(is.users[0].name, "bob");
	assert_true(!is.users[0].gone && is.n_users == 3);
}

static void no_place_left(void **state)
{
	static bool busy[CONFIG_USERS];
	static struct config is;

	(void)state;
	assert_int_equal(load(BOB), 0);
	is = c;
	for (is.n_users = 1; is.n_users < CONFIG_USERS; is.n_users++)
		is.users[is.n_users].gone = busy[is.n_users] = true;
	assert_string_equal(adopt(&is, BOB "[user ann]\nkey = " KEY2 "\n", busy), "[user ann]!;");
	busy[77] = false;
	assert_string_equal(adopt(&is, BOB "[user ann]\nkey = " KEY2 "\n", busy), "[user ann];");
	assert_string_equal(is.users[77].name, "ann");
}

/* Ten lines, like the other program's, because faults_of_both names them by number. */
#define GOOD                                                                        \
	"; the VPS\n\n\n[listen]\nport = 7200\n"                                    \
	"[remote]\nkey_file = /tmp/the.key\ncontrol = /tmp/the.sock\n"             \
	"[user home]\nkey = " PIN "\n"

static void each_mistake_is_told_with_its_line(void **state)
{
	static const struct config_fault faults[] = {
		{ "port 0", "port = 7200", "port = 0", "port = 0", FIRST,
		  "port: 0 is not a port from 1 to 65535" },
		{ "port 65536", "port = 7200", "port = 65536", "port = 65536", FIRST,
		  "port: 65536 is not a port from 1 to 65535" },
		{ "address that is none", "port = 7200", "port = 7200\naddress = vps",
		  "address", FIRST, "address: vps is not an IP address" },
		{ "two users of one key", "[user home]", "[user other]\nkey = " PIN "\n[user home]",
		  "[user home]", FIRST, "[user home]: has the same key as [user other]" },
		{ "two users of one name", "[user home]", "[user home]\nkey = " KEY1 "\n[user home]",
		  "[user home]", LAST, "[user home] is there already" },
		{ "user without a key", "key = " PIN, "", "[user home]", FIRST,
		  "[user home] needs key =" },
		{ "user name", "[user home]", "[user ho/me]", "[user", FIRST,
		  "[user ho/me]: a name has at most 31 of the characters A-Z a-z 0-9 . _ -" },
		{ "bad prefix", "[user home]", "[policy]\nallow = 10.0.0.0/33\n[user home]",
		  "allow", FIRST, "allow: 10.0.0.0/33" NO_NETWORK },
		{ "port to deny", "[user home]", "[policy]\ndeny_ports = 25, 0\n[user home]",
		  "deny_ports", FIRST, "deny_ports: 0 is not a port from 1 to 65535" },
		{ "no relays at all", "[user home]", "[user home]\nrelays = 0", "relays", FIRST,
		  "relays: 0 is not a number from 1 to 1000000 (K, M and G may follow it)" },
	};

	(void)state;
	EACH_IS_TOLD(GOOD, faults);
	EACH_IS_TOLD(GOOD, faults_of_both);
	bytes_of_no_text(GOOD);
}

static void a_remote_for_nobody_is_a_mistake(void **state)
{
	(void)state;
	assert_int_equal(load("[listen]\nport = 7200\n[remote]\nkey_file = /tmp/the.key\n"), -1);
	is_told("no users", config_path, 0, "there is no [user NAME] section, so nobody could connect");
}

static void windows_line_ends_are_fine(void **state)
{
	(void)state;
	from_windows(GOOD);
	assert_string_equal(c.key_file, "/tmp/the.key");
	assert_string_equal(c.users[0].name, "home");
}

static void only_a_file_is_read(void **state)
{
	(void)state;
	files_that_are_none();
}

/* What an owner copies and begins with: it says the defaults, as it promises. */
static void the_example_is_good_and_says_the_defaults(void **state)
{
	static bool busy[CONFIG_USERS];
	static struct config is;

	(void)state;
	assert_int_equal(load("[user home]\nkey = " PIN "\n"), 0);
	is = c;
	if (config_load(&c, "conf/plait-remote.conf", err, sizeof(err)))
		fail_msg("%s", err);
	config_adopt(&is, &c, busy, differs, "plait-remote");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),
		cmocka_unit_test(port_and_address_in_any_order),
		cmocka_unit_test(what_must_fit_together),
		cmocka_unit_test(users_keep_their_places),
		cmocka_unit_test(no_place_left),
		cmocka_unit_test(each_mistake_is_told_with_its_line),
		cmocka_unit_test(a_remote_for_nobody_is_a_mistake),
		cmocka_unit_test(windows_line_ends_are_fine),
		cmocka_unit_test(only_a_file_is_read),
		cmocka_unit_test(the_example_is_good_and_says_the_defaults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
