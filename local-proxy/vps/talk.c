/* talk: how a session is made, and how its remote is heard.
 *
 * Theory of operation. DIALLING: the lines are raced, for as long as the owner has patience. GREETING: knock, TLS, the remote's key
 * is compared, HELLO goes out; all of that and WELCOME within GREETING_MS. WELCOMED: the session's keys are derived, pings of the
 * remote are answered, other frames are the owner's. BROKEN: no connection any more. The session, if there was
 * one, stays until talk_free(), since the remote keeps it for a minute too.
 *
 * The owner pings when he wants to know whether the remote is there. Every frame is a sign of life and
 * settles what was asked before it. */
#include <errno.h>
#include <event2/event_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "dial.h"
#include "log.h"
#include "talk.h"

#define GREETING_MS 5000
#define PING "plait!?" /* and its NUL: 8 bytes, echoed */

struct talk {
	const struct talk_setup *setup;
	struct talk_ops ops;
	void *arg;
	struct dial *dial;
	struct control *control;
	struct session *session;
	struct wire_welcome welcome;
	struct event timer;
	uint64_t since_ms, heard_ms, asked_ms;
	unsigned dial_ms, rtt_ms;
	bool greeted;
};

static void hang_up(struct talk *t)
{
	event_del(&t->timer);
	dial_cancel(t->dial);
	t->dial = NULL;
	if (t->control)
		control_free(t->control);
	t->control = NULL;
}

void talk_free(struct talk *t)
{
	if (!t)
		return;
	hang_up(t);
	session_put(t->session);
	free(t);
}

static void broke(struct talk *t, const char *why)
{
	hang_up(t);
	t->ops.broke(t->arg, t, why);
}

static void time_out_in(struct talk *t, unsigned ms)
{
	struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000 };

	event_add(&t->timer, &tv);
}

/* A remote is silent to who knocks with another key than its own. */
static void greeting_failed(struct talk *t, const char *why)
{
	char text[256];

	snprintf(text, sizeof(text), "%s: is it a plait-remote, and its key (plait-remote pubkey) the one in [remote] key?", why);
	broke(t, t->greeted ? "it did not welcome us: is our key (plait-local pubkey) among its users?" : text);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct talk *t = arg;

	(void)fd;
	(void)what;
	if (t->dial)
		broke(t, "no line connects to it");
	else
		greeting_failed(t, "no answer");
}

/* --- frames --- */

static void on_control_up(void *arg, const uint8_t pin[WIRE_PIN])
{
	struct talk *t = arg;
	struct wire_hello hello = { .version = WIRE_VERSION };
	uint8_t out[WIRE_HELLO_LEN];

	if (!seal_equal(pin, t->setup->pin, WIRE_PIN)) {
		broke(t, "its key is not the one in our configuration ([remote] key)");
		return;
	}
	hello.flags = (uint8_t)((seal_has_aes() ? WIRE_F_AES : 0) | (t->setup->clear ? WIRE_F_CLEAR : 0));
	memcpy(hello.boot, t->setup->boot, sizeof(hello.boot));
	wire_put_hello(out, &hello);
	control_send(t->control, WIRE_HELLO, out, sizeof(out));
	t->greeted = true;
}

static void take_welcome(struct talk *t, const uint8_t *value, size_t len)
{
	uint8_t exported[32];

	if (t->session || !t->greeted)
		return;
	if (wire_get_welcome(&t->welcome, value, len) <= 0 || t->welcome.version != WIRE_VERSION ||
	    control_export(t->control, t->welcome.sid, exported)) {
		broke(t, "its WELCOME makes no sense to this version");
		return;
	}
	t->session = session_new(t->welcome.sid, t->welcome.aead, exported);
	seal_wipe(exported, sizeof(exported));
	event_del(&t->timer);
	t->since_ms = clock_ms();
	if (t->session)
		t->ops.welcomed(t->arg, t);
	else
		broke(t, "out of memory");
}

static void on_control_frame(void *arg, uint8_t type, const uint8_t *value, size_t len)
{
	struct talk *t = arg;

	t->heard_ms = clock_ms();
	if (type == WIRE_PONG && t->asked_ms)
		t->rtt_ms = (unsigned)(t->heard_ms - t->asked_ms);
	t->asked_ms = 0;
	if (type == WIRE_WELCOME)
		take_welcome(t, value, len);
	else if (type == WIRE_PING)
		control_send(t->control, WIRE_PONG, value, len);
	else if (type == WIRE_BYE)
		broke(t, "the remote said goodbye");
	else
		t->ops.frame(t->arg, t, type, value, len);
}

static void on_control_down(void *arg, const char *why)
{
	struct talk *t = arg;

	if (t->session)
		broke(t, why);
	else
		greeting_failed(t, why);
}

static void on_control_room(void *arg)
{
	struct talk *t = arg;

	t->ops.room(t->arg, t);
}

static void on_dialled(void *arg, int fd, const struct addr *src)
{
	static const struct control_ops ops = { .up = on_control_up, .frame = on_control_frame, .down = on_control_down, .room = on_control_room };
	struct talk *t = arg;

	t->dial = NULL;
	if (fd < 0) {
		broke(t, strerror(errno));
		return;
	}
	log_debug("control connection by line %s", links_name(t->setup->links, src));
	t->heard_ms = clock_ms();
	t->dial_ms = (unsigned)(t->heard_ms - t->since_ms);
	t->control = control_new(t->setup->base, t->setup->tls, fd, t->setup->pin, &ops, t);
	if (t->control)
		time_out_in(t, GREETING_MS);
	else
		broke(t, "out of memory");
}

struct talk *talk_new(const struct talk_setup *setup, const struct addr *targets, size_t count, unsigned patience_ms,
		      const struct talk_ops *ops, void *arg)
{
	struct talk *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->setup = setup;
	t->ops = *ops;
	t->arg = arg;
	t->since_ms = clock_ms();
	event_assign(&t->timer, setup->base, -1, 0, on_timer, t);
	t->dial = dial_start(setup->base, setup->links, targets, count, &setup->opt, on_dialled, t);
	if (!t->dial) {
		free(t);
		return NULL;
	}
	time_out_in(t, patience_ms);
	return t;
}

/* --- for its remote --- */

struct session *talk_session(const struct talk *t)
{
	return t->session;
}

const struct wire_welcome *talk_welcome(const struct talk *t)
{
	return &t->welcome;
}

bool talk_speaks(const struct talk *t)
{
	return t->session && t->control;
}

uint64_t talk_age_ms(const struct talk *t)
{
	return clock_ms() - t->since_ms;
}

void talk_send(struct talk *t, enum wire_frame type, const void *value, size_t len)
{
	if (t->control)
		control_send(t->control, type, value, len);
}

bool talk_offer(struct talk *t, enum wire_frame type, const void *value, size_t len)
{
	return t->control && control_offer(t->control, type, value, len);
}

void talk_congestion(struct talk *t, const char *name)
{
	if (t->control)
		sock_congestion(control_fd(t->control), name);
}

void talk_ping(struct talk *t)
{
	if (t->asked_ms || !talk_speaks(t))
		return;
	t->asked_ms = clock_ms();
	talk_send(t, WIRE_PING, PING, sizeof(PING));
}

void talk_forgive(struct talk *t)
{
	t->asked_ms = 0;
	t->heard_ms = clock_ms();
}

uint64_t talk_heard_ms(const struct talk *t)
{
	return t->heard_ms;
}

uint64_t talk_asked_ms(const struct talk *t)
{
	return t->asked_ms;
}

unsigned talk_rtt_ms(const struct talk *t)
{
	return t->rtt_ms;
}

unsigned talk_dial_ms(const struct talk *t)
{
	return t->dial_ms;
}
