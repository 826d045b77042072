/* SPDX-License-Identifier: BSD-2-Clause */
/* What `status` says of the paths of an association. */
#include "assoc_room.h"
#include "assoc_status.h"

static double assoc_ms(uint32_t us)
{
	return us / 1000.0;
}

static json_t *side_status(const struct health_side *s)
{
	return json_pack("{s:s, s:I, s:I, s:f, s:f, s:f, s:I}", "state", health_name(s->state),
			 "packets", (json_int_t)s->packets, "bytes", (json_int_t)s->bytes, "loss",
			 s->loss_ppm / 1e4, "queue_ms", assoc_ms(s->queue_us), "jitter_ms",
			 assoc_ms(s->jitter_us), "rate", (json_int_t)s->rate);
}

json_t *assoc_path_status(const struct assoc *a, unsigned id)
{
	static const char *const uses[] = { "full", "copies", "backup", "not" };
	const struct path *path = &a->path[id];
	const struct health *h = &path->health;
	char to[ADDR_STRLEN];
	json_t *o;

	if (!path->on)
		return NULL;
	o = json_pack("{s:i, s:s, s:s, s:s, s:f, s:f, s:f, s:o, s:o}", "path", (int)id, "state",
		      health_name(h->state), "why", h->why, "use", uses[path->at.use & 3], "rtt_ms",
		      assoc_ms(h->srtt_us), "rtt_var_ms", assoc_ms(h->rttvar_us), "rtt_min_ms",
		      assoc_ms(h->min_rtt_us), a->side == ASSOC_LOCAL ? "up" : "down",
		      side_status(&h->side[HEALTH_TX]), a->side == ASSOC_LOCAL ? "down" : "up",
		      side_status(&h->side[HEALTH_RX]));
	if (o && a->side == ASSOC_REMOTE)
		json_object_set_new(o, "address", json_string(addr_print(&path->at.to, to)));
	return o;
}

json_t *assoc_status(const struct assoc *a)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < ASSOC_PATHS; i++)
		if (a->path[i].on)
			json_array_append_new(list, assoc_path_status(a, i));
	return list;
}
