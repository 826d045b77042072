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
#define KEY "key = AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
#define VPS "[vps]\nhost = vps.example.net\nkey = AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
#define LAN "[lan]\ndevice = br0\n"

static void defaults(void **state)
{
	(void)state;
	assert_int_equal(load(VPS LAN), 0);
	assert_string_equal(c.vps[0].host, "vps.example.net");
	assert_int_equal(c.vps[0].port, 7200);
	assert_int_equal(c.vps[0].pin[1], 1);
	assert_false(c.vps[0].private_ok);
	assert_string_equal(c.vps[0].resolver, "");
	assert_string_equal(c.key_file, PLAIT_SYSCONFDIR "/plait/local.key");
	assert_string_equal(c.control, "/run/plait/local.sock");
	assert_int_equal(c.log, LOG_LVL_INFO);
	assert_int_equal(c.n_lan_devices, 1);
	assert_string_equal(c.lan_devices[0], "br0");
	assert_int_equal(c.lan_port, 7201);
	assert_int_equal(c.intercept, INTERCEPT_TPROXY);
	assert_int_equal(c.rules, RULES_AUTO);
	assert_string_equal(c.rules_dir, PLAIT_LIBDIR);
	assert_false(c.own);
	assert_int_equal(c.n_bypass, 0);
	assert_int_equal(c.max_relays, 8000);
	assert_int_equal(c.pool_min, 4);
	assert_int_equal(c.pool_max, 64);
	assert_int_equal(c.pool_age_s, 100);
	assert_false(c.clear);
	assert_string_equal(c.congestion, "auto");
	assert_int_equal(c.notsent_lowat, 131072);
	assert_int_equal(c.idle_s, 7440);
	assert_int_equal(c.stall_s, 90);
	assert_int_equal(c.n_links, 0);
	assert_string_equal(c.hook, "");
	assert_string_equal(c.state_dir, "/var/lib/plait");
	assert_int_equal(c.on_vps_down, DOWN_DIRECT);
}

static void roles_and_money(void **state)
{
	(void)state;
	assert_int_equal(load(VPS LAN "[local]\nhook = /etc/plait/hook\nstate_dir = /srv/plait\non_vps_down = reject\n"
			      "[link adsl]\ndevice = eth1\n"
			      "[link lte]\ndevice = wwan0\nrole = backup\nmetered = yes\nrate_up = 20M\nrate_down = 1G\n"
			      "quota = 10G\nquota_day = 31\n"
			      "[link old]\ndevice = eth3\nrole = off\nrate_up = auto\nquota = none\n"), 0);
	assert_string_equal(c.hook, "/etc/plait/hook");
	assert_string_equal(c.state_dir, "/srv/plait");
	assert_int_equal(c.on_vps_down, DOWN_REJECT);
	assert_int_equal(c.links[0].role, ROLE_PRIMARY);
	assert_false(c.links[0].metered);
	assert_int_equal(c.links[0].rate_up, 0);
	assert_int_equal(c.links[0].quota, 0);
	assert_int_equal(c.links[0].quota_day, 1);
	assert_int_equal(c.links[1].role, ROLE_BACKUP);
	assert_true(c.links[1].metered);
	assert_int_equal(c.links[1].rate_up, 20000000);
	assert_int_equal(c.links[1].rate_down, 1000000000);
	assert_int_equal(c.links[1].quota, 10000000000);
	assert_int_equal(c.links[1].quota_day, 31);
	assert_int_equal(c.links[2].role, ROLE_OFF);
	assert_int_equal(c.links[2].rate_up, 0);
	assert_int_equal(c.links[2].quota, 0);
	refuses(VPS LAN "[link a]\ndevice = e\nrole = spare\n", ":8: role: spare is none of primary, backup, off");
	refuses(VPS LAN "[link a]\ndevice = e\nquota = 10GB\n", ":8: quota: 10GB is neither none nor a number");
	refuses(VPS LAN "[link a]\ndevice = e\nquota = 0\n", ":8: quota: 0 is neither");
	refuses(VPS LAN "[link a]\ndevice = e\nrate_up = 99999999999999999999\n", ":8: rate_up:");
	refuses(VPS LAN "[link a]\ndevice = e\nquota_day = 32\n", ":8: quota_day:");
	refuses(VPS LAN "[local]\nhook = hook\n", ":7: hook: hook is not a path");
	refuses(VPS LAN "[local]\nhook = /dev/null\n", ":6: [local]: hook = /dev/null: others may write it (chmod o-w it)");
}

static void links_and_lists(void **state)
{
	(void)state;
	assert_int_equal(load(VPS "[lan]\ndevice = br0, eth9\nintercept = redirect\nrules = nftables\n"
			      "bypass = 203.0.113.0/24,\n  2001:db8::/32\n[link adsl]\ndevice = eth1\n"
			      "[link lte]\ndevice = wwan0\ninitcwnd = 0\n"
			      "[link cable]\ndevice = eth2\ninitcwnd = auto\n"), 0);
	assert_int_equal(c.n_lan_devices, 2);
	assert_int_equal(c.intercept, INTERCEPT_REDIRECT);
	assert_int_equal(c.rules, RULES_NFTABLES);
	assert_int_equal(c.n_bypass, 2);
	assert_int_equal(c.n_links, 3);
	assert_string_equal(c.links[0].name, "adsl");
	assert_int_equal(c.links[0].initcwnd, CONFIG_AUTO);
	assert_string_equal(c.links[1].device, "wwan0");
	assert_int_equal(c.links[1].initcwnd, 0);
	assert_int_equal(c.links[2].initcwnd, CONFIG_AUTO);
}

/* Written for version 0.1, which called the VPS the remote. */
static void a_file_of_0_1_is_good(void **state)
{
	(void)state;
	assert_int_equal(load("[remote]\nhost = a.example\n" KEY "[remote two]\nhost = b.example\n" KEY LAN
			      "[local]\non_remote_down = reject\n"), 0);
	assert_int_equal(c.n_vps, 2);
	assert_string_equal(c.vps[0].name, "vps");
	assert_string_equal(c.vps[1].host, "b.example");
	assert_int_equal(c.on_vps_down, DOWN_REJECT);
}

static void what_must_fit_together(void **state)
{
	(void)state;
	refuses(VPS, "[lan]: nothing to take");
	refuses(VPS "[lan]\nown = no\n", ":4: [lan]: nothing to take");
	assert_int_equal(load(VPS "[lan]\nown = yes\n"), 0);
	assert_int_equal(load(VPS "[lan]\nrules = none\n"), 0);
	refuses(VPS "[vps two]\nhost = b.example\n" LAN, ":4: [vps two] needs key =");
	refuses(VPS VPS LAN, ":4: [vps vps] is there already");
	refuses("[vps]\n" KEY LAN, ":1: [vps]: needs host =, or srv =");
	refuses("[vps a]\nhost = x\nsrv = _plait._tcp.example\n" KEY LAN, ":1: [vps a]: either host = or srv =");
	refuses("[vps]\nsrv = plait.example\n" KEY LAN, ":2: srv: plait.example is no service");
	refuses("[vps]\nsrv = _plait._tcp.example\nport = 1\n" KEY LAN, ":1: [vps]: port = goes with host =");
	refuses("[vps a]\nhost = x\n" KEY "[vps b]\nhost = x\n" KEY LAN, ":4: [vps b]: it is [vps a] once more");
	refuses("[vps a]\nhost = a\n" KEY "[vps b]\nhost = b\n" KEY "[vps c]\nhost = c\n" KEY "[vps d]\nhost = d\n" KEY
		"[vps e]\n" LAN, ":13: more than 4 [vps] sections");
	assert_int_equal(load("[vps a]\nhost = a.example\n" KEY "[vps b]\nsrv = _plait._tcp.example.org\n" KEY LAN), 0);
	assert_int_equal(c.n_vps, 2);
	assert_string_equal(c.vps[0].name, "a");
	assert_string_equal(c.vps[1].srv, "_plait._tcp.example.org");
	refuses("[vps]\nhost = x\n" LAN, ":1: [vps] needs key =");
	refuses(LAN, "there is no section [vps], which needs host =");
	refuses(VPS LAN "[pool]\nmin = 65\n", ":6: [pool]: min = 65 is more than max = 64");
	refuses(VPS LAN "[link a]\ndevice = e\ninitcwnd = fast\n", ":8: initcwnd: fast is neither auto nor a number from 0 to 1000");
	refuses(VPS LAN "[link a]\ndevice = e\n[link b]\ndevice = e\n", ":8: [link b]: e is the device of [link a]");
}

static void hosts_and_resolvers(void **state)
{
	(void)state;
	refuses("[vps]\nhost = a.example:7200\n", ":2: host: a.example:7200 is neither");
	refuses("[vps]\nhost = 192.0.2.1:7200\n", ":2: host:");
	refuses("[vps]\nhost =\n", ":2: host: is empty");
	refuses("[vps]\nresolver = dns.example\n", ":2: resolver: dns.example is not");
	assert_int_equal(load(VPS "resolver = 192.0.2.53, [2001:db8::53]:5353\n" LAN), 0);
	assert_string_equal(c.vps[0].resolver, "192.0.2.53, [2001:db8::53]:5353");
	assert_int_equal(load(VPS "allow_private = yes\n" LAN), 0);
	assert_true(c.vps[0].private_ok);
	assert_int_equal(load("[vps]\nkey = AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\nhost = 2001:db8::1\n" LAN), 0);
	assert_string_equal(c.vps[0].host, "2001:db8::1");
}

#define GOOD                                                                        \
	"[vps]\nhost = 11.7.0.2\nkey = " PIN "\n"                                \
	"[local]\nkey_file = /tmp/the.key\ncontrol = /tmp/the.sock\n"              \
	"[lan]\ndevice = lan0\n[link adsl]\ndevice = wan1\n"

static void each_mistake_is_told_with_its_line(void **state)
{
	static const struct config_fault faults[] = {
		{ "port 0", "key = ", "port = 0\nkey = ", "port = 0", FIRST,
		  "port: 0 is not a port from 1 to 65535" },
		{ "port 65536", "key = ", "port = 65536\nkey = ", "port = 65536", FIRST,
		  "port: 65536 is not a port from 1 to 65535" },
		{ "key too short", "key = A", "key = ", "key = ", FIRST,
		  "key: not a key: that is the 44 characters that pubkey prints" },
		{ "key missing", "key = " PIN "\n", "", "[vps]", FIRST, "[vps] needs key =" },
		{ "host missing", "host = 11.7.0.2\n", "", "[vps]", FIRST,
		  "[vps]: needs host =, or srv =" },
		{ "host with a port", "host = 11.7.0.2", "host = 11.7.0.2:7200", "host", FIRST,
		  "host: 11.7.0.2:7200 is neither a name nor an IP address (the port has its own option)" },
		{ "resolver by name", "key = ", "resolver = dns.example\nkey = ", "resolver", FIRST,
		  "resolver: dns.example is not the address of a name server" },
		{ "bad prefix", "device = lan0", "device = lan0\nbypass = 10.0.0.0/33",
		  "bypass", FIRST, "bypass: 10.0.0.0/33" NO_NETWORK },
		{ "host bits in a prefix", "device = lan0", "device = lan0\nbypass = 10.0.0.1/8",
		  "bypass", FIRST, "bypass: 10.0.0.1/8" NO_NETWORK },
		{ "device name", "device = wan1", "device = wan/1", "wan/1", FIRST,
		  "device: wan/1 is not the name of a network device" },
		{ "two links of one device", "[link adsl]", "[link other]\ndevice = wan1\n[link adsl]",
		  "[link adsl]", FIRST, "[link adsl]: wan1 is the device of [link other] already" },
		{ "two links of one name", "[link adsl]", "[link adsl]\ndevice = wan2\n[link adsl]",
		  "[link adsl]", LAST, "[link adsl] is there already" },
		{ "link without a name", "[link adsl]", "[link]", "[link]", FIRST,
		  "[link] needs a name: [link NAME]" },
		{ "pool upside down", "[lan]", "[pool]\nmin = 9\nmax = 3\n[lan]", "[pool]", FIRST,
		  "[pool]: min = 9 is more than max = 3" },
		{ "nothing to take", "device = lan0\n", "", "[lan]", FIRST,
		  "[lan]: nothing to take: name the LAN's device =, or say own = yes" },
	};

	(void)state;
	EACH_IS_TOLD(GOOD, faults);
	EACH_IS_TOLD(GOOD, faults_of_both);
	bytes_of_no_text(GOOD);
}

static void windows_line_ends_are_fine(void **state)
{
	(void)state;
	from_windows(GOOD);
	assert_string_equal(c.vps[0].host, "11.7.0.2");
	assert_string_equal(c.links[0].name, "adsl");
	assert_string_equal(c.links[0].device, "wan1");
}

static void only_a_file_is_read(void **state)
{
	(void)state;
	files_that_are_none();
}

/* What an owner copies and begins with: it says the defaults, as it promises. */
static void the_example_is_good_and_says_the_defaults(void **state)
{
	static struct config is;

	(void)state;
	assert_int_equal(load("[vps]\nhost = vps.example.org\nkey = " PIN "\n" LAN
			      "[link adsl]\ndevice = eth1\n"), 0);
	is = c;
	if (config_load(&c, "conf/plait-local.conf", err, sizeof(err)))
		fail_msg("%s", err);
	config_adopt(&is, &c, differs, "plait-local");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),
		cmocka_unit_test(links_and_lists),
		cmocka_unit_test(roles_and_money),
		cmocka_unit_test(a_file_of_0_1_is_good),
		cmocka_unit_test(what_must_fit_together),
		cmocka_unit_test(hosts_and_resolvers),
		cmocka_unit_test(each_mistake_is_told_with_its_line),
		cmocka_unit_test(windows_line_ends_are_fine),
		cmocka_unit_test(only_a_file_is_read),
		cmocka_unit_test(the_example_is_good_and_says_the_defaults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
