/* SPDX-License-Identifier: BSD-2-Clause */
/* fd: descriptors of the simulated world, and the C library's functions on them. See fd.c. */
#ifndef SIM_FD_H
#define SIM_FD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "proc.h"

/* What can be done with a kind of descriptor; NULL: that is an error (EOPNOTSUPP). All return as
 * the system calls do, errors as negative errno. */
struct fd_ops {
	uint32_t (*ready)(void *obj); /* EPOLLIN | EPOLLOUT | ... now */
	ssize_t (*read)(void *obj, const struct iovec *iov, int n);
	ssize_t (*write)(void *obj, const struct iovec *iov, int n);
	void (*close)(void *obj);
	int (*bind)(void *obj, const struct sockaddr *sa);
	int (*listen)(void *obj);
	int (*connect)(void *obj, const struct sockaddr *sa);
	int (*accept)(void *obj, struct sockaddr_storage *peer);
	int (*shut)(void *obj);
	int (*name)(void *obj, bool peer, struct sockaddr_storage *sa);
	int (*set)(void *obj, int level, int option, const void *value, socklen_t len);
	int (*get)(void *obj, int level, int option, void *value, socklen_t *len);
	int (*outq)(void *obj);
	ssize_t (*sendmsg)(void *obj, const struct msghdr *msg);
	ssize_t (*recvmsg)(void *obj, struct msghdr *msg);
};

/* A new descriptor of the one that runs now (or of `owner`). */
int fd_new(const struct fd_ops *ops, void *obj);
int fd_new_of(enum host owner, const struct fd_ops *ops, void *obj);
void *fd_object(int fd, const struct fd_ops *ops); /* NULL: it is of another kind */
void fd_changed(int fd); /* ready() may say something else: who waits for it looks */
/* The same number, another thing behind it: a socket that listens now. */
void fd_become(int fd, const struct fd_ops *ops, void *obj);
void fd_close_all(enum host owner);
unsigned fd_count(enum host owner);

#endif
