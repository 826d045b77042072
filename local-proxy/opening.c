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
 * Everything the client said before ACCEPT is kept (at most KEPT_MAX; then reading stops), so that
 * the request can be sent again, but only where it certainly was not served: the upstream never
 * got as far as OPEN, or the remote proved with RESET that it does not know the session, or
 * it promised with REVOKED that the OPEN was not and will not be served. An upstream that dies
 * between OPEN and ACCEPT, whose OPEN is not even acknowledged after UNHEARD_MS, or that says nothing
 * for PATIENCE_MS, is asked after in this way. Each try is given more time than the one before, and all of them CONNECT_MS.
 * Served, or unknowable, and the upstream dead: the client is reset, never answered twice. Unless OPEN asked to be kept, as it does
 * while the lines are uneasy: then RESUME asks for the same destination on another upstream, and what the client said
 * behind OPEN follows it again.
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
#include "opening.h"
#include "sock.h"

#define KEPT_MAX RELAY_CHUNK
#define FIRST_MS 1
#define FIRST_TLS_MS 10
#define UNHEARD_MS 300 /* OPEN not even acknowledged */
#define PATIENCE_MS 1000
#define ACCEPT_MS 60000  /* from OPEN */
#define RESUME_MS 2000	 /* from the word that it was served */
#define BEREAVED_MS 8000
#define CONNECT_MS 60000 /* without an answer that settles it */
#define DIAL_MS 30000
#define SESSION_MS 5000  /* without a session */
#define ATTACH_MS 1500
#define AGAIN_MS 100
#define DOUBLES 3 /* that each try is more patient than the one before */
#define LOOK_MS 200

enum state {
	FIRST,	 /* waiting for the client's first bytes */
	SESSION, /* waiting for a session */
	UP,	 /* waiting for an upstream to connect */
	OPENED,	 /* waiting for ACCEPT */
	DOUBT,	 /* waiting for REVOKED; the upstream may still be there */
};

struct opening {
	const struct lan_house *house;
	LIST_ENTRY(opening) link;
	unsigned *count;
	int fd;
	enum state state;
	bool reading, eof, reset, asked, patient, bereaved;
	bool keeps, served; /* RESUME may ask for it; it was served, and RESUME has to */
	struct wire_resume about, resume; /* the connection that was asked about last; the one it was served on */
	enum wire_mode mode;
	size_t opened; /* of what is kept, inside OPEN */
	unsigned tries;
	struct addr src, dst;
	struct upstream *up;
	struct revoke *revoke;
	uint64_t since_ms;
	uint8_t *kept;
	size_t kept_len;
	struct event rd, timer;
};

static void go(struct opening *o);

static void wake_in(struct opening *o, unsigned ms)
{
	struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000 };

	event_add(&o->timer, &tv);
}

/* Lines that are full let an OPEN wait behind what was sent before; to ask again at the same pace would fill them more. */
static unsigned longer(const struct opening *o, unsigned ms)
{
	return ms << (o->tries < DOUBLES ? o->tries : DOUBLES);
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

static void fail(struct opening *o, const char *why)
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
	sock_keepalive(o->fd, 60);
	o->up = NULL;
	if (!relay_new(o->house->relays, &setup))
		--*count;
	upstream_release(u);
	forget(o);
}

/* --- again, or not --- */

static void again(struct opening *o)
{
	upstream_free(o->up);
	o->up = NULL;
	o->asked = o->patient = o->bereaved = false;
	o->tries++;
	if (clock_ms() - o->since_ms >= CONNECT_MS) {
		fail(o, "no connection to the remote lasts long enough to ask for it");
		return;
	}
	go(o);
}

/* It was served, and its answer does not come. */
static void resume(struct opening *o)
{
	counters.opens_resumed++;
	o->resume = o->about;
	o->served = true;
	again(o);
}

static void on_revoked(void *arg, bool served)
{
	struct opening *o = arg;

	o->revoke = NULL;
	if (!served) {
		counters.opens_resent++;
		pool_distrust(o->house->pool);
		again(o);
	} else if (o->up) {
		o->state = OPENED;
		wake_in(o, o->keeps ? longer(o, RESUME_MS) : ACCEPT_MS);
	} else if (o->keeps) {
		resume(o);
	} else {
		fail(o, "the connection to the remote was lost; the request may have been served");
	}
}

/* Silence after OPEN, or the upstream has died: was it served? */
static void doubt(struct opening *o)
{
	if (o->state == DOUBT)
		return;
	o->state = DOUBT;
	o->asked = true;
	memcpy(o->about.sid, session_sid(upstream_session(o->up)), WIRE_SID);
	o->about.ctr = upstream_ctr(o->up);
	event_del(&o->timer);
	o->revoke = remote_revoke(upstream_remote(o->up), upstream_session(o->up), upstream_ctr(o->up), on_revoked, o);
	if (!o->revoke)
		fail(o, "out of memory");
}

static void lose_upstream(struct opening *o)
{
	doubt(o);
	if (o->state != DOUBT)
		return;
	upstream_free(o->up);
	o->up = NULL;
}

/* Nothing was sent on it, or nothing of it was heard. */
static void unserved(struct opening *o)
{
	bool opened = o->state >= OPENED;

	remote_revoke_cancel(o->revoke);
	o->revoke = NULL;
	upstream_free(o->up);
	o->up = NULL;
	o->asked = o->patient = o->bereaved = false;
	counters.opens_resent += opened;
	if (clock_ms() - o->since_ms >= CONNECT_MS) {
		fail(o, "the remote cannot be reached");
		return;
	}
	o->state = SESSION;
	wake_in(o, longer(o, AGAIN_MS));
	o->tries++;
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
		unserved(o);
		return;
	}
	o->state = OPENED;
	read_more(o, !o->eof && !o->reset && o->kept_len < KEPT_MAX);
	wake_in(o, longer(o, UNHEARD_MS));
}

/* Until the remote was heard the kernel joins no other line to a connection, and when the only one dies it dies with it. */
static void attach_first(struct opening *o)
{
	if (upstream_attach(o->up))
		unserved(o);
	else
		wake_in(o, longer(o, ATTACH_MS));
}

static bool is_unfit(const struct opening *o)
{
	return o->tries < UPSTREAM_FALLBACKS && upstream_fell_back(o->up, o->house->links);
}

static void denied(struct opening *o)
{
	uint16_t status = upstream_status(o->up);
	char why[80];

	snprintf(why, sizeof(why), "the remote says: %s", wire_status_name(status));
	fail(o, why);
}

static void on_upstream(void *arg, struct upstream *u, enum upstream_event ev)
{
	struct opening *o = arg;

	(void)u;
	switch (ev) {
	case UPSTREAM_CONNECTED:
		if (is_unfit(o))
			unserved(o);
		else if (o->served || links_uneasy(o->house->links))
			attach_first(o);
		else
			send_open(o);
		break;
	case UPSTREAM_ATTACHED:
		if (is_unfit(o))
			unserved(o);
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
		unserved(o);
		break;
	case UPSTREAM_LOST:
		lose_upstream(o);
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
		fail(o, "out of memory");
		return;
	}
	read_more(o, n > 0 && o->kept_len < KEPT_MAX);
	if (o->state == FIRST)
		go(o);
}

/* --- the way --- */

/* Takes the next step towards OPEN, from whatever state. */
static void go(struct opening *o)
{
	if (!remotes_session(o->house->remotes)) {
		o->state = SESSION;
		wake_in(o, SESSION_MS);
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
		fail(o, "out of memory");
		return;
	}
	read_more(o, !o->eof && !o->reset && o->kept_len < KEPT_MAX);
	wake_in(o, DIAL_MS);
}

/* OPEN was sent a while ago. */
static void be_patient(struct opening *o)
{
	if (upstream_rouse(o->up)) {
		wake_in(o, LOOK_MS);
	} else if (o->bereaved && !upstream_severed(o->up) && clock_ms() - upstream_since(o->up) < BEREAVED_MS) {
		wake_in(o, LOOK_MS);
	} else if (o->asked && o->keeps && !o->bereaved) {
		resume(o);
	} else if (o->asked) {
		fail(o, "the remote gives no answer");
	} else if (o->patient || upstream_unheard(o->up)) {
		doubt(o);
	} else {
		o->patient = true;
		wake_in(o, longer(o, PATIENCE_MS - UNHEARD_MS));
	}
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct opening *o = arg;

	(void)fd;
	(void)what;
	switch (o->state) {
	case FIRST:
		go(o);
		break;
	case SESSION:
		if (remotes_session(o->house->remotes))
			go(o);
		else
			fail(o, "no session with the remote");
		break;
	case UP:
		unserved(o);
		break;
	case OPENED:
		be_patient(o);
		break;
	case DOUBT:
		break;
	}
}

/* The process that OPEN was sent to is gone. Only a RESET of its successor can still help; it may come as long as a
 * line carries the connection (a host that was restarted itself answers each with a reset). */
static void bereave(struct opening *o)
{
	remote_revoke_cancel(o->revoke);
	o->revoke = NULL;
	if (!o->up) {
		fail(o, "the remote was restarted; the request may have been served");
		return;
	}
	o->state = OPENED;
	o->asked = o->bereaved = true;
	wake_in(o, LOOK_MS);
}

void opening_session(struct opening *o)
{
	bool stranded = o->up && !remote_session(upstream_remote(o->up)); /* with a remote that is away */

	if (o->state == SESSION)
		go(o);
	else if (o->state == UP && stranded)
		again(o);
	else if (o->state >= OPENED && stranded)
		opening_give_up(o);
}

void opening_restarted(struct opening *o, const struct remote *r)
{
	if (o->state >= OPENED && (!o->up || upstream_remote(o->up) == r))
		bereave(o);
}

void opening_give_up(struct opening *o)
{
	fail(o, "the remote is away");
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
	LIST_INSERT_HEAD(list, o, link);
	o->state = FIRST;
	read_more(o, true);
	event_base_update_cache_time(house->base); /* stands still while the loop works: 1 ms might be over already */
	wake_in(o, house->config->clear && is_tls_port(dst->port) ? FIRST_TLS_MS : FIRST_MS);
}

struct opening *opening_next(const struct opening *o)
{
	return LIST_NEXT(o, link);
}
