/* SPDX-License-Identifier: BSD-2-Clause */
/* sock: every socket() and setsockopt() of plait, so that each option and its
 * traps stand in one place.
 *
 * Every socket is non-blocking, close-on-exec and born with SO_LINGER{1,0}: if
 * the process is killed the neighbour sees a reset, not an EOF that looks like
 * the end of a file. sock_close_clean() is the only way out that keeps what
 * was written. SO_SNDBUF and SO_RCVBUF are never set (they lock the size of every
 * subflow), SO_BINDTODEVICE never either (later subflows inherit it). Options
 * that a kernel lacks are skipped and remembered in struct sock_caps. */
#ifndef PLAIT_SOCK_H
#define PLAIT_SOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "addr.h"

/* What this kernel has, found by trying, once, at the start. */
struct sock_caps {
	bool mptcp;		/* IPPROTO_MPTCP can be made */
	bool ipv6;		/* AF_INET6 can be made and bound to its loopback */
	bool mptcp_notsent;	/* TCP_NOTSENT_LOWAT on MPTCP (not on 6.1) */
	bool mptcp_full_info;	/* MPTCP_FULL_INFO (not on 6.1) */
	bool bbr;		/* TCP_CONGESTION "bbr" may be chosen */
};
void sock_probe(struct sock_caps *caps);

/* SO_MARK of our own sockets, by which rules of ours know them. */
#define SOCK_SELF_MARK 0x706c0002

/* How a socket towards the other plait behaves. */
struct sock_wan {
	const char *congestion;	/* while it waits; "" = the kernel's default */
	uint32_t mark;		/* SO_MARK, 0 = none */
	uint32_t notsent_lowat; /* bytes, 0 = leave */
	uint32_t keepalive;	/* seconds of silence before the first probe, 0 = off */
	bool plain;		/* TCP: Multipath TCP does not get through */
	bool mixed;		/* subflows of both families: the kernel allows them to an AF_INET6 socket only */
};

/* Listeners. All return a listening fd, or -1 with errno. `dual` listeners are
 * AF_INET6 with V6ONLY off when the address is ::, and fall back to AF_INET where
 * IPv6 is switched off. */
int sock_listen_wan(const struct addr *at, const struct sock_wan *opt); /* MPTCP; plain TCP if the kernel has none */
int sock_listen_lan(const struct addr *at, bool transparent);		/* plain TCP, IP(V6)_TRANSPARENT */

/* accept4; sets linger-0 and TCP_NODELAY (not inherited everywhere). -1 with errno. */
int sock_accept(int listener, struct addr *peer);

/* Starts a connection to the other plait from `src` (NULL: wherever the kernel's
 * routes say; its port is ignored). MPTCP, or TCP without it. The fd is returned with
 * the connect under way or done; -1 with errno. */
int sock_dial_wan(const struct addr *to, const struct addr *src, const struct sock_wan *opt);

/* Starts a plain TCP connection to a destination. */
int sock_dial_tcp(const struct addr *to, uint32_t mark);
/* The same from an address of ours; NULL or any: wherever the kernel's routes say. */
int sock_dial_tcp_from(const struct addr *to, const struct addr *src, uint32_t mark);

/* After writability: 0 when connected, else the errno of the failure. */
int sock_connect_error(int fd);

/* The pending error of a socket without reading: 0, or ECONNRESET and friends. */
int sock_error(int fd);

int sock_local(int fd, struct addr *a);	   /* getsockname: the destination under TPROXY */
int sock_peer(int fd, struct addr *a);
int sock_original(int fd, struct addr *a); /* SO_ORIGINAL_DST of either family, under REDIRECT */

/* True when the address is one of this host's. */
bool sock_is_own(const struct addr *a);

void sock_keepalive(int fd, uint32_t idle_s); /* then every 15 s, 4 tries */
/* Firewalls, this machine's own among them, forget a connection that was closed from one side when
 * it has been silent for a minute (nf_conntrack_tcp_timeout_close_wait); what is said after that is
 * not taken for us any more, or dropped. So long may NEAR be silent. */
#define SOCK_HALF_CLOSED_S 45
int sock_mark(int fd, uint32_t mark);

/* TCP_CONGESTION of a connection and all its subflows; "" leaves it. A connection that waits for
 * work waits with SOCK_WAITING, and is given the real one when the work comes: BBR's state is then
 * new, while BBR after ten idle seconds begins with 200 ms at four packets (PROBE_RTT, its minimum
 * having expired). */
#define SOCK_WAITING "reno" /* every kernel has it */
void sock_congestion(int fd, const char *name);
/* The configured word, or what "auto" means on this kernel. */
const char *sock_congestion_choice(const struct sock_caps *caps, const char *configured);

/* Lets the peer send more than the kernel's first guess, without locking the size: autotuning of an
 * MPTCP receive buffer only begins above a tenth of a segment train an RTT/8 (15 Mbit/s at 60 ms),
 * below which it keeps a connection for good. */
void sock_open_window(int fd);

/* The socket is writable only while fewer bytes than that wait in the kernel for being sent.
 * Nothing on kernels that cannot. */
void sock_wait_short(int fd, uint32_t bytes);

/* shutdown(SHUT_WR). */
int sock_shut(int fd);

/* Both EOFs were relayed: take linger-0 back and close; the kernel delivers what is queued. */
void sock_close_clean(int fd);

/* RST (TCP) or MP_FASTCLOSE (MPTCP) to the neighbour, now. */
void sock_close_reset(int fd);

/* True while the connection really is Multipath TCP; false after a fallback. */
bool sock_is_mptcp(int fd);

/* Bytes written that the peer has not acknowledged (SIOCOUTQ); -1 on error. */
int sock_unacked(int fd);
/* Makes MPTCP send what it forgot: Linux 6.18 sets no timer for bytes that were written, or became
 * due again, while no subflow could take them, and does not look when one can. Told anew that there
 * is to be no delay, it looks (mptcp_check_and_set_pending). For who has waited SOCK_NUDGE_MS. */
#define SOCK_NUDGE_MS 400
void sock_nudge(int fd);
/* For one that is read as soon as there is something, and has been silent: when its buffer is
 * almost full nonetheless, then of what came out of order, and MPTCP has no room to take in the
 * piece that is missing. The buffer is doubled, up to 32 MB. */
void sock_make_room(int fd);

/* Milliseconds since the peer acknowledged anything on any path; UINT32_MAX when it cannot be
 * told. */
uint32_t sock_last_ack_ms(int fd);

#endif
