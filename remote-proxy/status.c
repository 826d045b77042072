#include "status.h"

#include <stdio.h>
#include <string.h>

#include "admin.h"

/* What this kernel has, each by its name, and beside it what goes missing without it. */
static json_t *kernel_status(const struct sock_caps *c)
{
	const struct {
		const char *name, *without;
		bool has;
	} cap[] = {
		{ "mptcp", "one line at a time", c->mptcp },
		{ "ipv6", "IPv4 only", c->ipv6 },
		{ "mptcp_notsent", "more bytes queue in the kernel", c->mptcp_notsent },
		{ "mptcp_full_info", "less detail a line", c->mptcp_full_info },
		{ "bbr", "the default congestion control: slower on lossy lines", c->bbr },
	};
	json_t *all = json_object();

	for (size_t i = 0; i < sizeof(cap) / sizeof(*cap); i++)
		json_object_set_new(all, cap[i].name,
				    cap[i].has ? json_string("yes") : json_sprintf("missing: %s", cap[i].without));
	return all;
}

/* Pages of TCP memory in use, and the kernel's three marks. */
static json_t *tcp_memory(void)
{
	long long used = -1, low = -1, pressure = -1, high = -1;
	char line[256];
	FILE *f = fopen("/proc/net/sockstat", "re");

	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, "TCP:", 4) == 0 && strstr(line, " mem "))
			sscanf(strstr(line, " mem "), " mem %lld", &used);
	if (f)
		fclose(f);
	f = fopen("/proc/sys/net/ipv4/tcp_mem", "re");
	if (f) {
		if (fscanf(f, "%lld %lld %lld", &low, &pressure, &high) != 3)
			low = pressure = high = -1;
		fclose(f);
	}
	if (high < 0) /* the marks are the host's: a network namespace does not show them */
		return json_pack("{s:I}", "pages", (json_int_t)used);
	return json_pack("{s:I, s:I, s:I, s:I}", "pages", (json_int_t)used, "low", (json_int_t)low, "pressure",
			 (json_int_t)pressure, "high", (json_int_t)high);
}

json_t *status_make(const struct status_rooms *r)
{
	char at[ADDR_STRLEN];

	return json_pack("{s:s, s:s, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o}", "version", PLAIT_VERSION,
			 "listen", addr_print(&r->config->listen, at), "kernel", kernel_status(r->caps), "tcp_memory",
			 tcp_memory(), "sessions", (json_int_t)sessions_count(r->sessions), "relays",
			 (json_int_t)users_relays(r->users), "relays_max", (json_int_t)r->config->max_relays,
			 "strangers", (json_int_t)quiet_strangers(r->quiet), "dialling",
			 (json_int_t)hall_dialling(r->hall), "users", users_status(r->users), "egress",
			 egress_status(r->egress), "gateways", dock_status(r->dock), "tunnel",
			 tundev_status(r->tundev), "counters", admin_counters());
}
