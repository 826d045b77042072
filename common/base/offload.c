/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * Linux lets a device take many segments of one flow as one packet: the headers once, with the
 * lengths of the whole, then all the payload. The virtio header tells the length of a segment, and
 * that the checksum field holds only the sum of the pseudo-header (with the length of the whole).
 *
 * Cutting: each segment gets the headers, its own lengths, its own IPv4 number (counted up), for
 * TCP its own sequence number and those flags that belong to the first or the last, and a complete
 * checksum. Its pseudo-header's sum is that of the whole with the length exchanged, so addresses
 * hidden in extension headers need not be understood.
 *
 * Putting together is the reverse, for UDP. The kernel will compute the checksums anew when it cuts
 * the packet, so a datagram whose checksum is wrong, or that has none, must stay alone: nothing may
 * be repaired on the way. Datagrams join only when cutting gives back what went in; of IPv4's
 * numbers that is asked only where they mean something, that is without DF. */
#include <string.h>

#include "offload.h"

#define IP4_HDR 20
#define IP6_HDR 40
#define UDP_HDR 8
#define TCP_HDR 20
#define PROTO_TCP 6
#define PROTO_UDP 17
#define PACKET_MOST 65535

#define HDR_CHECKSUM 1 /* flags */
#define GSO_TCP4 1     /* gso_type */
#define GSO_TCP6 4
#define GSO_UDP 5
#define GSO_ECN 0x80

#define TCP_CWR 0x80
#define TCP_FIN_PSH 0x09

static uint16_t offload_get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)offload_get16(p) << 16 | offload_get16(p + 2);
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v & 0xffff);
}

/* --- the virtio header: in this machine's byte order --- */

static uint16_t native16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

void offload_get(struct offload *o, const uint8_t hdr[OFFLOAD_HDR])
{
	uint8_t type = hdr[1] & (uint8_t)~GSO_ECN;

	memset(o, 0, sizeof(*o));
	o->kind = type == 0 ? OFFLOAD_NONE : type == GSO_UDP ? OFFLOAD_UDP : type == GSO_TCP4 || type == GSO_TCP6 ? OFFLOAD_TCP : OFFLOAD_OTHER;
	o->v6 = type == GSO_TCP6;
	o->checksum = hdr[0] & HDR_CHECKSUM;
	o->segment = native16(hdr + 4);
	o->start = native16(hdr + 6);
	o->offset = native16(hdr + 8);
}

void offload_put(uint8_t hdr[OFFLOAD_HDR], const struct offload *o, uint16_t headers)
{
	memset(hdr, 0, OFFLOAD_HDR);
	if (o->checksum) {
		hdr[0] = HDR_CHECKSUM;
		memcpy(hdr + 6, &o->start, 2);
		memcpy(hdr + 8, &o->offset, 2);
	}
	if (o->kind == OFFLOAD_NONE)
		return;
	hdr[1] = o->kind == OFFLOAD_UDP ? GSO_UDP : o->v6 ? GSO_TCP6 : GSO_TCP4;
	memcpy(hdr + 2, &headers, 2);
	memcpy(hdr + 4, &o->segment, 2);
}

/* --- sums --- */

static uint32_t fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint32_t)((sum & 0xffff) + (sum >> 16));
}

/* The sum does not care for the byte order as long as all of it has the same: taken natively,
 * turned round at the end. */
uint32_t offload_sum(const uint8_t *data, size_t len, uint32_t sum)
{
	static const union { uint8_t bytes[2]; uint16_t word; } one = { { 0, 1 } };
	uint64_t total = 0, halves = 0, eight;
	uint8_t tail[8] = { 0 };
	uint32_t folded;

	for (; len >= 8; len -= 8, data += 8) {
		memcpy(&eight, data, 8);
		total += (uint32_t)eight;
		halves += eight >> 32;
	}
	memcpy(tail, data, len);
	memcpy(&eight, tail, 8);
	folded = fold(total + halves + (uint32_t)eight + (eight >> 32));
	if (one.word != 1)
		folded = (folded & 0xff) << 8 | folded >> 8;
	return fold((uint64_t)folded + sum);
}

static uint32_t pseudo_sum(const uint8_t *packet, uint8_t proto, size_t len)
{
	bool v6 = packet[0] >> 4 == 6;
	uint32_t sum = v6 ? offload_sum(packet + 8, 32, 0) : offload_sum(packet + 12, 8, 0);

	return fold((uint64_t)sum + proto + (len >> 16) + (len & 0xffff));
}

static void sign_ip4(uint8_t *packet)
{
	put16(packet + 10, 0);
	put16(packet + 10, ~offload_sum(packet, (size_t)(packet[0] & 15) * 4, 0));
}

/* The checksum of what begins at `start`, its pseudo-header's sum known. */
static void sign(uint8_t *packet, size_t len, const struct offload *how, uint32_t pseudo)
{
	uint8_t *field = packet + how->start + how->offset;
	uint16_t sum;

	put16(field, 0);
	sum = (uint16_t)~offload_sum(packet + how->start, len - how->start, pseudo);
	put16(field, sum || how->offset != 6 ? sum : 0xffff); /* a UDP checksum of 0 says that there is none */
}

/* --- cutting --- */

static bool checksum_fits(const struct offload *how, size_t len)
{
	return how->start >= IP4_HDR && (size_t)how->start + how->offset + 2 <= len;
}

int offload_complete(const struct offload *how, uint8_t *packet, size_t len)
{
	if (how->kind != OFFLOAD_NONE)
		return -1;
	if (!how->checksum)
		return 0;
	if (!checksum_fits(how, len))
		return -1;
	sign(packet, len, how, offload_get16(packet + how->start + how->offset));
	return 0;
}

/* Where the upper layer begins, for those that did not say it. */
static int find_start(struct offload *how, const uint8_t *packet)
{
	bool udp = how->kind == OFFLOAD_UDP;

	if (packet[0] >> 4 == 4)
		how->start = (uint16_t)((packet[0] & 15) * 4);
	else if (packet[6] == (udp ? PROTO_UDP : PROTO_TCP))
		how->start = IP6_HDR;
	else
		return -1;
	how->offset = udp ? 6 : 16;
	return 0;
}

static bool is_ip(const uint8_t *packet, size_t len)
{
	return (len >= IP4_HDR && packet[0] >> 4 == 4 && (packet[0] & 15) >= 5) || (len >= IP6_HDR && packet[0] >> 4 == 6);
}

static size_t ip_headers(const uint8_t *packet)
{
	return packet[0] >> 4 == 6 ? IP6_HDR : (size_t)(packet[0] & 15) * 4;
}

int offload_split(struct offload_split *s, const struct offload *how, const uint8_t *packet, size_t len)
{
	size_t least;

	*s = (struct offload_split){ .packet = packet, .len = len, .how = *how };
	if (how->kind == OFFLOAD_NONE)
		return how->checksum && !checksum_fits(how, len) ? -1 : 0;
	if ((how->kind != OFFLOAD_UDP && how->kind != OFFLOAD_TCP) || !how->segment || len > PACKET_MOST + IP6_HDR || !is_ip(packet, len))
		return -1;
	if (!how->checksum && find_start(&s->how, packet))
		return -1;
	if (!checksum_fits(&s->how, len) || s->how.offset != (how->kind == OFFLOAD_UDP ? 6 : 16) || s->how.start < ip_headers(packet))
		return -1;
	least = (size_t)s->how.start + (how->kind == OFFLOAD_UDP ? UDP_HDR : TCP_HDR);
	if (least > len)
		return -1;
	s->headers = how->kind == OFFLOAD_UDP ? least : s->how.start + (size_t)(packet[s->how.start + 12] >> 4) * 4;
	return s->headers >= least && s->headers < len ? 0 : -1;
}

static void set_lengths(uint8_t *out, size_t len, unsigned n)
{
	if (out[0] >> 4 == 4) {
		put16(out + 2, (uint32_t)len);
		put16(out + 4, offload_get16(out + 4) + n);
		sign_ip4(out);
	} else {
		put16(out + 4, (uint32_t)(len - IP6_HDR));
	}
}

static void set_tcp(uint8_t *tcp, size_t at, bool first, bool last)
{
	put32(tcp + 4, get32(tcp + 4) + (uint32_t)at);
	if (!first)
		tcp[13] &= (uint8_t)~TCP_CWR;
	if (!last)
		tcp[13] &= (uint8_t)~TCP_FIN_PSH;
}

/* The sum of a segment's pseudo-header: that of the whole, which stands in the checksum field, with
 * another length. */
static uint32_t segment_pseudo(const struct offload_split *s, const uint8_t *out, size_t len)
{
	size_t upper = len - s->how.start, whole = s->len - s->how.start;

	if (!s->how.checksum)
		return pseudo_sum(out, s->how.kind == OFFLOAD_UDP ? PROTO_UDP : PROTO_TCP, upper);
	return fold((uint64_t)offload_get16(s->packet + s->how.start + s->how.offset) +
		    (uint16_t) ~(whole & 0xffff) + (uint16_t) ~(whole >> 16) + upper);
}

size_t offload_split_next(struct offload_split *s, uint8_t *out, size_t room)
{
	size_t left = s->len - s->headers - s->at, payload = s->how.kind == OFFLOAD_NONE ? left : s->how.segment, len;
	uint8_t *upper = out + s->how.start;

	if (payload > left)
		payload = left;
	len = s->headers + payload;
	if (!payload || len > room)
		return 0;
	memcpy(out, s->packet, s->headers);
	memcpy(out + s->headers, s->packet + s->headers + s->at, payload);
	if (s->how.kind == OFFLOAD_NONE) {
		offload_complete(&s->how, out, len);
	} else {
		set_lengths(out, len, s->n);
		if (s->how.kind == OFFLOAD_TCP)
			set_tcp(upper, s->at, s->at == 0, payload == left);
		else
			put16(upper + 4, (uint32_t)(payload + UDP_HDR));
		sign(out, len, &s->how, segment_pseudo(s, out, len));
	}
	s->at += payload;
	s->n++;
	return len;
}

/* --- putting together --- */

static size_t ip_header(const uint8_t *packet)
{
	return packet[0] >> 4 == 6 ? IP6_HDR : IP4_HDR;
}

/* UDP right behind a plain header, not a piece of anything, and with lengths that agree. */
bool offload_is_udp(const uint8_t *packet, size_t len)
{
	size_t ip;

	if (!is_ip(packet, len))
		return false;
	ip = ip_header(packet);
	if (len < ip + UDP_HDR || offload_get16(packet + ip + 4) != len - ip)
		return false;
	if (ip == IP6_HDR)
		return packet[6] == PROTO_UDP && offload_get16(packet + 4) == len - IP6_HDR;
	return packet[0] == 0x45 && packet[9] == PROTO_UDP && offload_get16(packet + 2) == len &&
	       !(offload_get16(packet + 6) & 0x3fff);
}

bool offload_same_flow(const struct offload_run *r, const uint8_t *packet, size_t len)
{
	size_t ip = ip_header(packet), addresses = ip == IP6_HDR ? 8 : 12;

	(void)len;
	return r->head && packet[0] >> 4 == r->head[0] >> 4 && !memcmp(packet + addresses, r->head + addresses, ip + 4 - addresses);
}

static bool checksum_right(const uint8_t *packet, size_t len)
{
	size_t ip = ip_header(packet);

	if (!offload_get16(packet + ip + 6))
		return false;
	if (ip == IP4_HDR && offload_sum(packet, IP4_HDR, 0) != 0xffff)
		return false;
	return offload_sum(packet + ip, len - ip, pseudo_sum(packet, PROTO_UDP, len - ip)) == 0xffff;
}

bool offload_run_start(struct offload_run *r, uint8_t *packet, size_t len)
{
	r->n = 0;
	r->head = NULL;
	if (len <= ip_header(packet) + UDP_HDR || !checksum_right(packet, len))
		return false;
	r->head = packet;
	r->headers = (uint16_t)(ip_header(packet) + UDP_HDR);
	r->id = (uint16_t)(offload_get16(packet + 4) + 1);
	r->segment = r->total = len - r->headers;
	r->ended = false;
	r->payload[0] = packet + r->headers;
	r->len[0] = r->segment;
	r->n = 1;
	return true;
}

/* Everything but length, number, flags, header checksum: version, TOS, TTL or class, label, hop
 * limit. */
static bool same_headers(const struct offload_run *r, const uint8_t *packet)
{
	const uint8_t *head = r->head;

	if (head[0] >> 4 == 6)
		return !memcmp(head, packet, 4) && head[7] == packet[7];
	if (head[1] != packet[1] || head[8] != packet[8] || head[6] != packet[6])
		return false;
	return (packet[6] & 0x40) || offload_get16(packet + 4) == r->id;
}

bool offload_run_add(struct offload_run *r, uint8_t *packet, size_t len)
{
	size_t payload = len - r->headers;

	if (r->ended || r->n == OFFLOAD_RUN || len <= r->headers || payload > r->segment || r->headers + r->total + payload > PACKET_MOST)
		return false;
	if (!same_headers(r, packet) || !checksum_right(packet, len))
		return false;
	r->payload[r->n] = packet + r->headers;
	r->len[r->n++] = payload;
	r->total += payload;
	r->ended = payload < r->segment;
	r->id++;
	return true;
}

void offload_run_end(struct offload_run *r, struct offload *how)
{
	size_t ip = r->headers - (size_t)UDP_HDR, upper = UDP_HDR + r->total;

	*how = (struct offload){ .kind = OFFLOAD_NONE };
	if (r->n < 2)
		return;
	*how = (struct offload){ .kind = OFFLOAD_UDP, .v6 = ip == IP6_HDR, .checksum = true, .segment = (uint16_t)r->segment,
				 .start = (uint16_t)ip, .offset = 6 };
	set_lengths(r->head, ip + upper, 0);
	put16(r->head + ip + 4, (uint32_t)upper);
	put16(r->head + ip + 6, pseudo_sum(r->head, PROTO_UDP, upper));
}
