/* SPDX-License-Identifier: BSD-2-Clause */
#include "strip.h"

#include <string.h>

#define ETHERNET 14
#define IPV6_HEADER 40
#define TCP_MIN 20
#define PROTO_TCP 6
#define OPTION_END 0
#define OPTION_NOP 1
#define OPTION_MPTCP 30

static uint32_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static uint32_t words(const uint8_t *p, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	return fold(sum);
}

/* Where TCP begins, or 0 when the frame is something else or too short. */
static size_t tcp_at(const uint8_t *f, size_t len)
{
	size_t at = 0;

	if (len < ETHERNET + IPV6_HEADER)
		return 0;
	if (f[12] == 0x08 && f[13] == 0x00 && f[ETHERNET + 9] == PROTO_TCP && !(f[ETHERNET + 6] & 0x1f) && !f[ETHERNET + 7])
		at = ETHERNET + (size_t)(f[ETHERNET] & 15) * 4;
	else if (f[12] == 0x86 && f[13] == 0xdd && f[ETHERNET + 6] == PROTO_TCP)
		at = ETHERNET + IPV6_HEADER;
	return at && at + TCP_MIN <= len ? at : 0;
}

static unsigned overwrite(uint8_t *option, const uint8_t *end)
{
	unsigned n = 0;

	while (option + 1 < end && *option != OPTION_END) {
		size_t len = *option == OPTION_NOP ? 1 : option[1];

		if (!len || len > (size_t)(end - option))
			break;
		if (*option == OPTION_MPTCP) {
			memset(option, OPTION_NOP, len);
			n++;
		}
		option += len;
	}
	return n;
}

unsigned strip_mptcp(uint8_t *frame, size_t len)
{
	size_t at = tcp_at(frame, len), head = at ? (size_t)(frame[at + 12] >> 4) * 4 : 0;
	uint8_t *tcp = frame + at;
	uint32_t before, sum;
	unsigned n;

	if (head <= TCP_MIN || at + head > len)
		return 0;
	before = words(tcp, head);
	n = overwrite(tcp + TCP_MIN, tcp + head);
	sum = (uint32_t)tcp[16] << 8 | tcp[17];
	sum = ~fold((~sum & 0xffff) + (~before & 0xffff) + words(tcp, head)) & 0xffff;
	if (n) {
		tcp[16] = (uint8_t)(sum >> 8);
		tcp[17] = (uint8_t)sum;
	}
	return n;
}
