/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * Each link that has an address in a family of the VPS's has a path: a UDP socket here, bound to
 * that address and connected to the VPS, and the path of the same number in the association. When
 * the address changes both are made anew, and so is the path's health. What the association finds
 * out of a path is passed on to `links` as the verdict LINKS_HEALTH:
 *
 *   UP, LOSSY      in (whether a lossy link slows the others down is for aside.c to say)
 *   SUSPECT, DOWN  out
 *   PROBING        as it was: out if it was found dead, else in, since a link is believed until it is proven bad
 *
 * Datagrams can be filtered where TCP passes. So a path that is not usable is also tried by TCP
 * (tcp_probe.c), every second while something moves and every 20 s else, a metered one as rarely as
 * it is probed; two answers in a row clear the link, whatever UDP says, and two failures condemn
 * one that UDP never knew. That it stands so is in `status` and in the log, once. A path that is
 * answered again, and is only waiting to be believed, is not asked by TCP: a link that comes and
 * goes would be cleared by that each time it comes. Where the VPS hears no datagrams at all, TCP
 * alone counts.
 *
 * TCP's business makes the association probe fast: a tick looks whether relays moved bytes, and lan
 * tells of each new connection. */
#include "paths.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "assoc_status.h"
#include "clock.h"
#include "log.h"
#include "sock.h"
#include "tcp_probe.h"
#include "timer.h"
#include "udp.h"
#include "watchers.h"

#define TICK_MS 250
#define BUSY_MS 2000
#define TCP_PROBE_AFTER_MS 800 /* unusable for so long: try TCP */
#define TCP_PROBE_BUSY_MS 1000
#define TCP_PROBE_IDLE_MS 20000
#define SURE 2 /* answers, or failures, in a row */
#define KEEPALIVE_S 25
#define METERED_S 300 /* longer than NATs remember: at rest nothing comes that way, and the next probe opens it again */
#define TARGETS_MAX 8

struct path {
	struct paths *all;
	unsigned id;
	enum wire_use use;
	struct udp *udp; /* NULL: the link has no address */
	struct addr from, to;
	struct event readable;
	bool was_up; /* by UDP, since its address is this one */
	bool filtered;
	bool answered; /* it was dead, answers, and is not believed yet */
	uint32_t keepalive_s;
	struct tcp_probe *probe;
	uint64_t since_ms, probe_ms; /* made; the next probe is due */
	unsigned answers, failures;  /* of TCP probes, in a row */
};

struct paths {
	struct event_base *base;
	const struct config *config;
	struct links *links;
	struct vps_choice *vps;
	const struct relay_loop *relays;
	struct assoc *assoc;
	struct watchers watchers;
	struct path path[ASSOC_PATHS];
	struct addr target[TARGETS_MAX];
	size_t n_targets;
	bool session, deaf; /* deaf: the VPS hears no datagrams */
	unsigned epoch;
	uint64_t moved, busy_ms;
	struct event tick;
};

static bool is_link(const struct paths *p, unsigned id)
{
	return id < links_count(p->links);
}

static const char *path_name(const struct paths *p, unsigned id)
{
	return is_link(p, id) ? links_name_of(p->links, id) : "any";
}

/* --- what it means --- */

static bool cleared(const struct path *o)
{
	return o->answers >= SURE;
}

static bool condemned(const struct path *o)
{
	return o->failures >= SURE;
}

/* The verdict without UDP's word, or against it. */
static bool trusted(const struct path *o)
{
	return cleared(o) || (!o->was_up && !condemned(o));
}

static void path_verdict(struct path *o)
{
	struct paths *p = o->all;
	const struct health *h = assoc_health(p->assoc, o->id);
	char why[96] = "";

	if (!is_link(p, o->id))
		return;
	if (!health_usable(h->state) && !trusted(o))
		snprintf(why, sizeof(why), "%s: %s", health_name(h->state), condemned(o) ? "neither UDP nor TCP is answered" : h->why);
	links_set_verdict(p->links, o->id, LINKS_HEALTH, *why ? LINKS_OUT : LINKS_IN, why);
}

static void set_filtered(struct path *o, bool filtered)
{
	if (o->filtered == filtered)
		return;
	o->filtered = filtered;
	if (filtered)
		log_warn("link %s: UDP to the VPS is filtered; the link is tried by TCP", path_name(o->all, o->id));
	else
		log_info("link %s: UDP gets through again", path_name(o->all, o->id));
}

static void forget_probes(struct path *o)
{
	tcp_probe_cancel(o->probe);
	o->probe = NULL;
	o->answers = o->failures = 0;
	o->probe_ms = 0;
}

static void path_heard(struct paths *p, unsigned path, enum health_state was)
{
	struct path *o = &p->path[path];
	const struct health *h = assoc_health(p->assoc, path);
	bool news;

	if (!o->udp)
		return;
	news = !(o->answered && h->state == HEALTH_DOWN);
	o->answered = was == HEALTH_DOWN && h->state == HEALTH_PROBING;
	news &= !o->answered; /* a dead link that answers now and then is dead, and that was said */
	(news ? log_info : log_debug)("link %s: %s, was %s: %s", path_name(p, path), health_name(h->state), health_name(was), h->why);
	if (health_usable(h->state)) {
		o->was_up = true;
		set_filtered(o, false);
	}
	if (health_usable(h->state) || (o->answered && !o->filtered)) /* filtered: TCP has proved it, and carries it meanwhile */
		forget_probes(o);
	path_verdict(o);
}

static void path_changed(void *arg, unsigned path, enum health_state was)
{
	struct paths *p = arg;

	path_heard(p, path, was);
	watchers_tell(&p->watchers);
}

/* The VPS does not seem to know the association: time to talk to it. */
static void path_unknown(void *arg)
{
	struct paths *p = arg;

	vps_choice_suspect(p->vps);
}

/* --- TCP's word --- */

static bool is_busy(const struct paths *p, uint64_t now)
{
	return p->busy_ms && now - p->busy_ms < BUSY_MS;
}

static void paths_probed(void *arg, bool there)
{
	struct path *o = arg;

	o->probe = NULL;
	o->answers = there ? o->answers + 1 : 0;
	o->failures = there ? 0 : o->failures + 1;
	if (cleared(o) && !o->all->deaf && assoc_health(o->all->assoc, o->id)->state != HEALTH_SUSPECT)
		set_filtered(o, true);
	path_verdict(o);
}

/* UDP had its time, or cannot speak. */
static bool wants_probe(const struct path *o, uint64_t now)
{
	const struct health *h = assoc_health(o->all->assoc, o->id);

	if (!o->udp || !o->all->session || health_usable(h->state) || o->answered)
		return false;
	return now - (h->changed_ms > o->since_ms ? h->changed_ms : o->since_ms) >= TCP_PROBE_AFTER_MS;
}

static void tcp_probe_if_due(struct path *o, uint64_t now)
{
	struct paths *p = o->all;
	unsigned idle = o->keepalive_s > KEEPALIVE_S ? o->keepalive_s * 1000 : TCP_PROBE_IDLE_MS;
	unsigned every = is_busy(p, now) || o->answers + o->failures < SURE ? TCP_PROBE_BUSY_MS : idle;

	if (o->probe || !wants_probe(o, now) || (o->probe_ms && now - o->probe_ms < every))
		return;
	o->probe_ms = now;
	o->probe = tcp_probe_new(p->base, &o->from, &o->to, SOCK_SELF_MARK, paths_probed, o);
}

/* --- paths --- */

static void paths_datagram(void *arg, const struct udp_got *got)
{
	struct path *o = arg;

	assoc_input(o->all->assoc, o->udp, got);
}

static void paths_readable(evutil_socket_t fd, short what, void *arg)
{
	struct path *o = arg;

	(void)fd;
	(void)what;
	udp_receive(o->udp, paths_datagram, o);
}

static void path_close(struct path *o)
{
	if (!o->udp)
		return;
	forget_probes(o);
	assoc_del_path(o->all->assoc, o->id);
	event_del(&o->readable);
	udp_close(o->udp);
	o->udp = NULL;
	o->was_up = o->filtered = o->answered = false;
}

static uint32_t keepalive(const struct path *o)
{
	return is_link(o->all, o->id) && o->all->config->links[o->id].metered ? METERED_S : KEEPALIVE_S;
}

static void path_open(struct path *o, const struct addr *from, const struct addr *to)
{
	struct paths *p = o->all;
	struct assoc_path path = { .to = *to, .from = *from, .use = o->use, .keepalive_s = keepalive(o) };

	o->keepalive_s = path.keepalive_s;
	o->udp = udp_connect(from, to, SOCK_SELF_MARK);
	if (!o->udp) {
		log_debug("link %s: no UDP socket: %s", path_name(p, o->id), strerror(errno));
		return;
	}
	o->from = *from;
	o->to = *to;
	o->since_ms = clock_ms();
	event_assign(&o->readable, p->base, udp_fd(o->udp), EV_READ | EV_PERSIST, paths_readable, o);
	event_add(&o->readable, NULL);
	path.udp = o->udp;
	assoc_set_path(p->assoc, o->id, &path);
	path_verdict(o);
}

/* The first address of the VPS that the link can speak to. */
static bool path_ends(const struct paths *p, unsigned id, struct addr *from, struct addr *to)
{
	for (size_t i = 0; i < p->n_targets; i++) {
		*to = p->target[i];
		if (!links_count(p->links) && id == 0)
			return links_sources(p->links, to, from, 1) == 1;
		if (is_link(p, id) && links_address(p->links, id, addr_family(to), from))
			return true;
	}
	return false;
}

static void path_refresh(struct path *o)
{
	struct addr from, to;

	if (!path_ends(o->all, o->id, &from, &to)) {
		path_close(o);
		return;
	}
	if (o->udp && addr_same_ip(&o->from, &from) && addr_equal(&o->to, &to) && o->keepalive_s == keepalive(o))
		return;
	path_close(o);
	path_open(o, &from, &to);
}

static void refresh(struct paths *p)
{
	for (unsigned i = 0; i < ASSOC_PATHS; i++)
		path_refresh(&p->path[i]);
}

/* --- time --- */

static void paths_tick(evutil_socket_t fd, short what, void *arg)
{
	struct paths *p = arg;
	uint64_t now = clock_ms(), moved = relay_loop_moved(p->relays);

	(void)fd;
	(void)what;
	if (moved != p->moved)
		paths_busy(p);
	p->moved = moved;
	for (unsigned i = 0; i < ASSOC_PATHS; i++) {
		const struct health *h = assoc_health(p->assoc, i);

		tcp_probe_if_due(&p->path[i], now);
		if (p->path[i].udp && is_link(p, i) && h->min_rtt_us)
			links_note_rtt(p->links, i, h->min_rtt_us);
	}
}

/* --- for the rest of the house --- */

struct paths *paths_new(struct event_base *base, const struct config *config, struct links *links, struct vps_choice *vps,
			const struct relay_loop *relays, struct tunnel *tunnel)
{
	struct paths *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->base = base;
	p->config = config;
	p->links = links;
	p->vps = vps;
	p->relays = relays;
	p->assoc = tunnel_assoc(tunnel);
	tunnel_watch(tunnel, path_changed, path_unknown, p);
	for (unsigned i = 0; i < ASSOC_PATHS; i++) {
		p->path[i].all = p;
		p->path[i].id = i;
	}
	event_assign(&p->tick, base, -1, EV_PERSIST, paths_tick, p);
	timer_in_ms(&p->tick, TICK_MS);
	return p;
}

void paths_free(struct paths *p)
{
	if (!p)
		return;
	for (unsigned i = 0; i < ASSOC_PATHS; i++)
		path_close(&p->path[i]);
	event_del(&p->tick);
	free(p);
}

/* Another VPS: what was dead may still be, and has to prove itself. */
static void paths_begin_anew(struct paths *p)
{
	assoc_restart(p->assoc);
	for (unsigned i = 0; i < ASSOC_PATHS; i++) {
		p->path[i].since_ms = clock_ms();
		p->path[i].answered = false;
	}
}

void paths_vps_changed(void *paths)
{
	struct paths *p = paths;
	const struct wire_welcome *w = vps_choice_welcome(p->vps);

	if (w) /* else those of before are asked until there is one */
		p->n_targets = vps_choice_active_targets(p->vps, p->target, TARGETS_MAX);
	refresh(p);
	p->session = w != NULL;
	p->deaf = w && !w->index;
	if (p->epoch != vps_choice_epoch(p->vps))
		paths_begin_anew(p);
	p->epoch = vps_choice_epoch(p->vps);
	if (w && w->index)
		assoc_rekey(p->assoc, vps_choice_session(p->vps), w->index);
}

void paths_links_changed(void *paths)
{
	refresh(paths);
}

void paths_watch(struct paths *p, void (*told)(void *arg), void *arg)
{
	watchers_add(&p->watchers, told, arg);
}

void paths_set_use(struct paths *p, size_t link, enum wire_use use)
{
	if (link >= ASSOC_PATHS)
		return;
	p->path[link].use = use;
	if (!p->path[link].udp)
		return;
	assoc_set_use(p->assoc, (unsigned)link, use);
	watchers_tell(&p->watchers);
}

void paths_busy(struct paths *p)
{
	p->busy_ms = clock_ms();
	assoc_busy(p->assoc);
}

const struct health *paths_health(const struct paths *p, size_t link)
{
	return link < ASSOC_PATHS && p->path[link].udp ? assoc_health(p->assoc, (unsigned)link) : NULL;
}

static const char *udp_word(const struct path *o)
{
	if (o->all->deaf)
		return "not heard by the VPS";
	if (o->filtered)
		return "filtered";
	return !o->udp ? "no address" : o->was_up ? "ok" : "not answered yet";
}

void paths_status(const struct paths *p, json_t *links)
{
	json_t *o, *path;
	size_t i;

	json_array_foreach(links, i, o) {
		if (i >= ASSOC_PATHS)
			break;
		path = p->path[i].udp ? assoc_path_status(p->assoc, (unsigned)i) : NULL;
		json_object_set_new(o, "udp", json_string(udp_word(&p->path[i])));
		if (path)
			json_object_set_new(o, "path", path);
	}
}
