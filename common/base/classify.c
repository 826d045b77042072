/* SPDX-License-Identifier: BSD-2-Clause */
/* classify: what an inner packet is, and what it deserves: R (urgent), F (fluent) or B (bulk).
 *
 * Theory of operation
 *
 * Headers. inner_parse() reads what routing would: the IP header, the chain of IPv6 extension
 * headers, the ports. A packet whose own length is not the length of what came is refused, so
 * nobody behind has to think about trailing or missing bytes.
 *
 * Classes. The question is what a lost or late packet costs.
 * - R (redundant): loss hurts at once and a copy costs next to nothing. ICMP, DNS, NTP; small
 * packets; the first packets of any flow (all handshakes); flows that are slow; what the sender
 * marked as urgent (EF, CS5 to CS7, AF4x).
 * - F (fluent): 1 to 10 Mbit/s, a video call or a game streamed: one good line, and resends.
 * - B (bulk): what is faster, and would fill any line it is given.
 * A small packet stays R in a fast flow (acknowledgements), until there are so many of them that
 * they are the load.
 *
 * A flow's rate is that of its last interval or of the present one so far, whichever is more: a
 * flow that begins with full force is B after some ten packets and not after an interval. The table
 * is of sets of four; a newcomer takes the place that was not used for longest, so it is never
 * full, and under a flood of flows each is new: R for its first packets. This is not the
 * last word: demote_costly() in tunnel_out.c makes F of what is urgent only because its sender says
 * so, and takes too much of the best path. */
#include "classify.h"

#include <string.h>

enum { ICMP = 1, TCP = 6, UDP = 17, DCCP = 33, ICMP6 = 58, SCTP = 132, UDPLITE = 136 };
enum { HOP = 0, ROUTING = 43, FRAGMENT = 44, AUTH = 51, DEST = 60, MOBILITY = 135 };
#define EXTENSIONS_MAX 8

static uint16_t classify_get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

/* --- headers --- */

static uint64_t mix(uint64_t h, uint64_t v)
{
	h = (h ^ v) * 0x9e3779b97f4a7c15u;
	return h ^ h >> 32;
}

static uint32_t hash_flow(const struct inner *in)
{
	uint64_t w[4], h;

	memcpy(w, in->src.ip, 16);
	memcpy(w + 2, in->dst.ip, 16);
	h = mix((uint64_t)in->proto << 32 | (uint32_t)in->src.port << 16 | in->dst.port, w[0]);
	h = mix(mix(mix(h, w[1]), w[2]), w[3]);
	return (uint32_t)h ? (uint32_t)h : 1;
}

static bool has_ports(uint8_t proto)
{
	return proto == TCP || proto == UDP || proto == DCCP || proto == SCTP || proto == UDPLITE;
}

/* `rest` is what follows the last header; `pieces`: the packet was cut, and this is one of several
 * pieces. */
static void finish(struct inner *in, const uint8_t *rest, size_t len, bool pieces)
{
	bool ports = has_ports(in->proto) && !in->fragment && len >= 4;

	in->src.port = in->dst.port = 0;
	if (pieces) /* later pieces have no ports, and belong together with the first */
		in->flow = hash_flow(in);
	if (ports) {
		in->src.port = classify_get16(rest);
		in->dst.port = classify_get16(rest + 2);
	}
	if (!pieces)
		in->flow = hash_flow(in);
}

static int parse_v4(struct inner *in, const uint8_t *p, size_t len)
{
	size_t head = (size_t)(p[0] & 15) * 4;
	uint16_t cut;

	if (len < 20 || head < 20 || head > len || classify_get16(p + 2) != len)
		return -1;
	in->proto = p[9];
	in->tos = p[1];
	addr_from_bytes(&in->src, p + 12, 4, 0);
	addr_from_bytes(&in->dst, p + 16, 4, 0);
	cut = classify_get16(p + 6) & 0x3fff; /* more fragments, offset */
	in->fragment = cut & 0x1fff;
	finish(in, p + head, len - head, cut);
	return 0;
}

/* Length of the extension header at p, 0: it is none; -1: it does not fit. */
static ssize_t extension_len(uint8_t type, const uint8_t *p, size_t len)
{
	size_t n;

	if (type != HOP && type != ROUTING && type != FRAGMENT && type != AUTH && type != DEST && type != MOBILITY)
		return 0;
	if (len < 8)
		return -1;
	n = type == FRAGMENT ? 8 : type == AUTH ? ((size_t)p[1] + 2) * 4 : ((size_t)p[1] + 1) * 8;
	return n > len ? -1 : (ssize_t)n;
}

static int parse_v6(struct inner *in, const uint8_t *p, size_t len)
{
	size_t at = 40;
	bool pieces = false;
	ssize_t n;

	if (len < 40 || (size_t)classify_get16(p + 4) + 40 != len)
		return -1;
	in->tos = (uint8_t)(p[0] << 4 | p[1] >> 4);
	in->proto = p[6];
	in->fragment = false;
	addr_from_bytes(&in->src, p + 8, 16, 0);
	addr_from_bytes(&in->dst, p + 24, 16, 0);
	for (unsigned i = 0; !in->fragment; i++) {
		n = extension_len(in->proto, p + at, len - at);
		if (n == 0)
			break;
		if (n < 0 || i == EXTENSIONS_MAX)
			return -1;
		if (in->proto == FRAGMENT) {
			pieces = classify_get16(p + at + 2) & 0xfff9;
			in->fragment = classify_get16(p + at + 2) & 0xfff8;
		}
		in->proto = p[at];
		at += (size_t)n;
	}
	finish(in, p + at, len - at, pieces);
	return 0;
}

int inner_parse(struct inner *in, const uint8_t *packet, size_t len)
{
	if (len < 20)
		return -1;
	switch (packet[0] >> 4) {
	case 4:
		return parse_v4(in, packet, len);
	case 6:
		return parse_v6(in, packet, len);
	}
	return -1;
}

static void set_tos_v4(uint8_t *p, uint8_t tos)
{
	/* RFC 1624: ~(~sum + ~old + new), of the 16-bit word that holds it */
	uint32_t sum = (uint16_t)~classify_get16(p + 10) + (uint32_t)(uint16_t)~classify_get16(p);

	p[1] = tos;
	sum += classify_get16(p);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (uint16_t)~sum;
	p[10] = (uint8_t)(sum >> 8);
	p[11] = (uint8_t)sum;
}

void inner_set_tos(uint8_t *packet, uint8_t tos)
{
	if (packet[0] >> 4 == 4) {
		set_tos_v4(packet, tos);
		return;
	}
	packet[0] = (uint8_t)((packet[0] & 0xf0) | tos >> 4);
	packet[1] = (uint8_t)((packet[1] & 0x0f) | tos << 4);
}

enum { NOT_ECT = 0, ECT_1 = 1, ECT_0 = 2, CE = 3 };

bool inner_take_ecn(uint8_t *packet, uint8_t outer_tos)
{
	uint8_t tos = packet[0] >> 4 == 4 ? packet[1] : (uint8_t)(packet[0] << 4 | packet[1] >> 4);
	uint8_t in = tos & 3, out = outer_tos & 3;

	if (out == CE && in == NOT_ECT)
		return false;
	if ((out == CE && in != CE) || (out == ECT_1 && in == ECT_0))
		inner_set_tos(packet, (tos & 0xfc) | out);
	return true;
}

/* --- classes --- */

#define WAYS 4
#define INTERVAL_MS 200
#define LEAST_MS 100	     /* what a rate is measured over at least */
#define FORGET_MS 30000	     /* silent for so long: a new flow */
#define FIRST_PACKETS 16
#define SMALL 256
#define R_RATE (1000000 / 8) /* bytes a second */
#define R_PPS 300
#define SMALL_PPS 1500 /* small ones, but so many that they are the load */
#define F_RATE (10000000 / 8)

static struct classify_flow *classify_find(struct classify *c, uint32_t key, uint64_t now)
{
	struct classify_flow *set = &c->flow[(key % (CLASSIFY_FLOWS / WAYS)) * WAYS], *oldest = set;

	for (unsigned i = 0; i < WAYS; i++) {
		if (set[i].key == key && now - set[i].seen_ms < FORGET_MS)
			return &set[i];
		if (set[i].key == key || (oldest->key != key && set[i].seen_ms < oldest->seen_ms))
			oldest = &set[i];
	}
	*oldest = (struct classify_flow){ .key = key, .since_ms = now };
	return oldest;
}

static uint32_t a_second(uint64_t n, uint64_t ms)
{
	n = n * 1000 / (ms < LEAST_MS ? LEAST_MS : ms);
	return n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

static void classify_note(struct classify_flow *f, size_t len, uint64_t now)
{
	uint64_t past = now - f->since_ms;

	if (past >= INTERVAL_MS) {
		f->rate = a_second(f->bytes, past);
		f->pps = a_second(f->count, past);
		f->bytes = f->count = 0;
		f->since_ms = now;
	}
	f->bytes += (uint32_t)len;
	f->count++;
	f->packets += f->packets < UINT32_MAX;
	f->seen_ms = now;
}

static bool is_urgent(const struct inner *in)
{
	uint8_t dscp = in->tos >> 2;

	return dscp == 46 || dscp == 40 || dscp == 48 || dscp == 56 || dscp == 34 || dscp == 36 || dscp == 38;
}

static bool is_service(const struct inner *in)
{
	uint16_t a = in->src.port, b = in->dst.port;

	return in->proto == ICMP || in->proto == ICMP6 ||
	       (in->proto == UDP && (a == 53 || b == 53 || a == 123 || b == 123));
}

static uint32_t more(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

enum wire_class classify_packet(struct classify *c, const struct inner *in, size_t len, uint64_t now_ms, struct classify_flow **flow)
{
	struct classify_flow *f = classify_find(c, in->flow, now_ms);
	uint32_t rate, pps;

	*flow = f;
	classify_note(f, len, now_ms);
	rate = more(f->rate, a_second(f->bytes, now_ms - f->since_ms));
	pps = more(f->pps, a_second(f->count, now_ms - f->since_ms));
	if (f->packets <= FIRST_PACKETS || is_urgent(in) || (rate < R_RATE && pps < R_PPS))
		return WIRE_CLASS_R;
	if ((is_service(in) || len <= SMALL) && pps < SMALL_PPS)
		return WIRE_CLASS_R;
	return rate < F_RATE ? WIRE_CLASS_F : WIRE_CLASS_B;
}
