/* SPDX-License-Identifier: BSD-2-Clause */
/* log: one line an event, to stderr (journald adds time and name when it is the
 * reader, which the log finds out by itself) with a level an operator can filter.
 *
 * The level is one of the two globals of the project (the counters are the
 * other). Every function keeps errno. Never log per packet or per refused byte:
 * that is what counters are for; log_ratelimited() is for what a peer can cause. */
#ifndef PLAIT_LOG_H
#define PLAIT_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LVL_ERROR, LOG_LVL_WARN, LOG_LVL_INFO, LOG_LVL_DEBUG };

extern enum log_level log_level;

#define LOG_PRINTF __attribute__((format(printf, 1, 2)))
LOG_PRINTF void log_error(const char *fmt, ...);
LOG_PRINTF void log_warn(const char *fmt, ...);
LOG_PRINTF void log_info(const char *fmt, ...);
LOG_PRINTF void log_debug(const char *fmt, ...);

/* For events a stranger can provoke: at most one line a second per struct; the
 * next line that gets through says how many were held back. */
struct log_limit {
	uint64_t last_ms;
	uint32_t held;
};
__attribute__((format(printf, 2, 3))) void log_limited(struct log_limit *l, const char *fmt, ...);

#endif
