/* SPDX-License-Identifier: BSD-2-Clause */
/* dial_status: errno of connect() as a status of the wire, in the terms of RFC 8803. */
#include "dial_status.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wire.h"

/* "Address not available" is either no free port, or no address of that family at all (IPv6 on a
 * VPS without). A datagram socket, which sends nothing by connecting, tells one from the other: it
 * needs an address too. */
static bool has_source(const struct addr *dst)
{
	struct sockaddr_storage ss;
	int fd = socket(addr_family(dst), SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool has = fd < 0 || connect(fd, (struct sockaddr *)&ss, addr_to_sockaddr(dst, addr_family(dst), &ss)) == 0;

	if (fd >= 0)
		close(fd);
	return has;
}

uint16_t dial_status_of(int err, const struct addr *dst)
{
	if (err == EADDRNOTAVAIL && dst && !has_source(dst))
		return WIRE_UNREACHABLE;
	switch (err) {
	case ECONNREFUSED:
	case ECONNRESET:
		return WIRE_WAS_RESET;
	case ETIMEDOUT:
	case EHOSTUNREACH:
	case ENETUNREACH:
	case EAFNOSUPPORT: /* switched off in the kernel */
		return WIRE_UNREACHABLE;
	case EADDRNOTAVAIL:
	case EMFILE:
	case ENFILE:
	case ENOBUFS:
	case ENOMEM:
		return WIRE_NO_RESOURCES;
	default:
		return WIRE_NET_FAILURE;
	}
}
