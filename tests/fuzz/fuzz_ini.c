/* SPDX-License-Identifier: BSD-2-Clause */
/* Any bytes as a config file: a verdict and, when it is no, a sentence with file and line. */
#include <net/if.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "addr.h"
#include "inifile.h"

struct user {
	char name[16];
	uint8_t pin[32];
};

struct conf {
	bool flag;
	uint32_t secs, ms;
	uint64_t size;
	uint16_t port, ports[4];
	char text[16], path[32], devices[4][IFNAMSIZ];
	struct addr at, addrs[2];
	struct prefix nets[4];
	struct user users[4];
	unsigned colour;
	size_t n_ports, n_devices, n_addrs, n_nets, n_users;
};

#define FIELD(f) .offset = offsetof(struct conf, f)
#define LIST(f, n) FIELD(f), .max = (n), .many = INIFILE_LIST, .count = offsetof(struct conf, n_##f)

static const char *const colours[] = { "red", "green", NULL };

static const struct inifile_option main_options[] = {
	{ .key = "flag", .set = inifile_bool, FIELD(flag) },
	{ .key = "secs", .set = inifile_seconds, FIELD(secs), .max = 7200 },
	{ .key = "ms", .set = inifile_msec, FIELD(ms), .max = 60000 },
	{ .key = "size", .set = inifile_u64, FIELD(size), .max = UINT64_MAX },
	{ .key = "port", .set = inifile_port, FIELD(port) },
	{ .key = "text", .set = inifile_string, FIELD(text), .max = 16 },
	{ .key = "path", .set = inifile_path, FIELD(path), .max = 32 },
	{ .key = "colour", .set = inifile_name, FIELD(colour), .names = colours },
	{ .key = "at", .set = inifile_ip, FIELD(at) },
	{ .key = "ports", .set = inifile_ports, LIST(ports, 4) },
	{ .key = "devices", .set = inifile_devices, LIST(devices, 4) },
	{ .key = "addrs", .set = inifile_addrs, LIST(addrs, 2) },
	{ .key = "nets", .set = inifile_prefixes, LIST(nets, 4) },
	{ .key = NULL },
};

static const struct inifile_option user_options[] = {
	{ .key = "key", .set = inifile_pin, .offset = offsetof(struct user, pin), .need = INIFILE_REQUIRED },
	{ .key = NULL },
};

static const struct inifile_section sections[] = {
	{ .name = "main", .options = main_options },
	{ .name = "user", .options = user_options, FIELD(users), .stride = sizeof(struct user), .max = 4,
	  .count = offsetof(struct conf, n_users), .title = 16 },
	{ .name = NULL },
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct conf *c = calloc(1, sizeof(*c));
	char *copy = malloc(size + 1), err[INIFILE_ERR] = "";
	FILE *f;
	int rc;

	if (!c || !copy)
		abort();
	memcpy(copy, data, size);
	f = fmemopen(copy, size ? size : 1, "r");
	if (!f)
		abort();
	rc = inifile_read(f, "f", sections, c, err, sizeof(err));
	if (rc ? strncmp(err, "f:", 2) || err[2] < '1' || err[2] > '9' : *err)
		abort();
	if (c->n_users > 4 || c->n_nets > 4 || c->n_addrs > 2 || c->n_devices > 4 || c->n_ports > 4)
		abort();
	fclose(f);
	free(copy);
	free(c);
	return 0;
}
