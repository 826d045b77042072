/* SPDX-License-Identifier: BSD-2-Clause */
/* resolve: one name, and the addresses it has now, over c-ares. See resolve.c for the theory. */
#ifndef PLAIT_RESOLVE_H
#define PLAIT_RESOLVE_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "srv.h"

#define RESOLVE_MAX 16		/* addresses kept of an answer */
#define RESOLVE_SRV_MAX 16	/* targets of a service likewise */

struct resolve;

/* Called from the loop, never from inside another function here, with at least one address: when
 * the first are known, and when the set has changed. */
typedef void (*resolve_cb)(void *arg, const struct addr *addrs, size_t count);

/* servers: "192.0.2.53, [2001:db8::53]:5353", or NULL or "" for those of resolv.conf. private_ok:
 * the name may have private or loopback addresses (a host given as an address always may). NULL: no
 * memory. */
struct resolve *resolve_new(struct event_base *base, const char *host, uint16_t port, const char *servers, bool private_ok,
			    resolve_cb cb, void *arg);

/* The same for the targets of a service, in no order: "_plait._tcp.example.org". None may be left:
 * the service is not offered. */
typedef void (*resolve_srv_cb)(void *arg, const struct srv *list, size_t count);
struct resolve *resolve_srv_new(struct event_base *base, const char *name, const char *servers, resolve_srv_cb cb, void *arg);

void resolve_free(struct resolve *r);

/* The addresses do not work: ask again before their time, but not more and more often. */
void resolve_failed(struct resolve *r);

#endif
