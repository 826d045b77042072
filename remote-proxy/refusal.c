#include "refusal.h"

#include <errno.h>

#include "wire.h"

uint16_t refusal_of(int err)
{
	switch (err) {
	case ECONNREFUSED:
	case ECONNRESET:
		return WIRE_WAS_RESET;
	case ETIMEDOUT:
	case EHOSTUNREACH:
	case ENETUNREACH:
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
