/* SPDX-License-Identifier: BSD-2-Clause */
/* virtual_time: a test that includes this owns the clock, and waiting costs nothing.
 *
 * An executable's own definitions come before the C library's, for libevent and c-ares as well. So
 * when the loop would wait and no descriptor is ready, nobody waits: the clock jumps to the end of
 * the wait. Times are then asserted exactly. What the kernel passes from one socket of the test to
 * another has virtual_grace_ms of real time to arrive before the clock jumps; 0 will do for socket
 * pairs. */
#ifndef VIRTUAL_TIME_H
#define VIRTUAL_TIME_H

#include <stdint.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static uint64_t virtual_us = 1000000000;
static int virtual_grace_ms = 1;

int clock_gettime(clockid_t id, struct timespec *ts)
{
	(void)id;
	ts->tv_sec = (time_t)(virtual_us / 1000000);
	ts->tv_nsec = (long)(virtual_us % 1000000) * 1000;
	return 0;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
	(void)zone;
	tv->tv_sec = (time_t)(virtual_us / 1000000);
	tv->tv_usec = (suseconds_t)(virtual_us % 1000000);
	return 0;
}

/* An endless wait for nothing would hang the test silently: it comes back after a real second, and
 * the loop looks again. */
int epoll_wait(int fd, struct epoll_event *events, int max, int timeout_ms)
{
	int wait_ms = timeout_ms < 0 ? 1000 : timeout_ms < virtual_grace_ms ? timeout_ms : virtual_grace_ms;
	int n = (int)syscall(SYS_epoll_pwait, fd, events, max, wait_ms, NULL, 8);

	if (n == 0 && timeout_ms > 0)
		virtual_us += (uint64_t)timeout_ms * 1000;
	return n;
}

static inline uint64_t virtual_ms(void)
{
	return virtual_us / 1000;
}

#endif
