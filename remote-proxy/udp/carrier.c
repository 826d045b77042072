/* Theory of operation
 *
 * The gateway decides which way packets travel, in both directions, and says so by CARRIER on its control connection; the word holds for as
 * long as that connection lives. While a new connection replaces an old one there may be several: the one that
 * spoke up last carries, and when it goes, the one before it does. So a connection that is made, and given up again before the gateway
 * uses it, changes nothing.
 *
 * PACKETs are taken from any of them at any time: whoever sends one is the user, and what is in it is looked at behind the tunnel like what came
 * as a datagram. */
#include "carrier.h"

#include <stdlib.h>

#include "config.h"
#include "counter.h"
#include "log.h"
#include "sock.h"

#define CONTROLS 4 /* of a user, at a time */

struct seat { /* a user */
	struct tunnel *tunnel; /* NULL: away */
	struct {
		struct control *control;
		bool by_stream;
	} spoke[CONTROLS]; /* the last one first */
	unsigned n;
};

struct carrier {
	struct seat seat[CONFIG_USERS]; /* by user_index() */
	const char *congestion;
};

static bool on_offer(void *arg, const uint8_t *packet, size_t len)
{
	struct seat *s = arg;

	return s->n && control_offer(s->spoke[0].control, WIRE_PACKET, packet, len);
}

static bool by_stream(const struct seat *s)
{
	return s->n && s->spoke[0].by_stream;
}

static void carry(struct seat *s)
{
	if (s->tunnel)
		tunnel_carry(s->tunnel, by_stream(s));
}

static void forget(struct seat *s, const struct control *control)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < s->n; i++)
		if (s->spoke[i].control != control)
			s->spoke[kept++] = s->spoke[i];
	s->n = kept;
}

static void heed(struct carrier *c, struct seat *s, const struct user *user, struct control *control, bool stream)
{
	bool was = by_stream(s);

	forget(s, control);
	s->n = s->n < CONTROLS ? s->n + 1 : CONTROLS;
	for (unsigned i = s->n - 1; i > 0; i--)
		s->spoke[i] = s->spoke[i - 1];
	s->spoke[0].control = control;
	s->spoke[0].by_stream = stream;
	carry(s);
	sock_congestion(control_fd(control), stream ? c->congestion : SOCK_WAITING);
	if (stream != was)
		log_info("user %s: %s", user_config(user)->name,
			 stream ? "UDP does not get through, the tunnel goes through the control connection" :
				  "UDP gets through again, and carries the tunnel");
}

static struct seat *seat_of(struct carrier *c, const struct user *user)
{
	return &c->seat[user_index(user)];
}

void carrier_tunnel(struct carrier *c, const struct user *user, struct tunnel *tunnel)
{
	struct seat *s = seat_of(c, user);

	s->tunnel = tunnel;
	if (!tunnel)
		return;
	tunnel_stream_way(tunnel, on_offer, s);
	carry(s);
}

void carrier_frame(struct carrier *c, const struct user *user, struct control *control, uint8_t type, const uint8_t *value, size_t len)
{
	struct seat *s = seat_of(c, user);
	enum wire_carrier carrier;

	if (!s->tunnel)
		return;
	if (type == WIRE_PACKET)
		tunnel_stream_got(s->tunnel, value, len);
	else if (wire_get_carrier(&carrier, value, len) > 0)
		heed(c, s, user, control, carrier == WIRE_BY_STREAM);
}

void carrier_room(struct carrier *c, const struct user *user, const struct control *control)
{
	struct seat *s = seat_of(c, user);

	if (s->tunnel && s->n && s->spoke[0].control == control)
		tunnel_stream_room(s->tunnel);
}

void carrier_left(struct carrier *c, const struct user *user, const struct control *control)
{
	struct seat *s = seat_of(c, user);

	forget(s, control);
	carry(s);
}

struct carrier *carrier_new(const char *congestion)
{
	struct carrier *c = calloc(1, sizeof(*c));

	if (c)
		c->congestion = congestion;
	return c;
}

void carrier_free(struct carrier *c)
{
	free(c);
}
