/* remotes: chooses among several VPSs.
 *
 * Theory of operation. Every remote of the configuration keeps a session all the time, so another one can be used from one
 * moment to the next. They are tried in the order of the file; a service (srv =) stands for its targets, in the order
 * of RFC 2782, drawn anew only when its answer changes. The active one is kept until
 *  - it has no session any more: the first that is well takes its place;
 *  - it owes an answer for SWITCH_MS, and another one has answered since: that one does. All are
 *    asked when the active one is late, so that a line that died does not look like a remote that did;
 *  - an earlier one has been well for RETURN_MS.
 * New connections go to the new one, relays stay on the old one as long as it carries them. At the start the first
 * ones are given START_MS before a later one is taken, unless they fail.
 *
 * A target that a service does not name any more is retired: not used and not dialled, but never freed, since
 * connections may refer to it; if it is named again it comes back. */
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "log.h"
#include "remotes.h"
#include "resolve.h"

#define REMOTES_MAX 16 /* retired ones included */
#define TICK_MS 250
#define LATE_MS 1000
#define SWITCH_MS 2500
#define RETURN_MS 60000
#define START_MS 3000

struct member {
	struct remote *remote;
	unsigned section;
	unsigned rank; /* inside the section */
	bool retired;
};

struct section {
	struct remotes *all;
	const struct config_remote *config;
	struct resolve *resolve; /* of its service */
};

struct remotes {
	struct remote_house house;
	struct remotes_ops ops;
	void *arg;
	struct section sections[CONFIG_REMOTES];
	size_t n_sections;
	struct member members[REMOTES_MAX]; /* in the order of preference */
	size_t n;
	struct remote *active, *last; /* last: the one before there was none */
	uint64_t born_ms;
	struct event tick;
	struct log_limit said;
};

static void use(struct remotes *rs, struct remote *r, const char *why)
{
	struct remote *was = rs->active;

	if (was == r)
		return;
	rs->active = r;
	if (was && r)
		log_warn("%s is used instead of %s: %s", remote_host(r), remote_host(was), why);
	rs->ops.session(rs->arg, !r ? REMOTES_AWAY : r == rs->last ? REMOTES_RENEWED : REMOTES_SWITCHED);
	if (r)
		rs->last = r;
}

static bool settled(const struct remotes *rs)
{
	return clock_ms() - rs->born_ms >= START_MS;
}

/* Any that is well, the first of all; NULL. */
static struct remote *first_well(const struct remotes *rs)
{
	for (size_t i = 0; i < rs->n; i++) {
		const struct member *m = &rs->members[i];

		if (m->retired)
			continue;
		if (remote_well_ms(m->remote))
			return m->remote;
		if (!settled(rs) && !remote_tried(m->remote))
			return NULL;
	}
	return NULL;
}

static struct remote *first_heard(const struct remotes *rs, uint64_t since)
{
	for (size_t i = 0; i < rs->n; i++)
		if (!rs->members[i].retired && rs->members[i].remote != rs->active &&
		    remote_heard_since(rs->members[i].remote, since))
			return rs->members[i].remote;
	return NULL;
}

/* An earlier one that has been well for long; or, the active one being retired, any that is well. */
static struct remote *better(const struct remotes *rs, uint64_t now)
{
	for (size_t i = 0; i < rs->n; i++) {
		const struct member *m = &rs->members[i];
		uint64_t since = remote_well_ms(m->remote);

		if (m->remote == rs->active && !m->retired)
			return NULL;
		if (!m->retired && since && now - since >= RETURN_MS)
			return m->remote;
	}
	return NULL;
}

static void ask_others(const struct remotes *rs)
{
	for (size_t i = 0; i < rs->n; i++)
		if (rs->members[i].remote != rs->active)
			remote_suspect(rs->members[i].remote);
}

static void choose(struct remotes *rs)
{
	uint64_t now = clock_ms();
	unsigned late = rs->active ? remote_silent_ms(rs->active) : 0;
	struct remote *other = NULL;

	if (!rs->active)
		use(rs, first_well(rs), "");
	if (rs->n < 2 || !rs->active)
		return;
	if (late >= LATE_MS)
		ask_others(rs);
	if (late >= SWITCH_MS && (other = first_heard(rs, now - late)))
		use(rs, other, "that one does not answer");
	else if (!late && (other = better(rs, now)))
		use(rs, other, "it comes first, and has been well for a minute");
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	choose(arg);
}

/* --- what the remotes tell --- */

static void on_session(void *arg, struct remote *r, bool up, bool restarted)
{
	struct remotes *rs = arg;

	if (restarted)
		rs->ops.restarted(rs->arg, r);
	if (restarted && r == rs->last)
		rs->last = NULL;
	if (!up && r == rs->active)
		use(rs, first_well(rs), "that one does not answer");
	else if (up && r == rs->active)
		rs->ops.session(rs->arg, restarted ? REMOTES_SWITCHED : REMOTES_RENEWED);
	else if (up && !rs->active)
		choose(rs);
}

static void on_addresses(void *arg, struct remote *r)
{
	struct remotes *rs = arg;

	(void)r;
	rs->ops.addresses(rs->arg);
}

static void on_packet(void *arg, struct remote *r, const uint8_t *packet, size_t len)
{
	struct remotes *rs = arg;

	if (r == rs->active)
		rs->ops.packet(rs->arg, packet, len);
}

static void on_room(void *arg, struct remote *r)
{
	struct remotes *rs = arg;

	if (r == rs->active)
		rs->ops.room(rs->arg);
}

/* --- who is among them --- */

static bool precedes(const struct member *a, const struct member *b)
{
	if (a->retired != b->retired)
		return b->retired;
	return a->section != b->section ? a->section < b->section : a->rank < b->rank;
}

static void sort(struct remotes *rs)
{
	for (size_t i = 1; i < rs->n; i++)
		for (size_t k = i; k > 0 && precedes(&rs->members[k], &rs->members[k - 1]); k--) {
			struct member was = rs->members[k];

			rs->members[k] = rs->members[k - 1];
			rs->members[k - 1] = was;
		}
}

static struct member *find(struct remotes *rs, unsigned section, const char *host, uint16_t port)
{
	for (size_t i = 0; i < rs->n; i++)
		if (rs->members[i].section == section && remote_port(rs->members[i].remote) == port &&
		    !strcmp(remote_host(rs->members[i].remote), host))
			return &rs->members[i];
	return NULL;
}

static int admit(struct remotes *rs, unsigned section, const char *host, uint16_t port, unsigned rank)
{
	static const struct remote_ops ops = { on_session, on_addresses, on_packet, on_room };
	struct member *m = find(rs, section, host, port);

	if (!m && rs->n == REMOTES_MAX) {
		log_limited(&rs->said, "%s is not used: %d remotes are enough", host, REMOTES_MAX);
		return 0;
	}
	if (!m) {
		m = &rs->members[rs->n];
		*m = (struct member){ .section = section };
		m->remote = remote_new(&rs->house, rs->sections[section].config, host, port, &ops, rs);
		if (!m->remote)
			return -1;
		rs->n++;
	}
	m->rank = rank;
	m->retired = false;
	remote_retire(m->remote, false);
	return 0;
}

static uint32_t throw_dice(void *arg)
{
	uint32_t dice;

	(void)arg;
	seal_random(&dice, sizeof(dice));
	return dice;
}

static void on_service(void *arg, const struct srv *list, size_t count)
{
	const struct section *s = arg;
	struct remotes *rs = s->all;
	unsigned section = (unsigned)(s - rs->sections);
	struct srv order[RESOLVE_SRV_MAX];

	memcpy(order, list, count * sizeof(*list));
	srv_order(order, count, throw_dice, NULL);
	for (size_t i = 0; i < rs->n; i++)
		rs->members[i].retired |= rs->members[i].section == section;
	for (size_t i = 0; i < count; i++) {
		log_info("%s: %s port %u, priority %u, weight %u", s->config->srv, order[i].host, order[i].port, order[i].priority,
			 order[i].weight);
		if (admit(rs, section, order[i].host, order[i].port, (unsigned)i))
			log_warn("%s: out of memory", order[i].host);
	}
	for (size_t i = 0; i < rs->n; i++)
		remote_retire(rs->members[i].remote, rs->members[i].retired);
	sort(rs);
}

static int begin(struct remotes *rs, struct section *s)
{
	const struct config_remote *c = s->config;

	if (!*c->srv)
		return admit(rs, (unsigned)(s - rs->sections), c->host, c->port, 0);
	s->resolve = resolve_srv_new(rs->house.base, c->srv, c->resolver, on_service, s);
	return s->resolve ? 0 : -1;
}

struct remotes *remotes_new(struct event_base *base, const struct config *config, struct links *links,
			    const struct relay_loop *relays, struct tls_ctx *tls, const struct sock_wan *opt, const struct remotes_ops *ops, void *arg)
{
	struct timeval often = { 0, TICK_MS * 1000 };
	struct remotes *rs = calloc(1, sizeof(*rs));

	if (!rs)
		return NULL;
	rs->house = (struct remote_house){ .base = base, .links = links, .relays = relays, .tls = tls, .opt = *opt, .clear = config->clear };
	seal_random(rs->house.boot, sizeof(rs->house.boot));
	rs->ops = *ops;
	rs->arg = arg;
	rs->born_ms = clock_ms();
	event_assign(&rs->tick, base, -1, EV_PERSIST, on_tick, rs);
	event_add(&rs->tick, &often);
	for (; rs->n_sections < config->n_remotes; rs->n_sections++) {
		struct section *s = &rs->sections[rs->n_sections];

		*s = (struct section){ .all = rs, .config = &config->remotes[rs->n_sections] };
		if (begin(rs, s)) {
			remotes_free(rs);
			return NULL;
		}
	}
	return rs;
}

void remotes_free(struct remotes *rs)
{
	if (!rs)
		return;
	event_del(&rs->tick);
	for (size_t i = 0; i < rs->n_sections; i++)
		resolve_free(rs->sections[i].resolve);
	for (size_t i = 0; i < rs->n; i++)
		remote_free(rs->members[i].remote);
	free(rs);
}

/* --- for the rest of the house --- */

struct remote *remotes_active(const struct remotes *rs)
{
	return rs->active;
}

struct session *remotes_session(const struct remotes *rs)
{
	return rs->active ? remote_session(rs->active) : NULL;
}

const struct wire_welcome *remotes_welcome(const struct remotes *rs)
{
	return rs->active ? remote_welcome(rs->active) : NULL;
}

size_t remotes_targets(const struct remotes *rs, struct addr *out, size_t max)
{
	size_t n = 0;

	for (size_t i = 0; i < rs->n; i++)
		n += remote_targets(rs->members[i].remote, out + n, max - n);
	return n;
}

size_t remotes_active_targets(const struct remotes *rs, struct addr *out, size_t max)
{
	return rs->active ? remote_targets(rs->active, out, max) : 0;
}

bool remotes_is_target(const struct remotes *rs, const struct addr *a)
{
	for (size_t i = 0; i < rs->n; i++)
		if (remote_is_target(rs->members[i].remote, a))
			return true;
	return false;
}

void remotes_links_changed(struct remotes *rs)
{
	for (size_t i = 0; i < rs->n; i++)
		remote_links_changed(rs->members[i].remote);
}

void remotes_wanted(struct remotes *rs)
{
	if (rs->active)
		remote_wanted(rs->active);
}

void remotes_suspect(struct remotes *rs)
{
	if (rs->active)
		remote_suspect(rs->active);
}

bool remotes_heard_since(const struct remotes *rs, uint64_t ms)
{
	return rs->active && remote_heard_since(rs->active, ms);
}

bool remotes_offer(struct remotes *rs, const uint8_t *packet, size_t len)
{
	return rs->active && remote_offer(rs->active, packet, len);
}

void remotes_carrier(struct remotes *rs, enum wire_carrier carrier, const char *congestion)
{
	if (rs->active)
		remote_carrier(rs->active, carrier, congestion);
}

json_t *remotes_status(const struct remotes *rs)
{
	const struct remote *shown = rs->active ? rs->active : rs->n ? rs->members[0].remote : NULL;
	json_t *status = shown ? remote_status(shown) : json_object(), *others = json_array();

	for (size_t i = 0; i < rs->n; i++)
		if (rs->members[i].remote != shown && !rs->members[i].retired)
			json_array_append_new(others, remote_status(rs->members[i].remote));
	json_object_set_new(status, "others", others);
	return status;
}
