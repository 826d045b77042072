/* SPDX-License-Identifier: BSD-2-Clause */
/* vps_choice: chooses among several VPSs.
 *
 * Theory of operation. Every VPS of the configuration keeps a session all the time, so another
 * one can be used from one moment to the next. They are tried in the order of the file; a service
 * (srv =) stands for its targets, in the order of RFC 2782, drawn anew only when its answer
 * changes. The active one is kept until
 *  - it has no session any more: the first that is well takes its place;
 *  - it owes an answer for SWITCH_MS, and another one has answered since: that one does. All are
 *    asked when the active one is late, so that a link that died does not look like a VPS that did;
 *  - an earlier one has been well for RETURN_MS.
 * New connections go to the new one, relays stay on the old one as long as it carries them. At the
 * start the first ones are given START_MS before a later one is taken, unless they fail.
 *
 * A target that a service does not name any more is retired: not used and not dialled, but never
 * freed, since connections may refer to it; if it is named again it comes back. */
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "log.h"
#include "resolve.h"
#include "timer.h"
#include "vps_choice.h"
#include "watchers.h"

#define VPS_CHOICE_MAX 16 /* retired ones included */
#define TICK_MS 250
#define LATE_MS 1000
#define SWITCH_MS 2500
#define RETURN_MS 60000
#define START_MS 3000

struct member {
	struct vps *vps;
	unsigned section;
	unsigned rank; /* inside the section */
	bool retired;
};

struct section {
	struct vps_choice *all;
	const struct config_vps *config;
	struct resolve *resolve; /* of its service */
};

struct vps_choice {
	struct vps_house house;
	const struct config *config;
	struct watchers watchers;
	void (*restarted)(void *arg, const struct vps *v);
	void *restarted_arg;
	void (*packet)(void *arg, const uint8_t *packet, size_t len);
	void (*room)(void *arg);
	void *packet_arg;
	struct section sections[CONFIG_VPS];
	size_t n_sections;
	struct member members[VPS_CHOICE_MAX]; /* in the order of preference */
	size_t n;
	struct vps *active, *last; /* last: the one before there was none */
	unsigned epoch;
	uint64_t born_ms;
	struct event tick;
	struct log_limit said;
};

static void use(struct vps_choice *c, struct vps *v, const char *why)
{
	struct vps *was = c->active;

	if (was == v)
		return;
	c->active = v;
	if (was && v)
		log_warn("%s is used instead of %s: %s", vps_host(v), vps_host(was), why);
	if (v && v != c->last)
		c->epoch++;
	if (v)
		c->last = v;
	watchers_tell(&c->watchers);
}

static bool settled(const struct vps_choice *c)
{
	return clock_ms() - c->born_ms >= START_MS;
}

/* The first that is well; NULL when none is, or an earlier one may still become so. */
static struct vps *first_well(const struct vps_choice *c)
{
	for (size_t i = 0; i < c->n; i++) {
		const struct member *m = &c->members[i];

		if (m->retired)
			continue;
		if (vps_well_ms(m->vps))
			return m->vps;
		if (!settled(c) && !vps_tried(m->vps))
			return NULL;
	}
	return NULL;
}

static struct vps *first_heard(const struct vps_choice *c, uint64_t since)
{
	for (size_t i = 0; i < c->n; i++)
		if (!c->members[i].retired && c->members[i].vps != c->active &&
		    vps_heard_since(c->members[i].vps, since))
			return c->members[i].vps;
	return NULL;
}

/* An earlier one that has been well for long; or, the active one being retired, any that is
 * well. */
static struct vps *better(const struct vps_choice *c, uint64_t now)
{
	for (size_t i = 0; i < c->n; i++) {
		const struct member *m = &c->members[i];
		uint64_t since = vps_well_ms(m->vps);

		if (m->vps == c->active && !m->retired)
			return NULL;
		if (!m->retired && since && now - since >= RETURN_MS)
			return m->vps;
	}
	return NULL;
}

static void ask_others(const struct vps_choice *c)
{
	for (size_t i = 0; i < c->n; i++)
		if (c->members[i].vps != c->active)
			vps_suspect(c->members[i].vps);
}

static void choice_choose(struct vps_choice *c)
{
	uint64_t now = clock_ms();
	unsigned late = c->active ? vps_silent_ms(c->active) : 0;
	struct vps *other = NULL;

	if (!c->active)
		use(c, first_well(c), "");
	if (c->n < 2 || !c->active)
		return;
	if (late >= LATE_MS)
		ask_others(c);
	if (late >= SWITCH_MS && (other = first_heard(c, now - late)))
		use(c, other, "that one does not answer");
	else if (!late && (other = better(c, now)))
		use(c, other, "it comes first, and has been well for a minute");
}

static void vps_choice_tick(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	choice_choose(arg);
}

/* --- what the VPSs tell --- */

static void vps_choice_session_changed(void *arg, struct vps *v, bool up, bool restarted)
{
	struct vps_choice *c = arg;

	if (restarted && c->restarted)
		c->restarted(c->restarted_arg, v);
	if (restarted && v == c->active)
		c->epoch++;
	else if (restarted && v == c->last)
		c->last = NULL; /* if it is used again, it is another one */
	if (!up && v == c->active)
		use(c, first_well(c), "that one does not answer");
	else if (up && v == c->active)
		watchers_tell(&c->watchers);
	else if (up && !c->active)
		choice_choose(c);
}

static void vps_choice_addresses_changed(void *arg, struct vps *v)
{
	struct vps_choice *c = arg;

	(void)v;
	watchers_tell(&c->watchers);
}

static void vps_choice_packet_came(void *arg, struct vps *v, const uint8_t *packet, size_t len)
{
	struct vps_choice *c = arg;

	if (v == c->active && c->packet)
		c->packet(c->packet_arg, packet, len);
}

static void vps_choice_room(void *arg, struct vps *v)
{
	struct vps_choice *c = arg;

	if (v == c->active && c->room)
		c->room(c->packet_arg);
}

/* --- who is among them --- */

static bool precedes(const struct member *a, const struct member *b)
{
	if (a->retired != b->retired)
		return b->retired;
	return a->section != b->section ? a->section < b->section : a->rank < b->rank;
}

static void choice_sort(struct vps_choice *c)
{
	for (size_t i = 1; i < c->n; i++)
		for (size_t k = i; k > 0 && precedes(&c->members[k], &c->members[k - 1]); k--) {
			struct member was = c->members[k];

			c->members[k] = c->members[k - 1];
			c->members[k - 1] = was;
		}
}

static struct member *choice_find(struct vps_choice *c, unsigned section, const char *host,
				  uint16_t port)
{
	for (size_t i = 0; i < c->n; i++)
		if (c->members[i].section == section && vps_port(c->members[i].vps) == port &&
		    !strcmp(vps_host(c->members[i].vps), host))
			return &c->members[i];
	return NULL;
}

static int admit(struct vps_choice *c, unsigned section, const char *host, uint16_t port, unsigned rank)
{
	static const struct vps_ops ops = { vps_choice_session_changed, vps_choice_addresses_changed, vps_choice_packet_came, vps_choice_room };
	struct member *m = choice_find(c, section, host, port);

	if (!m && c->n == VPS_CHOICE_MAX) {
		log_limited(&c->said, "%s is not used: %d VPSs are enough", host, VPS_CHOICE_MAX);
		return 0;
	}
	if (!m) {
		m = &c->members[c->n];
		*m = (struct member){ .section = section };
		m->vps = vps_new(&c->house, c->sections[section].config, host, port, &ops, c);
		if (!m->vps)
			return -1;
		c->n++;
	}
	m->rank = rank;
	m->retired = false;
	vps_retire(m->vps, false);
	return 0;
}

static uint32_t throw_dice(void *arg)
{
	uint32_t dice;

	(void)arg;
	seal_random(&dice, sizeof(dice));
	return dice;
}

static void vps_choice_service_resolved(void *arg, const struct srv *list, size_t count)
{
	const struct section *s = arg;
	struct vps_choice *c = s->all;
	unsigned section = (unsigned)(s - c->sections);
	struct srv order[RESOLVE_SRV_MAX];

	memcpy(order, list, count * sizeof(*list));
	srv_order(order, count, throw_dice, NULL);
	for (size_t i = 0; i < c->n; i++)
		c->members[i].retired |= c->members[i].section == section;
	for (size_t i = 0; i < count; i++) {
		log_info("%s: %s port %u, priority %u, weight %u", s->config->srv, order[i].host, order[i].port, order[i].priority,
			 order[i].weight);
		if (admit(c, section, order[i].host, order[i].port, (unsigned)i))
			log_warn("%s: out of memory", order[i].host);
	}
	for (size_t i = 0; i < c->n; i++)
		vps_retire(c->members[i].vps, c->members[i].retired);
	choice_sort(c);
}

static int choice_begin(struct vps_choice *c, struct section *s)
{
	const struct config_vps *config = s->config;

	if (!*config->srv)
		return admit(c, (unsigned)(s - c->sections), config->host, config->port, 0);
	s->resolve = resolve_srv_new(c->house.base, config->srv, config->resolver, vps_choice_service_resolved, s);
	return s->resolve ? 0 : -1;
}

struct vps_choice *vps_choice_new(struct event_base *base, const struct config *config, struct links *links,
				  const struct relay_loop *relays, struct tls_ctx *tls, const struct sock_wan *opt)
{
	struct vps_choice *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->config = config;
	c->house = (struct vps_house){ .base = base, .links = links, .relays = relays, .tls = tls, .opt = *opt, .clear = config->clear };
	seal_random(c->house.boot, sizeof(c->house.boot));
	event_assign(&c->tick, base, -1, EV_PERSIST, vps_choice_tick, c);
	return c;
}

int vps_choice_start(struct vps_choice *c)
{
	c->born_ms = clock_ms();
	if (timer_in_ms(&c->tick, TICK_MS))
		return -1;
	for (; c->n_sections < c->config->n_vps; c->n_sections++) {
		struct section *s = &c->sections[c->n_sections];

		*s = (struct section){ .all = c, .config = &c->config->vps[c->n_sections] };
		if (choice_begin(c, s))
			return -1;
	}
	return 0;
}

void vps_choice_watch(struct vps_choice *c, void (*told)(void *arg), void *arg)
{
	watchers_add(&c->watchers, told, arg);
}

void vps_choice_on_restart(struct vps_choice *c, void (*restarted)(void *arg, const struct vps *v), void *arg)
{
	c->restarted = restarted;
	c->restarted_arg = arg;
}

void vps_choice_on_packets(struct vps_choice *c, void (*packet)(void *arg, const uint8_t *packet, size_t len),
			   void (*room)(void *arg), void *arg)
{
	c->packet = packet;
	c->room = room;
	c->packet_arg = arg;
}

void vps_choice_free(struct vps_choice *c)
{
	if (!c)
		return;
	event_del(&c->tick);
	for (size_t i = 0; i < c->n_sections; i++)
		resolve_free(c->sections[i].resolve);
	for (size_t i = 0; i < c->n; i++)
		vps_free(c->members[i].vps);
	free(c);
}

/* --- for the rest of the house --- */

struct vps *vps_choice_active(const struct vps_choice *c)
{
	return c->active;
}

struct session *vps_choice_session(const struct vps_choice *c)
{
	return c->active ? vps_session(c->active) : NULL;
}

unsigned vps_choice_epoch(const struct vps_choice *c)
{
	return c->epoch;
}

const struct wire_welcome *vps_choice_welcome(const struct vps_choice *c)
{
	return c->active ? vps_welcome(c->active) : NULL;
}

size_t vps_choice_targets(const struct vps_choice *c, struct addr *out, size_t max)
{
	size_t n = 0;

	for (size_t i = 0; i < c->n; i++)
		n += vps_targets(c->members[i].vps, out + n, max - n);
	return n;
}

size_t vps_choice_active_targets(const struct vps_choice *c, struct addr *out, size_t max)
{
	return c->active ? vps_targets(c->active, out, max) : 0;
}

bool vps_choice_is_target(const struct vps_choice *c, const struct addr *a)
{
	for (size_t i = 0; i < c->n; i++)
		if (vps_is_target(c->members[i].vps, a))
			return true;
	return false;
}

void vps_choice_links_changed(void *choice)
{
	struct vps_choice *c = choice;

	for (size_t i = 0; i < c->n; i++)
		vps_links_changed(c->members[i].vps);
}

void vps_choice_wanted(struct vps_choice *c)
{
	if (c->active)
		vps_wanted(c->active);
}

void vps_choice_suspect(struct vps_choice *c)
{
	if (c->active)
		vps_suspect(c->active);
}

bool vps_choice_heard_since(const struct vps_choice *c, uint64_t ms)
{
	return c->active && vps_heard_since(c->active, ms);
}

bool vps_choice_offer(struct vps_choice *c, const uint8_t *packet, size_t len)
{
	return c->active && vps_offer(c->active, packet, len);
}

void vps_choice_carrier(struct vps_choice *c, enum wire_carrier carrier, const char *congestion)
{
	if (c->active)
		vps_carrier(c->active, carrier, congestion);
}

json_t *vps_choice_status(const struct vps_choice *c)
{
	const struct vps *shown = c->active ? c->active : c->n ? c->members[0].vps : NULL;
	json_t *status = shown ? vps_status(shown) : json_object(), *others = json_array();

	for (size_t i = 0; i < c->n; i++)
		if (c->members[i].vps != shown && !c->members[i].retired)
			json_array_append_new(others, vps_status(c->members[i].vps));
	json_object_set_new(status, "others", others);
	return status;
}
