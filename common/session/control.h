/* SPDX-License-Identifier: BSD-2-Clause */
/* control: the TLS connection that a local keeps to its remote, as frames. See control.c for the
 * theory. */
#ifndef PLAIT_CONTROL_H
#define PLAIT_CONTROL_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tls.h"
#include "wire.h"

struct control;

/* Callbacks; none of them may be called from inside control_new/send/free, and a control may be
 * freed from inside any of them. */
struct control_ops {
	/* The handshake is done and the peer is who pin says; compare it, then export keys or
	 * free. */
	void (*up)(void *arg, const uint8_t pin[WIRE_PIN]);
	void (*frame)(void *arg, uint8_t type, const uint8_t *value, size_t len);
	/* The connection is over: why is one clause for the log. Nothing comes after it; free
	 * it. */
	void (*down)(void *arg, const char *why);
	/* control_offer() refused something, and would take it now. NULL: nothing is ever
	 * offered. */
	void (*room)(void *arg);
};

/* fd: connected (remote: the knock already read) or still connecting (local). Local passes the
 * remote's pin and the knock is sent first; remote passes NULL. Owns fd from now on, also on
 * failure. NULL: no memory. The handshake has 10 s. */
struct control *control_new(struct event_base *base, struct tls_ctx *ctx, int fd, const uint8_t *knock_pin,
			    const struct control_ops *ops, void *arg);
/* Before the loop runs again: the handshake has only these ms, because some of its time has passed
 * already. */
void control_hurry(struct control *c, uint64_t ms);
void control_free(struct control *c); /* BYE is the caller's to send before; closes with what is queued flushed */

/* Queues a frame; -1 when more than 64 KiB wait already (the peer does not read): the caller should
 * give up on it. */
int control_send(struct control *c, enum wire_frame type, const void *value, size_t len);
/* The same for what may be left out: taken only when little waits before it, so that what must be
 * sent never waits long behind it. False: not now, room() tells. */
bool control_offer(struct control *c, enum wire_frame type, const void *value, size_t len);
int control_export(struct control *c, const uint8_t sid[WIRE_SID], uint8_t out[32]);
int control_fd(const struct control *c);
/* Remote: hand the fd back and free the rest, to let a stranger hang in silence. */
int control_release(struct control *c);

#endif
