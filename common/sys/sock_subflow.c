/* SPDX-License-Identifier: BSD-2-Clause */
/* MPTCP says it in two answers, the measurements and the addresses, in the same order. Kernels from
 * 6.6 on have both in one (MPTCP_FULL_INFO), but these two are on all. */
#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "sock.h"
#include "sock_subflow.h"

#define SOL_MPTCP_ 284 /* Debian 12's C library lacks the name */
#define TCPINFO 2
#define SUBFLOW_ADDRS 3
#define BUSY_MS 1000
#define STATE_ESTABLISHED 1 /* TCP_ESTABLISHED of the kernel's tcp_states.h */

/* struct mptcp_subflow_data of linux/mptcp.h, which stands before both arrays. */
struct head {
	uint32_t size, count, kernel_size, user_size;
};

struct infos {
	struct head head;
	struct tcp_info info[SOCK_SUBFLOWS];
};

struct names {
	struct head head;
	struct {
		struct sockaddr_storage local, peer;
	} name[SOCK_SUBFLOWS];
};

static void take_info(struct sock_subflow *s, const struct tcp_info *info)
{
	s->delivery_rate = info->tcpi_delivery_rate;
	s->min_rtt_us = info->tcpi_min_rtt;
	s->mss = info->tcpi_snd_mss;
	s->bytes_acked = info->tcpi_bytes_acked;
	s->app_limited = info->tcpi_delivery_rate_app_limited;
}

static size_t ask_infos(int fd, struct infos *all)
{
	socklen_t len = sizeof(*all);

	memset(all, 0, sizeof(*all));
	all->head.size = sizeof(all->head);
	all->head.user_size = sizeof(all->info[0]);
	return getsockopt(fd, SOL_MPTCP_, TCPINFO, all, &len) ? 0 : all->head.count;
}

static size_t ask_names(int fd, struct names *all)
{
	socklen_t len = sizeof(*all);

	memset(all, 0, sizeof(*all));
	all->head.size = sizeof(all->head);
	all->head.user_size = sizeof(all->name[0]);
	return getsockopt(fd, SOL_MPTCP_, SUBFLOW_ADDRS, all, &len) ? 0 : all->head.count;
}

/* Names, infos, names: when the names are the same before and after, the infos between them are
 * theirs. */
static size_t subflows_mptcp(int fd, struct sock_subflow *out, size_t max)
{
	struct names before, after;
	struct infos infos;
	size_t n = ask_names(fd, &before), filled = 0;

	if (!n || ask_infos(fd, &infos) != n || ask_names(fd, &after) != n ||
	    memcmp(before.name, after.name, sizeof(before.name)) != 0)
		return 0;
	for (size_t i = 0; i < n && i < SOCK_SUBFLOWS && filled < max; i++) {
		struct sock_subflow *s = &out[filled];

		take_info(s, &infos.info[i]);
		if (addr_from_sockaddr(&s->local, (const struct sockaddr *)&before.name[i].local) == 0 &&
		    addr_from_sockaddr(&s->peer, (const struct sockaddr *)&before.name[i].peer) == 0)
			filled++;
	}
	return filled;
}

static size_t subflow_tcp(int fd, struct sock_subflow *out)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) || sock_local(fd, &out->local) || sock_peer(fd, &out->peer))
		return 0;
	take_info(out, &info);
	return 1;
}

size_t sock_subflows(int fd, struct sock_subflow *out, size_t max)
{
	if (!max)
		return 0;
	return sock_is_mptcp(fd) ? subflows_mptcp(fd, out, max) : subflow_tcp(fd, out);
}

size_t sock_paces(int fd, struct sock_pace *out, size_t max)
{
	struct infos all;
	size_t n = ask_infos(fd, &all), filled = 0;

	for (size_t i = 0; i < n && i < SOCK_SUBFLOWS && filled < max; i++) {
		const struct tcp_info *info = &all.info[i];

		if (info->tcpi_state == STATE_ESTABLISHED)
			out[filled++] = (struct sock_pace){.pacing = info->tcpi_pacing_rate,
							   .delivery_rate = info->tcpi_delivery_rate,
							   .rtt_us = info->tcpi_rtt,
							   .min_rtt_us = info->tcpi_min_rtt,
							   .busy = info->tcpi_last_data_sent < BUSY_MS,
							   .repairs = info->tcpi_ca_state == TCP_CA_Recovery};
	}
	return filled;
}

bool sock_severed(int fd)
{
	struct infos all;
	size_t n = ask_infos(fd, &all);

	for (size_t i = 0; i < n && i < SOCK_SUBFLOWS; i++)
		if (all.info[i].tcpi_state == STATE_ESTABLISHED)
			return false;
	return sock_is_mptcp(fd);
}
