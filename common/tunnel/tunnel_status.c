/* SPDX-License-Identifier: BSD-2-Clause */
/* tunnel_status(): what the tunnel tells of itself. */
#include "tunnel_room.h"

static json_t *tunnel_number(uint64_t n)
{
	return json_integer((json_int_t)n);
}

static uint64_t copies(const struct tunnel *t, unsigned class)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < ASSOC_PATHS; i++)
		n += t->path[i].copies[class];
	return n;
}

static json_t *class_status(const struct tunnel *t, unsigned class)
{
	const struct sort *s = &t->sort[class];
	json_t *o = json_object();
	unsigned band = class == WIRE_CLASS_F ? QUEUE_F : QUEUE_B;

	json_object_set_new(o, "packets", tunnel_number(s->packets));
	json_object_set_new(o, "bytes", tunnel_number(s->bytes));
	json_object_set_new(o, "copies", tunnel_number(copies(t, class)));
	json_object_set_new(o, "resent", tunnel_number(s->resend.resent));
	json_object_set_new(o, "unconfirmed", tunnel_number(s->resend.expired));
	json_object_set_new(o, "dropped",
			    tunnel_number(class == WIRE_CLASS_R ? 0 : t->queue.dropped[band]));
	json_object_set_new(o, "received", tunnel_number(s->gaps ? s->gaps->received : 0));
	json_object_set_new(o, "duplicates", tunnel_number(s->duplicates));
	json_object_set_new(o, "repaired", tunnel_number(s->gaps ? s->gaps->filled : 0));
	json_object_set_new(o, "parity", tunnel_number(s->parity.sent));
	json_object_set_new(o, "mended", tunnel_number(s->parity.mended));
	json_object_set_new(o, "lost", tunnel_number(s->gaps ? s->gaps->lost : 0));
	json_object_set_new(o, "late", tunnel_number(s->gaps ? s->gaps->late : 0));
	json_object_set_new(o, "held", tunnel_number(s->reorder ? s->reorder->holds : 0));
	return o;
}

static json_t *by_class(const uint64_t n[WIRE_CLASSES])
{
	json_t *o = json_object();

	json_object_set_new(o, "R", tunnel_number(n[WIRE_CLASS_R]));
	json_object_set_new(o, "F", tunnel_number(n[WIRE_CLASS_F]));
	json_object_set_new(o, "B", tunnel_number(n[WIRE_CLASS_B]));
	return o;
}

/* A line and a class. The path and its name first: this is printed as a table. */
static json_t *tunnel_row(const struct tunnel *t, unsigned i, unsigned c)
{
	static const char names[WIRE_CLASSES][2] = { "C", "R", "F", "B" };
	const struct tunnel_path *path = &t->path[i];
	json_t *o = json_object();

	json_object_set_new(o, "path", tunnel_number(i));
	json_object_set_new(o, "class", json_string(names[c]));
	json_object_set_new(o, "packets", tunnel_number(path->packets[c]));
	json_object_set_new(o, "copies", tunnel_number(path->copies[c]));
	json_object_set_new(o, "lost", tunnel_number(path->lost[c]));
	json_object_set_new(o, "received", tunnel_number(path->in[c].received));
	json_object_set_new(o, "duplicates", tunnel_number(path->in[c].duplicates));
	json_object_set_new(o, "repaired", tunnel_number(path->in[c].repaired));
	json_object_set_new(o, "late", tunnel_number(path->in[c].late));
	return o;
}

static void add_rows(const struct tunnel *t, unsigned i, json_t *to)
{
	for (unsigned c = WIRE_CLASS_R; c < WIRE_CLASSES; c++)
		json_array_append_new(to, tunnel_row(t, i, c));
}

static json_t *path_status(const struct tunnel *t, unsigned i)
{
	const struct health *h = assoc_health(t->assoc, i);
	const struct tunnel_path *path = &t->path[i];
	json_t *o = json_object();

	json_object_set_new(o, "path", tunnel_number(i));
	json_object_set_new(o, "state", json_string(health_name(h->state)));
	json_object_set_new(o, "urgent", json_boolean(t->view.urgent >> i & 1));
	json_object_set_new(o, "bulk", json_boolean(t->view.bulk >> i & 1));
	json_object_set_new(o, "pace", tunnel_number(path->pace.rate * 8));
	json_object_set_new(o, "load", tunnel_number(path->pace.load * 8));
	json_object_set_new(o, "queue_us", tunnel_number(h->side[HEALTH_TX].queue_us));
	json_object_set_new(o, "rtt_us", tunnel_number(h->srtt_us));
	json_object_set_new(o, "jitter_us", tunnel_number(h->side[HEALTH_RX].jitter_us));
	json_object_set_new(o, "mtu", tunnel_number(pmtu_size(t->pmtu, i)));
	json_object_set_new(o, "packets", by_class(path->packets));
	json_object_set_new(o, "copies", by_class(path->copies));
	json_object_set_new(o, "resent", tunnel_number(path->resent));
	json_object_set_new(o, "repairs", tunnel_number(path->repairs));
	json_object_set_new(o, "shed", tunnel_number(path->shed));
	json_object_set_new(o, "overflows", tunnel_number(path->overflows));
	return o;
}

static json_t *stream_status(const struct stream *s)
{
	json_t *o = json_object();

	json_object_set_new(o, "sent", tunnel_number(s->sent));
	json_object_set_new(o, "received", tunnel_number(s->received));
	json_object_set_new(o, "dropped", tunnel_number(s->dropped + s->expired));
	json_object_set_new(o, "queued", tunnel_number(s->packets));
	return o;
}

json_t *tunnel_path_status(const struct tunnel *t, unsigned path)
{
	json_t *o, *rows;

	if (path >= ASSOC_PATHS || !assoc_has_path(t->assoc, path))
		return NULL;
	o = path_status(t, path);
	rows = json_array();
	add_rows(t, path, rows);
	json_object_set_new(o, "by_class", rows);
	return o;
}

json_t *tunnel_status(const struct tunnel *t)
{
	static const char *const redundancy[] = { "auto", "always", "never" };
	static const char *const names[WIRE_CLASSES] = { NULL, "R", "F", "B" };
	json_t *o = json_object(), *classes = json_object(), *paths = json_array(), *rows = json_array();

	for (unsigned c = WIRE_CLASS_R; c < WIRE_CLASSES; c++)
		json_object_set_new(classes, names[c], class_status(t, c));
	for (unsigned i = 0; i < ASSOC_PATHS; i++)
		if (assoc_has_path(t->assoc, i))
			json_array_append_new(paths, path_status(t, i));
	json_object_set_new(o, "carrier", json_string(tunnel_carrier(t)));
	json_object_set_new(o, "mtu", tunnel_number(tunnel_mtu(t)));
	json_object_set_new(o, "redundancy", json_string(redundancy[t->config.redundancy]));
	json_object_set_new(o, "queued", tunnel_number(t->queue.packets));
	json_object_set_new(o, "memory", tunnel_number(t->slab.made * sizeof(struct packet)));
	json_object_set_new(o, "fragments_joined",
			    tunnel_number(t->fragments ? t->fragments->whole : 0));
	json_object_set_new(o, "stream", stream_status(&t->stream));
	json_object_set_new(o, "classes", classes);
	json_object_set_new(o, "paths", paths);
	for (unsigned i = 0; i < ASSOC_PATHS; i++)
		if (assoc_has_path(t->assoc, i))
			add_rows(t, i, rows);
	json_object_set_new(o, "by_class", rows);
	return o;
}
