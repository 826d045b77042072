/* SPDX-License-Identifier: BSD-2-Clause */
/* admin_ask: the client of the admin socket, and any JSON answer as a page that a person can
 * read. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "admin.h"
#include "counter.h"

#define ANSWER_MS 5000
#define ANSWER_MAX (16 << 20)
#define COLUMNS 24

json_t *admin_counters(void)
{
	json_t *all = json_object();
	const char *name, *text;
	uint64_t value;

	for (unsigned i = 0; all && (name = counter_get(i, &value, &text)); i++)
		json_object_set_new(all, name, json_integer((json_int_t)value));
	return all;
}

/* A scalar as text; control characters, which may come from a peer, as '?'. "" for what is no
 * scalar. */
static const char *value_text(const json_t *v, char *buf, size_t size)
{
	size_t i;

	*buf = 0;
	if (json_is_string(v))
		snprintf(buf, size, "%s", json_string_value(v));
	else if (json_is_integer(v))
		snprintf(buf, size, "%lld", (long long)json_integer_value(v));
	else if (json_is_real(v))
		snprintf(buf, size, "%.3g", json_real_value(v));
	else if (json_is_boolean(v))
		snprintf(buf, size, "%s", json_is_true(v) ? "yes" : "no");
	else if (json_is_null(v))
		snprintf(buf, size, "-");
	for (i = 0; buf[i]; i++) {
		if ((unsigned char)buf[i] < 0x20 || buf[i] == 0x7f)
			buf[i] = '?';
	}
	return buf;
}

/* Scalars, and arrays of them with blanks between. */
static const char *cell_text(const json_t *v, char *buf, size_t size)
{
	char one[128];
	size_t i, n = 0;
	json_t *item;

	if (!json_is_array(v))
		return value_text(v, buf, size);
	*buf = 0;
	json_array_foreach(v, i, item) {
		n += (size_t)snprintf(buf + n, size - n, "%s%s", i ? " " : "", value_text(item, one, sizeof(one)));
		if (n >= size)
			break;
	}
	return *buf ? buf : "-";
}

static const char *counter_text(const char *name)
{
	const char *listed, *text;
	uint64_t value;

	for (unsigned i = 0; (listed = counter_get(i, &value, &text)); i++) {
		if (!strcmp(listed, name))
			return text;
	}
	return "";
}

static void put_counters(const json_t *o, FILE *out, int indent)
{
	char buf[64];
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)(uintptr_t)o, key, v)
		fprintf(out, "%*s%14s  %-16s %s\n", indent, "", value_text(v, buf, sizeof(buf)), key, counter_text(key));
}

static bool is_nested(const json_t *v)
{
	return json_is_object(v) || (json_is_array(v) && json_is_object(json_array_get(v, 0)));
}

/* Columns are the keys of the first row; of the others, what has no column is in the JSON only. */
static void put_table(const json_t *rows, FILE *out, int indent)
{
	const char *keys[COLUMNS], *key;
	size_t width[COLUMNS], n = 0, i, k;
	char buf[256];
	json_t *v, *row;

	json_object_foreach(json_array_get(rows, 0), key, v) {
		if (n == COLUMNS)
			break;
		if (is_nested(v)) /* has no place in a cell */
			continue;
		keys[n] = key;
		width[n] = strlen(key);
		json_array_foreach(rows, i, row) {
			size_t len = strlen(cell_text(json_object_get(row, key), buf, sizeof(buf)));

			width[n] = len > width[n] ? len : width[n];
		}
		n++;
	}
	fprintf(out, "%*s", indent, "");
	for (k = 0; k < n; k++)
		fprintf(out, "%-*s  ", (int)width[k], keys[k]);
	fputc('\n', out);
	json_array_foreach(rows, i, row) {
		fprintf(out, "%*s", indent, "");
		for (k = 0; k < n; k++)
			fprintf(out, "%-*s  ", (int)width[k], cell_text(json_object_get(row, keys[k]), buf, sizeof(buf)));
		fputc('\n', out);
	}
}

static void put_object(const json_t *o, FILE *out, int indent);

static void put_nested(const char *key, const json_t *v, FILE *out, int indent)
{
	fprintf(out, "%s%*s%s\n", indent ? "" : "\n", indent, "", key);
	if (json_is_array(v))
		put_table(v, out, indent + 2);
	else if (!strcmp(key, "counters"))
		put_counters(v, out, indent + 2);
	else
		put_object(v, out, indent + 2);
}

/* What fits on a line first, aligned; then the rest, each under its name. */
static void put_object(const json_t *o, FILE *out, int indent)
{
	json_t *obj = (json_t *)(uintptr_t)o, *v;
	char buf[512];
	const char *key;
	size_t width = 0;

	json_object_foreach(obj, key, v) {
		if (!is_nested(v) && strlen(key) > width)
			width = strlen(key);
	}
	json_object_foreach(obj, key, v) {
		if (!is_nested(v))
			fprintf(out, "%*s%-*s  %s\n", indent, "", (int)width, key, cell_text(v, buf, sizeof(buf)));
	}
	json_object_foreach(obj, key, v) {
		if (is_nested(v))
			put_nested(key, v, out, indent);
	}
}

void admin_page(const json_t *answer, FILE *out)
{
	put_object(answer, out, 0);
}

static int dial(const char *path)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(at.sun_path)) {
		errno = ENAMETOOLONG;
	} else {
		memcpy(at.sun_path, path, strlen(path) + 1);
		if (fd >= 0 && !connect(fd, (const struct sockaddr *)&at, sizeof(at)))
			return fd;
	}
	if (fd >= 0)
		close(fd);
	return -1;
}

/* All bytes until the end; NULL with errno. */
static char *read_all(int fd, size_t *len)
{
	size_t size = 1 << 16;
	char *buf = malloc(size), *bigger;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	ssize_t n = -1;

	for (*len = 0; buf && poll(&p, 1, ANSWER_MS) == 1; *len += (size_t)n) {
		n = recv(fd, buf + *len, size - *len, 0);
		if (n <= 0)
			break;
		if (*len + (size_t)n == size) {
			bigger = size < ANSWER_MAX ? realloc(buf, size *= 2) : NULL;
			if (!bigger)
				break;
			buf = bigger;
		}
	}
	if (buf && n == 0)
		return buf;
	free(buf);
	errno = n < 0 ? errno : ETIMEDOUT;
	return NULL;
}

static json_t *admin_send(const char *path, const char *request)
{
	int fd = dial(path);
	char *text = NULL;
	json_t *answer = NULL;
	size_t len;

	if (fd < 0) {
		fprintf(stderr, "%s: %s%s\n", path, strerror(errno),
			errno == ENOENT || errno == ECONNREFUSED ? ": the daemon is not running" : "");
		return NULL;
	}
	if (send(fd, request, strlen(request), MSG_NOSIGNAL) >= 0 && send(fd, "\n", 1, MSG_NOSIGNAL) == 1)
		text = read_all(fd, &len);
	if (!text)
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
	else if (!(answer = json_loadb(text, len, 0, NULL)))
		fprintf(stderr, "%s: the daemon is too busy to answer\n", path);
	free(text);
	close(fd);
	return answer;
}

json_t *admin_fetch(const char *path, const char *request)
{
	json_t *answer = admin_send(path, request);
	const char *error = json_string_value(json_object_get(answer, "error"));

	if (error) {
		fprintf(stderr, "%s: %s\n", path, error);
		json_decref(answer);
		return NULL;
	}
	return answer;
}

int admin_ask(const char *path, const char *request, bool json, FILE *out)
{
	json_t *answer = admin_fetch(path, request);

	if (!answer)
		return 1;
	if (json)
		fputs(json_dumpf(answer, out, JSON_INDENT(2)) ? "" : "\n", out);
	else
		admin_page(answer, out);
	json_decref(answer);
	return fflush(out) ? 1 : 0;
}
