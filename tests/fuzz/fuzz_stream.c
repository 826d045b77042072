/* SPDX-License-Identifier: BSD-2-Clause */
/* The tunnel's other way, from both sides. What a peer says on the control connection after
 * WELCOME, any bytes: every frame is within its bytes, and what comes out of the tunnel is an inner
 * packet. And packets that leave by a stream that takes them when it likes: in the order that a
 * naive model says, none twice, and at the end nothing is held. */
#include <event2/event.h>
#include <stdbool.h>

#include "classify.h"
#include "fuzz.h"
#include "stream.h"
#include "tunnel.h"
#include "wire.h"

static void on_deliver(void *arg, uint8_t *packet, size_t len)
{
	unsigned *delivered = arg;
	struct inner in;

	MUST(len <= WIRE_PACKET_MAX && !inner_parse(&in, packet, len));
	memset(packet - 16, 0, 16); /* the TUN device's header */
	packet[len - 1] ^= 1;
	++*delivered;
}

static void try_frames(const uint8_t *in, size_t size)
{
	static const struct tunnel_ops ops = { .deliver = on_deliver };
	static const struct tunnel_config config = { .deadline_ms = 150 };
	static struct event_base *base;
	static struct seal *seal;
	unsigned delivered = 0, packets = 0;
	enum wire_carrier carrier;
	struct tunnel *t;
	uint8_t type;
	size_t len;

	if (!base) {
		base = event_base_new();
		seal = seal_new();
	}
	t = tunnel_new(base, seal, ASSOC_REMOTE, &config, &ops, &delivered);
	while (wire_get_frame_hdr(&type, &len, in, size) > 0 && len <= size - WIRE_FRAME_HDR) {
		MUST(len <= (type == WIRE_PACKET ? WIRE_PACKET_MAX : WIRE_FRAME_MAX));
		if (type == WIRE_PACKET) {
			tunnel_stream_got(t, in + WIRE_FRAME_HDR, len);
			packets++;
		} else if (type == WIRE_CARRIER && wire_get_carrier(&carrier, in + WIRE_FRAME_HDR, len) > 0) {
			tunnel_carry(t, carrier == WIRE_BY_STREAM);
			MUST(!tunnel_by_stream(t)); /* nobody has one */
		}
		in += WIRE_FRAME_HDR + len;
		size -= WIRE_FRAME_HDR + len;
	}
	event_base_loop(base, EVLOOP_NONBLOCK);
	MUST(delivered <= packets && tunnel_stream_moved(t) == packets);
	tunnel_free(t);
}

/* --- the queue, against lists that only grow --- */

struct model {
	struct {
		uint64_t born[4096];
		unsigned head, tail;
	} band[WIRE_CLASSES];
	unsigned n;
};

static void model_put(struct model *m, unsigned class, uint64_t now)
{
	m->band[class].born[m->band[class].tail++] = now;
	if (++m->n <= STREAM_PACKETS)
		return;
	for (class = WIRE_CLASSES - 1; m->band[class].head == m->band[class].tail; class--)
		;
	m->band[class].head++;
	m->n--;
}

/* Its class, and its number among them; -1: none. */
static int model_take(struct model *m, unsigned *class, uint64_t now)
{
	for (*class = 0; *class < WIRE_CLASSES; ++*class) {
		unsigned *head = &m->band[*class].head;

		for (; *head < m->band[*class].tail && now - m->band[*class].born[*head] >= STREAM_US; ++*head)
			m->n--;
		if (*head < m->band[*class].tail) {
			m->n--;
			return (int)(*head)++;
		}
	}
	return -1;
}

static void check_take(struct stream *s, struct model *m, uint64_t now)
{
	struct packet *p = stream_head(s, now);
	unsigned class;
	int number = model_take(m, &class, now);

	MUST(!p == (number < 0));
	if (!p)
		return;
	MUST(p->class == class && p->flow == (uint32_t)number && now - p->born_us < STREAM_US);
	stream_pop(s);
}

/* Two bits what, two bits of which class, four how many or how long. */
static void try_queue(const uint8_t *in, size_t size)
{
	static struct model m;
	uint64_t now = 1000000000;
	struct slab slab;
	struct stream s;

	memset(&m, 0, sizeof(m));
	slab_init(&slab, 4096);
	stream_init(&s, &slab);
	for (size_t i = 0; i < size && i < 250; i++) {
		unsigned class = in[i] >> 4 & 3, n = (in[i] & 15) + 1;

		if (in[i] >> 6 == 0)
			now += (uint64_t)n * n * n * 200; /* up to 0.8 s */
		for (; n && in[i] >> 6; n--) {
			struct packet *p = in[i] >> 6 == 1 ? NULL : slab_take(&slab);

			if (!p) {
				check_take(&s, &m, now);
				continue;
			}
			p->class = (uint8_t)class;
			p->flow = m.band[class].tail;
			stream_put(&s, p, now);
			model_put(&m, class, now);
		}
		MUST(s.packets == m.n && s.packets <= STREAM_PACKETS && slab.used == s.packets);
	}
	while (s.packets)
		check_take(&s, &m, now);
	MUST(!m.n && !slab.used);
	slab_end(&slab);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *in;

	if (!size)
		return 0;
	in = malloc(size);
	memcpy(in, data + 1, size - 1);
	if (data[0] & 1)
		try_frames(in, size - 1);
	else
		try_queue(in, size - 1);
	free(in);
	return 0;
}
