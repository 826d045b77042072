/* SPDX-License-Identifier: BSD-2-Clause */
/* addr: see addr.h. IPv4 and IPv6 are told apart here and nowhere else. */
#include "addr.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

static bool ip_is_v4(const uint8_t ip[16])
{
	return memcmp(ip, mapped, sizeof(mapped)) == 0;
}

static void ip_map(uint8_t ip[16], const void *v4)
{
	memcpy(ip, mapped, sizeof(mapped));
	memcpy(ip + 12, v4, 4);
}

int addr_family(const struct addr *a)
{
	return ip_is_v4(a->ip) ? AF_INET : AF_INET6;
}

int addr_from_bytes(struct addr *a, const void *ip, size_t len, uint16_t port)
{
	if (len == 4)
		ip_map(a->ip, ip);
	else if (len == 16)
		memcpy(a->ip, ip, 16);
	else
		return -1;
	a->port = port;
	return 0;
}

const uint8_t *addr_bytes(const struct addr *a, size_t *len)
{
	bool v4 = addr_is_v4(a);

	*len = v4 ? 4 : 16;
	return v4 ? a->ip + 12 : a->ip;
}

int addr_from_sockaddr(struct addr *a, const struct sockaddr *sa)
{
	struct sockaddr_in in;
	struct sockaddr_in6 in6;

	if (sa->sa_family == AF_INET) {
		memcpy(&in, sa, sizeof(in));
		return addr_from_bytes(a, &in.sin_addr, 4, ntohs(in.sin_port));
	}
	if (sa->sa_family == AF_INET6) {
		memcpy(&in6, sa, sizeof(in6));
		return addr_from_bytes(a, &in6.sin6_addr, 16, ntohs(in6.sin6_port));
	}
	return -1;
}

socklen_t addr_to_sockaddr(const struct addr *a, int family, struct sockaddr_storage *ss)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(a->port) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(a->port) };

	memset(ss, 0, sizeof(*ss));
	if (addr_is_v4(a) && family != AF_INET6) {
		memcpy(&in.sin_addr, a->ip + 12, 4);
		memcpy(ss, &in, sizeof(in));
		return sizeof(in);
	}
	memcpy(&in6.sin6_addr, a->ip, 16);
	memcpy(ss, &in6, sizeof(in6));
	return sizeof(in6);
}

/* A bare address of either family; len bytes of text. */
static int ip_parse(uint8_t ip[16], const char *text, size_t len)
{
	char buf[INET6_ADDRSTRLEN];
	uint8_t v4[4];

	if (len >= sizeof(buf))
		return -1;
	memcpy(buf, text, len);
	buf[len] = '\0';
	if (inet_pton(AF_INET, buf, v4) == 1) {
		ip_map(ip, v4);
		return 0;
	}
	return inet_pton(AF_INET6, buf, ip) == 1 ? 0 : -1;
}

/* Plain decimal digits up to max: no sign, no space, nothing after. */
static int number_parse(const char *text, unsigned max, unsigned *out)
{
	unsigned n = 0;
	size_t i;

	for (i = 0; text[i]; i++) {
		if (text[i] < '0' || text[i] > '9' || i >= 5)
			return -1;
		n = n * 10 + (unsigned)(text[i] - '0');
	}
	if (i == 0 || n > max)
		return -1;
	*out = n;
	return 0;
}

int addr_parse(struct addr *a, const char *text, uint16_t port)
{
	const char *ip = text, *end = NULL, *rest;
	const char *colon = strchr(text, ':');
	struct addr got;
	unsigned n = port;

	if (text[0] == '[') {
		ip = text + 1;
		end = strchr(ip, ']');
		if (!end || !memchr(ip, ':', (size_t)(end - ip)))
			return -1;
		rest = end + 1;
	} else {
		/* One colon parts an IPv4 address from its port; more of them are IPv6 itself. */
		end = colon && !strchr(colon + 1, ':') ? colon : text + strlen(text);
		rest = end;
	}
	if (*rest && (*rest != ':' || number_parse(rest + 1, 65535, &n) < 0))
		return -1;
	if (ip_parse(got.ip, ip, (size_t)(end - ip)) < 0)
		return -1;
	got.port = (uint16_t)n;
	*a = got;
	return 0;
}

static const char *ip_print(const uint8_t ip[16], char *buf, size_t len)
{
	bool v4 = ip_is_v4(ip);

	return inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? ip + 12 : ip, buf, (socklen_t)len);
}

const char *addr_print_ip(const struct addr *a, char buf[ADDR_STRLEN])
{
	return ip_print(a->ip, buf, ADDR_STRLEN);
}

const char *addr_print(const struct addr *a, char buf[ADDR_STRLEN])
{
	char ip[INET6_ADDRSTRLEN];

	ip_print(a->ip, ip, sizeof(ip));
	snprintf(buf, ADDR_STRLEN, addr_is_v4(a) ? "%s:%u" : "[%s]:%u", ip, a->port);
	return buf;
}

bool addr_equal(const struct addr *a, const struct addr *b)
{
	return a->port == b->port && addr_same_ip(a, b);
}

bool addr_same_ip(const struct addr *a, const struct addr *b)
{
	return memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

struct addr addr_site(const struct addr *a)
{
	struct addr site = *a;

	site.port = 0;
	if (!addr_is_v4(a))
		memset(site.ip + 8, 0, 8);
	return site;
}

bool addr_is_any(const struct addr *a)
{
	static const uint8_t zero[16];
	size_t len;
	const uint8_t *ip = addr_bytes(a, &len);

	return memcmp(ip, zero, len) == 0;
}

bool addr_is_loopback(const struct addr *a)
{
	static const uint8_t one[16] = { [15] = 1 };

	return addr_is_v4(a) ? a->ip[12] == 127 : memcmp(a->ip, one, 16) == 0;
}

bool addr_is_linklocal(const struct addr *a)
{
	if (addr_is_v4(a))
		return a->ip[12] == 169 && a->ip[13] == 254;
	return a->ip[0] == 0xfe && (a->ip[1] & 0xc0) == 0x80;
}

/* Whether the first `bits` bits agree. */
static bool bits_equal(const uint8_t *a, const uint8_t *b, unsigned bits)
{
	unsigned bytes = bits / 8, rest = bits % 8;

	if (memcmp(a, b, bytes) != 0)
		return false;
	return rest == 0 || ((a[bytes] ^ b[bytes]) >> (8 - rest)) == 0;
}

static bool host_bits_clear(const struct prefix *p)
{
	for (unsigned i = p->bits; i < 128; i++)
		if (p->ip[i / 8] & (0x80 >> i % 8))
			return false;
	return true;
}

int prefix_parse(struct prefix *p, const char *text)
{
	const char *slash = strchr(text, '/');
	size_t len = slash ? (size_t)(slash - text) : strlen(text);
	struct prefix got;
	unsigned width, bits;

	if (ip_parse(got.ip, text, len) < 0)
		return -1;
	/* Mapped text with colons counts its bits as IPv6 does. */
	width = memchr(text, ':', len) ? 128 : 32;
	bits = width;
	if (slash && number_parse(slash + 1, width, &bits) < 0)
		return -1;
	got.bits = (uint8_t)(128 - width + bits);
	if (!host_bits_clear(&got))
		return -1;
	*p = got;
	return 0;
}

bool prefix_contains(const struct prefix *p, const struct addr *a)
{
	if (p->bits < 96 && addr_is_v4(a))
		return false;
	return bits_equal(p->ip, a->ip, p->bits);
}

const char *prefix_print(const struct prefix *p, char buf[PREFIX_STRLEN])
{
	bool v4 = p->bits >= 96 && ip_is_v4(p->ip);
	char ip[INET6_ADDRSTRLEN];

	inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? p->ip + 12 : p->ip, ip, sizeof(ip));
	snprintf(buf, PREFIX_STRLEN, "%s/%d", ip, v4 ? p->bits - 96 : p->bits);
	return buf;
}
