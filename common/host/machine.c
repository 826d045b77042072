/* SPDX-License-Identifier: BSD-2-Clause */
/* machine: one table of what a kernel may lack, and what that costs the owner. */
#include <stdio.h>
#include <string.h>

#include "log.h"
#include "machine.h"

#define TCP_MEM_ALARM 80 /* percent of the limit */

struct vital {
	const char *name, *without;
	size_t at;
	bool warn;
};

static const struct vital list[] = {
	{ "mptcp", "no Multipath TCP: plain TCP, one link a connection", offsetof(struct sock_caps, mptcp), true },
	{ "ipv6", "no IPv6: only IPv4 is listened on", offsetof(struct sock_caps, ipv6), false },
	{ "bbr", "no BBR: the kernel's default congestion control, slower where packets are lost",
	  offsetof(struct sock_caps, bbr), true },
	{ "notsent_lowat", "no TCP_NOTSENT_LOWAT on MPTCP: more bytes wait in the kernel",
	  offsetof(struct sock_caps, mptcp_notsent), false },
	{ "full_info", "no MPTCP_FULL_INFO: no figures of single subflows", offsetof(struct sock_caps, mptcp_full_info),
	  false },
};

static bool has(const struct sock_caps *caps, const struct vital *v)
{
	return *(const bool *)((const char *)caps + v->at);
}

json_t *machine_kernel(const struct sock_caps *caps)
{
	json_t *all = json_object();

	for (size_t i = 0; i < sizeof(list) / sizeof(*list); i++)
		json_object_set_new(all, list[i].name,
				    json_string(has(caps, &list[i]) ? "yes" : list[i].without));
	return all;
}

void machine_warn(const struct sock_caps *caps)
{
	for (size_t i = 0; i < sizeof(list) / sizeof(*list); i++)
		if (list[i].warn && !has(caps, &list[i]))
			log_warn("this kernel has %s", list[i].without);
}

static long tcp_pages(void)
{
	FILE *f = fopen("/proc/net/sockstat", "re");
	char line[256];
	long pages = -1;
	const char *at;

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, "TCP:", 4) && (at = strstr(line, " mem ")))
			sscanf(at, " mem %ld", &pages);
	if (f)
		fclose(f);
	return pages;
}

static long tcp_limit(void)
{
	FILE *f = fopen("/proc/sys/net/ipv4/tcp_mem", "re");
	long low, pressure, high = -1;

	if (f && fscanf(f, "%ld %ld %ld", &low, &pressure, &high) != 3)
		high = -1;
	if (f)
		fclose(f);
	return high;
}

json_t *machine_memory(void)
{
	long used = tcp_pages(), limit = tcp_limit();
	bool alarm = limit > 0 && used > limit / 100 * TCP_MEM_ALARM;

	return json_pack("{s:I, s:I, s:s}", "tcp_pages", (json_int_t)used, "tcp_limit", (json_int_t)limit, "verdict",
			 alarm ? "nearly full: every TCP socket of this machine is about to fail" : "fine");
}
