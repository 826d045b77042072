/* SPDX-License-Identifier: BSD-2-Clause */
/* inifile: the lines of the file, and which table row each belongs to.
 *
 * Theory of operation. inih splits lines into name and value; this file feeds it the lines one
 * by one, so the number of the line at hand is always known and what inih would let pass (NUL
 * bytes, lines beyond its buffer, a section with nothing in it, an indented option taken for
 * the rest of the one above) is seen before it gets there. A section opens at its heading and
 * closes at the next heading or the end of the file; closing is when what is missing is
 * noticed. The first thing wrong ends the load: no more lines are handed out. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inifile.h"
#include "log.h"

#define SECTIONS 16

struct load {
	FILE *f;
	const char *name;
	const struct inifile_section *sections;
	char *base;

	unsigned line;
	const struct inifile_section *at; /* the open section, NULL before the first */
	char *entry;			  /* what its offsets count from */
	unsigned opened;		  /* its heading's line */
	unsigned heading[SECTIONS];	  /* line of each section's last heading, 0 = none */
	unsigned set[INIFILE_OPTIONS];	  /* line that set each option of the open section */
	const struct inifile_option *last;
	bool continues;			  /* this line goes on with `last` */
	unsigned aged;			  /* bit n: section n was named by its old word, and that was told */

	unsigned failed; /* line of the first error */
	char *err;
	size_t err_len;
};

__attribute__((format(printf, 3, 4))) static int fail(struct load *l, unsigned line, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (l->failed)
		return -1;
	l->failed = line;
	n = snprintf(l->err, l->err_len, "%s:%u: ", l->name, line);
	va_start(ap, fmt);
	if (n >= 0 && (size_t)n < l->err_len)
		vsnprintf(l->err + n, l->err_len - (size_t)n, fmt, ap);
	va_end(ap);
	return -1;
}

/* "[link adsl]", for sentences; a plain section has no title. */
static const char *heading(const struct load *l, char buf[96])
{
	bool named = l->at->max && !(l->at->named == INIFILE_MAYBE_NAMED && !strcmp(l->entry, l->at->name));

	snprintf(buf, 96, named ? "[%.40s %.40s]" : "[%.40s]", l->at->name, named ? l->entry : "");
	return buf;
}

static int close_section(struct load *l)
{
	struct inifile_why why = { "" };
	char head[96];

	if (!l->at)
		return 0;
	for (size_t i = 0; l->at->options[i].key; i++) {
		if (l->at->options[i].need == INIFILE_REQUIRED && !l->set[i])
			return fail(l, l->opened, "%s needs %s =", heading(l, head), l->at->options[i].key);
	}
	if (l->at->check && l->at->check(l->base, l->entry, &why))
		return fail(l, l->opened, "%s: %s", heading(l, head), why.text);
	return 0;
}

static bool title_ok(const char *title)
{
	for (; *title; title++) {
		if (!isalnum((unsigned char)*title) && !strchr("._-", *title))
			return false;
	}
	return true;
}

static char *new_entry(struct load *l, const struct inifile_section *s, const char *title)
{
	size_t *count = (size_t *)(void *)(l->base + s->count);
	char *first = l->base + s->offset, *entry = first + *count * s->stride;

	if (!*title && s->named == INIFILE_MAYBE_NAMED)
		title = s->name;
	if (!*title)
		return fail(l, l->line, "[%s] needs a name: [%s NAME]", s->name, s->name), NULL;
	if (strlen(title) >= s->title || !title_ok(title))
		return fail(l, l->line, "[%s %s]: a name has at most %zu of the characters A-Z a-z 0-9 . _ -", s->name, title,
			    s->title - 1), NULL;
	for (char *e = first; e < entry; e += s->stride) {
		if (!strcmp(e, title))
			return fail(l, l->line, "[%s %s] is there already", s->name, title), NULL;
	}
	if (*count == s->max)
		return fail(l, l->line, "more than %zu [%s] sections", s->max, s->name), NULL;
	++*count;
	memset(entry, 0, s->stride);
	if (s->defaults)
		s->defaults(entry);
	memcpy(entry, title, strlen(title) + 1);
	return entry;
}

/* Files that were written when a thing had another name stay good. */
static bool is_called(const char *name, const char *was, const char *text)
{
	return !strcmp(name, text) || (was && !strcmp(was, text));
}

static void tell_old_section(struct load *l, const struct inifile_section *s)
{
	unsigned bit = 1u << (s - l->sections);

	if (!(l->aged & bit))
		log_info("%s:%u: [%s] is called [%s] now; the old word is still understood", l->name, l->line, s->was, s->name);
	l->aged |= bit;
}

static int open_section(struct load *l, const char *name, const char *title)
{
	const struct inifile_section *s = l->sections;

	if (close_section(l))
		return -1;
	while (s->name && !is_called(s->name, s->was, name))
		s++;
	if (!s->name)
		return fail(l, l->line, "unknown section [%s]", name);
	if (strcmp(s->name, name))
		tell_old_section(l, s);
	if (!s->max && *title)
		return fail(l, l->line, "[%s] takes no name", name);
	if (!s->max && l->heading[s - l->sections])
		return fail(l, l->line, "[%s] is there already, in line %u", name, l->heading[s - l->sections]);
	l->entry = s->max ? new_entry(l, s, title) : l->base;
	if (!l->entry)
		return -1;
	l->at = s;
	l->last = NULL;
	l->opened = l->heading[s - l->sections] = l->line;
	memset(l->set, 0, sizeof(l->set));
	return 0;
}

/* text is at "[": cuts "[ link  adsl ]" into its two words. One without "]" is left for inih to
 * refuse. */
static int heading_line(struct load *l, const char *text)
{
	const char *end = strchr(text, ']'), *rest;
	char inside[256], *name, *title;

	if (!end || (size_t)(end - text) >= sizeof(inside))
		return 0;
	rest = end + 1 + strspn(end + 1, " \t");
	if (*rest && !strchr(";#\n", *rest))
		return fail(l, l->line, "text after ]");
	memcpy(inside, text + 1, (size_t)(end - text - 1));
	inside[end - text - 1] = 0;
	name = strtok_r(inside, " \t", &title);
	title += strspn(title, " \t");
	for (size_t n = strlen(title); n && strchr(" \t", title[n - 1]);)
		title[--n] = 0;
	return open_section(l, name ? name : "", name ? title : "");
}

/* Reads one line, without CR, with LF, into buf of size bytes. -1: nothing more, or failed. */
static int read_line(struct load *l, char *buf, size_t size)
{
	size_t n = 0;
	int c;

	while ((c = getc(l->f)) != EOF && c != '\n') {
		if (n + 3 > size)
			return fail(l, l->line, "the line is longer than %zu bytes", size - 3);
		if (c < ' ' && c != '\t' && c != '\r')
			return fail(l, l->line, c ? "control character %d in the line" : "NUL byte in the line", c);
		buf[n++] = (char)c;
	}
	if (ferror(l->f))
		return fail(l, l->line, "%s", strerror(errno));
	if (n && buf[n - 1] == '\r')
		n--;
	if (memchr(buf, '\r', n))
		return fail(l, l->line, "carriage return inside the line");
	memcpy(buf + n, "\n", 2);
	return c == EOF && !n ? -1 : 0;
}

/* inih takes comments off the first line of a value only. */
static void cut_comment(char *text)
{
	char *c = text;

	while ((c = strchr(c, ';')) && !strchr(" \t", c[-1]))
		c++;
	if (c)
		memcpy(c, "\n", 2);
}

/* inih's reader. */
static char *next_line(char *buf, int size, void *arg)
{
	struct load *l = arg;
	char *text;

	l->line++;
	if (l->failed || read_line(l, buf, (size_t)size))
		return NULL;
	text = buf;
	if (l->line == 1 && !strncmp(text, "\xef\xbb\xbf", 3))
		text += 3;
	l->continues = (*text == ' ' || *text == '\t') && l->last && l->last->many == INIFILE_LIST && !strchr(text, '=');
	text += strspn(text, " \t");
	if (l->continues && strchr(";#[\n", *text))
		l->continues = false;
	if (*text == '[' && heading_line(l, text))
		return NULL;
	if (l->continues)
		cut_comment(text);
	else /* or inih would take an indented option for the rest of the last one */
		memmove(buf, text, strlen(text) + 1);
	return buf;
}

/* inih's handler: 1 = fine. */
static int take_option(void *arg, const char *section, const char *key, const char *value)
{
	struct load *l = arg;
	struct inifile_why why = { "" };
	const struct inifile_option *o;
	size_t i = 0;

	(void)section; /* ours is not cut at 49 characters */
	if (l->failed)
		return 0;
	if (!l->at)
		return !fail(l, l->line, "%s = stands before the first [section]", key);
	while (l->at->options[i].key && !is_called(l->at->options[i].key, l->at->options[i].was, key))
		i++;
	o = &l->at->options[i];
	if (!o->key)
		return !fail(l, l->line, "unknown option %s in [%s]", key, l->at->name);
	if (strcmp(o->key, key) && !l->continues)
		log_info("%s:%u: %s = is called %s = now; the old word is still understood", l->name, l->line, key, o->key);
	if (l->set[i] && !l->continues)
		return !fail(l, l->line, "%s = is there already, in line %u", key, l->set[i]);
	if (!l->set[i] && o->many == INIFILE_LIST)
		*(size_t *)(void *)(l->entry + o->count) = 0; /* what is said replaces the default */
	if (o->set(l->entry + o->offset, o, value, &why))
		return !fail(l, l->line, "%s: %s", key, why.text);
	l->set[i] = l->line;
	l->last = o;
	return 1;
}

static int check_absent(struct load *l)
{
	for (const struct inifile_section *s = l->sections; s->name; s++) {
		if (s->max || l->heading[s - l->sections])
			continue;
		for (const struct inifile_option *o = s->options; o->key; o++) {
			if (o->need == INIFILE_REQUIRED)
				return fail(l, l->line, "there is no section [%s], which needs %s =", s->name, o->key);
		}
	}
	return 0;
}

int inifile_read(FILE *f, const char *name, const struct inifile_section *sections, void *base, char *err,
		 size_t err_len)
{
	struct load l = { .f = f, .name = name, .sections = sections, .base = base, .err = err, .err_len = err_len };
	int bad = ini_parse_stream(next_line, &l, take_option, &l);

	if (bad > 0 && (!l.failed || (unsigned)bad < l.failed)) {
		l.failed = 0;
		return fail(&l, (unsigned)bad, "neither a [section], an option = value, nor a comment");
	}
	if (l.failed)
		return -1;
	if (bad < 0)
		return fail(&l, l.line, "out of memory");
	l.line -= l.line > 1; /* the last call found the end, not a line */
	return close_section(&l) || check_absent(&l) ? -1 : 0;
}

int inifile_load(const char *path, const struct inifile_section *sections, void *base, char *err, size_t err_len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), rc; /* a FIFO must not hold us up */
	struct stat st;
	FILE *f;

	if (fd < 0 || fstat(fd, &st) || (S_ISREG(st.st_mode) && !(f = fdopen(fd, "r")))) {
		snprintf(err, err_len, "%s: %s", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	if (!S_ISREG(st.st_mode)) {
		snprintf(err, err_len, "%s: is not a regular file", path);
		close(fd);
		return -1;
	}
	if (st.st_mode & S_IWOTH) { /* it names programs that root runs */
		snprintf(err, err_len, "%s: others may write it (mode %04o; chmod o-w it)", path,
			 st.st_mode & 07777);
		fclose(f);
		return -1;
	}
	rc = inifile_read(f, path, sections, base, err, err_len);
	fclose(f);
	return rc;
}
