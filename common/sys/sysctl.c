/* SPDX-License-Identifier: BSD-2-Clause */
/* sysctl: see sysctl.h. */
#include "sysctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int sysctl_open(const char *path, int flags)
{
	char full[128];

	snprintf(full, sizeof(full), "/proc/sys/%s", path);
	return open(full, flags | O_CLOEXEC);
}

int sysctl_read(const char *path, long *value)
{
	char text[32] = "";
	int fd = sysctl_open(path, O_RDONLY);
	ssize_t len;

	if (fd < 0)
		return -errno;
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (len <= 0)
		return -EIO;
	*value = strtol(text, NULL, 10);
	return 0;
}

int sysctl_write(const char *path, long value)
{
	char text[32];
	int len = snprintf(text, sizeof(text), "%ld\n", value), err = 0;
	int fd = sysctl_open(path, O_WRONLY);

	if (fd < 0)
		return -errno;
	if (write(fd, text, (size_t)len) != len)
		err = -errno;
	close(fd);
	return err;
}
