/* SPDX-License-Identifier: BSD-2-Clause */
#include "status.h"

#include "admin.h"
#include "machine.h"

json_t *status_make(const struct status_rooms *r)
{
	char at[ADDR_STRLEN];

	return json_pack("{s:s, s:s, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o}", "version", PLAIT_VERSION,
			 "listen", addr_print(&r->config->listen, at), "kernel", machine_kernel(r->caps), "memory",
			 machine_memory(), "sessions", (json_int_t)sessions_count(r->sessions), "relays",
			 (json_int_t)users_relays(r->users), "relays_max", (json_int_t)r->config->max_relays,
			 "strangers", (json_int_t)tarpit_strangers(r->tarpit), "dialling",
			 (json_int_t)requests_dialling(r->requests), "users", users_status(r->users), "egress",
			 return_routes_status(r->return_routes), "gateways", demux_status(r->demux), "tunnel",
			 tundev_status(r->tundev), "counters", admin_counters());
}
