/* SPDX-License-Identifier: BSD-2-Clause */
/* control_conn: how a session is made, and how its VPS is heard.
 *
 * Theory of operation. It goes through five states, in this order; any may go to the last:
 *
 *   DIALLING   the links are raced, for as long as the owner has patience.
 *   KNOCKING   knock and TLS; then the VPS's key is compared, and HELLO goes out.
 *   GREETING   WELCOME is awaited. KNOCKING and GREETING together have GREETING_MS.
 *   WELCOMED   the session's keys are derived, pings of the VPS are answered, other frames are
 *              the owner's. There is no timer: the owner judges.
 *   BROKEN     no connection any more. The session, if there was one, stays until
 *              control_conn_end(), since the VPS keeps it for a minute too.
 *
 * conn_enter() makes every transition, and conn_failed() says what an end means in the state it
 * met.
 *
 * The owner pings when he wants to know whether the VPS is there. Every frame is a sign of life and
 * settles what was asked before it. */
#include <errno.h>
#include <event2/event_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "control_conn.h"
#include "dial.h"
#include "log.h"
#include "timer.h"

#define GREETING_MS 5000
#define PING "plait!?" /* and its NUL: 8 bytes, echoed */

enum state { DIALLING, KNOCKING, GREETING, WELCOMED, BROKEN };

struct control_conn {
	SLIST_ENTRY(control_conn) over;
	enum state state;
	const struct control_conn_setup *setup;
	struct control_conn_ops ops;
	void *arg;
	struct dial *dial;
	struct control *control;
	struct session *session;
	struct wire_welcome welcome;
	struct event timer;
	uint64_t since_ms, heard_ms, asked_ms;
	unsigned dial_ms, rtt_ms;
};

static void conn_hang_up(struct control_conn *c)
{
	event_del(&c->timer);
	dial_cancel(c->dial);
	c->dial = NULL;
	if (c->control)
		control_free(c->control);
	c->control = NULL;
}

void control_conn_end(struct control_conn *c, struct control_conn_over *over)
{
	if (!c)
		return;
	conn_hang_up(c);
	SLIST_INSERT_HEAD(over, c, over);
}

void control_conn_sweep(struct control_conn_over *over)
{
	struct control_conn *c;

	while ((c = SLIST_FIRST(over))) {
		SLIST_REMOVE_HEAD(over, over);
		session_put(c->session);
		free(c);
	}
}

static void conn_enter(struct control_conn *c, enum state state)
{
	c->state = state;
	if (state == KNOCKING)
		timer_in_ms(&c->timer, GREETING_MS);
	else if (state != GREETING)
		event_del(&c->timer);
	if (state == WELCOMED)
		c->since_ms = clock_ms();
	else if (state == BROKEN)
		conn_hang_up(c);
}

static void conn_broke(struct control_conn *c, const char *why)
{
	conn_enter(c, BROKEN);
	c->ops.broke(c->arg, c, why);
}

/* A VPS is silent to who knocks with another key than its own. */
static void conn_failed(struct control_conn *c, const char *why)
{
	char text[256];

	if (c->state == KNOCKING) {
		snprintf(text, sizeof(text), "%s: is it a plait-remote, and its key "
			 "(plait-remote pubkey) the one in [vps] key?", why);
		why = text;
	} else if (c->state == GREETING) {
		why = "it did not welcome us: is our key (plait-local pubkey) among its users?";
	}
	conn_broke(c, why);
}

static void conn_timed_out(evutil_socket_t fd, short what, void *arg)
{
	struct control_conn *c = arg;

	(void)fd, (void)what;
	conn_failed(c, c->state == DIALLING ? "no link connects to it" : "no answer");
}

/* --- frames --- */

static void conn_up(void *arg, const uint8_t pin[WIRE_PIN])
{
	struct control_conn *c = arg;
	struct wire_hello hello = { .version = WIRE_VERSION };
	uint8_t out[WIRE_HELLO_LEN];

	if (!seal_equal(pin, c->setup->pin, WIRE_PIN)) {
		conn_broke(c, "its key is not the one in our configuration ([vps] key)");
		return;
	}
	hello.flags = (uint8_t)((seal_has_aes() ? WIRE_F_AES : 0) | (c->setup->clear ? WIRE_F_CLEAR : 0));
	memcpy(hello.boot, c->setup->boot, sizeof(hello.boot));
	wire_put_hello(out, &hello);
	control_send(c->control, WIRE_HELLO, out, sizeof(out));
	conn_enter(c, GREETING);
}

static void take_welcome(struct control_conn *c, const uint8_t *value, size_t len)
{
	uint8_t exported[32];

	if (c->state != GREETING)
		return;
	if (wire_get_welcome(&c->welcome, value, len) <= 0 || c->welcome.version != WIRE_VERSION ||
	    control_export(c->control, c->welcome.sid, exported)) {
		conn_broke(c, "its WELCOME makes no sense to this version");
		return;
	}
	c->session = session_new(c->welcome.sid, c->welcome.aead, exported);
	seal_wipe(exported, sizeof(exported));
	if (!c->session) {
		conn_broke(c, "out of memory");
		return;
	}
	conn_enter(c, WELCOMED);
	c->ops.welcomed(c->arg, c);
}

static void conn_frame(void *arg, uint8_t type, const uint8_t *value, size_t len)
{
	struct control_conn *c = arg;

	c->heard_ms = clock_ms();
	if (type == WIRE_PONG && c->asked_ms)
		c->rtt_ms = (unsigned)(c->heard_ms - c->asked_ms);
	c->asked_ms = 0;
	if (type == WIRE_WELCOME)
		take_welcome(c, value, len);
	else if (type == WIRE_PING)
		control_send(c->control, WIRE_PONG, value, len);
	else if (type == WIRE_BYE)
		conn_broke(c, "the VPS said goodbye");
	else
		c->ops.frame(c->arg, c, type, value, len);
}

static void conn_down(void *arg, const char *why)
{
	conn_failed(arg, why);
}

static void conn_room(void *arg)
{
	struct control_conn *c = arg;

	c->ops.room(c->arg, c);
}

static void conn_dialled(void *arg, int fd, const struct addr *src)
{
	static const struct control_ops ops = { .up = conn_up, .frame = conn_frame, .down = conn_down, .room = conn_room };
	struct control_conn *c = arg;

	c->dial = NULL;
	if (fd < 0) {
		conn_broke(c, strerror(errno));
		return;
	}
	log_debug("control connection by link %s", links_name(c->setup->links, src));
	c->heard_ms = clock_ms();
	c->dial_ms = (unsigned)(c->heard_ms - c->since_ms);
	c->control = control_new(c->setup->base, c->setup->tls, fd, c->setup->pin, &ops, c);
	if (c->control)
		conn_enter(c, KNOCKING);
	else
		conn_broke(c, "out of memory");
}

struct control_conn *control_conn_new(const struct control_conn_setup *setup, const struct addr *targets, size_t count, unsigned patience_ms,
		      const struct control_conn_ops *ops, void *arg)
{
	struct control_conn *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->setup = setup;
	c->ops = *ops;
	c->arg = arg;
	c->since_ms = clock_ms();
	event_assign(&c->timer, setup->base, -1, 0, conn_timed_out, c);
	c->dial = dial_start(setup->base, setup->links, targets, count, &setup->opt, conn_dialled, c);
	if (!c->dial) {
		free(c);
		return NULL;
	}
	timer_in_ms(&c->timer, patience_ms);
	return c;
}

/* --- for its VPS --- */

struct session *control_conn_session(const struct control_conn *c)
{
	return c->session;
}

const struct wire_welcome *control_conn_welcome(const struct control_conn *c)
{
	return &c->welcome;
}

bool control_conn_speaks(const struct control_conn *c)
{
	return c->state == WELCOMED;
}

uint64_t control_conn_age_ms(const struct control_conn *c)
{
	return clock_ms() - c->since_ms;
}

void control_conn_send(struct control_conn *c, enum wire_frame type, const void *value, size_t len)
{
	if (c->control)
		control_send(c->control, type, value, len);
}

bool control_conn_offer(struct control_conn *c, enum wire_frame type, const void *value, size_t len)
{
	return c->control && control_offer(c->control, type, value, len);
}

void control_conn_congestion(struct control_conn *c, const char *name)
{
	if (c->control)
		sock_congestion(control_fd(c->control), name);
}

void control_conn_ping(struct control_conn *c)
{
	if (c->asked_ms || !control_conn_speaks(c))
		return;
	c->asked_ms = clock_ms();
	control_conn_send(c, WIRE_PING, PING, sizeof(PING));
}

void control_conn_forgive(struct control_conn *c)
{
	c->asked_ms = 0;
	c->heard_ms = clock_ms();
}

uint64_t control_conn_heard_ms(const struct control_conn *c)
{
	return c->heard_ms;
}

uint64_t control_conn_asked_ms(const struct control_conn *c)
{
	return c->asked_ms;
}

unsigned control_conn_rtt_ms(const struct control_conn *c)
{
	return c->rtt_ms;
}

unsigned control_conn_dial_ms(const struct control_conn *c)
{
	return c->dial_ms;
}
