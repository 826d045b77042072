/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * A control connection lives through four states, in this order:
 *
 *   KNOCK      local only: the socket may still be connecting; then the 34 bytes of
 *              the knock leave, perhaps in pieces.
 *   HANDSHAKE  TLS 1.3. Nothing is known about the peer yet.
 *   UP         `up` was called with the peer's pin. Frames go both ways.
 *   DOWN       `down` was called, once, and nothing else will be.
 *
 * KNOCK and HANDSHAKE together have ten seconds. UP has no clock of its own: whether
 * the peer is alive is asked with PING by the owner.
 *
 * One handler serves both events of the socket. It carries the state as far as it
 * goes, then says in one place (control_rearm) what it waits for. Input is one buffer
 * with room for the longest frame, so a peer cannot make us keep more. Output
 * is a queue of 64 KiB; a frame that does not fit is refused whole and the owner
 * gives the connection up.
 *
 * What is offered, not sent (packets of the tunnel), must not delay the rest. So it is taken a
 * BURST at a time, and the next one only when the socket has said that it is writable, which it
 * says while less than another BURST waits in the kernel. A PING finds two of them before it at
 * most.
 *
 * The owner may free the control inside any callback: while the handler runs (`busy`)
 * free only marks and silences it, and the handler sweeps when it is done. */
#include "control.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "session.h"
#include "sock.h"
#include "timer.h"

#define QUEUE 65536
#define HANDSHAKE_S 10
#define READS_A_TURN 16 /* then other connections have theirs */
#define INPUT 4096
#define BURST 16384

enum state { KNOCK, HANDSHAKE, UP, DOWN };

struct control {
	enum state state;
	int fd;
	struct tls *tls;
	const struct control_ops *ops;
	void *arg;
	struct event *readable, *writable, *timer;
	bool busy, gone;	/* inside the handler; freed meanwhile */
	bool connecting;	/* KNOCK: not yet known to be connected */
	bool want_write;	/* TLS asked for it */
	bool want_room;		/* something was not taken */
	size_t offered;		/* bytes taken since the socket was writable */
	size_t knock_sent;
	size_t in_len, out_off, out_len;
	uint8_t knock[WIRE_KNOCK_LEN];
	uint8_t in[INPUT];
	uint8_t out[QUEUE];
};

_Static_assert(INPUT >= WIRE_FRAME_HDR + WIRE_PACKET_MAX && INPUT >= WIRE_FRAME_HDR + WIRE_FRAME_MAX, "the longest frame");

static void control_event(evutil_socket_t fd, short what, void *arg);

static void control_silence(struct control *c)
{
	event_del(c->readable);
	event_del(c->writable);
	event_del(c->timer);
}

/* Frees all but the descriptor. */
static void control_sweep(struct control *c)
{
	if (c->readable)
		event_free(c->readable);
	if (c->writable)
		event_free(c->writable);
	if (c->timer)
		event_free(c->timer);
	tls_free(c->tls);
	seal_wipe(c->in, sizeof(c->in));
	free(c);
}

static void control_down(struct control *c, const char *why)
{
	if (c->state == DOWN || c->gone)
		return;
	c->state = DOWN;
	control_silence(c);
	c->ops->down(c->arg, why);
}

/* The knock leaves before TLS begins. */
static void control_knock(struct control *c)
{
	ssize_t n;
	int e;

	if (c->connecting) {
		e = sock_connect_error(c->fd);
		if (e) {
			control_down(c, strerror(e));
			return;
		}
		c->connecting = false;
	}
	n = send(c->fd, c->knock + c->knock_sent, sizeof(c->knock) - c->knock_sent, MSG_NOSIGNAL);
	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			control_down(c, strerror(errno));
		return;
	}
	c->knock_sent += (size_t)n;
	if (c->knock_sent == sizeof(c->knock))
		c->state = HANDSHAKE;
}

static void control_handshake(struct control *c)
{
	uint8_t pin[WIRE_PIN];
	int r = tls_handshake(c->tls);

	if (r == TLS_WANT_READ || r == TLS_WANT_WRITE) {
		c->want_write = r == TLS_WANT_WRITE;
		return;
	}
	if (r < 0 || tls_peer_pin(c->tls, pin) < 0) {
		control_down(c, r < 0 ? tls_error(c->tls) : "the peer has no certificate");
		return;
	}
	event_del(c->timer);
	c->state = UP;
	c->ops->up(c->arg, pin);
}

static void control_flush(struct control *c)
{
	while (c->out_off < c->out_len) {
		ssize_t n = tls_write(c->tls, c->out + c->out_off, c->out_len - c->out_off);

		if (n == TLS_WANT_WRITE || n == TLS_WANT_READ) {
			c->want_write = n == TLS_WANT_WRITE;
			return;
		}
		if (n < 0) {
			control_down(c, tls_error(c->tls));
			return;
		}
		c->out_off += (size_t)n;
	}
	c->out_off = c->out_len = 0;
}

/* The socket took what there was, and would take more. */
static void control_room(struct control *c)
{
	c->offered = 0;
	if (!c->want_room)
		return;
	c->want_room = false;
	c->ops->room(c->arg);
}

/* Hands over every whole frame in the buffer. */
static void control_frames(struct control *c)
{
	size_t off = 0, len;
	uint8_t type;
	ssize_t hdr = 0;

	while (c->state == UP && !c->gone) {
		hdr = wire_get_frame_hdr(&type, &len, c->in + off, c->in_len - off);
		if (hdr <= 0 || c->in_len - off < (size_t)hdr + len)
			break;
		off += (size_t)hdr + len;
		c->ops->frame(c->arg, type, c->in + off - len, len);
	}
	if (hdr < 0) {
		control_down(c, "a frame is too long");
		return;
	}
	c->in_len -= off;
	memmove(c->in, c->in + off, c->in_len);
}

static void control_read(struct control *c)
{
	for (int i = 0; c->state == UP && !c->gone; i++) {
		ssize_t n;

		if (i == READS_A_TURN) {
			event_active(c->readable, EV_READ, 0);
			return;
		}
		n = tls_read(c->tls, c->in + c->in_len, sizeof(c->in) - c->in_len);
		if (n == TLS_WANT_READ || n == TLS_WANT_WRITE)
			return;
		if (n < 0) {
			control_down(c, tls_error(c->tls));
			return;
		}
		c->in_len += (size_t)n;
		control_frames(c);
	}
}

static void control_rearm(struct control *c)
{
	bool write = c->state == KNOCK || c->want_write || c->out_off < c->out_len || c->want_room;

	if (c->state == DOWN)
		return;
	if (c->state == KNOCK || (c->state == HANDSHAKE && c->want_write))
		event_del(c->readable);
	else
		event_add(c->readable, NULL);
	if (write)
		event_add(c->writable, NULL);
	else
		event_del(c->writable);
}

static void control_event(evutil_socket_t fd, short what, void *arg)
{
	struct control *c = arg;

	(void)fd;
	c->busy = true;
	c->want_write = false;
	if (what & EV_TIMEOUT)
		control_down(c, "no handshake in time");
	if (c->state == KNOCK)
		control_knock(c);
	if (c->state == HANDSHAKE)
		control_handshake(c);
	if (c->state == UP && !c->gone)
		control_read(c);
	if (c->state == UP && !c->gone)
		control_flush(c);
	if (c->state == UP && !c->gone && what & EV_WRITE && !c->out_len)
		control_room(c);
	c->busy = false;
	if (c->gone)
		control_sweep(c);
	else
		control_rearm(c);
}

static bool control_events(struct control *c, struct event_base *base)
{
	c->readable = event_new(base, c->fd, EV_READ | EV_PERSIST, control_event, c);
	c->writable = event_new(base, c->fd, EV_WRITE | EV_PERSIST, control_event, c);
	c->timer = event_new(base, -1, 0, control_event, c);
	return c->readable && c->writable && c->timer && timer_in_s(c->timer, HANDSHAKE_S) == 0;
}

struct control *control_new(struct event_base *base, struct tls_ctx *ctx, int fd, const uint8_t *knock_pin,
			    const struct control_ops *ops, void *arg)
{
	struct control *c = calloc(1, sizeof(*c));
	struct wire_knock k;

	if (!c) {
		sock_close_reset(fd);
		return NULL;
	}
	c->fd = fd;
	c->ops = ops;
	c->arg = arg;
	c->state = knock_pin ? KNOCK : HANDSHAKE;
	c->connecting = true;
	if (knock_pin) {
		session_knock(&k, knock_pin);
		wire_put_knock(c->knock, &k);
	}
	sock_wait_short(fd, BURST);
	c->tls = tls_new(ctx, fd);
	if (!c->tls || !control_events(c, base)) {
		control_sweep(c);
		sock_close_reset(fd);
		return NULL;
	}
	control_rearm(c);
	return c;
}

void control_hurry(struct control *c, uint64_t ms)
{
	timer_in_ms(c->timer, ms);
}

void control_free(struct control *c)
{
	if (!c)
		return;
	sock_close_clean(control_release(c));
}

int control_release(struct control *c)
{
	int fd = c->fd;

	c->gone = true;
	if (c->state == UP)
		control_flush(c); /* the owner's last words; what the socket does not take now is lost */
	control_silence(c);
	c->state = DOWN;
	if (!c->busy)
		control_sweep(c);
	return fd;
}

static int control_put(struct control *c, enum wire_frame type, const void *value, size_t len)
{
	memmove(c->out, c->out + c->out_off, c->out_len - c->out_off);
	c->out_len -= c->out_off;
	c->out_off = 0;
	if (WIRE_FRAME_HDR + len > sizeof(c->out) - c->out_len)
		return -1;
	wire_put_frame_hdr(c->out + c->out_len, (uint8_t)type, len);
	if (len)
		memcpy(c->out + c->out_len + WIRE_FRAME_HDR, value, len);
	c->out_len += WIRE_FRAME_HDR + len;
	event_add(c->writable, NULL);
	return 0;
}

int control_send(struct control *c, enum wire_frame type, const void *value, size_t len)
{
	return c->state != UP || len > WIRE_FRAME_MAX ? -1 : control_put(c, type, value, len);
}

bool control_offer(struct control *c, enum wire_frame type, const void *value, size_t len)
{
	if (c->state != UP || len > WIRE_PACKET_MAX)
		return false;
	if (c->offered + WIRE_FRAME_HDR + len > BURST || control_put(c, type, value, len)) {
		c->want_room = true;
		event_add(c->writable, NULL);
		return false;
	}
	c->offered += WIRE_FRAME_HDR + len;
	return true;
}

int control_export(struct control *c, const uint8_t sid[WIRE_SID], uint8_t out[32])
{
	return tls_export(c->tls, sid, WIRE_SID, out);
}

int control_fd(const struct control *c)
{
	return c->fd;
}
