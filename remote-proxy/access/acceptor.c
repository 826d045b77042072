/* Theory of operation
 *
 * A arrival is a connection that has not said yet what it is. It has ten seconds for its first
 * bytes. They are read one message deep: never more than a KNOCK, or, when the first
 * byte says ATTACH, than an ATTACH, because what follows belongs to TLS or to the record
 * layer. Then it is passed on, and the acceptor knows it no more:
 *
 *   KNOCK with the right mac              -> sessions (still a stranger)
 *   ATTACH that its session admits        -> requests
 *   ATTACH whose session we once made     -> RESET, then tarpit: an OPEN follows, and closing
 *                                            before it is read would abort the RESET
 *   everything else, and those who took too long or closed -> tarpit
 *
 * The last line is one function for all causes. */
#include "acceptor.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "clock.h"
#include "counter.h"
#include "return_routes.h"
#include "listener.h"
#include "log.h"

#define HEADER_S 10
#define KEEPALIVE_S 60
#define RESETS_A_SECOND 50

struct arrival {
	struct acceptor *acceptor;
	int fd;
	uint64_t accepted_ms;
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
};

/* Frees all but the socket. */
static int arrival_sweep(struct arrival *v)
{
	int fd = v->fd;

	event_del(&v->rd);
	event_del(&v->clock);
	TAILQ_REMOVE(&v->acceptor->arrivals, v, link);
	free(v);
	return fd;
}

static void arrival_hush(struct arrival *v)
{
	struct tarpit *tarpit = v->acceptor->to.tarpit;
	uint64_t accepted_ms = v->accepted_ms;

	tarpit_take(tarpit, arrival_sweep(v), accepted_ms);
}

static void arrival_turn_out(struct arrival *v)
{
	tarpit_leave(v->acceptor->to.tarpit);
	sock_close_reset(arrival_sweep(v));
}

static void knock_arrived(struct arrival *v)
{
	struct sessions *sessions = v->acceptor->to.sessions;
	uint64_t accepted_ms = v->accepted_ms;
	struct wire_knock k;

	if (wire_get_knock(&k, v->head, v->len) <= 0 || !session_knock_ok(&k, v->acceptor->pin))
		arrival_hush(v);
	else
		sessions_control(sessions, arrival_sweep(v), accepted_ms);
}

static bool may_send_reset(struct acceptor *g)
{
	uint64_t second = clock_ms() / 1000;

	if (second != g->resets_s)
		g->resets = 0;
	g->resets_s = second;
	return g->resets++ < RESETS_A_SECOND;
}

static void attach_unknown(struct arrival *v, const struct wire_attach *a)
{
	struct acceptor *g = v->acceptor;
	uint8_t reset[WIRE_RESET_LEN];

	counters.attach_unknown++;
	if (sessions_forgot(g->to.sessions, a->sid, reset) && may_send_reset(g) &&
	    write(v->fd, reset, sizeof(reset)) != (ssize_t)sizeof(reset))
		log_debug("a RESET was not taken");
	arrival_hush(v);
}

static void attach_refused(struct arrival *v, enum session_verdict verdict)
{
	if (verdict == SESSION_REPLAYED)
		counters.attach_replayed++;
	else
		counters.attach_forged++;
	arrival_hush(v);
}

static void attach_arrived(struct arrival *v)
{
	struct acceptor *g = v->acceptor;
	struct requests_arrival request = { .fd = v->fd };
	enum session_verdict verdict;
	struct seal_key keys[2];
	struct wire_attach a;

	if (wire_get_attach(&a, v->head, v->len) <= 0) {
		arrival_hush(v);
		return;
	}
	request.session = sessions_find(g->to.sessions, a.sid, &request.user);
	if (!request.session) {
		attach_unknown(v, &a);
		return;
	}
	verdict = session_admit(request.session, g->to.seal, &a, v->head, keys);
	if (verdict != SESSION_OK) {
		attach_refused(v, verdict);
		return;
	}
	request.ctr = a.ctr;
	request.up = keys[0];
	request.down = keys[1];
	arrival_sweep(v);
	tarpit_leave(g->to.tarpit);
	requests_enter(g->to.requests, &request);
	seal_wipe(keys, sizeof(keys));
	seal_wipe(&request, sizeof(request));
}

/* How long the message is that the first byte promises. */
static size_t promised(const struct arrival *v)
{
	return v->len && v->head[0] == WIRE_ATTACH ? WIRE_ATTACH_LEN : WIRE_KNOCK_LEN;
}

static bool can_become_valid(const struct arrival *v)
{
	struct wire_attach a;
	struct wire_knock k;

	return wire_get_attach(&a, v->head, v->len) >= 0 || wire_get_knock(&k, v->head, v->len) >= 0;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct arrival *v = arg;
	ssize_t n;

	(void)what;
	do {
		n = read(fd, v->head + v->len, promised(v) - v->len);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0)
			break;
		v->len += (size_t)n;
	} while (v->len < promised(v) && can_become_valid(v));
	if (n <= 0 || v->len < promised(v))
		arrival_hush(v);
	else if (v->head[0] == WIRE_ATTACH)
		attach_arrived(v);
	else
		knock_arrived(v);
}

static void on_clock(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	arrival_hush(arg);
}

/* Whoever comes may be a user. When the places are taken, one who was found out already makes room, or else whoever has
 * been here longest: a user authenticates in a round trip or two. */
static bool find_place(struct acceptor *g)
{
	struct arrival *oldest = TAILQ_FIRST(&g->arrivals);

	if (tarpit_enter(g->to.tarpit))
		return true;
	if (!tarpit_evict(g->to.tarpit) && !sessions_evict(g->to.sessions, oldest ? oldest->accepted_ms : UINT64_MAX)) {
		if (!oldest)
			return false;
		arrival_turn_out(oldest);
	}
	return tarpit_enter(g->to.tarpit);
}

void acceptor_take(struct acceptor *g, int fd)
{
	const struct timeval limit = { .tv_sec = HEADER_S };
	struct arrival *v;

	if (!find_place(g)) {
		sock_close_reset(fd);
		return;
	}
	v = calloc(1, sizeof(*v));
	if (!v) {
		tarpit_leave(g->to.tarpit);
		sock_close_reset(fd);
		return;
	}
	v->acceptor = g;
	v->fd = fd;
	v->accepted_ms = clock_ms();
	event_assign(&v->rd, g->base, fd, EV_READ | EV_PERSIST, on_readable, v);
	event_assign(&v->clock, g->base, -1, 0, on_clock, v);
	TAILQ_INSERT_TAIL(&g->arrivals, v, link);
	event_add(&v->rd, NULL);
	event_add(&v->clock, &limit);
	on_readable(fd, EV_READ, v); /* most say at once what they are */
}

static void on_accept(void *arg, int fd, const struct addr *peer)
{
	(void)peer;
	acceptor_take(arg, fd);
}

static int listen_at(const struct config *config, const struct sock_caps *caps)
{
	struct sock_wan opt = { .congestion = SOCK_WAITING, .mark = RETURN_ROUTES_MARK, .keepalive = KEEPALIVE_S };
	char at[ADDR_STRLEN];
	int fd;

	if (caps->mptcp_notsent)
		opt.notsent_lowat = config->notsent_lowat;
	fd = sock_listen_wan(&config->listen, &opt);
	if (fd < 0)
		log_error("cannot listen on %s: %s", addr_print(&config->listen, at), strerror(errno));
	else
		log_info("listening on %s", addr_print(&config->listen, at));
	return fd;
}

int acceptor_listen(struct acceptor *g, const struct config *config, const struct sock_caps *caps)
{
	int fd = listen_at(config, caps);

	if (fd < 0)
		return -1;
	g->listener = listener_new(g->base, fd, on_accept, g);
	if (!g->listener)
		close(fd);
	return g->listener ? 0 : -1;
}

struct acceptor *acceptor_new(struct event_base *base, const uint8_t pin[WIRE_PIN], const struct acceptor_rooms *rooms)
{
	struct acceptor *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	g->base = base;
	g->to = *rooms;
	memcpy(g->pin, pin, WIRE_PIN);
	TAILQ_INIT(&g->arrivals);
	return g;
}

void acceptor_free(struct acceptor *g)
{
	if (!g)
		return;
	listener_free(g->listener);
	while (TAILQ_FIRST(&g->arrivals))
		arrival_turn_out(TAILQ_FIRST(&g->arrivals));
	free(g);
}
