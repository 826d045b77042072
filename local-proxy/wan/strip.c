/* Theory of operation
 *
 * Some middleboxes take the options of Multipath TCP out of packets, some drop the packets. Each line is asked by
 * itself: a connection to the VPS is begun from its address, and reset before a byte was said. If it is Multipath TCP
 * when it is established, the line is sound. If it has fallen back, the options were taken out. If it is not answered
 * within PATIENCE_MS but plain TCP from the same address is, SYNs with options are dropped; lost SYNs look the same,
 * so that is believed only when it happens twice in a row. If neither is answered nothing is known, and the verdict
 * stays. Other lines learn the same from silence (paths); what is found here is only whether connections can have
 * subflows.
 *
 * A line without them is used for whole connections, as plain TCP (dial.c). It is asked when a session begins, when
 * its address changes, when a connection of a relay turns out to have fallen back, and every RETEST_MS, for
 * middleboxes come and go; a metered line less often. One line is asked at a time. Without a session, which may be so
 * because no line lets Multipath TCP through, they are asked too, but not as often: the VPS may be away. */
#include "strip.h"

#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "clock.h"
#include "log.h"
#include "seal.h"
#include "sock.h"

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

struct strip {
	struct event_base *base;
	const struct config *config;
	struct links *links;
	uint32_t mark;
	struct addr to[8];
	size_t n_to;
	bool session;
	struct one line[CONFIG_LINKS];
	struct event timer, socket;
	enum phase phase;
	size_t asked; /* the line, while not IDLE */
	struct addr target;
	int fd;
};

static void judge(struct strip *s, size_t i, const char *why)
{
	links_judge(s->links, i, LINKS_STRIP, *why ? LINKS_WHOLE : LINKS_IN, why);
}

static uint64_t next_time(const struct strip *s, size_t i)
{
	uint32_t rest = s->config->links[i].metered ? RETEST_METERED_MS : RETEST_MS, jitter;

	seal_random(&jitter, sizeof(jitter));
	return clock_ms() + rest - rest / 8 + jitter % (rest / 4);
}

static void hang_up(struct strip *s)
{
	if (s->phase == IDLE)
		return;
	event_del(&s->socket);
	sock_close_reset(s->fd);
	s->phase = IDLE;
}

static void on_socket(evutil_socket_t fd, short what, void *arg);

static bool wait_for(struct strip *s, int fd, enum phase phase)
{
	const struct timeval patience = { PATIENCE_MS / 1000, PATIENCE_MS % 1000 * 1000 };

	if (fd < 0)
		return false;
	s->fd = fd;
	s->phase = phase;
	event_assign(&s->socket, s->base, fd, EV_WRITE, on_socket, s);
	event_add(&s->socket, &patience);
	return true;
}

static bool ask_mptcp(struct strip *s, size_t i)
{
	const struct sock_wan opt = { .congestion = "", .mark = s->mark };

	s->asked = i;
	return wait_for(s, sock_dial_wan(&s->target, &s->line[i].from, &opt), ASKS_MPTCP);
}

static bool ask_tcp(struct strip *s, size_t i)
{
	return wait_for(s, sock_dial_tcp_from(&s->target, &s->line[i].from, s->mark), ASKS_TCP);
}

/* Plain TCP is answered, the other is not. */
static void is_dropped(struct strip *s, struct one *one, size_t i)
{
	if (++one->dropped < 2) {
		one->due_ms = clock_ms() + AGAIN_MS;
		return;
	}
	one->due_ms = next_time(s, i);
	judge(s, i, "plain TCP: packets of Multipath TCP are dropped on the way");
}

static void on_socket(evutil_socket_t fd, short what, void *arg)
{
	struct strip *s = arg;
	size_t i = s->asked;
	struct one *one = &s->line[i];
	enum phase was = s->phase;
	bool answered = !(what & EV_TIMEOUT) && sock_connect_error(fd) == 0, mptcp = answered && sock_is_mptcp(fd);

	hang_up(s);
	one->due_ms = next_time(s, i);
	if (was == ASKS_TCP && answered) {
		is_dropped(s, one, i);
	} else if (was == ASKS_TCP) {
		one->due_ms = clock_ms() + (s->session ? AGAIN_MS : AWAY_MS);
	} else if (answered) {
		one->dropped = 0;
		log_debug("link %s: %s", s->config->links[i].name, mptcp ? "Multipath TCP passes" : "Multipath TCP is plain TCP at the other end");
		judge(s, i, mptcp ? "" : "plain TCP: the options of Multipath TCP are taken out on the way");
	} else if (!(what & EV_TIMEOUT) || !ask_tcp(s, i)) {
		one->due_ms = clock_ms() + (s->session ? AGAIN_MS : AWAY_MS);
	}
}

/* The address to ask from and the one to ask, of one family. */
static bool ends_of(const struct strip *s, size_t i, struct addr *from, const struct addr **to)
{
	for (size_t t = 0; t < s->n_to; t++) {
		*to = &s->to[t];
		if (links_address(s->links, i, addr_family(*to), from))
			return true;
	}
	return false;
}

static void look(struct strip *s)
{
	for (size_t i = 0; i < s->config->n_links && s->phase == IDLE; i++) {
		struct one *one = &s->line[i];
		const struct addr *to;
		struct addr from;

		if (!ends_of(s, i, &from, &to))
			continue;
		if (!addr_same_ip(&from, &one->from)) {
			one->from = from;
			one->dropped = 0;
			one->due_ms = 0;
		}
		s->target = *to;
		if (clock_ms() >= one->due_ms && !ask_mptcp(s, i))
			one->due_ms = clock_ms() + AGAIN_MS;
	}
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct strip *s = arg;
	const struct timeval next = { LOOK_MS / 1000, LOOK_MS % 1000 * 1000 };

	(void)fd, (void)what;
	look(s);
	event_add(&s->timer, &next);
}

struct strip *strip_new(struct event_base *base, const struct config *config, struct links *links, uint32_t mark)
{
	struct strip *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	*s = (struct strip){ .base = base, .config = config, .links = links, .mark = mark, .fd = -1 };
	event_assign(&s->timer, base, -1, 0, on_timer, s);
	return s;
}

void strip_free(struct strip *s)
{
	if (!s)
		return;
	hang_up(s);
	event_del(&s->timer);
	free(s);
}

void strip_targets(struct strip *s, const struct addr *to, size_t n, bool session)
{
	size_t max = sizeof(s->to) / sizeof(*s->to);
	bool same = n == s->n_to && !memcmp(s->to, to, n * sizeof(*to)), begins = session && !s->session;

	s->session = session;
	if (same && !begins)
		return;
	s->n_to = n < max ? n : max;
	memcpy(s->to, to, s->n_to * sizeof(*to));
	hang_up(s);
	for (size_t i = 0; i < s->config->n_links; i++)
		s->line[i].due_ms = 0;
	event_del(&s->timer);
	if (s->n_to && s->config->n_links)
		on_timer(-1, 0, s);
}

void strip_links_changed(struct strip *s)
{
	if (s->phase == IDLE && s->n_to)
		look(s);
}

void strip_doubt(struct strip *s, const struct addr *from)
{
	uint64_t soon = clock_ms() + AGAIN_MS;

	for (size_t i = 0; i < s->config->n_links; i++)
		if (addr_same_ip(&s->line[i].from, from) && links_standing(s->links, i, NULL) == LINKS_IN && s->line[i].due_ms > soon)
			s->line[i].due_ms = soon;
}
