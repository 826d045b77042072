/* SPDX-License-Identifier: BSD-2-Clause */
/* inifile_set: text to values, one setter a kind of option. */
#include <ctype.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include "addr.h"
#include "inifile.h"
#include "seal.h"

int inifile_refuse(struct inifile_why *why, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why->text, sizeof(why->text), fmt, ap);
	va_end(ap);
	return -1;
}

int inifile_bool(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why)
{
	(void)o;
	if (strcmp(text, "yes") && strcmp(text, "no"))
		return inifile_refuse(why, "%.60s is neither yes nor no", text);
	*(bool *)field = *text == 'y';
	return 0;
}

/* Digits, then whatever *rest points at. -1: no digits, or beyond 64 bits. */
static int digits(const char *text, uint64_t *n, const char **rest)
{
	*n = 0;
	if (!isdigit((unsigned char)*text))
		return -1;
	for (; isdigit((unsigned char)*text); text++) {
		if (__builtin_mul_overflow(*n, 10, n) || __builtin_add_overflow(*n, (uint64_t)(*text - '0'), n))
			return -1;
	}
	*rest = text;
	return 0;
}

struct unit {
	const char *name;
	uint64_t factor;
};

static int ini_scaled(const char *text, const struct unit *units, const struct inifile_option *o,
		      uint64_t *n)
{
	const char *rest;

	if (digits(text, n, &rest))
		return -1;
	while (units->name && strcmp(units->name, rest))
		units++;
	return units->name && !__builtin_mul_overflow(*n, units->factor, n) && *n >= o->min && *n <= o->max ? 0 : -1;
}

static const struct unit sizes[] = { { "", 1 }, { "K", 1 << 10 }, { "M", 1 << 20 }, { "G", 1 << 30 }, { NULL, 0 } };

int inifile_u64(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why)
{
	uint64_t n;

	if (ini_scaled(text, sizes, o, &n))
		return inifile_refuse(why, "%.40s is not a number from %llu to %llu (K, M and G may follow it)", text,
				      (unsigned long long)o->min, (unsigned long long)o->max);
	*(uint64_t *)field = n;
	return 0;
}

int inifile_u32(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why)
{
	uint64_t n;

	if (inifile_u64(&n, o, text, why))
		return -1;
	*(uint32_t *)field = (uint32_t)n;
	return 0;
}

int inifile_u32_auto(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why)
{
	uint64_t n = INIFILE_AUTO;

	if (strcmp(text, "auto") && ini_scaled(text, sizes, o, &n))
		return inifile_refuse(why, "%.40s is neither auto nor a number from %llu to %llu", text,
				      (unsigned long long)o->min, (unsigned long long)o->max);
	*(uint32_t *)field = (uint32_t)n;
	return 0;
}

int inifile_amount(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why)
{
	static const struct unit amounts[] = {
		{ "", 1 }, { "K", 1000 }, { "M", 1000000 }, { "G", 1000000000 }, { "T", 1000000000000 }, { NULL, 0 }
	};
	uint64_t n = 0;

	if (strcmp(text, o->names[0]) && ini_scaled(text, amounts, o, &n))
		return inifile_refuse(why, "%.40s is neither %s nor a number from %llu to %llu (K, M, G and T may follow it)", text,
				      o->names[0], (unsigned long long)o->min, (unsigned long long)o->max);
	*(uint64_t *)field = n;
	return 0;
}

static int parse_port(uint16_t *port, const char *text, struct inifile_why *why)
{
	const char *rest;
	uint64_t n;

	if (digits(text, &n, &rest) || *rest || n < 1 || n > 65535)
		return inifile_refuse(why, "%.40s is not a port from 1 to 65535", text);
	*port = (uint16_t)n;
	return 0;
}

int inifile_port(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why)
{
	(void)o;
	return parse_port(field, text, why);
}

int inifile_seconds(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why)
{
	static const struct unit units[] = { { "s", 1 }, { "m", 60 }, { "h", 3600 }, { NULL, 0 } };
	uint64_t n;

	if (ini_scaled(text, units, o, &n))
		return inifile_refuse(why, "%.40s is not a time from %llus to %llus, like 90s, 2m or 1h", text,
				      (unsigned long long)o->min, (unsigned long long)o->max);
	*(uint32_t *)field = (uint32_t)n;
	return 0;
}

int inifile_msec(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why)
{
	static const struct unit units[] = {
		{ "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { NULL, 0 }
	};
	uint64_t n;

	if (ini_scaled(text, units, o, &n))
		return inifile_refuse(why, "%.40s is not a time from %llums to %llums, like 250ms, 10s or 2m", text,
				      (unsigned long long)o->min, (unsigned long long)o->max);
	*(uint32_t *)field = (uint32_t)n;
	return 0;
}

int inifile_string(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why)
{
	size_t len = strlen(text);

	if (len >= o->max)
		return inifile_refuse(why, "longer than %llu characters", (unsigned long long)o->max - 1);
	if (len < o->min)
		return inifile_refuse(why, "is empty");
	memcpy(field, text, len + 1);
	return 0;
}

int inifile_path(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why)
{
	if (*text != '/')
		return inifile_refuse(why, "%.60s is not a path that begins with /", text);
	return inifile_string(field, o, text, why);
}

int inifile_name(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why)
{
	char list[100] = "";
	size_t n = 0;

	for (unsigned i = 0; o->names[i]; i++) {
		if (!strcmp(o->names[i], text)) {
			memcpy(field, &i, sizeof(i));
			return 0;
		}
		n += (size_t)snprintf(list + n, sizeof(list) - n, "%s%s", i ? ", " : "", o->names[i]);
	}
	return inifile_refuse(why, "%.40s is none of %s", text, list);
}

static int parse_ip(struct addr *a, const char *text, uint16_t port, struct inifile_why *why)
{
	struct addr parsed;

	/* two different missing ports: a port in the text shows by not changing */
	if (addr_parse(&parsed, text, 0) || parsed.port || addr_parse(&parsed, text, 1) || parsed.port != 1)
		return inifile_refuse(why, "%.60s is not an IP address", text);
	parsed.port = port;
	*a = parsed;
	return 0;
}

int inifile_ip(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why)
{
	struct addr *a = field;

	(void)o;
	return parse_ip(a, text, a->port, why);
}

int inifile_pin(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why)
{
	uint8_t pin[32];

	(void)o;
	if (seal_unb64(pin, text))
		return inifile_refuse(why, "not a key: that is the 44 characters that pubkey prints");
	memcpy(field, pin, sizeof(pin));
	return 0;
}

static int parse_device(char *device, const char *text, struct inifile_why *why)
{
	size_t len = strlen(text);

	/* the kernel's own rules, and no wildcard that a firewall would read into it */
	if (!len || len >= IFNAMSIZ || !strcmp(text, ".") || !strcmp(text, "..") || strpbrk(text, "/ \t:+*\"'\\$`;,{}"))
		return inifile_refuse(why, "%.40s is not the name of a network device", text);
	memcpy(device, text, len + 1);
	return 0;
}

int inifile_device(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why)
{
	(void)o;
	return parse_device(field, text, why);
}

/* Lists. `one` parses an item into slot i of the array. */
typedef int (*item_fn)(void *array, size_t i, const char *text, struct inifile_why *why);

static int parse_list(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why, item_fn one)
{
	size_t *count = (size_t *)(void *)((char *)field - o->offset + o->count);
	char copy[1024], *save, *item;

	if (strlen(text) >= sizeof(copy))
		return inifile_refuse(why, "the list is too long for one line");
	memcpy(copy, text, strlen(text) + 1);
	for (item = strtok_r(copy, ", \t", &save); item; item = strtok_r(NULL, ", \t", &save)) {
		if (*count == o->max)
			return inifile_refuse(why, "more than %llu of them", (unsigned long long)o->max);
		if (one(field, *count, item, why))
			return -1;
		++*count;
	}
	return 0;
}

static int one_prefix(void *array, size_t i, const char *text, struct inifile_why *why)
{
	if (prefix_parse((struct prefix *)array + i, text))
		return inifile_refuse(why, "%.60s is not a network like 192.0.2.0/24 or 2001:db8::/32", text);
	return 0;
}

static int one_device(void *array, size_t i, const char *text, struct inifile_why *why)
{
	return parse_device((char *)array + i * IFNAMSIZ, text, why);
}

static int one_port(void *array, size_t i, const char *text, struct inifile_why *why)
{
	return parse_port((uint16_t *)array + i, text, why);
}

static int one_addr(void *array, size_t i, const char *text, struct inifile_why *why)
{
	return parse_ip((struct addr *)array + i, text, 0, why);
}

int inifile_prefixes(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why)
{
	return parse_list(field, o, text, why, one_prefix);
}

int inifile_devices(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why)
{
	return parse_list(field, o, text, why, one_device);
}

int inifile_ports(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why)
{
	return parse_list(field, o, text, why, one_port);
}

int inifile_addrs(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why)
{
	return parse_list(field, o, text, why, one_addr);
}
