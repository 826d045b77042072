/* SPDX-License-Identifier: BSD-2-Clause */
/* memo: see memo.h. The file is written beside its place and moved there, so a reader finds a whole
 * one or none; and it is believed only if nobody but us could have written it and its last line is
 * there. */
#include "memo.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"

#define DIR "/run/plait"
#define HEAD "plait kernel settings 1\n"
#define TAIL "end\n"
#define SIZE_MAX_B 8192

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

/* A number that no other namespace has had since the machine was started. 0: this kernel has
 * none. */
static uint64_t namespace_cookie(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &len))
		cookie = 0;
	if (fd >= 0)
		close(fd);
	return cookie;
}

void memo_path(char path[MEMO_PATH], const char *program)
{
	snprintf(path, MEMO_PATH, DIR "/%.40s.kernel.%llu", program, (unsigned long long)namespace_cookie());
}

/* The file's text, NUL-terminated; -1 when it is none of ours. */
static int read_own(const char *path, char text[SIZE_MAX_B + 1])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat st;
	ssize_t len = -1;

	if (fd < 0)
		return -1;
	if (!fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & 022) && st.st_size <= SIZE_MAX_B)
		len = read(fd, text, SIZE_MAX_B);
	close(fd);
	errno = EPERM;
	text[len < 0 ? 0 : len] = 0;
	return len < 0 || strlen(text) != (size_t)len ? -1 : 0;
}

/* One line "key was set\n"; what follows it, or NULL. */
static const char *parse(const char *at, struct memo *m)
{
	int end = 0;

	if (sscanf(at, "%63[^ \n] %ld %ld%n", m->key, &m->was, &m->set, &end) != 3 ||
	    at[end] != '\n' || strstr(m->key, "../"))
		return NULL;
	return at + end + 1;
}

size_t memo_load(const char *path, struct memo out[MEMO_MAX])
{
	char text[SIZE_MAX_B + 1];
	const char *at = text;
	size_t n = 0;

	if (read_own(path, text)) {
		if (errno != ENOENT)
			log_warn("%s: is not ours, and not believed", path);
		return 0;
	}
	at = strncmp(at, HEAD, sizeof(HEAD) - 1) ? NULL : at + sizeof(HEAD) - 1;
	while (at && strcmp(at, TAIL) != 0 && n < MEMO_MAX)
		at = parse(at, &out[n++]);
	if (at && !strcmp(at, TAIL))
		return n;
	log_warn("%s: makes no sense, and is not believed", path);
	return 0;
}

static int write_all(int fd, const struct memo *list, size_t count)
{
	int n = dprintf(fd, HEAD);

	for (size_t i = 0; n >= 0 && i < count; i++)
		n = dprintf(fd, "%s %ld %ld\n", list[i].key, list[i].was, list[i].set);
	return n < 0 || dprintf(fd, TAIL) < 0 ? -EIO : 0;
}

int memo_save(const char *path, const struct memo *list, size_t count)
{
	char beside[MEMO_PATH + 4];
	int fd, err;

	mkdir(DIR, 0755); /* or it is there */
	snprintf(beside, sizeof(beside), "%s.new", path);
	unlink(beside);
	fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	err = write_all(fd, list, count);
	if (close(fd) && !err)
		err = -errno;
	if (!err && rename(beside, path))
		err = -errno;
	if (err)
		unlink(beside);
	return err;
}

void memo_remove(const char *path)
{
	unlink(path);
}
