/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * Every connection to the VPS that waits has a subflow on each link, is kept alive on it and
 * replaced every few minutes: some megabytes a day that a metered link should not pay for nothing.
 * So a metered link rests, without an endpoint and hence without subflows, while another link is in
 * use and the relays move less than MUCH. When they move that for two seconds running it joins in,
 * also on the connections that are running then, and rests again after REST_S without. If no other
 * link is left it is used at once. What the tunnel sends on it is another matter (roles_use). */
#include "metered.h"
#include "timer.h"

#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>

#define MUCH 250000 /* bytes a second */
#define LASTING 2
#define REST_S 30

struct metered {
	const struct config *config;
	struct links *links;
	const struct relay_loop *relays;
	struct event *second;
	uint64_t last;
	unsigned busy, quiet; /* seconds in a row */
	bool works;	      /* there is much to carry */
};

static bool is_good(const struct metered *m, size_t i)
{
	struct addr a;

	return links_standing(m->links, i, NULL) <= LINKS_PLAIN &&
	       (links_address(m->links, i, AF_INET, &a) || links_address(m->links, i, AF_INET6, &a));
}

static bool others_are_good(const struct metered *m)
{
	for (size_t i = 0; i < m->config->n_links; i++)
		if (!m->config->links[i].metered && is_good(m, i))
			return true;
	return false;
}

static void metered_verdict(struct metered *m)
{
	bool rest = !m->works && others_are_good(m);

	for (size_t i = 0; i < m->config->n_links; i++)
		if (m->config->links[i].metered)
			links_set_verdict(m->links, i, LINKS_METERED, rest ? LINKS_OUT : LINKS_IN,
				    rest ? "metered: it rests while there is little to carry" : "");
}

static void metered_second(evutil_socket_t fd, short what, void *arg)
{
	struct metered *m = arg;
	uint64_t moved = relay_loop_moved(m->relays);
	bool much = moved - m->last >= MUCH;

	(void)fd, (void)what;
	m->last = moved;
	m->busy = much ? m->busy + 1 : 0;
	m->quiet = much ? 0 : m->quiet + 1;
	if (m->busy >= LASTING || m->quiet >= REST_S) {
		m->works = m->busy != 0;
		metered_verdict(m);
	}
}

/* Looks once a second, where there is a metered link. */
static int metered_watch(struct metered *m)
{
	for (size_t i = 0; i < m->config->n_links; i++)
		if (m->config->links[i].metered)
			return event_pending(m->second, EV_TIMEOUT, NULL) ? 0 : timer_in_s(m->second, 1);
	return event_del(m->second);
}

struct metered *metered_new(struct event_base *base, const struct config *config, struct links *links,
			    const struct relay_loop *relays)
{
	struct metered *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	*m = (struct metered){ .config = config, .links = links, .relays = relays };
	m->second = event_new(base, -1, EV_PERSIST, metered_second, m);
	if (!m->second || metered_watch(m)) {
		metered_free(m);
		return NULL;
	}
	metered_verdict(m);
	return m;
}

void metered_free(struct metered *m)
{
	if (!m)
		return;
	if (m->second)
		event_free(m->second);
	free(m);
}

void metered_reload(struct metered *m)
{
	for (size_t i = 0; i < m->config->n_links; i++)
		if (!m->config->links[i].metered)
			links_set_verdict(m->links, i, LINKS_METERED, LINKS_IN, "");
	metered_watch(m);
	metered_verdict(m);
}

void metered_links_changed(struct metered *m)
{
	metered_verdict(m);
}
