/* SPDX-License-Identifier: BSD-2-Clause */
/* An abstract Unix address belongs to the network namespace and goes with its socket. */
#include "instance.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"

int instance_take(const char *name)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), err;

	if (fd < 0)
		return -1;
	snprintf(at.sun_path + 1, sizeof(at.sun_path) - 1, "%s", name);
	if (!bind(fd, (struct sockaddr *)&at, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(at.sun_path + 1))))
		return fd;
	err = errno;
	close(fd);
	errno = err;
	return -1;
}

int instance_wait(const char *name, unsigned limit_ms)
{
	const struct timespec nap = { .tv_nsec = 2000000 };
	uint64_t deadline = clock_ms() + limit_ms;
	int fd;

	while ((fd = instance_take(name)) < 0 && errno == EADDRINUSE && clock_ms() < deadline)
		nanosleep(&nap, NULL);
	return fd;
}
