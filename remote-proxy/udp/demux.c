/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * One socket hears all gateways. A datagram names an index, 24 random bits that WELCOME told, and
 * the index names a gateway: a user with an association. Each session has an index of its own;
 * while an older session has its grace, its index leads to the same gateway. The gateway goes with
 * its last index.
 *
 * A user has one gateway. A HELLO with another boot id is another process of the same gateway: the
 * old indexes are forgotten at once, and the association begins anew. (Two gateways with one key
 * would take it from each other; each needs a key of its own.)
 *
 * A datagram with an index that nobody has is answered by eight bytes, so that a gateway of before
 * our restart comes back before its next keepalive. That is less than was received, limited to a
 * few a second for all, says nothing but that something is here, and the gateway takes it as a hint
 * only. */
#include "demux.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "assoc_status.h"
#include "clock.h"
#include "counter.h"
#include "log.h"
#include "udp.h"

#define HINTS_A_SECOND 20
#define TRIES 16

struct gateway {
	struct user *user;
	uint8_t boot[16];
	struct assoc *assoc;
	unsigned indexes;
};

struct demux_index { /* one session's index */
	uint32_t index;
	struct gateway *gateway;
	UT_hash_handle hh;
};

struct demux {
	struct event_base *base;
	struct seal *seal;
	struct demux_ops ops;
	void *arg;
	struct udp *udp;
	struct event readable;
	struct demux_index *indexes;
	struct gateway *gateways[CONFIG_USERS]; /* by user_index() */
	uint64_t hint_ms;
	unsigned hints;
	struct assoc *waiting[UDP_BATCH]; /* were told that more follows; it may be for another, or for nobody */
	unsigned n_waiting;
};

/* --- gateways --- */

static void gateway_free(struct demux *d, struct gateway *g)
{
	d->gateways[user_index(g->user)] = NULL;
	if (d->ops.raze)
		d->ops.raze(d->arg, g->user, g->assoc);
	else
		assoc_free(g->assoc);
	free(g);
}

static void index_free(struct demux *d, struct demux_index *b)
{
	struct gateway *g = b->gateway;

	HASH_DEL(d->indexes, b);
	free(b);
	if (--g->indexes == 0)
		gateway_free(d, g);
}

static void forget_berths(struct demux *d, struct gateway *g)
{
	struct demux_index *b, *next;

	HASH_ITER(hh, d->indexes, b, next)
		if (b->gateway == g) {
			HASH_DEL(d->indexes, b);
			free(b);
		}
	g->indexes = 0;
}

static struct gateway *gateway_new(struct demux *d, struct user *user)
{
	static const struct assoc_ops bare;
	struct gateway *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	g->user = user;
	g->assoc = d->ops.raise ? d->ops.raise(d->arg, user) : assoc_new(d->base, d->seal, ASSOC_REMOTE, &bare, NULL);
	if (!g->assoc) {
		free(g);
		return NULL;
	}
	d->gateways[user_index(user)] = g;
	return g;
}

static struct gateway *find_guest(struct demux *d, struct user *user, const uint8_t boot[16])
{
	struct gateway *g = d->gateways[user_index(user)];

	if (g && memcmp(g->boot, boot, sizeof(g->boot)) != 0) {
		forget_berths(d, g);
		assoc_restart(g->assoc);
	}
	if (!g)
		g = gateway_new(d, user);
	if (g)
		memcpy(g->boot, boot, sizeof(g->boot));
	return g;
}

static uint32_t free_index(struct demux *d)
{
	for (int i = 0; i < TRIES; i++) {
		uint32_t index = 0;
		struct demux_index *b;

		seal_random(&index, 3);
		HASH_FIND(hh, d->indexes, &index, sizeof(index), b);
		if (index && !b)
			return index;
	}
	return 0;
}

uint32_t demux_admit(struct demux *d, struct user *user, const uint8_t boot[16], struct session *s)
{
	struct gateway *g = d->udp ? find_guest(d, user, boot) : NULL;
	struct demux_index *b = g ? calloc(1, sizeof(*b)) : NULL;

	if (!b || !(b->index = free_index(d))) {
		free(b);
		if (g && !g->indexes)
			gateway_free(d, g);
		return 0;
	}
	b->gateway = g;
	g->indexes++;
	HASH_ADD(hh, d->indexes, index, sizeof(b->index), b);
	assoc_rekey(g->assoc, s, b->index);
	return b->index;
}

void demux_leave(struct demux *d, uint32_t index)
{
	struct demux_index *b;

	HASH_FIND(hh, d->indexes, &index, sizeof(index), b);
	if (b)
		index_free(d, b);
}

/* --- datagrams --- */

static bool may_hint(struct demux *d)
{
	uint64_t now = clock_ms();

	if (now - d->hint_ms >= 1000) {
		d->hint_ms = now;
		d->hints = 0;
	}
	return d->hints++ < HINTS_A_SECOND;
}

static void hint(struct demux *d, const struct udp_got *got, const struct wire_dgram *was)
{
	struct wire_dgram answer = { .type = WIRE_DG_UNKNOWN, .index = was->index, .low = was->low };
	uint8_t out[WIRE_DG_HDR];

	counters.udp_unknown++;
	if (was->type == WIRE_DG_UNKNOWN || !may_hint(d))
		return;
	wire_put_dgram(out, &answer);
	udp_send_from(d->udp, &got->to, &got->from, 0, out, sizeof(out));
	udp_flush(d->udp);
}

static void batch_end(struct demux *d)
{
	for (unsigned i = 0; i < d->n_waiting; i++)
		assoc_batch_end(d->waiting[i]);
	d->n_waiting = 0;
}

static void let_wait(struct demux *d, struct assoc *a)
{
	if (d->n_waiting && d->waiting[d->n_waiting - 1] == a)
		return;
	if (d->n_waiting == UDP_BATCH)
		batch_end(d);
	d->waiting[d->n_waiting++] = a;
}

static void demux_take(struct demux *d, const struct udp_got *got)
{
	struct wire_dgram hdr;
	struct demux_index *b;

	if (wire_get_dgram(&hdr, got->data, got->len) < 0) {
		counters.udp_malformed++;
		return;
	}
	HASH_FIND(hh, d->indexes, &hdr.index, sizeof(hdr.index), b);
	if (!b) {
		hint(d, got, &hdr);
		return;
	}
	assoc_input(b->gateway->assoc, d->udp, got);
	if (got->more)
		let_wait(d, b->gateway->assoc);
}

/* Packets wait in the datagrams they came in until their batch is over; then the next one takes
 * their place. */
static void demux_datagram(void *arg, const struct udp_got *got)
{
	demux_take(arg, got);
	if (!got->more)
		batch_end(arg);
}

static void demux_readable(evutil_socket_t fd, short what, void *arg)
{
	struct demux *d = arg;

	(void)fd;
	(void)what;
	udp_receive(d->udp, demux_datagram, d);
}

/* --- life --- */

struct demux *demux_new(struct event_base *base, const struct config *config, struct seal *seal, const struct demux_ops *ops, void *arg)
{
	struct demux *d = calloc(1, sizeof(*d));
	char text[ADDR_STRLEN];

	if (!d)
		return NULL;
	d->base = base;
	d->seal = seal;
	if (ops)
		d->ops = *ops;
	d->arg = arg;
	d->udp = udp_bind(&config->listen, 0);
	if (!d->udp) {
		log_warn("no datagrams at %s: %s; links are tried by TCP", addr_print(&config->listen, text), strerror(errno));
		return d;
	}
	event_assign(&d->readable, base, udp_fd(d->udp), EV_READ | EV_PERSIST, demux_readable, d);
	event_add(&d->readable, NULL);
	return d;
}

void demux_free(struct demux *d)
{
	if (!d)
		return;
	while (d->indexes)
		index_free(d, d->indexes);
	if (d->udp)
		event_del(&d->readable);
	udp_close(d->udp);
	free(d);
}

json_t *demux_status(const struct demux *d)
{
	json_t *list = json_array();

	for (size_t i = 0; i < CONFIG_USERS; i++) {
		const struct gateway *g = d->gateways[i];

		if (g)
			json_array_append_new(list, json_pack("{s:s, s:i, s:o}", "user", user_config(g->user)->name, "indexes",
							      (int)g->indexes, "paths", assoc_status(g->assoc)));
	}
	return list;
}
