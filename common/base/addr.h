/* SPDX-License-Identifier: BSD-2-Clause */
/* addr: an IP address and a port as one plain value.
 *
 * IPv4 lives in its IPv6-mapped form (::ffff:a.b.c.d), so the rest of plait
 * handles one kind of address; this file is the only one that knows there are
 * two. */
#ifndef PLAIT_ADDR_H
#define PLAIT_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define ADDR_STRLEN 56 /* "[" + longest IPv6 text + "]:65535" + NUL */
#define PREFIX_STRLEN 52

struct addr {
	uint8_t ip[16]; /* network order; IPv4 as ::ffff:a.b.c.d */
	uint16_t port;	/* host order */
};

/* A network: the first `bits` bits of `ip`; an IPv4 /8 has bits = 96 + 8. */
struct prefix {
	uint8_t ip[16];
	uint8_t bits;
};

/* AF_INET or AF_INET6, whichever the address really is. */
int addr_family(const struct addr *a);
static inline bool addr_is_v4(const struct addr *a) { return addr_family(a) == AF_INET; }

/* From 4 or 16 bytes in network order, as netlink and DNS deliver them;
 * -1 when len is neither. */
int addr_from_bytes(struct addr *a, const void *ip, size_t len, uint16_t port);

/* The address's own bytes: 4 for IPv4, 16 for IPv6; *len is set. */
const uint8_t *addr_bytes(const struct addr *a, size_t *len);

/* -1 when the family is neither AF_INET nor AF_INET6. */
int addr_from_sockaddr(struct addr *a, const struct sockaddr *sa);

/* Fills ss in the address's own family, or mapped into AF_INET6 when `family`
 * asks for it (for a dual-stack socket); AF_UNSPEC means "its own". Returns the
 * length to hand to bind()/connect(). */
socklen_t addr_to_sockaddr(const struct addr *a, int family, struct sockaddr_storage *ss);

/* "1.2.3.4", "1.2.3.4:80", "::1", "[::1]", "[::1]:80"; a missing port becomes
 * `port`. 0, or -1 and *a untouched. No names. */
int addr_parse(struct addr *a, const char *text, uint16_t port);

/* With the port, and without. Both return buf. */
const char *addr_print(const struct addr *a, char buf[ADDR_STRLEN]);
const char *addr_print_ip(const struct addr *a, char buf[ADDR_STRLEN]);

bool addr_equal(const struct addr *a, const struct addr *b); /* ip and port */
bool addr_same_ip(const struct addr *a, const struct addr *b);
bool addr_is_any(const struct addr *a); /* 0.0.0.0 or :: */
/* Whose it is, as far as an address tells: itself, or of IPv6 its /64, of which a house has all. The
 * port is 0. */
struct addr addr_site(const struct addr *a);
bool addr_is_loopback(const struct addr *a);
bool addr_is_linklocal(const struct addr *a);

/* "10.0.0.0/8", "2001:db8::/32", or a bare address (a host). Host bits beyond
 * the length are an error. 0 or -1. */
int prefix_parse(struct prefix *p, const char *text);

/* An IPv6 network shorter than /96 holds no IPv4 address: "::/0" means all of IPv6. */
bool prefix_contains(const struct prefix *p, const struct addr *a);
const char *prefix_print(const struct prefix *p, char buf[PREFIX_STRLEN]);

#endif
