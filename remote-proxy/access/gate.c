/* Theory of operation
 *
 * A visitor is a connection that has not said yet what it is. It has ten seconds for its first
 * bytes. They are read one message deep: never more than a KNOCK, or, when the first
 * byte says ATTACH, than an ATTACH, because what follows belongs to TLS or to the record
 * layer. Then it is passed on, and the gate knows it no more:
 *
 *   KNOCK with the right mac              -> sessions (still a stranger)
 *   ATTACH that its session admits        -> hall
 *   ATTACH whose session we once made     -> RESET, then quiet: an OPEN follows, and closing
 *                                            before it is read would abort the RESET
 *   everything else, and those who took too long or closed -> quiet
 *
 * The last line is one function for all causes. */
#include "gate.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "clock.h"
#include "counter.h"
#include "egress.h"
#include "listener.h"
#include "log.h"

#define HEADER_S 10
#define KEEPALIVE_S 60
#define RESETS_A_SECOND 50

struct visitor {
	struct gate *gate;
	int fd;
	uint64_t accepted_ms;
	size_t len;
	uint8_t head[WIRE_ATTACH_LEN];
	struct event rd, clock;
	TAILQ_ENTRY(visitor) link;
};

struct gate {
	struct event_base *base;
	struct gate_rooms to;
	uint8_t pin[WIRE_PIN];
	struct listener *listener;
	uint64_t resets_s; /* the second that `resets` counts in */
	unsigned resets;
	TAILQ_HEAD(, visitor) visitors; /* in order of arrival */
};

/* Frees all but the socket. */
static int visitor_sweep(struct visitor *v)
{
	int fd = v->fd;

	event_del(&v->rd);
	event_del(&v->clock);
	TAILQ_REMOVE(&v->gate->visitors, v, link);
	free(v);
	return fd;
}

static void visitor_hush(struct visitor *v)
{
	struct quiet *quiet = v->gate->to.quiet;
	uint64_t accepted_ms = v->accepted_ms;

	quiet_take(quiet, visitor_sweep(v), accepted_ms);
}

static void visitor_turn_out(struct visitor *v)
{
	quiet_leave(v->gate->to.quiet);
	sock_close_reset(visitor_sweep(v));
}

static void knock_arrived(struct visitor *v)
{
	struct sessions *sessions = v->gate->to.sessions;
	uint64_t accepted_ms = v->accepted_ms;
	struct wire_knock k;

	if (wire_get_knock(&k, v->head, v->len) <= 0 || !session_knock_ok(&k, v->gate->pin))
		visitor_hush(v);
	else
		sessions_control(sessions, visitor_sweep(v), accepted_ms);
}

static bool may_send_reset(struct gate *g)
{
	uint64_t second = clock_ms() / 1000;

	if (second != g->resets_s)
		g->resets = 0;
	g->resets_s = second;
	return g->resets++ < RESETS_A_SECOND;
}

static void attach_unknown(struct visitor *v, const struct wire_attach *a)
{
	struct gate *g = v->gate;
	uint8_t reset[WIRE_RESET_LEN];

	counters.attach_unknown++;
	if (sessions_forgot(g->to.sessions, a->sid, reset) && may_send_reset(g) &&
	    write(v->fd, reset, sizeof(reset)) != (ssize_t)sizeof(reset))
		log_debug("a RESET was not taken");
	visitor_hush(v);
}

static void attach_refused(struct visitor *v, enum session_verdict verdict)
{
	if (verdict == SESSION_REPLAYED)
		counters.attach_replayed++;
	else
		counters.attach_forged++;
	visitor_hush(v);
}

static void attach_arrived(struct visitor *v)
{
	struct gate *g = v->gate;
	struct hall_guest guest = { .fd = v->fd };
	enum session_verdict verdict;
	struct seal_key keys[2];
	struct wire_attach a;

	if (wire_get_attach(&a, v->head, v->len) <= 0) {
		visitor_hush(v);
		return;
	}
	guest.session = sessions_find(g->to.sessions, a.sid, &guest.user);
	if (!guest.session) {
		attach_unknown(v, &a);
		return;
	}
	verdict = session_admit(guest.session, g->to.seal, &a, v->head, keys);
	if (verdict != SESSION_OK) {
		attach_refused(v, verdict);
		return;
	}
	guest.ctr = a.ctr;
	guest.up = keys[0];
	guest.down = keys[1];
	visitor_sweep(v);
	quiet_leave(g->to.quiet);
	hall_enter(g->to.hall, &guest);
	seal_wipe(keys, sizeof(keys));
	seal_wipe(&guest, sizeof(guest));
}

/* How long the message is that the first byte promises. */
static size_t promised(const struct visitor *v)
{
	return v->len && v->head[0] == WIRE_ATTACH ? WIRE_ATTACH_LEN : WIRE_KNOCK_LEN;
}

static bool can_become_valid(const struct visitor *v)
{
	struct wire_attach a;
	struct wire_knock k;

	return wire_get_attach(&a, v->head, v->len) >= 0 || wire_get_knock(&k, v->head, v->len) >= 0;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct visitor *v = arg;
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
		visitor_hush(v);
	else if (v->head[0] == WIRE_ATTACH)
		attach_arrived(v);
	else
		knock_arrived(v);
}

static void on_clock(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	visitor_hush(arg);
}

/* Whoever comes may be a user. When the places are taken, one who was found out already makes room, or else whoever has
 * been here longest: a user authenticates in a round trip or two. */
static bool find_place(struct gate *g)
{
	struct visitor *oldest = TAILQ_FIRST(&g->visitors);

	if (quiet_enter(g->to.quiet))
		return true;
	if (!quiet_evict(g->to.quiet) && !sessions_evict(g->to.sessions, oldest ? oldest->accepted_ms : UINT64_MAX)) {
		if (!oldest)
			return false;
		visitor_turn_out(oldest);
	}
	return quiet_enter(g->to.quiet);
}

void gate_take(struct gate *g, int fd)
{
	const struct timeval limit = { .tv_sec = HEADER_S };
	struct visitor *v;

	if (!find_place(g)) {
		sock_close_reset(fd);
		return;
	}
	v = calloc(1, sizeof(*v));
	if (!v) {
		quiet_leave(g->to.quiet);
		sock_close_reset(fd);
		return;
	}
	v->gate = g;
	v->fd = fd;
	v->accepted_ms = clock_ms();
	event_assign(&v->rd, g->base, fd, EV_READ | EV_PERSIST, on_readable, v);
	event_assign(&v->clock, g->base, -1, 0, on_clock, v);
	TAILQ_INSERT_TAIL(&g->visitors, v, link);
	event_add(&v->rd, NULL);
	event_add(&v->clock, &limit);
	on_readable(fd, EV_READ, v); /* most say at once what they are */
}

static void on_accept(void *arg, int fd, const struct addr *peer)
{
	(void)peer;
	gate_take(arg, fd);
}

static int listen_at(const struct config *config, const struct sock_caps *caps)
{
	struct sock_wan opt = { .congestion = SOCK_WAITING, .mark = EGRESS_MARK, .keepalive = KEEPALIVE_S };
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

int gate_listen(struct gate *g, const struct config *config, const struct sock_caps *caps)
{
	int fd = listen_at(config, caps);

	if (fd < 0)
		return -1;
	g->listener = listener_new(g->base, fd, on_accept, g);
	if (!g->listener)
		close(fd);
	return g->listener ? 0 : -1;
}

struct gate *gate_new(struct event_base *base, const uint8_t pin[WIRE_PIN], const struct gate_rooms *rooms)
{
	struct gate *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	g->base = base;
	g->to = *rooms;
	memcpy(g->pin, pin, WIRE_PIN);
	TAILQ_INIT(&g->visitors);
	return g;
}

void gate_free(struct gate *g)
{
	if (!g)
		return;
	listener_free(g->listener);
	while (TAILQ_FIRST(&g->visitors))
		visitor_turn_out(TAILQ_FIRST(&g->visitors));
	free(g);
}
