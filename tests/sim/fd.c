/* SPDX-License-Identifier: BSD-2-Clause */
/* fd: descriptors of the simulated world.
 *
 * Theory of operation. The functions of the C library that the daemons and their libraries use on
 * descriptors are defined here, in the executable, and so stand before the C library's own, for
 * libevent and OpenSSL too. Numbers from FD_FIRST on are the simulator's; all others go to the
 * kernel as they are (files, above all). epoll is here too, level-triggered: waiting in it gives
 * the turn back to the other processes of the simulated world.
 *
 * Left out: everything that no daemon does (edge triggers, descriptors that are shared or passed,
 * blocking reads). */
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "box.h"
#include "dgram.h"
#include "sim.h"
#include "sim_clock.h"
#include "stream.h"

#define FD_FIRST                                                                                   \
	300 /* libevent makes an array as long as the largest: small ones are good ones            \
	     */
#define FD_MAX 4096

struct slot {
	const struct fd_ops *ops; /* NULL: free */
	void *obj;
	enum host owner;
	struct epoll *watched; /* at most one: that is all libevent does */
	struct epoll_event want;
};

static struct slot slots[FD_MAX];
static int n_slots; /* none behind it was ever used */

static struct slot *slot_of(int fd)
{
	if (fd < FD_FIRST || fd >= FD_FIRST + FD_MAX || !slots[fd - FD_FIRST].ops)
		return NULL;
	return &slots[fd - FD_FIRST];
}

int fd_new_of(enum host owner, const struct fd_ops *ops, void *obj)
{
	for (int i = 0; i < FD_MAX; i++) {
		if (slots[i].ops)
			continue;
		slots[i] = (struct slot){ .ops = ops, .obj = obj, .owner = owner };
		n_slots = i < n_slots ? n_slots : i + 1;
		return FD_FIRST + i;
	}
	sim_fail("%d descriptors are open", FD_MAX);
}

int fd_new(const struct fd_ops *ops, void *obj)
{
	return fd_new_of(proc_current(), ops, obj);
}

void *fd_object(int fd, const struct fd_ops *ops)
{
	struct slot *s = slot_of(fd);

	return s && s->ops == ops ? s->obj : NULL;
}

void fd_become(int fd, const struct fd_ops *ops, void *obj)
{
	struct slot *s = slot_of(fd);

	s->ops = ops;
	s->obj = obj;
}

void fd_changed(int fd)
{
	struct slot *s = slot_of(fd);

	if (s && s->watched)
		proc_wake(s->owner);
}

static void slot_close(struct slot *s)
{
	struct slot was = *s;

	memset(s, 0, sizeof(*s));
	if (was.ops->close)
		was.ops->close(was.obj);
}

void fd_close_all(enum host owner)
{
	for (int i = 0; i < n_slots; i++)
		if (slots[i].ops && slots[i].owner == owner)
			slot_close(&slots[i]);
}

unsigned fd_count(enum host owner)
{
	unsigned n = 0;

	for (int i = 0; i < n_slots; i++)
		n += slots[i].ops && slots[i].owner == owner;
	return n;
}

static long result(long r)
{
	if (r >= 0)
		return r;
	errno = (int)-r;
	return -1;
}

#define REAL(...) syscall(__VA_ARGS__)
#define DO(fd, what, ...)                                                                          \
	do {                                                                                       \
		struct slot *s_ = slot_of(fd);                                                     \
		if (s_)                                                                            \
			return result(s_->ops->what ? s_->ops->what(s_->obj, ##__VA_ARGS__) :      \
						      -EOPNOTSUPP);                                \
	} while (0)

/* --- epoll --- */

struct epoll {
	unsigned n; /* that are watched */
};

static void epoll_close(void *obj)
{
	for (int i = 0; i < n_slots; i++)
		if (slots[i].watched == obj)
			slots[i].watched = NULL;
	free(obj);
}

static const struct fd_ops epoll_ops = { .close = epoll_close };

int epoll_create1(int flags)
{
	(void)flags;
	return fd_new(&epoll_ops, sim_alloc(sizeof(struct epoll)));
}

int epoll_create(int size)
{
	(void)size;
	return epoll_create1(0);
}

int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
	struct epoll *e = fd_object(epfd, &epoll_ops);
	struct slot *s = slot_of(fd);

	if (!e)
		return (int)result(-EBADF);
	if (!s)
		return 0; /* a real one: nothing of the simulated world comes from there */
	if (op == EPOLL_CTL_ADD ? s->watched != NULL : s->watched != e)
		return (int)result(op == EPOLL_CTL_ADD ? -EEXIST : -ENOENT);
	s->watched = op == EPOLL_CTL_DEL ? NULL : e;
	if (op != EPOLL_CTL_DEL)
		s->want = *event;
	proc_wake(s->owner);
	return 0;
}

static int collect(const struct epoll *e, struct epoll_event *out, int max)
{
	int n = 0;

	for (int i = 0; i < n_slots && n < max; i++) {
		struct slot *s = &slots[i];
		uint32_t ready;

		if (s->watched != e)
			continue;
		ready = s->ops->ready(s->obj) & (s->want.events | EPOLLERR | EPOLLHUP);
		if (ready)
			out[n++] = (struct epoll_event){ .events = ready, .data = s->want.data };
	}
	return n;
}

int epoll_wait(int epfd, struct epoll_event *out, int max, int timeout)
{
	struct epoll *e = fd_object(epfd, &epoll_ops);
	uint64_t until = timeout < 0 ? NEVER : clock_now() + (uint64_t)timeout * MS;
	int n;

	if (!e)
		return (int)result(-EBADF);
	while (!(n = collect(e, out, max)) && clock_now() < until && !proc_terminated())
		proc_wait(until);
	if (proc_terminated())
		box_stopping();
	return n;
}

/* How it is now; to wait in it would be to block. */
int poll(struct pollfd *fds, nfds_t n, int timeout)
{
	struct pollfd *volatile all = fds; /* the C library declares that nothing is read there */
	struct pollfd *list = all;
	int ready = 0;

	if (n && !slot_of(list[0].fd))
		return (int)REAL(SYS_poll, list, n, timeout);
	for (nfds_t i = 0; i < n; i++) {
		struct slot *s = slot_of(list[i].fd);

		list[i].revents = s ? (short)(s->ops->ready(s->obj) &
					      ((uint32_t)list[i].events | EPOLLERR | EPOLLHUP)) :
				      0;
		ready += list[i].revents != 0;
	}
	if (!ready && timeout)
		sim_fail("a daemon waits in poll()");
	return ready;
}

/* --- time and chance --- */

int clock_gettime(clockid_t id, struct timespec *t)
{
	uint64_t us = clock_now();

	if (id == CLOCK_PROCESS_CPUTIME_ID || id == CLOCK_THREAD_CPUTIME_ID)
		return (int)REAL(SYS_clock_gettime, id, t);
	if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)
		us += 1800000000 * SECOND;
	*t = (struct timespec){ (time_t)(us / SECOND), (long)(us % SECOND * 1000) };
	return 0;
}

ssize_t getrandom(void *buf, size_t len, unsigned flags)
{
	(void)flags;
	for (size_t i = 0; i < len; i++)
		((uint8_t *)buf)[i] = (uint8_t)noise();
	return (ssize_t)len;
}

/* --- what the daemons and their libraries call --- */

int socket(int family, int type, int protocol)
{
	int kind = type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (family != AF_INET && family != AF_INET6)
		return (int)REAL(SYS_socket, family, type, protocol);
	if (family == AF_INET6)
		return (int)result(-EAFNOSUPPORT); /* a world of IPv4 */
	return kind == SOCK_STREAM ? stream_socket(protocol) : dgram_socket();
}

/* Files are real ones, but for the kernel's settings, which are the simulated machine's. */
int open(const char *path, int flags, ...)
{
	va_list ap;
	int mode;

	va_start(ap, flags);
	mode = va_arg(ap, int);
	va_end(ap);
	if (!strncmp(path, "/proc/sys/", 10))
		return (int)result(-ENOENT);
	return (int)REAL(SYS_openat, AT_FDCWD, path, flags, mode);
}

int close(int fd)
{
	struct slot *s = slot_of(fd);

	if (!s)
		return (int)REAL(SYS_close, fd);
	slot_close(s);
	return 0;
}

ssize_t readv(int fd, const struct iovec *iov, int n)
{
	DO(fd, read, iov, n);
	return REAL(SYS_readv, fd, iov, n);
}

ssize_t writev(int fd, const struct iovec *iov, int n)
{
	DO(fd, write, iov, n);
	return REAL(SYS_writev, fd, iov, n);
}

ssize_t read(int fd, void *buf, size_t len)
{
	struct iovec iov = { buf, len };

	DO(fd, read, &iov, 1);
	return REAL(SYS_read, fd, buf, len);
}

ssize_t write(int fd, const void *buf, size_t len)
{
	struct iovec iov = { (void *)(uintptr_t)buf, len };

	DO(fd, write, &iov, 1);
	return REAL(SYS_write, fd, buf, len);
}

ssize_t recv(int fd, void *buf, size_t len, int flags)
{
	struct iovec iov = { buf, len };

	if (slot_of(fd) && flags & MSG_PEEK)
		sim_fail("MSG_PEEK is not simulated");
	DO(fd, read, &iov, 1);
	return REAL(SYS_recvfrom, fd, buf, len, flags, NULL, NULL);
}

ssize_t send(int fd, const void *buf, size_t len, int flags)
{
	struct iovec iov = { (void *)(uintptr_t)buf, len };

	DO(fd, write, &iov, 1);
	return REAL(SYS_sendto, fd, buf, len, flags, NULL, 0);
}

ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
	DO(fd, sendmsg, msg);
	return REAL(SYS_sendmsg, fd, msg, flags);
}

ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
	DO(fd, recvmsg, msg);
	return REAL(SYS_recvmsg, fd, msg, flags);
}

int sendmmsg(int fd, struct mmsghdr *list, unsigned n, int flags)
{
	struct slot *s = slot_of(fd);

	if (!s)
		return (int)REAL(SYS_sendmmsg, fd, list, n, flags);
	for (unsigned i = 0; i < n; i++) {
		ssize_t sent = s->ops->sendmsg(s->obj, &list[i].msg_hdr);

		if (sent < 0)
			return i ? (int)i : (int)result(sent);
		list[i].msg_len = (unsigned)sent;
	}
	return (int)n;
}

int recvmmsg(int fd, struct mmsghdr *list, unsigned n, int flags, struct timespec *limit)
{
	struct slot *s = slot_of(fd);

	if (!s)
		return (int)REAL(SYS_recvmmsg, fd, list, n, flags, limit);
	for (unsigned i = 0; i < n; i++) {
		ssize_t got = s->ops->recvmsg(s->obj, &list[i].msg_hdr);

		if (got < 0)
			return i ? (int)i : (int)result(got);
		list[i].msg_len = (unsigned)got;
	}
	return (int)n;
}

int bind(int fd, const struct sockaddr *sa, socklen_t len)
{
	DO(fd, bind, sa);
	return (int)REAL(SYS_bind, fd, sa, len);
}

int listen(int fd, int backlog)
{
	DO(fd, listen);
	return (int)REAL(SYS_listen, fd, backlog);
}

int connect(int fd, const struct sockaddr *sa, socklen_t len)
{
	DO(fd, connect, sa);
	return (int)REAL(SYS_connect, fd, sa, len);
}

int accept4(int fd, struct sockaddr *sa, socklen_t *len, int flags)
{
	struct slot *s = slot_of(fd);
	struct sockaddr_storage peer;
	int got;

	if (!s)
		return (int)REAL(SYS_accept4, fd, sa, len, flags);
	got = s->ops->accept ? s->ops->accept(s->obj, &peer) : -EOPNOTSUPP;
	if (got >= 0 && sa) {
		memcpy(sa, &peer, sizeof(struct sockaddr_in));
		*len = sizeof(struct sockaddr_in);
	}
	return (int)result(got);
}

int shutdown(int fd, int how)
{
	DO(fd, shut);
	return (int)REAL(SYS_shutdown, fd, how);
}

static int name_of(int fd, bool peer, struct sockaddr *sa, socklen_t *len, long number)
{
	struct slot *s = slot_of(fd);
	struct sockaddr_storage ss;
	int r;

	if (!s)
		return (int)REAL(number, fd, sa, len);
	r = s->ops->name ? s->ops->name(s->obj, peer, &ss) : -EOPNOTSUPP;
	if (!r) {
		memcpy(sa, &ss, sizeof(struct sockaddr_in));
		*len = sizeof(struct sockaddr_in);
	}
	return (int)result(r);
}

int getsockname(int fd, struct sockaddr *sa, socklen_t *len)
{
	return name_of(fd, false, sa, len, SYS_getsockname);
}

int getpeername(int fd, struct sockaddr *sa, socklen_t *len)
{
	return name_of(fd, true, sa, len, SYS_getpeername);
}

int setsockopt(int fd, int level, int option, const void *value, socklen_t len)
{
	DO(fd, set, level, option, value, len);
	return (int)REAL(SYS_setsockopt, fd, level, option, value, len);
}

int getsockopt(int fd, int level, int option, void *value, socklen_t *len)
{
	DO(fd, get, level, option, value, len);
	return (int)REAL(SYS_getsockopt, fd, level, option, value, len);
}

int ioctl(int fd, unsigned long request, ...)
{
	struct slot *s = slot_of(fd);
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (!s)
		return (int)REAL(SYS_ioctl, fd, request, arg);
	if (request != SIOCOUTQ || !s->ops->outq)
		return (int)result(-ENOTTY);
	*(int *)arg = s->ops->outq(s->obj);
	return 0;
}

int fcntl(int fd, int what, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, what);
	arg = va_arg(ap, void *);
	va_end(ap);
	return slot_of(fd) ? 0 : (int)REAL(SYS_fcntl, fd, what, arg);
}
