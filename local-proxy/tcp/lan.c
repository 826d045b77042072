/* SPDX-License-Identifier: BSD-2-Clause */
/* lan: the listener that intercepted connections arrive at.
 *
 * Theory of operation. Under TPROXY the accepted socket's own name is where the client wanted to
 * go; under REDIRECT conntrack remembers it. Both are known before a byte is read. Three kinds of
 * connection have no business here and are reset: one made straight to our port, one to the VPS
 * (the rules exempt it; if it comes all the same, something loops), and one more than its device may
 * have of max_relays (sources.c); and all others while the VPS is away. Everything else becomes a
 * client connection (client.c). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"
#include "clock.h"
#include "counter.h"
#include "lan.h"
#include "listener.h"
#include "log.h"
#include "sock.h"
#include "sources.h"

struct lan {
	struct lan_house house;
	struct listener *listener;
	bool redirect;
	bool session; /* there was one when last looked at */
	bool away; /* the VPS, for so long that nobody should wait for it */
	struct sources *sources;
	struct client_list clients;
	struct log_limit said;
};

/* Where the client wanted to go; -1 when it only wanted us. */
static int destination(const struct lan *l, int fd, struct addr *dst)
{
	if (l->redirect)
		return sock_original(fd, dst) || (dst->port == l->house.config->lan_port && sock_is_own(dst)) ? -1 : 0;
	if (sock_local(fd, dst))
		return -1;
	return dst->port == l->house.config->lan_port && sock_is_own(dst) ? -1 : 0;
}

static void lan_refuse(struct lan *l, int fd, const struct addr *src, const char *why)
{
	char text[ADDR_STRLEN];

	log_limited(&l->said, "connection from %s refused: %s", addr_print(src, text), why);
	sock_close_reset(fd);
}

static void lan_accepted(void *arg, int fd, const struct addr *src)
{
	struct lan *l = arg;
	struct turn *turn;
	struct addr dst;

	if (destination(l, fd, &dst)) {
		counters.intercept_loops++;
		lan_refuse(l, fd, src, "it was made to plait's own port");
	} else if (vps_choice_is_target(l->house.vps, &dst)) {
		counters.intercept_loops++;
		lan_refuse(
			l, fd, src,
			"it goes to the VPS itself, which is never intercepted: is there a loop?");
	} else if (l->away) {
		lan_refuse(l, fd, src, "the VPS is away");
	} else if (!(turn = turn_new(l->sources, src))) {
		counters.refused_limit++;
		lan_refuse(l, fd, src, "max_relays reached, or what one device may have of them");
	} else {
		vps_choice_wanted(l->house.vps);
		paths_busy(l->house.paths);
		client_new(&l->house, &l->clients, turn, fd, src, &dst);
	}
}

struct lan *lan_new(const struct lan_house *house, char *err, size_t err_len)
{
	struct addr at = { .port = house->config->lan_port };
	struct lan *l = calloc(1, sizeof(*l));
	int fd;

	if (!l)
		return NULL;
	l->house = *house;
	l->away = house->config->on_vps_down == DOWN_REJECT;
	l->redirect = house->config->intercept == INTERCEPT_REDIRECT;
	LIST_INIT(&l->clients);
	l->sources = sources_new(house->base, house->config->max_relays);
	if (!l->sources) {
		free(l);
		return NULL;
	}
	fd = sock_listen_lan(&at, !l->redirect);
	if (fd < 0)
		snprintf(err, err_len, "cannot listen on port %u for the LAN: %s", at.port, strerror(errno));
	else if (!(l->listener = listener_new(house->base, fd, lan_accepted, l)))
		close(fd);
	if (l->listener)
		return l;
	sources_free(l->sources);
	free(l);
	return NULL;
}

void lan_free(struct lan *l)
{
	struct client *c;

	if (!l)
		return;
	while ((c = LIST_FIRST(&l->clients)))
		client_free(c);
	sources_free(l->sources);
	listener_free(l->listener);
	free(l);
}

void lan_redirected(struct lan *l, bool redirect)
{
	l->redirect = redirect;
}

void lan_vps_changed(void *lan)
{
	struct lan *l = lan;
	bool up = vps_choice_session(l->house.vps) != NULL, lost = l->session && !up;
	const struct wire_welcome *w = vps_choice_welcome(l->house.vps);
	struct client *c, *next;

	if (w)
		sources_allow(l->sources, w->relays, w->opens);
	if (up != l->session)
		l->away = !up;
	l->session = up;
	for (c = LIST_FIRST(&l->clients); c; c = next) {
		next = client_next(c);
		if (up)
			client_session(c);
		else if (lost)
			client_give_up(c);
	}
}

/* MPTCP without subflows would not say that the other end of a relay is gone. */
void lan_vps_restarted(void *lan, const struct vps *v)
{
	struct lan *l = lan;
	struct client *c, *next;

	relay_loop_clear(l->house.relays, v);
	for (c = LIST_FIRST(&l->clients); c; c = next) {
		next = client_next(c);
		client_restarted(c, v);
	}
}

unsigned lan_severed(struct lan *l, unsigned least_ms, unsigned most_ms)
{
	uint64_t now = clock_ms();
	unsigned n = 0;

	for (struct client *c = LIST_FIRST(&l->clients); c; c = client_next(c)) {
		uint64_t ms = client_severed(c, now);

		n += ms >= least_ms && ms < most_ms;
	}
	return n;
}

json_t *lan_status(const struct lan *l)
{
	return json_pack("{s:i, s:s, s:i, s:i, s:i, s:b}", "port", (int)l->house.config->lan_port, "intercept",
			 l->redirect ? "redirect" : "tproxy", "connections", (int)sources_connections(l->sources), "max",
			 (int)l->house.config->max_relays, "waiting", (int)sources_waiting(l->sources), "paused",
			 listener_paused(l->listener));
}
