/* SPDX-License-Identifier: BSD-2-Clause */
/* client: a LAN connection from accept to relay.
 *
 * Theory of operation. The client is connected already (TPROXY answered its SYN), so the only way
 * to tell it that the destination cannot be reached is a reset.
 *
 * Normally: a warm upstream is taken, OPEN leaves at once, and whatever the client says meanwhile
 * follows as records; ACCEPT comes back one round trip later and the two sockets become a relay.
 * Without a warm one an upstream is dialled, and OPEN leaves with the first bytes as soon as it is
 * connected; while the links are uneasy, ATTACH goes ahead and OPEN waits for its answer.
 *
 * OPEN waits FIRST_MS for the client's first bytes, which on a LAN follow its ACK at once. They
 * must not leave in a second segment: while the first is unacknowledged the kernel's scheduler
 * sends the next one on another link, and a request would take the slow link's time (41 ms instead
 * of 21 on links of 20 and 60 ms). Where CLEAR is allowed and the port is one of TLS the wait is
 * FIRST_TLS_MS, since those bytes decide the mode.
 *
 * Everything the client said before ACCEPT is kept (at most KEPT_MAX; then reading stops), so that
 * the request can be sent again; whether it may be is the matter of client_retry.c.
 *
 * A client that is reset before ACCEPT is still opened and its bytes still delivered, the reset
 * behind them, as without us.
 *
 *   FIRST --> TURN --> UP --> OPENED --> HEARD --> DOUBT --> SERVED
 *                |     ^ |      |           |        |         |
 *                v     | v      +-----------+---+----+---------+--> OVER: a relay, or reset
 *               SESSION -+                      v
 *                ^------------------------ UNSERVED: once more
 *
 * Whatever ends a client marks it OVER; it is freed when what the loop had to tell it has been
 * told. */
#include <errno.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client_room.h"
#include "clock.h"
#include "counter.h"
#include "log.h"
#include "sock.h"
#include "timer.h"

#define KEPT_MAX RELAY_CHUNK
#define FIRST_MS 1
#define FIRST_TLS_MS 100 /* its client speaks first, if a busy one not at once */
#define DIAL_MS 30000
#define SESSION_MS 5000  /* without a session */
#define ATTACH_MS 1500
#define TURN_MS 60000
#define AWAY "the VPS is away"

void client_wake_in(struct client *c, unsigned ms)
{
	timer_in_ms(&c->timer, ms);
}

static void read_if_room(struct client *c)
{
	if (c->near == NEAR_OPEN && c->kept_len < KEPT_MAX)
		event_add(&c->rd, NULL);
	else
		event_del(&c->rd);
}

void client_sweep(struct client *c)
{
	if (c->state != OVER)
		return;
	LIST_REMOVE(c, link);
	event_del(&c->rd);
	event_del(&c->timer);
	upstream_free(c->up);
	vps_revoke_cancel(c->revoke);
	if (c->fd >= 0) {
		sock_close_reset(c->fd);
		turn_free(c->turn);
	}
	free(c->kept);
	free(c);
}

void client_free(struct client *c)
{
	c->state = OVER;
	client_sweep(c);
}

void client_fail(struct client *c, const char *why)
{
	static struct log_limit said;
	char dst[ADDR_STRLEN], src[ADDR_STRLEN];

	counters.dials_failed++;
	log_limited(&said, "%s to %s: %s", addr_print(&c->src, src), addr_print(&c->dst, dst), why);
	c->state = OVER;
}

/* --- becoming a relay --- */

static void client_relay_ended(void *arg, enum relay_end how, const uint64_t bytes[2])
{
	(void)how;
	turn_free(arg);
	counters.bytes_up += bytes[RELAY_NEAR];
	counters.bytes_down += bytes[RELAY_WAN];
}

static void become_relay(struct client *c)
{
	struct relay_setup setup = { .done = client_relay_ended, .arg = c->turn };
	struct upstream *u = c->up;

	setup.fd[RELAY_NEAR] = c->fd;
	setup.got_eof = c->near == NEAR_EOF;
	setup.got_reset = c->near == NEAR_RESET;
	upstream_hand_over(u, &setup);
	setup.group = upstream_vps(u);
	counters.opens_clear += !setup.sealed;
	counters.bytes_up += c->kept_len; /* these went with OPEN or behind it, those came inside ACCEPT */
	counters.bytes_down += setup.owed_len[RELAY_NEAR];
	if (!sock_is_mptcp(setup.fd[RELAY_WAN]))
		counters.fallbacks++;
	event_del(&c->rd);
	if (!relay_new(c->house->relays, &setup))
		turn_free(c->turn);
	c->fd = -1;
	c->state = OVER;
}

/* --- the upstream's events --- */

static bool wants_clear(const struct client *c)
{
	const struct wire_welcome *w = vps_welcome(upstream_vps(c->up));

	return c->house->config->clear && w && w->flags & WIRE_F_CLEAR && wire_is_tls(c->kept, c->kept_len);
}

/* One that was dialled just now has a single link until its VPS was heard, and when that link is
 * suspected meanwhile, rightly or not, the answer has no way back. */
static bool wants_keep(const struct client *c)
{
	const struct wire_welcome *w = vps_welcome(upstream_vps(c->up));

	return w && w->flags & WIRE_F_RESUME && (links_uneasy(c->house->links) || !upstream_is_attached(c->up));
}

static int client_ask(struct client *c)
{
	struct wire_open open = { .dst = c->dst, .src = c->src };

	if (c->served)
		return upstream_resume(c->up, &c->resume, c->mode, c->kept + c->opened, c->kept_len - c->opened);
	c->keeps = wants_keep(c);
	c->mode = open.mode = wants_clear(c) ? WIRE_CLEAR : WIRE_SEALED;
	open.flags = c->keeps ? WIRE_OPEN_KEEP : 0;
	if (upstream_open(c->up, &open, c->kept, c->kept_len))
		return -1;
	c->opened = upstream_early(c->up);
	return 0;
}

static void send_open(struct client *c)
{
	if (client_ask(c)) {
		client_unserved(c);
		return;
	}
	read_if_room(c);
	client_watch(c);
}

/* Until the VPS was heard the kernel joins no other link to a connection, and when the only one
 * dies it dies with it. */
static void attach_first(struct client *c)
{
	if (upstream_attach(c->up))
		client_unserved(c);
	else
		client_wake_in(c, client_longer(c, ATTACH_MS));
}

/* Counted by themselves: in a minute of trouble the other tries are soon used up, and plain TCP
 * would then die with its link. */
static bool client_is_unfit(struct client *c)
{
	return upstream_fell_back(c->up, c->house->links) && c->fallbacks++ < UPSTREAM_FALLBACKS;
}

static void denied(struct client *c)
{
	uint16_t status = upstream_status(c->up);
	char why[80];

	snprintf(why, sizeof(why), "the VPS says: %s", wire_status_name(status));
	client_fail(c, why);
}

static void client_upstream_event(void *arg, struct upstream *u, enum upstream_event ev)
{
	struct client *c = arg;

	(void)u;
	switch (ev) {
	case UPSTREAM_CONNECTED:
		if (client_is_unfit(c))
			client_unserved(c);
		else if (c->served || links_uneasy(c->house->links))
			attach_first(c);
		else
			send_open(c);
		break;
	case UPSTREAM_ATTACHED:
		if (client_is_unfit(c))
			client_unserved(c);
		else
			send_open(c);
		break;
	case UPSTREAM_ACCEPTED:
		become_relay(c);
		break;
	case UPSTREAM_DENIED:
		denied(c);
		break;
	case UPSTREAM_UNSERVED:
		client_unserved(c);
		break;
	case UPSTREAM_LOST:
		client_lost(c);
		break;
	}
	client_sweep(c);
}

/* --- the client --- */

static int client_keep(struct client *c, const uint8_t *data, size_t len)
{
	uint8_t *more = realloc(c->kept, c->kept_len + len);

	if (!more)
		return -1;
	memcpy(more + c->kept_len, data, len);
	c->kept = more;
	c->kept_len += len;
	return c->state >= OPENED && c->up ? upstream_send(c->up, data, len) : 0;
}

static void client_granted(void *arg)
{
	client_go(arg);
	client_sweep(arg);
}

static void ask_turn(struct client *c)
{
	if (turn_ask(c->turn, client_granted, c)) {
		client_go(c);
		return;
	}
	c->state = TURN;
	client_wake_in(c, TURN_MS);
}

static void read_client(struct client *c)
{
	uint8_t buf[WIRE_RECORD_MAX];
	size_t room = KEPT_MAX - c->kept_len;
	ssize_t n = read(c->fd, buf, room < sizeof(buf) ? room : sizeof(buf));

	if (n < 0 && errno == EAGAIN)
		return;
	c->near = n > 0 ? NEAR_OPEN : n == 0 ? NEAR_EOF : NEAR_RESET;
	if (n > 0 && client_keep(c, buf, (size_t)n)) {
		client_fail(c, "out of memory");
		return;
	}
	read_if_room(c);
	if (c->state == FIRST)
		ask_turn(c);
	else if (c->state == TURN && c->near == NEAR_RESET)
		client_fail(c, "it gave up before its turn");
}

static void client_readable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	read_client(arg);
	client_sweep(arg);
}

/* --- the way --- */

void client_go(struct client *c)
{
	if (!vps_choice_session(c->house->vps)) {
		c->state = SESSION;
		client_wake_in(c, SESSION_MS);
		return;
	}
	c->state = UP;
	/* A second try goes on a connection of its own: the warm ones may have died together. */
	c->up = c->tries ? NULL : pool_take(c->house->pool, client_upstream_event, c);
	if (c->up) {
		send_open(c);
		return;
	}
	c->up = upstream_new(c->house->base, vps_choice_active(c->house->vps), c->house->seal,
				 client_upstream_event, c);
	if (!c->up) {
		client_fail(c, "out of memory");
		return;
	}
	read_if_room(c);
	client_wake_in(c, DIAL_MS);
}

static void time_is_up(struct client *c)
{
	switch (c->state) {
	case FIRST:
		ask_turn(c);
		break;
	case TURN:
		client_fail(c, "its device has opened more than the VPS allows ([user] opens, relays), and it waited a minute");
		break;
	case SESSION:
		if (vps_choice_session(c->house->vps))
			client_go(c);
		else
			client_fail(c, "no session with the VPS");
		break;
	case UP:
		client_unserved(c);
		break;
	case OPENED:
	case HEARD:
	case SERVED:
	case BEREAVED:
		client_be_patient(c);
		break;
	case DOUBT: /* revoke.c has the time */
	case OVER:
		break;
	}
}

static void client_timer_due(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	time_is_up(arg);
	client_sweep(arg);
}

void client_session(struct client *c)
{
	bool stranded = c->up && !vps_session(upstream_vps(c->up)); /* with a VPS that is away */

	if (c->state == SESSION)
		client_go(c);
	else if (c->state == UP && stranded)
		client_retry(c);
	else if (c->state >= OPENED && stranded)
		client_fail(c, AWAY);
	client_sweep(c);
}

void client_restarted(struct client *c, const struct vps *v)
{
	if (c->state >= OPENED && (!c->up || upstream_vps(c->up) == v))
		client_bereave(c);
	client_sweep(c);
}

void client_give_up(struct client *c)
{
	client_fail(c, AWAY);
	client_sweep(c);
}

static bool is_tls_port(uint16_t port)
{
	static const uint16_t ports[] = { 443, 465, 563, 636, 853, 989, 990, 992, 993, 994, 995, 5061, 8443 };

	for (size_t i = 0; i < sizeof(ports) / sizeof(*ports); i++)
		if (ports[i] == port)
			return true;
	return false;
}

void client_new(const struct lan_house *house, struct client_list *list, struct turn *turn, int fd,
		 const struct addr *src, const struct addr *dst)
{
	struct client *c = calloc(1, sizeof(*c));

	if (!c) {
		turn_free(turn);
		sock_close_reset(fd);
		return;
	}
	c->house = house;
	c->turn = turn;
	c->fd = fd;
	c->src = *src;
	c->dst = *dst;
	c->since_ms = clock_ms();
	event_assign(&c->rd, house->base, fd, EV_READ | EV_PERSIST, client_readable, c);
	event_assign(&c->timer, house->base, -1, 0, client_timer_due, c);
	sock_keepalive(fd, SOCK_HALF_CLOSED_S);
	LIST_INSERT_HEAD(list, c, link);
	c->state = FIRST;
	read_if_room(c);
	event_base_update_cache_time(house->base); /* stands still while the loop works: 1 ms might be over already */
	client_wake_in(c, house->config->clear && is_tls_port(dst->port) ? FIRST_TLS_MS : FIRST_MS);
}

struct client *client_next(const struct client *c)
{
	return LIST_NEXT(c, link);
}
