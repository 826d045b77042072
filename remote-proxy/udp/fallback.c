/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * The gateway decides which way packets travel, in both directions, and says so by CARRIER on its
 * control connection; the word holds for as long as that connection lives. While a new connection
 * replaces an old one there may be several: the one that spoke up last carries, and when it goes,
 * the one before it does. So a connection that is made, and given up again before the gateway uses
 * it, changes nothing.
 *
 * PACKETs are taken from any of them at any time: whoever sends one is the user, and what is in it
 * is looked at behind the tunnel like what came as a datagram. */
#include "fallback.h"

#include <stdlib.h>

#include "config.h"
#include "counter.h"
#include "log.h"
#include "sock.h"

#define CONTROLS 4 /* of a user, at a time */

struct fallback_user { /* a user */
	struct tunnel *tunnel; /* NULL: away */
	struct {
		struct control *control;
		bool by_stream;
	} spoke[CONTROLS]; /* the last one first */
	unsigned n;
};

struct fallback {
	struct fallback_user u[CONFIG_USERS]; /* by user_index() */
	const char *congestion;
	struct log_limit said; /* a gateway may say one and the other thousands of times */
};

static bool fallback_offer(void *arg, const uint8_t *packet, size_t len)
{
	struct fallback_user *s = arg;

	return s->n && control_offer(s->spoke[0].control, WIRE_PACKET, packet, len);
}

static bool by_stream(const struct fallback_user *s)
{
	return s->n && s->spoke[0].by_stream;
}

static void carry(struct fallback_user *s)
{
	if (s->tunnel)
		tunnel_carry(s->tunnel, by_stream(s));
}

static void fallback_forget(struct fallback_user *s, const struct control *control)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < s->n; i++)
		if (s->spoke[i].control != control)
			s->spoke[kept++] = s->spoke[i];
	s->n = kept;
}

static void heed(struct fallback *f, struct fallback_user *s, const struct user *user, struct control *control, bool stream)
{
	bool was = by_stream(s);

	fallback_forget(s, control);
	s->n = s->n < CONTROLS ? s->n + 1 : CONTROLS;
	for (unsigned i = s->n - 1; i > 0; i--)
		s->spoke[i] = s->spoke[i - 1];
	s->spoke[0].control = control;
	s->spoke[0].by_stream = stream;
	carry(s);
	sock_congestion(control_fd(control), stream ? f->congestion : SOCK_WAITING);
	if (stream != was)
		log_limited(&f->said, "user %s: %s", user_config(user)->name,
			    stream ? "UDP does not get through, the tunnel goes through the "
				     "control connection" :
				     "UDP gets through again, and carries the tunnel");
}

static struct fallback_user *user_of(struct fallback *f, const struct user *user)
{
	return &f->u[user_index(user)];
}

void fallback_tunnel(struct fallback *f, const struct user *user, struct tunnel *tunnel)
{
	struct fallback_user *s = user_of(f, user);

	s->tunnel = tunnel;
	if (!tunnel)
		return;
	tunnel_stream_way(tunnel, fallback_offer, s);
	carry(s);
}

void fallback_frame(struct fallback *f, const struct user *user, struct control *control, uint8_t type, const uint8_t *value, size_t len)
{
	struct fallback_user *s = user_of(f, user);
	enum wire_carrier fallback;

	if (!s->tunnel)
		return;
	if (type == WIRE_PACKET)
		tunnel_stream_got(s->tunnel, value, len);
	else if (wire_get_carrier(&fallback, value, len) > 0)
		heed(f, s, user, control, fallback == WIRE_BY_STREAM);
}

void fallback_room(struct fallback *f, const struct user *user, const struct control *control)
{
	struct fallback_user *s = user_of(f, user);

	if (s->tunnel && s->n && s->spoke[0].control == control)
		tunnel_stream_room(s->tunnel);
}

void fallback_left(struct fallback *f, const struct user *user, const struct control *control)
{
	struct fallback_user *s = user_of(f, user);

	fallback_forget(s, control);
	carry(s);
}

struct fallback *fallback_new(const char *congestion)
{
	struct fallback *f = calloc(1, sizeof(*f));

	if (f)
		f->congestion = congestion;
	return f;
}

void fallback_free(struct fallback *f)
{
	free(f);
}
