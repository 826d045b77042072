/* SPDX-License-Identifier: BSD-2-Clause */
/* inifile: a config file, described by tables, read with inih.
 *
 * A table says for each option of each section which setter fills which field.
 * Everything that is wrong ends the load with one sentence that begins with
 * FILE:LINE. A list may go on in the next lines when those begin with a blank:
 *
 *	bypass = 192.0.2.0/24,
 *	         198.51.100.0/24
 *
 * (Not called ini.h: that is inih's own header.) */
#ifndef PLAIT_INIFILE_H
#define PLAIT_INIFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define INIFILE_OPTIONS 24 /* most options of one section */
#define INIFILE_ERR 320	   /* room that fits every sentence */

/* What a setter says when it refuses: the end of a sentence. */
struct inifile_why {
	char text[160];
};

struct inifile_option {
	const char *key;
	const char *was; /* what it was called once: still taken, and told in the log; NULL */
	/* Sets *field from text. 0, or -1 and why. */
	int (*set)(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why);
	size_t offset, size; /* of the field; the size is for inifile_adopt() only */
	uint64_t min, max; /* numbers: the range; strings: max is the size of the field; lists: max is the array's length */
	const char *const *names; /* inifile_name: the words, in the order of the enum, NULL-terminated */
	size_t count;	   /* lists: offset of their size_t, from the same base as `offset` */
	enum { INIFILE_OPTIONAL, INIFILE_REQUIRED } need;
	enum { INIFILE_SINGLE, INIFILE_LIST } many;
	enum { INIFILE_AT_START, INIFILE_LIVE } when; /* the second: it may change while the program runs */
};

struct inifile_section {
	const char *name;
	const char *was; /* as of an option */
	const struct inifile_option *options; /* ends with .key == NULL */

	/* [name TITLE], once per title: an array of `max` entries of `stride` bytes at `offset`,
	 * filled up to the size_t at `count`. Each entry begins with `char name[title]`. max 0: a
	 * plain [name], and options are offsets from the base. */
	size_t offset, stride, max, count, title;
	enum { INIFILE_NAMED, INIFILE_MAYBE_NAMED } named; /* the second: [name] is one of them, and is called name */
	enum { INIFILE_ADOPTED, INIFILE_APART } apart;	   /* the second: inifile_adopt() leaves it to its caller */
	void (*defaults)(void *entry);
	/* After the last line of the section: 0, or -1 and why. */
	int (*check)(const void *base, const void *entry, struct inifile_why *why);
};

/* Both: 0, or -1 and a sentence in err. `sections` ends with .name == NULL; at most 16 of them. */
int inifile_load(const char *path, const struct inifile_section *sections, void *base, char *err, size_t err_len);
int inifile_read(FILE *f, const char *name, const struct inifile_section *sections, void *base, char *err,
		 size_t err_len);

/* `next`, loaded later, says something else of `option` ("[lan] port", "[link adsl] role", or only
 * "[link]": there are others now). */
typedef void (*inifile_differs)(void *arg, const char *option, bool taken);

/* Copies from `next` to `is` what differs and is INIFILE_LIVE; tells of all that differs. Sections
 * with a title are only compared when both have the same titles in the same order. */
void inifile_adopt(const struct inifile_section *sections, void *is, const void *next, inifile_differs told, void *arg);
/* The same for the options of one entry, whose section is called `name`. */
void inifile_adopt_entry(const struct inifile_option *options, const char *name, void *is, const void *next, inifile_differs told,
			 void *arg);

/* Setters. */
int inifile_bool(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why); /* yes, no */
int inifile_u32(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why);  /* 10, 64K, 2M */
/* The word auto too, which is INIFILE_AUTO in the field. */
#define INIFILE_AUTO UINT32_MAX
int inifile_u32_auto(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why);
int inifile_u64(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why);
/* Decimal: 20M is 20,000,000. The word in names[0] (auto, none) is 0. */
int inifile_amount(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why); /* uint64_t */
int inifile_port(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why); /* uint16_t */
int inifile_seconds(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why); /* 90s, 2m, 1h */
int inifile_msec(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why); /* and 250ms */
int inifile_string(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why);
int inifile_path(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why); /* absolute */
int inifile_name(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why); /* int-sized enum */
int inifile_ip(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why);	  /* keeps the port */
int inifile_pin(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why);
int inifile_device(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why);
/* Lists: comma and blanks between items. */
int inifile_prefixes(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why);
int inifile_devices(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why);
int inifile_ports(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why);
int inifile_addrs(void *field, const struct inifile_option *o, const char *text, struct inifile_why *why); /* bare IPs */

/* For a setter or check: formats why and returns -1. */
__attribute__((format(printf, 2, 3))) int inifile_refuse(struct inifile_why *why, const char *fmt, ...);

#endif
