/* SPDX-License-Identifier: BSD-2-Clause */
/* sock: see sock.h. A socket option that is set anywhere is set by a function here, with its
 * reason. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "sock.h"

/* Debian 12's headers are older than the kernels plait runs on. */
#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#define SOCK_SOL_MPTCP 284
#define SOCK_MPTCP_INFO 1
#define SOCK_MPTCP_TCPINFO 2
#define SOCK_MPTCP_FULL_INFO 4
#define SOCK_ORIGINAL_DST 80 /* in SOL_IP and in SOL_IPV6 alike */

#define LISTEN_BACKLOG 4096
#define KEEPALIVE_INTERVAL 15
#define KEEPALIVE_TRIES 4
#define SUBFLOWS_MAX 16
#define FIRST_WINDOW (1 << 20)
#define ROOM_MAX (32u << 20)

static int sock_set_int(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value));
}

/* A kernel may have MPTCP left out, or switched off in this namespace. */
static bool no_mptcp(int err)
{
	return err == EPROTONOSUPPORT || err == ENOPROTOOPT || err == EINVAL;
}

static int socket_stream(int family, int protocol)
{
	struct linger abort_on_close = { .l_onoff = 1, .l_linger = 0 };
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);

	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort_on_close, sizeof(abort_on_close));
	return fd;
}

static int socket_wan(int family)
{
	int fd = socket_stream(family, IPPROTO_MPTCP);

	return fd < 0 && no_mptcp(errno) ? socket_stream(family, IPPROTO_TCP) : fd;
}

static int close_keep_errno(int fd)
{
	int saved = errno;

	close(fd);
	errno = saved;
	return -1;
}

void sock_congestion(int fd, const char *name)
{
	if (name && *name)
		setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name));
}

const char *sock_congestion_choice(const struct sock_caps *caps, const char *configured)
{
	return strcmp(configured, "auto") ? configured : caps->bbr ? "bbr" : "cubic";
}

static void apply_wan(int fd, const struct sock_wan *opt)
{
	sock_set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	if (opt->mark)
		sock_mark(fd, opt->mark);
	sock_congestion(fd, opt->congestion);
	if (opt->notsent_lowat)
		sock_set_int(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, (int)opt->notsent_lowat);
	if (opt->keepalive)
		sock_keepalive(fd, opt->keepalive);
}

static int sock_bind_to(int fd, const struct addr *a, int family)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(a, family, &ss);

	return bind(fd, (struct sockaddr *)&ss, len);
}

static bool can_bind_ipv6(const struct addr *a)
{
	int fd = socket_stream(AF_INET6, IPPROTO_TCP);
	bool ok = fd >= 0 && sock_bind_to(fd, a, AF_INET6) == 0;

	if (fd >= 0)
		close(fd);
	return ok;
}

static bool has_option(int fd, int level, int option)
{
	char buf[256];
	socklen_t len = sizeof(buf);

	return getsockopt(fd, level, option, buf, &len) == 0 || (errno != EOPNOTSUPP && errno != ENOPROTOOPT);
}

void sock_probe(struct sock_caps *caps)
{
	static const struct addr loopback6 = { .ip = { [15] = 1 } };
	int fd = socket_stream(AF_INET, IPPROTO_MPTCP);

	memset(caps, 0, sizeof(*caps));
	caps->ipv6 = can_bind_ipv6(&loopback6); /* :: can be bound also where disable_ipv6 is set */
	caps->mptcp = fd >= 0;
	if (fd < 0)
		fd = socket_stream(AF_INET, IPPROTO_TCP);
	if (fd < 0)
		return;
	if (caps->mptcp) {
		caps->mptcp_notsent = sock_set_int(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, 131072) == 0;
		caps->mptcp_full_info = has_option(fd, SOCK_SOL_MPTCP, SOCK_MPTCP_FULL_INFO);
	}
	caps->bbr = setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "bbr", 3) == 0;
	close(fd);
}

/* :: listens for both families; where IPv6 is off, 0.0.0.0 stands in for it. */
static int listen_family(const struct addr *at, struct addr *real)
{
	static const struct addr any6;
	static const uint8_t any4[4];

	*real = *at;
	if (addr_family(at) == AF_INET)
		return AF_INET;
	if (addr_is_any(at) && !can_bind_ipv6(&any6)) {
		addr_from_bytes(real, any4, sizeof(any4), at->port);
		return AF_INET;
	}
	return AF_INET6;
}

static int listen_on(int fd, const struct addr *at, int family)
{
	sock_set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (family == AF_INET6)
		sock_set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, !addr_is_any(at));
	if (sock_bind_to(fd, at, family) || listen(fd, LISTEN_BACKLOG))
		return close_keep_errno(fd);
	return fd;
}

int sock_listen_wan(const struct addr *at, const struct sock_wan *opt)
{
	struct addr real;
	int family = listen_family(at, &real);
	int fd = socket_wan(family);

	if (fd < 0)
		return -1;
	apply_wan(fd, opt);
	return listen_on(fd, &real, family);
}

static int set_transparent(int fd, int family)
{
	/* A dual-stack socket needs both: the IPv4 half looks at the IPv4 flag. */
	if (family == AF_INET6 && sock_set_int(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, 1))
		return -1;
	return sock_set_int(fd, IPPROTO_IP, IP_TRANSPARENT, 1);
}

int sock_listen_lan(const struct addr *at, bool transparent)
{
	struct addr real;
	int family = listen_family(at, &real);
	int fd = socket_stream(family, IPPROTO_TCP);

	if (fd < 0)
		return -1;
	sock_set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	if (transparent && set_transparent(fd, family))
		return close_keep_errno(fd);
	return listen_on(fd, &real, family);
}

int sock_accept(int listener, struct addr *peer)
{
	struct linger abort_on_close = { .l_onoff = 1, .l_linger = 0 };
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	int fd = accept4(listener, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return -1;
	/* Inherited by TCP, and by MPTCP on most kernels; a wrong guess would
	 * turn a crash into a clean EOF, so it is set again. */
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort_on_close, sizeof(abort_on_close));
	sock_set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	memset(peer, 0, sizeof(*peer));
	addr_from_sockaddr(peer, (struct sockaddr *)&ss);
	return fd;
}

static int start_connect(int fd, const struct addr *to, int family)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(to, family, &ss);

	if (connect(fd, (struct sockaddr *)&ss, len) && errno != EINPROGRESS)
		return close_keep_errno(fd);
	return fd;
}

/* NULL or any: the kernel chooses. */
static int bind_source(int fd, const struct addr *src, int family)
{
	struct addr from;

	if (!src || addr_is_any(src))
		return 0;
	from = *src;
	from.port = 0;
	return sock_bind_to(fd, &from, family);
}

/* The port is chosen at bind, not at connect: the subflows that the kernel joins are bound to a
 * device, which connect, for a socket that is not, does not count as the same address and port
 * (inet_bound_dev_eq). One connection of 500 began with those of a living subflow. */
int sock_dial_wan(const struct addr *to, const struct addr *src, const struct sock_wan *opt)
{
	int family = opt->mixed ? AF_INET6 : addr_family(to);
	int fd = opt->plain ? socket_stream(family, IPPROTO_TCP) : socket_wan(family);

	if (fd < 0)
		return -1;
	if (opt->mixed)
		sock_set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
	apply_wan(fd, opt);
	if (bind_source(fd, src, family))
		return close_keep_errno(fd);
	return start_connect(fd, to, family);
}

int sock_dial_tcp_from(const struct addr *to, const struct addr *src, uint32_t mark)
{
	int family = addr_family(to), fd = socket_stream(family, IPPROTO_TCP);

	if (fd < 0)
		return -1;
	sock_set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	sock_set_int(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT,
		     1); /* as many as there are destinations times ports */
	if (mark)
		sock_mark(fd, mark);
	if (bind_source(fd, src, family))
		return close_keep_errno(fd);
	return start_connect(fd, to, AF_UNSPEC);
}

int sock_dial_tcp(const struct addr *to, uint32_t mark)
{
	return sock_dial_tcp_from(to, NULL, mark);
}

int sock_error(int fd)
{
	int err = 0;
	socklen_t len = sizeof(err);

	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) ? errno : err;
}

int sock_connect_error(int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	int err = sock_error(fd);

	if (err)
		return err;
	return getpeername(fd, (struct sockaddr *)&ss, &len) ? errno : 0;
}

static int name_of(int fd, int (*name)(int, struct sockaddr *, socklen_t *), struct addr *a)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	return name(fd, (struct sockaddr *)&ss, &len) ? -1 : addr_from_sockaddr(a, (struct sockaddr *)&ss);
}

static int get_sockname(int fd, struct sockaddr *sa, socklen_t *len)
{
	return getsockname(fd, sa, len);
}

static int get_peername(int fd, struct sockaddr *sa, socklen_t *len)
{
	return getpeername(fd, sa, len);
}

static int get_original4(int fd, struct sockaddr *sa, socklen_t *len)
{
	return getsockopt(fd, IPPROTO_IP, SOCK_ORIGINAL_DST, sa, len);
}

static int get_original6(int fd, struct sockaddr *sa, socklen_t *len)
{
	return getsockopt(fd, IPPROTO_IPV6, SOCK_ORIGINAL_DST, sa, len);
}

int sock_local(int fd, struct addr *a)
{
	return name_of(fd, get_sockname, a);
}

int sock_peer(int fd, struct addr *a)
{
	return name_of(fd, get_peername, a);
}

int sock_original(int fd, struct addr *a)
{
	return name_of(fd, get_original4, a) ? name_of(fd, get_original6, a) : 0;
}

/* bind() without IP_TRANSPARENT or FREEBIND knows; no packet is sent. */
bool sock_is_own(const struct addr *a)
{
	struct addr here = *a;
	int fd = socket(addr_family(a), SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool own;

	here.port = 0;
	own = fd >= 0 && sock_bind_to(fd, &here, AF_UNSPEC) == 0;
	if (fd >= 0)
		close(fd);
	return own;
}

void sock_keepalive(int fd, uint32_t idle_s)
{
	sock_set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	sock_set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, (int)idle_s);
	sock_set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL);
	sock_set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_TRIES);
}

int sock_mark(int fd, uint32_t mark)
{
	return setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark));
}

/* SO_RCVLOWAT raises the buffers of a connection and of its subflows to what it asks for (Linux 6.9
 * and later), and does not set SOCK_RCVBUF_LOCK; taken back, the buffers stay. On older kernels
 * this does nothing. */
void sock_open_window(int fd)
{
	sock_set_int(fd, SOL_SOCKET, SO_RCVLOWAT, FIRST_WINDOW);
	sock_set_int(fd, SOL_SOCKET, SO_RCVLOWAT, 1);
}

void sock_wait_short(int fd, uint32_t bytes)
{
	sock_set_int(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, (int)bytes);
}

int sock_shut(int fd)
{
	return shutdown(fd, SHUT_WR);
}

void sock_close_clean(int fd)
{
	struct linger off = { .l_onoff = 0, .l_linger = 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &off, sizeof(off));
	close(fd);
}

void sock_close_reset(int fd)
{
	struct linger on = { .l_onoff = 1, .l_linger = 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &on, sizeof(on));
	close(fd);
}

/* MPTCP_INFO exists on every kernel with MPTCP and only on a connection that
 * did not fall back. Its head is u8 subflows first. */
static int mptcp_subflows(int fd)
{
	uint8_t info[96] = { 0 };
	socklen_t len = sizeof(info);

	return getsockopt(fd, SOCK_SOL_MPTCP, SOCK_MPTCP_INFO, info, &len) ? -1 : info[0];
}

void sock_nudge(int fd)
{
	sock_set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

void sock_make_room(int fd)
{
	uint32_t mem[SK_MEMINFO_VARS];
	socklen_t len = sizeof(mem);

	if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, mem, &len) || mem[SK_MEMINFO_RMEM_ALLOC] < mem[SK_MEMINFO_RCVBUF] / 4 * 3)
		return;
	if (mem[SK_MEMINFO_RCVBUF] <= ROOM_MAX / 2)
		sock_set_int(fd, SOL_SOCKET, SO_RCVBUFFORCE,
			     (int)mem[SK_MEMINFO_RCVBUF]); /* the kernel doubles it */
}

bool sock_is_mptcp(int fd)
{
	return mptcp_subflows(fd) >= 0;
}

int sock_unacked(int fd)
{
	int queued = 0;

	return ioctl(fd, SIOCOUTQ, &queued) ? -1 : queued;
}

/* The layout of MPTCP_TCPINFO's answer: this header, then an array (linux/mptcp.h,
 * struct mptcp_subflow_data). */
struct subflow_infos {
	uint32_t header_size, count, kernel_size, user_size;
	struct tcp_info info[SUBFLOWS_MAX];
};

static uint32_t last_ack_mptcp(int fd)
{
	struct subflow_infos all = { .header_size = 16, .user_size = sizeof(struct tcp_info) };
	socklen_t len = sizeof(all);
	uint32_t least = UINT32_MAX;

	if (getsockopt(fd, SOCK_SOL_MPTCP, SOCK_MPTCP_TCPINFO, &all, &len))
		return UINT32_MAX;
	for (uint32_t i = 0; i < all.count && i < SUBFLOWS_MAX; i++)
		if (all.info[i].tcpi_last_ack_recv < least)
			least = all.info[i].tcpi_last_ack_recv;
	return least;
}

uint32_t sock_last_ack_ms(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	if (sock_is_mptcp(fd))
		return last_ack_mptcp(fd);
	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) ? UINT32_MAX : info.tcpi_last_ack_recv;
}
