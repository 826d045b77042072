/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * Some middleboxes take the options of Multipath TCP out of packets, some drop the packets. Each
 * link is asked by itself: a connection to the VPS is begun from its address, and reset before a
 * byte was said. If it is Multipath TCP when it is established, the link is sound. If it has fallen
 * back, the options were taken out. If it is not answered within PATIENCE_MS but plain TCP from the
 * same address is, SYNs with options are dropped; lost SYNs look the same, so that is believed only
 * when it happens twice in a row. If neither is answered nothing is known, and the verdict stays.
 * Other links learn the same from silence (paths); what is found here is only whether connections
 * can have subflows.
 *
 * A link without them carries connections of its own, as plain TCP (dial.c). It is asked when a
 * session begins, when its address changes, when a connection of a relay turns out to have fallen
 * back, and every RETEST_MS, for middleboxes come and go; a metered link less often. One link is
 * asked at a time. Without a session, which may be so because no link lets Multipath TCP through,
 * they are asked too, but not as often: the VPS may be away. */
#include "mptcp_check.h"

#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "clock.h"
#include "log.h"
#include "seal.h"
#include "sock.h"
#include "timer.h"

#define PATIENCE_MS 3500 /* a lost SYN is sent again after 1 s, and after 3 */
#define RETEST_MS 900000
#define RETEST_METERED_MS 21600000
#define AGAIN_MS 2000
#define AWAY_MS 10000 /* nobody answers, and there is no session */
#define LOOK_MS 1000

enum phase { IDLE, ASKS_MPTCP, ASKS_TCP };

struct one {
	struct addr from; /* as asked last; all zero: never */
	uint64_t due_ms;
	unsigned dropped; /* times in a row that only plain TCP was answered */
};

struct mptcp_check {
	struct event_base *base;
	const struct config *config;
	struct links *links;
	uint32_t mark;
	struct addr to[8];
	size_t n_to;
	bool session;
	struct one link[CONFIG_LINKS];
	struct event timer, socket;
	enum phase phase;
	size_t asked; /* the link, while not IDLE */
	struct addr target;
	int fd;
};

static void mptcp_check_verdict(struct mptcp_check *m, size_t i, const char *why)
{
	links_set_verdict(m->links, i, LINKS_MPTCP, *why ? LINKS_PLAIN : LINKS_IN, why);
}

static uint64_t next_time(const struct mptcp_check *m, size_t i)
{
	uint32_t rest = m->config->links[i].metered ? RETEST_METERED_MS : RETEST_MS, jitter;

	seal_random(&jitter, sizeof(jitter));
	return clock_ms() + rest - rest / 8 + jitter % (rest / 4);
}

static void check_hang_up(struct mptcp_check *m)
{
	if (m->phase == IDLE)
		return;
	event_del(&m->socket);
	sock_close_reset(m->fd);
	m->phase = IDLE;
}

static void mptcp_check_socket(evutil_socket_t fd, short what, void *arg);

static bool wait_for(struct mptcp_check *m, int fd, enum phase phase)
{
	if (fd < 0)
		return false;
	m->fd = fd;
	m->phase = phase;
	event_assign(&m->socket, m->base, fd, EV_WRITE, mptcp_check_socket, m);
	timer_in_ms(&m->socket, PATIENCE_MS);
	return true;
}

static bool ask_mptcp(struct mptcp_check *m, size_t i)
{
	const struct sock_wan opt = { .congestion = "", .mark = m->mark };

	m->asked = i;
	return wait_for(m, sock_dial_wan(&m->target, &m->link[i].from, &opt), ASKS_MPTCP);
}

static bool ask_tcp(struct mptcp_check *m, size_t i)
{
	return wait_for(m, sock_dial_tcp_from(&m->target, &m->link[i].from, m->mark), ASKS_TCP);
}

/* Plain TCP is answered, the other is not. */
static void is_dropped(struct mptcp_check *m, struct one *one, size_t i)
{
	if (++one->dropped < 2) {
		one->due_ms = clock_ms() + AGAIN_MS;
		return;
	}
	one->due_ms = next_time(m, i);
	mptcp_check_verdict(m, i, "plain TCP: packets of Multipath TCP are dropped on the way");
}

static void mptcp_check_socket(evutil_socket_t fd, short what, void *arg)
{
	struct mptcp_check *m = arg;
	size_t i = m->asked;
	struct one *one = &m->link[i];
	enum phase was = m->phase;
	bool answered = !(what & EV_TIMEOUT) && sock_connect_error(fd) == 0, mptcp = answered && sock_is_mptcp(fd);

	check_hang_up(m);
	one->due_ms = next_time(m, i);
	if (was == ASKS_TCP && answered) {
		is_dropped(m, one, i);
	} else if (was == ASKS_TCP) {
		one->due_ms = clock_ms() + (m->session ? AGAIN_MS : AWAY_MS);
	} else if (answered) {
		one->dropped = 0;
		log_debug("link %s: %s", m->config->links[i].name, mptcp ? "Multipath TCP passes" : "Multipath TCP is plain TCP at the other end");
		mptcp_check_verdict(m, i, mptcp ? "" : "plain TCP: the options of Multipath TCP are taken out on the way");
	} else if (!(what & EV_TIMEOUT) || !ask_tcp(m, i)) {
		one->due_ms = clock_ms() + (m->session ? AGAIN_MS : AWAY_MS);
	}
}

/* The address to ask from and the one to ask, of one family. */
static bool ends_of(const struct mptcp_check *m, size_t i, struct addr *from, const struct addr **to)
{
	for (size_t t = 0; t < m->n_to; t++) {
		*to = &m->to[t];
		if (links_address(m->links, i, addr_family(*to), from))
			return true;
	}
	return false;
}

static void check_look(struct mptcp_check *m)
{
	for (size_t i = 0; i < m->config->n_links && m->phase == IDLE; i++) {
		struct one *one = &m->link[i];
		const struct addr *to;
		struct addr from;

		if (!ends_of(m, i, &from, &to))
			continue;
		if (!addr_same_ip(&from, &one->from)) {
			one->from = from;
			one->dropped = 0;
			one->due_ms = 0;
		}
		m->target = *to;
		if (clock_ms() >= one->due_ms && !ask_mptcp(m, i))
			one->due_ms = clock_ms() + AGAIN_MS;
	}
}

static void mptcp_check_timer_due(evutil_socket_t fd, short what, void *arg)
{
	struct mptcp_check *m = arg;

	(void)fd, (void)what;
	check_look(m);
	timer_in_ms(&m->timer, LOOK_MS);
}

struct mptcp_check *mptcp_check_new(struct event_base *base, const struct config *config, struct links *links, uint32_t mark)
{
	struct mptcp_check *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	*m = (struct mptcp_check){ .base = base, .config = config, .links = links, .mark = mark, .fd = -1 };
	event_assign(&m->timer, base, -1, 0, mptcp_check_timer_due, m);
	return m;
}

void mptcp_check_free(struct mptcp_check *m)
{
	if (!m)
		return;
	check_hang_up(m);
	event_del(&m->timer);
	free(m);
}

void mptcp_check_targets(struct mptcp_check *m, const struct addr *to, size_t n, bool session)
{
	size_t max = sizeof(m->to) / sizeof(*m->to);
	bool same = n == m->n_to && !memcmp(m->to, to, n * sizeof(*to)), begins = session && !m->session;

	m->session = session;
	if (same && !begins)
		return;
	m->n_to = n < max ? n : max;
	memcpy(m->to, to, m->n_to * sizeof(*to));
	check_hang_up(m);
	for (size_t i = 0; i < m->config->n_links; i++)
		m->link[i].due_ms = 0;
	event_del(&m->timer);
	if (m->n_to && m->config->n_links)
		mptcp_check_timer_due(-1, 0, m);
}

void mptcp_check_links_changed(struct mptcp_check *m)
{
	if (m->phase == IDLE && m->n_to)
		check_look(m);
}

void mptcp_check_doubt(struct mptcp_check *m, const struct addr *from)
{
	uint64_t soon = clock_ms() + AGAIN_MS;

	for (size_t i = 0; i < m->config->n_links; i++)
		if (addr_same_ip(&m->link[i].from, from) && links_standing(m->links, i, NULL) == LINKS_IN && m->link[i].due_ms > soon)
			m->link[i].due_ms = soon;
}
