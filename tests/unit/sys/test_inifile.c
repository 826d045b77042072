/* SPDX-License-Identifier: BSD-2-Clause */
#include <fcntl.h>
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "addr.h"
#include "inifile.h"

struct thing {
	char name[8];
	uint32_t size;
};

struct conf {
	bool flag;
	uint32_t n, secs, ms;
	uint64_t big;
	uint16_t port, ports[3];
	size_t n_ports;
	char text[8], path[32], device[IFNAMSIZ], devices[2][IFNAMSIZ];
	size_t n_devices;
	enum { RED, GREEN } colour;
	struct addr at;
	uint8_t pin[32];
	struct prefix nets[4];
	size_t n_nets;
	struct thing things[2];
	size_t n_things;
};

#define FIELD(f) .offset = offsetof(struct conf, f)

static const char *const colours[] = { "red", "green", NULL };

static const struct inifile_option main_options[] = {
	{ .key = "flag", .set = inifile_bool, FIELD(flag) },
	{ .key = "n", .set = inifile_u32, FIELD(n), .min = 1, .max = 1 << 20, .need = INIFILE_REQUIRED },
	{ .key = "big", .set = inifile_u64, FIELD(big), .max = UINT64_MAX },
	{ .key = "secs", .set = inifile_seconds, FIELD(secs), .max = 7200 },
	{ .key = "ms", .set = inifile_msec, FIELD(ms), .min = 10, .max = 60000 },
	{ .key = "port", .set = inifile_port, FIELD(port) },
	{ .key = "text", .was = "words", .set = inifile_string, FIELD(text), .max = 8 },
	{ .key = "path", .set = inifile_path, FIELD(path), .max = 32 },
	{ .key = "device", .set = inifile_device, FIELD(device) },
	{ .key = "colour", .set = inifile_name, FIELD(colour), .names = colours },
	{ .key = "at", .set = inifile_ip, FIELD(at) },
	{ .key = "pin", .set = inifile_pin, FIELD(pin) },
	{ .key = "nets", .set = inifile_prefixes, FIELD(nets), .max = 4, .many = INIFILE_LIST,
	  .count = offsetof(struct conf, n_nets) },
	{ .key = "devices", .set = inifile_devices, FIELD(devices), .max = 2, .many = INIFILE_LIST,
	  .count = offsetof(struct conf, n_devices) },
	{ .key = "ports", .set = inifile_ports, FIELD(ports), .max = 3, .many = INIFILE_LIST,
	  .count = offsetof(struct conf, n_ports) },
	{ .key = NULL },
};

static const struct inifile_option thing_options[] = {
	{ .key = "size", .set = inifile_u32, .offset = offsetof(struct thing, size), .max = 100, .need = INIFILE_REQUIRED },
	{ .key = NULL },
};

static int check_thing(const void *base, const void *entry, struct inifile_why *why)
{
	const struct thing *t = entry;

	(void)base;
	return t->size == 13 ? inifile_refuse(why, "13 is unlucky") : 0;
}

static const struct inifile_section sections[] = {
	{ .name = "main", .options = main_options },
	{ .name = "thing", .was = "gadget", .options = thing_options, FIELD(things), .stride = sizeof(struct thing), .max = 2,
	  .count = offsetof(struct conf, n_things), .title = 8, .check = check_thing },
	{ .name = NULL },
};

static struct conf conf;
static char err[INIFILE_ERR];

static int load_bytes(const char *text, size_t len)
{
	FILE *f = fmemopen((void *)(uintptr_t)text, len, "r");
	int rc;

	assert_non_null(f);
	memset(&conf, 0, sizeof(conf));
	conf.ports[0] = 25;
	conf.n_ports = 1;
	memset(err, 0, sizeof(err));
	rc = inifile_read(f, "x.conf", sections, &conf, err, sizeof(err));
	fclose(f);
	return rc;
}

static int load(const char *text)
{
	int rc = load_bytes(text, strlen(text));

	if (rc == 0)
		assert_string_equal(err, "");
	return rc;
}

/* Refused, and the sentence begins with this. */
#define REFUSES(text, want)                                                   \
	do {                                                                  \
		assert_int_equal(load(text), -1);                             \
		if (strncmp(err, want, strlen(want)))                         \
			fail_msg("got \"%s\", wanted \"%s\"", err, want);      \
	} while (0)

static void every_setter(void **state)
{
	struct addr a;

	(void)state;
	assert_int_equal(load("# a comment\n; another\n\n[main]\nflag = yes\nn=64K\nbig = 3G\nsecs = 2m\nms = 1s\nport = 65535\n"
			      "text = a b ; behind\npath = /etc/x\ndevice = eth0.7\ncolour = green\nat = 192.0.2.1\n"
			      "pin = AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\nnets = 10.0.0.0/8, 2001:db8::/32\n"
			      "devices = br0 eth1\nports = 80,443\n[thing a]\nsize = 1\n[thing b.2]\nsize = 2\n"), 0);
	assert_true(conf.flag);
	assert_int_equal(conf.n, 65536);
	assert_int_equal(conf.big, 3ULL << 30);
	assert_int_equal(conf.secs, 120);
	assert_int_equal(conf.ms, 1000);
	assert_int_equal(conf.port, 65535);
	assert_string_equal(conf.text, "a b");
	assert_string_equal(conf.path, "/etc/x");
	assert_string_equal(conf.device, "eth0.7");
	assert_int_equal(conf.colour, GREEN);
	addr_parse(&a, "192.0.2.1", 0);
	assert_true(addr_equal(&a, &conf.at));
	assert_int_equal(conf.pin[31], 31);
	assert_int_equal(conf.n_nets, 2);
	assert_int_equal(conf.nets[0].bits, 104);
	assert_int_equal(conf.nets[1].bits, 32);
	assert_int_equal(conf.n_devices, 2);
	assert_string_equal(conf.devices[1], "eth1");
	assert_int_equal(conf.n_ports, 2); /* replaced, not added to */
	assert_int_equal(conf.ports[0], 80);
	assert_int_equal(conf.n_things, 2);
	assert_string_equal(conf.things[1].name, "b.2");
	assert_int_equal(conf.things[1].size, 2);
}

static void lists_go_on(void **state)
{
	(void)state;
	assert_int_equal(load("[main]\nnets = 10.0.0.0/8, ; one\n   11.0.0.0/8 ; two\n\t2001:db8::/32\n  n = 5\nports =\n"), 0);
	assert_int_equal(conf.n_nets, 3);
	assert_int_equal(conf.n, 5);
	assert_int_equal(conf.n_ports, 0);
	REFUSES("[main]\nn = 5\n  n = 6\n", "x.conf:3: n = is there already, in line 2");
	REFUSES("[main]\nn = 5\nnets = 10.0.0.0/8\n nonsense\n", "x.conf:4: nets: nonsense is not a network");
	REFUSES("[main]\nnets = 1.0.0.0/8 2.0.0.0/8 3.0.0.0/8\n 4.0.0.0/8\n 5.0.0.0/8\n", "x.conf:4: nets: more than 4");
}

static void crlf_and_bom(void **state)
{
	(void)state;
	assert_int_equal(load("\xef\xbb\xbf[main]\r\nn = 7\r\ntext = abc\r\n"), 0);
	assert_int_equal(conf.n, 7);
	assert_string_equal(conf.text, "abc");
	REFUSES("[main]\nn = 7\rtext = x\n", "x.conf:2: carriage return");
}

static void bad_values_name_their_line(void **state)
{
	static const char *const lines[][2] = {
		{ "port = 0", "port: 0 is not a port" }, { "port = 65536", "port: 65536 is not a port" },
		{ "port = 80x", "port:" }, { "port = -1", "port:" }, { "port =", "port:" }, { "port = 99999999999999999999", "port:" },
		{ "n = 0", "n: 0 is not a number from 1 to 1048576" }, { "n = 2M", "n:" }, { "n = 1 K", "n:" }, { "n = 0x10", "n:" },
		{ "big = 18446744073709551616", "big:" }, { "big = 18446744073709551615K", "big:" },
		{ "flag = true", "flag: true is neither yes nor no" }, { "flag = yess", "flag:" },
		{ "secs = 5", "secs:" }, { "secs = 250ms", "secs:" }, { "secs = 3h", "secs:" }, { "ms = 9ms", "ms:" },
		{ "text = 12345678", "text: longer than 7" }, { "path = etc/x", "path: etc/x is not a path" },
		{ "device = a/b", "device:" }, { "device = sixteen-letters-", "device:" }, { "device = eth+", "device:" },
		{ "colour = blue", "colour: blue is none of red, green" }, { "at = 1.2.3", "at:" }, { "at = 1.2.3.4:80", "at:" },
		{ "at = 1.2.3.4:1", "at:" }, { "at = example.net", "at:" }, { "pin = AAAA", "pin: not a key" },
		{ "nets = 10.0.0.0/33", "nets: 10.0.0.0/33 is not" }, { "nets = 10.0.0.1/8", "nets:" }, { "nets = ::/129", "nets:" },
		{ "ports = 80, 0", "ports: 0 is not" }, { "devices = a b c", "devices: more than 2" },
		{ "volume = 11", "unknown option volume in [main]" }, { "[nowhere]", "unknown section [nowhere]" },
		{ "[main]", "[main] is there already, in line 1" }, { "[main two]", "[main] takes no name" },
		{ "[thing]", "[thing] needs a name" }, { "[thing two words]", "[thing two words]: a name has" },
		{ "[thing toolong8]", "[thing toolong8]: a name" }, { "[thing a] x", "text after ]" },
		{ "[thing", "neither a [section]" }, { "word", "neither a [section]" }, { "= 5", "unknown option" },
	};
	char text[200], want[200];

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		snprintf(text, sizeof(text), "[main]\n%s\n; c\n%s\n", lines[i][0][0] == 'n' ? "" : "n = 1", lines[i][0]);
		snprintf(want, sizeof(want), "x.conf:4: %s", lines[i][1]);
		REFUSES(text, want);
	}
}

static void sections_repeat_by_name(void **state)
{
	(void)state;
	REFUSES("[main]\nn=1\n[thing a]\nsize=1\n[thing a]\nsize=1\n", "x.conf:5: [thing a] is there already");
	REFUSES("[thing a]\nsize=1\n[thing b]\nsize=1\n[thing c]\n", "x.conf:5: more than 2 [thing] sections");
	REFUSES("[thing a]\n[thing b]\nsize=1\n", "x.conf:1: [thing a] needs size =");
	REFUSES("[thing a]\nsize=1\n\n[thing b]\n# nothing", "x.conf:4: [thing b] needs size =");
	REFUSES("[main]\nn=1\n[thing a]\nsize = 13\n", "x.conf:3: [thing a]: 13 is unlucky");
}

/* What load() writes to the log meanwhile. */
static const char *logged_by(const char *text)
{
	static char out[1024];
	int was = dup(STDERR_FILENO);
	FILE *f = tmpfile();
	size_t n;

	assert_non_null(f);
	fflush(stderr);
	dup2(fileno(f), STDERR_FILENO);
	assert_int_equal(load(text), 0);
	fflush(stderr);
	dup2(was, STDERR_FILENO);
	close(was);
	rewind(f);
	n = fread(out, 1, sizeof(out) - 1, f);
	out[n] = 0;
	fclose(f);
	return out;
}

/* A file that was written for an earlier version is good, and says once what has another name now. */
static void old_words_are_understood(void **state)
{
	const char *log = logged_by("[main]\nn = 1\nwords = hello\n[gadget a]\nsize = 1\n[gadget b]\nsize = 2\n");
	const char *section = strstr(log, "x.conf:4: [gadget] is called [thing] now");

	(void)state;
	assert_string_equal(conf.text, "hello");
	assert_int_equal(conf.n_things, 2);
	assert_int_equal(conf.things[1].size, 2);
	assert_non_null(strstr(log, "x.conf:3: words = is called text = now"));
	assert_non_null(section);
	assert_null(strstr(section + strlen("x.conf:4: [gadget]"), "[gadget]"));
	assert_string_equal(logged_by("[main]\nn = 1\ntext = hello\n[thing a]\nsize = 1\n"), "");
	REFUSES("[main]\nn = 1\ntext = a\nwords = b\n", "x.conf:4: words = is there already, in line 3");
	REFUSES("[thing a]\nsize = 1\n[gadget a]\nsize = 1\n", "x.conf:3: [thing a] is there already");
}

static void required_are_missed(void **state)
{
	(void)state;
	REFUSES("\n[main]\nflag = no\n", "x.conf:2: [main] needs n =");
	REFUSES("[thing a]\nsize=1\n", "x.conf:2: there is no section [main], which needs n =");
	REFUSES("\n", "x.conf:1: there is no section [main]");
	REFUSES("n = 1\n[main]\n", "x.conf:1: n = stands before the first");
}

static void nul_and_long_lines(void **state)
{
	static char big[1 << 20];

	(void)state;
	assert_int_equal(load_bytes("[main]\nn = 1\0 2\n", 16), -1);
	assert_non_null(strstr(err, "x.conf:2: NUL byte"));
	memcpy(big, "[main]\nn = 1\ntext = ", 20);
	memset(big + 20, 'a', sizeof(big) - 20);
	assert_int_equal(load_bytes(big, sizeof(big)), -1);
	assert_non_null(strstr(err, "x.conf:3: the line is longer than"));
	memset(big, '[', sizeof(big));
	assert_int_equal(load_bytes(big, sizeof(big)), -1);
	assert_non_null(strstr(err, "x.conf:1: the line is longer than"));
}

static void the_first_error_wins(void **state)
{
	(void)state;
	REFUSES("[main]\nbroken\nport = 0\n", "x.conf:2: neither");
	REFUSES("[main]\nport = 0\nbroken\n", "x.conf:2: port: 0");
}

static void only_regular_files(void **state)
{
	char dir[] = "/tmp/plait-ini-XXXXXX", path[64];

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(inifile_load(dir, sections, &conf, err, sizeof(err)), -1);
	assert_non_null(strstr(err, "not a regular file"));
	snprintf(path, sizeof(path), "%s/fifo", dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(inifile_load(path, sections, &conf, err, sizeof(err)), -1); /* and does not wait for a writer */
	assert_non_null(strstr(err, "not a regular file"));
	unlink(path);
	assert_int_equal(inifile_load(path, sections, &conf, err, sizeof(err)), -1);
	assert_non_null(strstr(err, "No such file"));
	rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_setter),
		cmocka_unit_test(lists_go_on),
		cmocka_unit_test(crlf_and_bom),
		cmocka_unit_test(bad_values_name_their_line),
		cmocka_unit_test(sections_repeat_by_name),
		cmocka_unit_test(old_words_are_understood),
		cmocka_unit_test(required_are_missed),
		cmocka_unit_test(nul_and_long_lines),
		cmocka_unit_test(the_first_error_wins),
		cmocka_unit_test(only_regular_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
