/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * An arrival is a connection that has not said yet what it is. It has ten seconds for its first
 * bytes. They are read one message deep: never more than a KNOCK, or, when the first
 * byte says ATTACH, than an ATTACH, because what follows belongs to TLS or to the record
 * layer. Then it is passed on, and the acceptor knows it no more:
 *
 *   KNOCK with the right mac, never heard -> sessions (still a stranger)
 *   ATTACH that its session admits        -> requests
 *   ATTACH whose session we once made     -> RESET, then tarpit: an OPEN follows, and closing
 *                                            before it is read would abort the RESET
 *   everything else, and those who took too long or closed -> tarpit
 *
 * The last line is one function for all causes. */
#include "acceptor.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "clock.h"
#include "counter.h"
#include "knocks.h"
#include "listener.h"
#include "log.h"
#include "return_routes.h"
#include "timer.h"

#define HEADER_S 10
#define KEEPALIVE_S 60
#define RESETS_A_SECOND 50

struct arrival {
	struct acceptor *acceptor;
	struct place *place;
	int fd;
	size_t len;
	uint8_t head[WIRE_ATTACH_LEN];
	struct event rd, clock;
	TAILQ_ENTRY(arrival) link;
};

struct acceptor {
	struct event_base *base;
	struct acceptor_rooms to;
	uint8_t pin[WIRE_PIN];
	struct listener *listener;
	uint64_t resets_s; /* the second that `resets` counts in */
	unsigned resets;
	TAILQ_HEAD(, arrival) arrivals; /* in order of arrival */
	struct knocks knocks;
};

/* Frees all but the socket. */
static int arrival_sweep(struct arrival *in)
{
	int fd = in->fd;

	event_del(&in->rd);
	event_del(&in->clock);
	TAILQ_REMOVE(&in->acceptor->arrivals, in, link);
	free(in);
	return fd;
}

static void arrival_hush(struct arrival *in)
{
	struct tarpit *tarpit = in->acceptor->to.tarpit;
	struct place *place = in->place;

	tarpit_take(tarpit, arrival_sweep(in), place);
}

static void arrival_turn_out(void *arrival)
{
	struct arrival *in = arrival;

	place_free(in->place);
	sock_close_reset(arrival_sweep(in));
}

static void knock_arrived(struct arrival *in)
{
	struct sessions *sessions = in->acceptor->to.sessions;
	struct place *place = in->place;
	struct wire_knock k;

	if (wire_get_knock(&k, in->head, in->len) <= 0 || !session_knock_ok(&k, in->acceptor->pin)) {
		arrival_hush(in);
	} else if (!knocks_is_new(&in->acceptor->knocks, k.nonce)) {
		counters.knocks_replayed++;
		arrival_hush(in);
	} else {
		sessions_control(sessions, arrival_sweep(in), place);
	}
}

static bool may_send_reset(struct acceptor *acc)
{
	uint64_t second = clock_ms() / 1000;

	if (second != acc->resets_s)
		acc->resets = 0;
	acc->resets_s = second;
	return acc->resets++ < RESETS_A_SECOND;
}

static void attach_unknown(struct arrival *in, const struct wire_attach *a)
{
	struct acceptor *acc = in->acceptor;
	uint8_t reset[WIRE_RESET_LEN];

	counters.attach_unknown++;
	if (sessions_forgot(acc->to.sessions, a->sid, reset) && may_send_reset(acc) &&
	    write(in->fd, reset, sizeof(reset)) != (ssize_t)sizeof(reset))
		log_debug("a RESET was not taken");
	arrival_hush(in);
}

static void attach_refused(struct arrival *in, enum session_verdict verdict)
{
	if (verdict == SESSION_REPLAYED)
		counters.attach_replayed++;
	else
		counters.attach_forged++;
	arrival_hush(in);
}

static void attach_arrived(struct arrival *in)
{
	struct acceptor *acc = in->acceptor;
	struct requests_arrival request = { .fd = in->fd };
	enum session_verdict verdict;
	struct seal_key keys[2];
	struct wire_attach a;

	if (wire_get_attach(&a, in->head, in->len) <= 0) {
		arrival_hush(in);
		return;
	}
	request.session = sessions_find(acc->to.sessions, a.sid, &request.user);
	if (!request.session) {
		attach_unknown(in, &a);
		return;
	}
	verdict = session_admit(request.session, acc->to.seal, &a, in->head, keys);
	if (verdict != SESSION_OK) {
		attach_refused(in, verdict);
		return;
	}
	request.ctr = a.ctr;
	request.up = keys[0];
	request.down = keys[1];
	place_free(in->place);
	arrival_sweep(in);
	requests_enter(acc->to.requests, &request);
	seal_wipe(keys, sizeof(keys));
	seal_wipe(&request, sizeof(request));
}

/* How long the message is that the first byte promises. */
static size_t promised(const struct arrival *in)
{
	return in->len && in->head[0] == WIRE_ATTACH ? WIRE_ATTACH_LEN : WIRE_KNOCK_LEN;
}

static bool can_become_valid(const struct arrival *in)
{
	struct wire_attach a;
	struct wire_knock k;

	return wire_get_attach(&a, in->head, in->len) >= 0 || wire_get_knock(&k, in->head, in->len) >= 0;
}

static void acceptor_readable(evutil_socket_t fd, short what, void *arg)
{
	struct arrival *in = arg;
	ssize_t n;

	(void)what;
	do {
		n = read(fd, in->head + in->len, promised(in) - in->len);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0)
			break;
		in->len += (size_t)n;
	} while (in->len < promised(in) && can_become_valid(in));
	if (n <= 0 || in->len < promised(in))
		arrival_hush(in);
	else if (in->head[0] == WIRE_ATTACH)
		attach_arrived(in);
	else
		knock_arrived(in);
}

static void acceptor_clock_due(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	arrival_hush(arg);
}

void acceptor_take(struct acceptor *acc, int fd, const struct addr *peer)
{
	struct place *place = place_new(acc->to.places, peer);
	struct arrival *in = place ? calloc(1, sizeof(*in)) : NULL;

	if (!in) {
		place_free(place);
		sock_close_reset(fd);
		return;
	}
	in->acceptor = acc;
	in->place = place;
	place_give(place, false, arrival_turn_out, in);
	in->fd = fd;
	event_assign(&in->rd, acc->base, fd, EV_READ | EV_PERSIST, acceptor_readable, in);
	event_assign(&in->clock, acc->base, -1, 0, acceptor_clock_due, in);
	TAILQ_INSERT_TAIL(&acc->arrivals, in, link);
	event_add(&in->rd, NULL);
	timer_in_s(&in->clock, HEADER_S);
	acceptor_readable(fd, EV_READ, in); /* most say at once what they are */
}

static void acceptor_accept(void *arg, int fd, const struct addr *peer)
{
	acceptor_take(arg, fd, peer);
}

int acceptor_listen(struct acceptor *acc, const struct config *config, const struct sock_caps *caps, char *err, size_t err_len)
{
	struct sock_wan opt = { .congestion = SOCK_WAITING, .mark = RETURN_ROUTES_MARK, .keepalive = KEEPALIVE_S };
	char at[ADDR_STRLEN];
	int fd;

	if (caps->mptcp_notsent)
		opt.notsent_lowat = config->notsent_lowat;
	addr_print(&config->listen, at);
	fd = sock_listen_wan(&config->listen, &opt);
	if (fd < 0) {
		snprintf(err, err_len, "cannot listen on %s: %s", at, strerror(errno));
		return -1;
	}
	acc->listener = listener_new(acc->base, fd, acceptor_accept, acc);
	if (acc->listener)
		log_info("listening on %s", at);
	else
		close(fd);
	return acc->listener ? 0 : -1;
}

struct acceptor *acceptor_new(struct event_base *base, const uint8_t pin[WIRE_PIN], const struct acceptor_rooms *rooms)
{
	struct acceptor *acc = calloc(1, sizeof(*acc));

	if (!acc)
		return NULL;
	acc->base = base;
	acc->to = *rooms;
	memcpy(acc->pin, pin, WIRE_PIN);
	TAILQ_INIT(&acc->arrivals);
	return acc;
}

void acceptor_free(struct acceptor *acc)
{
	if (!acc)
		return;
	listener_free(acc->listener);
	while (TAILQ_FIRST(&acc->arrivals))
		arrival_turn_out(TAILQ_FIRST(&acc->arrivals));
	free(acc);
}
