/* SPDX-License-Identifier: BSD-2-Clause */
/* call: a call that lasts as long as the household.
 *
 * While the gateway says that its tunnel is up, ten packets a second of one flow go into its TUN
 * device; what the VPS's device gives out is sent back into it with its addresses exchanged.
 * Asserted with each packet: it is one that was sent, byte by byte, and it comes to the LAN at most
 * once, whatever copies and resends there are. */
#include "call.h"

#include <arpa/inet.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>

#include "box.h"
#include "sim.h"
#include "sim_clock.h"

#define EVERY (100 * MS)
#define LEN 200
#define SEEN (1 << 16) /* a bit for each packet: more than a household has */
#define PEER "93.184.216.34"

static struct alarm next;
static uint32_t seq, marked, back;
static uint8_t seen[SEEN / 8];
static struct in_addr inner;
static uint64_t asked_us;

/* Asking costs more than sending: once a second. */
static bool tunnel_is_up(void)
{
	static bool up;
	const char *state, *four;
	json_t *status, *tunnel;

	if (asked_us && clock_now() - asked_us < SECOND)
		return up && proc_alive(GATEWAY);
	asked_us = clock_now();
	status = proc_alive(GATEWAY) ? box_ask(GATEWAY, "status", "") : NULL;
	tunnel = json_object_get(status, "tunnel");
	state = json_string_value(json_object_get(tunnel, "state"));
	four = json_string_value(json_object_get(tunnel, "inner4"));
	up = state && four && !strcmp(state, "up") && inet_pton(AF_INET, four, &inner) == 1;
	json_decref(status);
	return up;
}

static uint8_t content(uint32_t n, unsigned i)
{
	return (uint8_t)(n * 13 + i * 5);
}

static void fill(uint8_t *p, uint32_t n)
{
	struct iphdr ip = { .version = 4,
			    .ihl = 5,
			    .tot_len = htons(LEN),
			    .ttl = 64,
			    .protocol = IPPROTO_UDP,
			    .saddr = inner.s_addr };
	struct udphdr udp = { .source = htons(4000), .dest = htons(5004), .len = htons(LEN - 20) };

	inet_pton(AF_INET, PEER, &ip.daddr);
	memcpy(p, &ip, sizeof(ip));
	memcpy(p + 20, &udp, sizeof(udp));
	memcpy(p + 28, &n, sizeof(n));
	for (unsigned i = 32; i < LEN; i++)
		p[i] = content(n, i);
}

static void next_packet(void *arg)
{
	uint8_t packet[LEN];

	(void)arg;
	alarm_in(&next, EVERY);
	if (!tunnel_is_up() || seq == SEEN)
		return;
	fill(packet, seq);
	if (box_tun_send(GATEWAY, packet, LEN))
		seq++;
}

static void send_back(enum host vps, const uint8_t *packet, size_t len)
{
	uint8_t copy[LEN];

	memcpy(copy, packet, len);
	memcpy(copy + 12, packet + 16, 4);
	memcpy(copy + 16, packet + 12, 4);
	memcpy(copy + 20, packet + 22, 2);
	memcpy(copy + 22, packet + 20, 2);
	box_tun_send(vps, copy, len);
}

static void packet_out(void *arg, enum host host, const uint8_t *p, size_t len)
{
	uint32_t n;

	(void)arg;
	if (len != LEN)
		sim_fail("a packet of %zu bytes came out of the tunnel: nobody sent that", len);
	if (host != GATEWAY) {
		send_back(host, p, len);
		return;
	}
	memcpy(&n, p + 28, sizeof(n));
	if (n >= seq)
		sim_fail("packet %u came out of the tunnel and was never sent", n);
	for (unsigned i = 32; i < LEN; i++)
		if (p[i] != content(n, i))
			sim_fail("packet %u came out of the tunnel with another content", n);
	if (seen[n / 8] & 1 << n % 8)
		sim_fail("packet %u came to the LAN twice", n);
	seen[n / 8] |= (uint8_t)(1 << n % 8);
	back += n >= marked;
}

void call_begin(void)
{
	seq = marked = back = 0;
	asked_us = 0;
	memset(seen, 0, sizeof(seen));
	alarm_init(&next, next_packet, NULL);
	alarm_in(&next, EVERY);
	box_on_packet(packet_out, NULL);
}

void call_mark(void)
{
	marked = seq;
	back = 0;
}

unsigned call_sent(void)
{
	return seq - marked;
}

unsigned call_back(void)
{
	return back;
}
