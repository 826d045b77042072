/* SPDX-License-Identifier: BSD-2-Clause */
/* log: see log.h. A line is made in a fixed buffer and leaves in one write, and only if
 * that cannot block: a full disk or a reader that stopped must not stop a relay. */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "counter.h"
#include "log.h"

#define LINE 1024 /* below PIPE_BUF, so a line is whole or not there */

enum log_level log_level = LOG_LVL_INFO;

static const struct {
	const char *name;
	int syslog; /* the <N> that journald understands at the head of a line */
} levels[] = {
	[LOG_LVL_ERROR] = { "error", 3 },
	[LOG_LVL_WARN] = { "warn", 4 },
	[LOG_LVL_INFO] = { "info", 6 },
	[LOG_LVL_DEBUG] = { "debug", 7 },
};

/* systemd names the stream it reads us from in JOURNAL_STREAM; a redirected stderr no longer
 * matches. */
static bool to_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long dev, ino;
	struct stat st;

	return stream && sscanf(stream, "%lu:%lu", &dev, &ino) == 2 && !fstat(STDERR_FILENO, &st) &&
	       st.st_dev == dev && st.st_ino == ino;
}

static size_t put_head(char *line, size_t size, enum log_level level)
{
	struct timespec now;
	struct tm tm;
	size_t n;

	if (to_journal())
		return (size_t)snprintf(line, size, "<%d>", levels[level].syslog);
	clock_gettime(CLOCK_REALTIME, &now);
	localtime_r(&now.tv_sec, &tm);
	n = strftime(line, size, "%F %T", &tm);
	return n + (size_t)snprintf(line + n, size - n, ".%03ld %s: ", now.tv_nsec / 1000000, levels[level].name);
}

/* Text from a peer may be in the line: it must not forge another line or drive a terminal. */
static void tame(char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = '?';
	}
}

static void put_line(const char *line, size_t len)
{
	struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };

	if (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT) || write(STDERR_FILENO, line, len) < 0)
		counters.log_lost++;
}

__attribute__((format(printf, 3, 0)))
static void log_line(enum log_level level, const char *tail, const char *fmt, va_list ap)
{
	int saved = errno;
	char line[LINE];
	size_t room = sizeof(line) - 1, head = put_head(line, room, level), len;

	errno = saved; /* for %m */
	vsnprintf(line + head, room - head, fmt, ap);
	len = strlen(line);
	snprintf(line + len, room - len, "%s", tail);
	tame(line + head);
	len = strlen(line);
	line[len++] = '\n';
	put_line(line, len);
	errno = saved;
}

#define LOG_FUNCTION(name, level)                     \
	void name(const char *fmt, ...)               \
	{                                             \
		va_list ap;                           \
                                                      \
		if (log_level < (level))              \
			return;                       \
		va_start(ap, fmt);                    \
		log_line((level), "", fmt, ap);       \
		va_end(ap);                           \
	}

LOG_FUNCTION(log_error, LOG_LVL_ERROR)
LOG_FUNCTION(log_warn, LOG_LVL_WARN)
LOG_FUNCTION(log_info, LOG_LVL_INFO)
LOG_FUNCTION(log_debug, LOG_LVL_DEBUG)

void log_limited(struct log_limit *l, const char *fmt, ...)
{
	struct timespec ts;
	uint64_t now;
	char tail[48] = "";
	va_list ap;

	if (log_level < LOG_LVL_WARN)
		return;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	now = (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000 + 1; /* 0 means "never" */
	if (l->last_ms && now - l->last_ms < 1000) {
		l->held++;
		return;
	}
	if (l->held)
		snprintf(tail, sizeof(tail), " (and %u more like it)", l->held);
	l->last_ms = now;
	l->held = 0;
	va_start(ap, fmt);
	log_line(LOG_LVL_WARN, tail, fmt, ap);
	va_end(ap);
}
