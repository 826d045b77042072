/* SPDX-License-Identifier: BSD-2-Clause */
/* Both ends of a tunnel under a clock of the input's: inner packets, datagrams sealed by a peer who
 * has the keys and says anything, copies, bent ones, silence, new keys. What comes out is an inner
 * packet, and at the end nothing is held. */
#include <event2/event.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "classify.h"
#include "fuzz.h"
#include "session.h"
#include "slab.h"
#include "tunnel.h"

#define LINES 2
#define RING 256
#define STEP_US 1000

static uint64_t now_us = 1000000000;

/* The fuzzer's own time is the real one. */
int clock_gettime(clockid_t id, struct timespec *ts)
{
	if (id == CLOCK_REALTIME)
		return (int)syscall(SYS_clock_gettime, id, ts);
	ts->tv_sec = (time_t)(now_us / 1000000);
	ts->tv_nsec = (long)(now_us % 1000000) * 1000;
	return 0;
}

struct dgram {
	uint16_t len;
	uint8_t line, dir, data[WIRE_DG_MAX];
};

struct udp {
	struct world *w;
	int line;
};

struct world {
	struct event_base *base;
	struct seal *seal;
	struct tunnel *end[2]; /* local, remote */
	struct udp udp[LINES + 1];
	bool dead[LINES][2], bend, full;
	unsigned offers;
	struct dgram ring[RING];
	unsigned head, tail;
	uint32_t index;
};

/* --- the network: no delay, as many as there is room for --- */

static void put(struct world *w, unsigned line, unsigned dir, const void *data, size_t len)
{
	struct dgram *d = &w->ring[w->head % RING];

	MUST(len <= WIRE_DG_MAX);
	if (line >= LINES || w->dead[line][dir] || w->head - w->tail == RING)
		return;
	*d = (struct dgram){ .len = (uint16_t)len, .line = (uint8_t)line, .dir = (uint8_t)dir };
	memcpy(d->data, data, len);
	w->head++;
}

void udp_send(struct udp *u, const struct addr *to, uint8_t tos, const void *data, size_t len)
{
	(void)to, (void)tos;
	put(u->w, (unsigned)u->line, 0, data, len);
}

void udp_send_from(struct udp *u, const struct addr *from, const struct addr *to, uint8_t tos, const void *data, size_t len)
{
	(void)from, (void)tos;
	put(u->w, to->port - 1000u, 1, data, len);
}

int udp_flush(struct udp *u)
{
	(void)u;
	return 0;
}

static struct addr address(const char *text, unsigned port)
{
	struct addr a;

	MUST(!addr_parse(&a, text, (uint16_t)port));
	return a;
}

static void arrive(struct world *w, unsigned line, unsigned dir, const uint8_t *data, size_t len, uint8_t tos)
{
	uint8_t *exact = malloc(64 + len);
	struct udp_got got = { .from = address("192.0.2.1", 1000 + line), .to = address("192.0.2.9", 7200), .tos = tos,
			       .data = exact + 64, .len = len };

	memcpy(got.data, data, len);
	assoc_input(tunnel_assoc(w->end[!dir]), &w->udp[dir ? line : LINES], &got);
	free(exact);
}

static void step(struct world *w, uint64_t us)
{
	now_us += us;
	for (unsigned end = w->head; w->tail != end && (int)(end - w->tail) > 0; w->tail++) {
		struct dgram d = w->ring[w->tail % RING];

		arrive(w, d.line, d.dir, d.data, d.len, 0);
	}
	event_base_loop(w->base, EVLOOP_NONBLOCK);
}

/* --- the ends --- */

static void on_deliver(void *arg, uint8_t *packet, size_t len)
{
	struct inner in;

	(void)arg;
	MUST(!inner_parse(&in, packet, len));
	memset(packet - 16, 0xee, 16);
}

static void on_mtu(void *arg, unsigned mtu)
{
	(void)arg;
	MUST(mtu >= 1280 && mtu <= PACKET_INNER_MAX);
}

/* The stream takes it, or does not; what it took is there at once. */
static bool on_offer(void *arg, const uint8_t *packet, size_t len)
{
	struct world *w = arg;
	unsigned side = w->offers++ & 1;

	if (w->full)
		return false;
	MUST(len <= PACKET_INNER_MAX);
	tunnel_stream_got(w->end[side], packet, len);
	return true;
}

static void by_stream(struct world *w, unsigned side, uint8_t how, const uint8_t *data, size_t len)
{
	uint8_t *exact = malloc(len ? len : 1);

	memcpy(exact, data, len);
	w->full = how & 128;
	if (how & 8)
		tunnel_carry(w->end[side], how & 64);
	if (how & 16)
		tunnel_stream_got(w->end[side], exact, len);
	if (how & 32)
		tunnel_stream_room(w->end[side]);
	free(exact);
}

static void rekey(struct world *w)
{
	uint8_t sid[WIRE_SID] = { 1 }, exported[32] = { 2 };
	struct session *s;

	sid[1] = exported[1] = (uint8_t)++w->index;
	s = session_new(sid, SEAL_CHACHA20_POLY1305, exported);
	for (unsigned i = 0; i < 2; i++)
		assoc_rekey(tunnel_assoc(w->end[!i]), s, w->index);
	session_put(s);
}

static void begin(struct world *w, uint8_t options)
{
	static const struct tunnel_ops ops = { on_deliver, NULL, on_mtu };
	struct tunnel_config config = { .deadline_ms = 150, .aggregate = options & 1, .fec = options & 2 ? TUNNEL_FEC_AUTO : TUNNEL_FEC_OFF,
					.redundancy = options & 4 ? TUNNEL_NEVER : options & 8 ? TUNNEL_ALWAYS : TUNNEL_AUTO };

	w->base = event_base_new();
	w->seal = seal_new();
	for (int i = 0; i <= LINES; i++)
		w->udp[i] = (struct udp){ w, i };
	w->end[0] = tunnel_new(w->base, w->seal, ASSOC_LOCAL, &config, &ops, w);
	w->end[1] = tunnel_new(w->base, w->seal, ASSOC_REMOTE, &config, &ops, w);
	for (unsigned i = 0; i < 2; i++)
		tunnel_stream_way(w->end[i], on_offer, w);
	rekey(w);
	for (unsigned i = 0; i < LINES; i++)
		assoc_set_path(tunnel_assoc(w->end[0]), i, &(struct assoc_path){ .udp = &w->udp[i], .keepalive_s = 20 });
	for (unsigned i = 0; i < 40; i++)
		step(w, 10000);
}

static void end(struct world *w)
{
	for (unsigned i = 0; i < 2; i++)
		tunnel_free(w->end[i]);
	seal_free(w->seal);
	event_base_free(w->base);
	free(w);
}

/* --- what the input may do --- */

static void inner(struct world *w, unsigned side, const uint8_t *data, size_t len, uint8_t flow, bool raw)
{
	uint8_t buf[16 + 2048 + 16] = { 0 }, *p = buf + 16;

	len = len > 2048 ? 2048 : len;
	memcpy(p, data, len);
	if (!raw) {
		len = 28 + flow * 5u;
		memcpy(p, (uint8_t[]){ 0x45, 0, (uint8_t)(len >> 8), (uint8_t)len, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 40, flow & 3 }, 22);
	}
	tunnel_send(w->end[side], p, len);
	tunnel_send_end(w->end[side]);
}

/* The peer has the keys, and is not honest. */
static void sealed(struct world *w, unsigned side, uint8_t how, const uint8_t *data, size_t len)
{
	static const enum wire_dgram_type types[] = { WIRE_DG_CONTROL, WIRE_DG_DATA, WIRE_DG_REPAIR, WIRE_DG_FRAGMENT };
	enum wire_dgram_type type = types[how & 3];
	uint8_t buf[WIRE_DG_MAX] = { 0 };
	uint64_t seq;

	len = len > WIRE_DG_MAX - WIRE_DG_OVERHEAD ? WIRE_DG_MAX - WIRE_DG_OVERHEAD : len;
	memcpy(buf + WIRE_DG_HDR, data, len);
	for (unsigned skip = how >> 4 & 7; skip; skip--) /* as if lost */
		assoc_seal(tunnel_assoc(w->end[side]), type, how >> 2 & 3, (uint8_t[WIRE_DG_MAX]){ 0 }, len, &seq);
	if (assoc_seal(tunnel_assoc(w->end[side]), type, how >> 2 & 3, buf, len, &seq))
		return;
	if (w->bend)
		buf[how % (len + WIRE_DG_OVERHEAD)] ^= 1;
	w->bend = false;
	arrive(w, how >> 7, side, buf, len + WIRE_DG_OVERHEAD, how >> 6 & 3);
}

static void deed(struct world *w, uint8_t what, uint8_t how, const uint8_t *data, size_t len)
{
	unsigned side = what >> 7, line = how % LINES;

	switch (what & 15) {
	case 0: case 1: case 2: case 3: case 4:
		sealed(w, side, how, data, len);
		break;
	case 5:
		inner(w, side, data, len, how, true);
		break;
	case 6: case 7:
		for (unsigned i = 0; i < 1 + len % 16; i++)
			inner(w, side, data, 0, how, false);
		break;
	case 8: case 9:
		for (unsigned i = 0; i <= how % 32u; i++)
			step(w, STEP_US);
		break;
	case 10:
		step(w, how * 10000u);
		break;
	case 11:
		arrive(w, line, side, data, len > WIRE_DG_MAX + 8 ? WIRE_DG_MAX + 8 : len, how);
		break;
	case 12: /* one that was here before, also to the other side */
		arrive(w, line, side, w->ring[how].data, w->ring[how].len, 0);
		break;
	case 13:
		w->dead[line][side] = how & 2;
		w->bend = how & 4;
		break;
	case 14:
		rekey(w);
		break;
	default:
		assoc_set_use(tunnel_assoc(w->end[0]), line, (enum wire_use)(how >> 1 & 3));
		by_stream(w, side, how, data, len);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world *w = calloc(1, sizeof(*w));

	begin(w, size ? data[0] : 0);
	for (size_t i = 1; i + 3 <= size;) {
		size_t len = data[i + 2] * 4u, left = size - i - 3;

		len = len < left ? len : left;
		deed(w, data[i], data[i + 1], data + i + 3, len);
		i += 3 + len;
	}
	for (unsigned i = 0; i < 20; i++)
		step(w, 20000);
	end(w);
	return 0;
}
