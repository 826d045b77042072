/* opening: a LAN connection from accept to relay.
 *
 * Theory of operation. The client is connected already (TPROXY answered its SYN), so the only way to tell
 * it that the destination cannot be reached is a reset.
 *
 * Normally: a warm upstream is taken, OPEN leaves at once, and whatever the client says meanwhile
 * follows as records; ACCEPT comes back one round trip later and the two sockets become
 * a relay. Without a warm one an upstream is dialled, and OPEN leaves with the first bytes as
 * soon as it is connected; while the lines are uneasy, ATTACH goes ahead and OPEN waits for its answer.
 *
 * OPEN waits FIRST_MS for the client's first bytes, which on a LAN follow its ACK at once. They must not
 * leave in a second segment: while the first is unacknowledged the kernel's scheduler sends the next
 * one on another line, and a request would take the slow line's time (41 ms instead of 21 on
 * lines of 20 and 60 ms). Where CLEAR is allowed and the port is one of TLS the wait is FIRST_TLS_MS,
 * since those bytes decide the mode.
 *
 * Everything the client said before ACCEPT is kept (at most KEPT_MAX; then reading stops), so that the request can be sent again;
 * whether it may be is the matter of opening_again.c.
 *
 * A client that is reset before ACCEPT is still opened and its bytes still delivered, the reset
 * behind them, as without us. */
#include <errno.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "counter.h"
#include "log.h"
#include "opening_room.h"
#include "sock.h"

#define KEPT_MAX RELAY_CHUNK
#define FIRST_MS 1
#define FIRST_TLS_MS 100 /* its client speaks first, if a busy one not at once */
#define DIAL_MS 30000
#define SESSION_MS 5000  /* without a session */
#define ATTACH_MS 1500

void opening_wake_in(struct opening *o, unsigned ms)
{
	struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000 };

	event_add(&o->timer, &tv);
}

static void read_more(struct opening *o, bool want)
{
	if (o->reading == want)
		return;
	o->reading = want;
	if (want)
		event_add(&o->rd, NULL);
	else
		event_del(&o->rd);
}

/* Everything but the client's connection. */
static void forget(struct opening *o)
{
	LIST_REMOVE(o, link);
	read_more(o, false);
	event_del(&o->timer);
	upstream_free(o->up);
	remote_revoke_cancel(o->revoke);
	free(o->kept);
	free(o);
}

void opening_free(struct opening *o)
{
	sock_close_reset(o->fd);
	--*o->count;
	forget(o);
}

void opening_fail(struct opening *o, const char *why)
{
	static struct log_limit said;
	char dst[ADDR_STRLEN], src[ADDR_STRLEN];

	counters.dials_failed++;
	log_limited(&said, "%s to %s: %s", addr_print(&o->src, src), addr_print(&o->dst, dst), why);
	opening_free(o);
}

/* --- becoming a relay --- */

static void on_relay_done(void *arg, enum relay_end how, const uint64_t bytes[2])
{
	unsigned *count = arg;

	(void)how;
	--*count;
	counters.bytes_up += bytes[RELAY_NEAR];
	counters.bytes_down += bytes[RELAY_WAN];
}

static void become_relay(struct opening *o)
{
	struct relay_setup setup = { .done = on_relay_done, .arg = o->count };
	struct upstream *u = o->up;
	unsigned *count = o->count;

	setup.fd[RELAY_NEAR] = o->fd;
	setup.got_eof = o->eof;
	setup.got_reset = o->reset;
	upstream_hand_over(u, &setup);
	setup.group = upstream_remote(u);
	counters.opens_clear += !setup.sealed;
	counters.bytes_up += o->kept_len; /* these went with OPEN or behind it, those came inside ACCEPT */
	counters.bytes_down += setup.owed_len[RELAY_NEAR];
	if (!sock_is_mptcp(setup.fd[RELAY_WAN]))
		counters.fallbacks++;
	read_more(o, false);
	o->up = NULL;
	if (!relay_new(o->house->relays, &setup))
		--*count;
	upstream_release(u);
	forget(o);
}

/* --- the upstream's events --- */

static bool wants_clear(const struct opening *o)
{
	const struct wire_welcome *w = remote_welcome(upstream_remote(o->up));

	return o->house->config->clear && w && w->flags & WIRE_F_CLEAR && wire_is_tls(o->kept, o->kept_len);
}

static bool wants_keep(const struct opening *o)
{
	const struct wire_welcome *w = remote_welcome(upstream_remote(o->up));

	return w && w->flags & WIRE_F_RESUME && links_uneasy(o->house->links);
}

static int ask(struct opening *o)
{
	struct wire_open open = { .dst = o->dst, .src = o->src };

	if (o->served)
		return upstream_resume(o->up, &o->resume, o->mode, o->kept + o->opened, o->kept_len - o->opened);
	o->keeps = wants_keep(o);
	o->mode = open.mode = wants_clear(o) ? WIRE_CLEAR : WIRE_SEALED;
	open.flags = o->keeps ? WIRE_OPEN_KEEP : 0;
	if (upstream_open(o->up, &open, o->kept, o->kept_len))
		return -1;
	o->opened = upstream_early(o->up);
	return 0;
}

static void send_open(struct opening *o)
{
	if (ask(o)) {
		opening_unserved(o);
		return;
	}
	read_more(o, !o->eof && !o->reset && o->kept_len < KEPT_MAX);
	opening_watch(o);
}

/* Until the remote was heard the kernel joins no other line to a connection, and when the only one dies it dies with it. */
static void attach_first(struct opening *o)
{
	if (upstream_attach(o->up))
		opening_unserved(o);
	else
		opening_wake_in(o, opening_longer(o, ATTACH_MS));
}

/* Counted by themselves: in a minute of trouble the other tries are soon used up, and plain TCP would then die with its line. */
static bool is_unfit(struct opening *o)
{
	return upstream_fell_back(o->up, o->house->links) && o->fallbacks++ < UPSTREAM_FALLBACKS;
}

static void denied(struct opening *o)
{
	uint16_t status = upstream_status(o->up);
	char why[80];

	snprintf(why, sizeof(why), "the remote says: %s", wire_status_name(status));
	opening_fail(o, why);
}

static void on_upstream(void *arg, struct upstream *u, enum upstream_event ev)
{
	struct opening *o = arg;

	(void)u;
	switch (ev) {
	case UPSTREAM_CONNECTED:
		if (is_unfit(o))
			opening_unserved(o);
		else if (o->served || links_uneasy(o->house->links))
			attach_first(o);
		else
			send_open(o);
		break;
	case UPSTREAM_ATTACHED:
		if (is_unfit(o))
			opening_unserved(o);
		else
			send_open(o);
		break;
	case UPSTREAM_ACCEPTED:
		become_relay(o);
		break;
	case UPSTREAM_DENIED:
		denied(o);
		break;
	case UPSTREAM_UNSERVED:
		opening_unserved(o);
		break;
	case UPSTREAM_LOST:
		opening_lost(o);
		break;
	}
}

/* --- the client --- */

static int keep(struct opening *o, const uint8_t *data, size_t len)
{
	uint8_t *more = realloc(o->kept, o->kept_len + len);

	if (!more)
		return -1;
	memcpy(more + o->kept_len, data, len);
	o->kept = more;
	o->kept_len += len;
	return o->state == OPENED && o->up ? upstream_send(o->up, data, len) : 0;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct opening *o = arg;
	uint8_t buf[WIRE_RECORD_MAX];
	size_t room = KEPT_MAX - o->kept_len;
	ssize_t n = read(fd, buf, room < sizeof(buf) ? room : sizeof(buf));

	(void)what;
	if (n < 0 && errno == EAGAIN)
		return;
	o->eof = n == 0;
	o->reset = n < 0;
	if (n > 0 && keep(o, buf, (size_t)n)) {
		opening_fail(o, "out of memory");
		return;
	}
	read_more(o, n > 0 && o->kept_len < KEPT_MAX);
	if (o->state == FIRST)
		opening_go(o);
}

/* --- the way --- */

void opening_go(struct opening *o)
{
	if (!remotes_session(o->house->remotes)) {
		o->state = SESSION;
		opening_wake_in(o, SESSION_MS);
		return;
	}
	o->state = UP;
	/* A second try goes on a connection of its own: the warm ones may have died together. */
	o->up = o->tries ? NULL : pool_take(o->house->pool, on_upstream, o);
	if (o->up) {
		send_open(o);
		return;
	}
	o->up = upstream_new(o->house->base, remotes_active(o->house->remotes), o->house->seal, on_upstream, o);
	if (!o->up) {
		opening_fail(o, "out of memory");
		return;
	}
	read_more(o, !o->eof && !o->reset && o->kept_len < KEPT_MAX);
	opening_wake_in(o, DIAL_MS);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct opening *o = arg;

	(void)fd;
	(void)what;
	switch (o->state) {
	case FIRST:
		opening_go(o);
		break;
	case SESSION:
		if (remotes_session(o->house->remotes))
			opening_go(o);
		else
			opening_fail(o, "no session with the remote");
		break;
	case UP:
		opening_unserved(o);
		break;
	case OPENED:
		opening_be_patient(o);
		break;
	case DOUBT:
		break;
	}
}

void opening_session(struct opening *o)
{
	bool stranded = o->up && !remote_session(upstream_remote(o->up)); /* with a remote that is away */

	if (o->state == SESSION)
		opening_go(o);
	else if (o->state == UP && stranded)
		opening_again(o);
	else if (o->state >= OPENED && stranded)
		opening_give_up(o);
}

void opening_restarted(struct opening *o, const struct remote *r)
{
	if (o->state >= OPENED && (!o->up || upstream_remote(o->up) == r))
		opening_bereave(o);
}

void opening_give_up(struct opening *o)
{
	opening_fail(o, "the remote is away");
}

static bool is_tls_port(uint16_t port)
{
	static const uint16_t ports[] = { 443, 465, 563, 636, 853, 989, 990, 992, 993, 994, 995, 5061, 8443 };

	for (size_t i = 0; i < sizeof(ports) / sizeof(*ports); i++)
		if (ports[i] == port)
			return true;
	return false;
}

void opening_new(const struct lan_house *house, struct opening_list *list, unsigned *count, int fd,
		 const struct addr *src, const struct addr *dst)
{
	struct opening *o = calloc(1, sizeof(*o));

	if (!o) {
		sock_close_reset(fd);
		return;
	}
	o->house = house;
	o->count = count;
	++*count;
	o->fd = fd;
	o->src = *src;
	o->dst = *dst;
	o->since_ms = clock_ms();
	event_assign(&o->rd, house->base, fd, EV_READ | EV_PERSIST, on_readable, o);
	event_assign(&o->timer, house->base, -1, 0, on_timer, o);
	sock_keepalive(fd, SOCK_HALF_CLOSED_S);
	LIST_INSERT_HEAD(list, o, link);
	o->state = FIRST;
	read_more(o, true);
	event_base_update_cache_time(house->base); /* stands still while the loop works: 1 ms might be over already */
	opening_wake_in(o, house->config->clear && is_tls_port(dst->port) ? FIRST_TLS_MS : FIRST_MS);
}

struct opening *opening_next(const struct opening *o)
{
	return LIST_NEXT(o, link);
}
