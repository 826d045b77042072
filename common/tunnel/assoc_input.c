/* SPDX-License-Identifier: BSD-2-Clause */
/* The way in; see assoc.c for the theory. */
#include <string.h>

#include "assoc_room.h"
#include "clock.h"
#include "counter.h"

#define HINT_US 1000000u
#define RIVAL_US 1000000u

/* What one datagram is while it is looked at. */
struct arrival {
	struct udp *udp;
	const struct udp_got *got;
	struct wire_dgram hdr;
	struct path *path; /* NULL: no path has this address */
	uint64_t seq, now;
};

static struct path *find_path(struct assoc *a, const struct udp *udp, const struct udp_got *got)
{
	for (struct path *path = a->path; path < a->path + ASSOC_PATHS; path++)
		if (path->on && path->at.udp == udp && (a->side == ASSOC_LOCAL || addr_equal(&path->at.to, &got->from)))
			return path;
	return NULL;
}

static struct udp_keys *find_keys(struct assoc *a, uint32_t index, uint64_t now)
{
	for (int i = 0; i < EPOCHS; i++)
		if (a->epoch[i].keys && udp_keys_index(a->epoch[i].keys) == index)
			return a->epoch[i].ends_us && now > a->epoch[i].ends_us ? NULL : a->epoch[i].keys;
	return NULL;
}

/* Older than the ones we send under? */
static bool is_newer(const struct assoc *a, const struct udp_keys *k)
{
	for (int i = 0; i < EPOCHS && a->epoch[i].keys != a->tx; i++)
		if (a->epoch[i].keys == k)
			return true;
	return false;
}

/* --- paths, as the remote learns them --- */

static void meet_rival(struct assoc *a, struct path *path, const struct arrival *in)
{
	struct rival *r = &path->rival;
	bool same = r->on && r->udp == in->udp && addr_equal(&r->to, &in->got->from);

	if (!same && r->on && in->now - r->since_us < RIVAL_US)
		return; /* the first has its second to answer */
	if (!same) {
		*r = (struct rival){ .on = true, .udp = in->udp, .to = in->got->from, .since_us = in->now };
		seal_random(r->word, sizeof(r->word));
	}
	r->from = in->got->to;
	path_challenge(a, path);
}

static void adopt_rival(struct path *path, uint64_t now)
{
	struct rival *r = &path->rival;

	if (!path->on) {
		health_again(&path->health, now);
		path->told = path->health.state;
		path->on = true;
		path->at.keepalive_s = 0;
		path->frames_len = 0;
	}
	health_rebase(&path->health);
	path->at.udp = r->udp;
	path->at.to = r->to;
	path->at.from = r->from;
	path->probe_us = now;
	r->on = false;
	counters.udp_moved++;
}

static void take_response(struct assoc *a, const struct arrival *in, const uint8_t *value, size_t len)
{
	if (a->side != ASSOC_REMOTE || len != WORD)
		return;
	for (struct path *path = a->path; path < a->path + ASSOC_PATHS; path++)
		if (path->rival.on && path->rival.udp == in->udp && addr_equal(&path->rival.to, &in->got->from) &&
		    seal_equal(path->rival.word, value, WORD)) {
			adopt_rival(path, in->now);
			path->answers = true; /* the PROBE that led here was not answered */
			return;
		}
}

/* --- frames --- */

static void take_probe(struct assoc *a, const struct arrival *in, const uint8_t *value, size_t len)
{
	struct wire_probe p;
	struct path *path;

	if (wire_get_probe(&p, value, len) < 0)
		return;
	path = &a->path[p.path];
	if (a->side == ASSOC_LOCAL ? path != in->path : !in->path || path != in->path) {
		if (a->side == ASSOC_REMOTE)
			meet_rival(a, path, in);
		return;
	}
	if (!health_got_probe(&path->health, &p, in->now))
		return;
	if (a->side == ASSOC_REMOTE)
		path->at.use = (enum wire_use)p.use;
	health_lead(&path->health, &a->lead);
	path->answers = a->side == ASSOC_REMOTE;
}

static void take_report(struct assoc *a, const struct arrival *in, const uint8_t *value, size_t len)
{
	struct wire_report r;

	if (!in->path || wire_get_report(&r, value, len) < 0 || !a->path[r.path].on)
		return;
	health_got_report(&a->path[r.path].health, &r, in->path->id == r.path, in->now);
	health_lead(&a->path[r.path].health, &a->lead);
}

static void take_frame(struct assoc *a, const struct arrival *in, uint8_t type, const uint8_t *value, size_t len)
{
	switch (type) {
	case WIRE_CTL_PAD:
		break;
	case WIRE_CTL_PROBE:
		take_probe(a, in, value, len);
		break;
	case WIRE_CTL_REPORT:
		take_report(a, in, value, len);
		break;
	case WIRE_CTL_CHALLENGE:
		if (a->side == ASSOC_LOCAL && in->path && len == WORD)
			assoc_control(a, in->path->id, WIRE_CTL_RESPONSE, value, len);
		break;
	case WIRE_CTL_RESPONSE:
		take_response(a, in, value, len);
		break;
	default:
		if (a->ops.frame)
			a->ops.frame(a->arg, in->path ? in->path->id : ASSOC_PATHS, type, value, len);
	}
}

static void take_frames(struct assoc *a, const struct arrival *in, const uint8_t *plain, size_t len)
{
	const uint8_t *value;
	size_t value_len;
	uint8_t type;
	ssize_t n;

	while ((n = wire_get_ctl(&type, &value, &value_len, plain, len)) > 0) {
		take_frame(a, in, type, value, value_len);
		plain += n;
		len -= (size_t)n;
	}
	if (n < 0)
		counters.udp_malformed++;
}

/* --- datagrams --- */

static void take_hint(struct assoc *a, const struct arrival *in)
{
	if (a->side != ASSOC_LOCAL || !a->tx || in->hdr.index != udp_keys_index(a->tx) || !udp_keys_recent(a->tx, in->hdr.low))
		return;
	if (a->hint_us && in->now - a->hint_us < HINT_US)
		return;
	a->hint_us = in->now;
	if (a->ops.unknown)
		a->ops.unknown(a->arg);
}

static void assoc_take_copy(struct assoc *a, const struct arrival *in)
{
	counters.udp_copies++;
	if (in->path)
		health_copy(&in->path->health, in->got->len);
	if (a->ops.copy)
		a->ops.copy(a->arg, in->path ? in->path->id : ASSOC_PATHS, &in->hdr, in->seq);
}

static void take_new(struct assoc *a, const struct arrival *in)
{
	struct assoc_got out = { .hdr = in->hdr, .seq = in->seq, .path = in->path ? in->path->id : ASSOC_PATHS, .tos = in->got->tos,
				 .plain = in->got->data + WIRE_DG_HDR, .len = in->got->len - WIRE_DG_OVERHEAD,
				 .more = in->got->more };

	if (in->path)
		health_heard(&in->path->health, in->got->len, in->now);
	if (in->hdr.type == WIRE_DG_CONTROL) {
		take_frames(a, in, out.plain, out.len);
		return;
	}
	a->busy = true;
	if (a->ops.got)
		a->ops.got(a->arg, &out);
}

static void take_sealed(struct assoc *a, struct arrival *in)
{
	struct udp_keys *k = find_keys(a, in->hdr.index, in->now);

	if (!k) {
		counters.udp_unknown++;
		return;
	}
	switch (udp_keys_open(k, &in->hdr, in->got->data, in->got->len, &in->seq)) {
	case UDP_KEYS_NEW:
		if (is_newer(a, k))
			a->tx = k;
		take_new(a, in);
		break;
	case UDP_KEYS_COPY:
		assoc_take_copy(a, in);
		break;
	case UDP_KEYS_OLD:
		counters.udp_old++;
		break;
	case UDP_KEYS_FORGED:
		counters.udp_forged++;
		break;
	}
}

void assoc_input(struct assoc *a, struct udp *udp, const struct udp_got *got)
{
	struct arrival in = { .udp = udp, .got = got, .now = clock_us() };

	if (wire_get_dgram(&in.hdr, got->data, got->len) < 0) {
		counters.udp_malformed++;
	} else if (in.hdr.type == WIRE_DG_UNKNOWN) {
		take_hint(a, &in);
	} else {
		in.path = find_path(a, udp, got);
		take_sealed(a, &in);
	}
	if (!a->batch)
		event_active(&a->turn, 0, 0);
	a->batch = true;
	if (!got->more)
		assoc_batch_end(a);
}

void assoc_batch_end(struct assoc *a)
{
	if (!a->batch)
		return;
	a->batch = false;
	if (a->ops.batch_end)
		a->ops.batch_end(a->arg);
}
