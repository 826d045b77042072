/* SPDX-License-Identifier: BSD-2-Clause */
/* upstream: one connection to the VPS, from dial to ACCEPT. See upstream.c. */
#ifndef PLAIT_UPSTREAM_H
#define PLAIT_UPSTREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "relay.h"
#include "vps.h"

#define UPSTREAM_FALLBACKS 4 /* in a row; then there is a reason, which mptcp_check.c will find */

struct links;
struct upstream;

enum upstream_event {
	UPSTREAM_CONNECTED, /* and nothing sent yet: upstream_attach() or upstream_open() is next */
	UPSTREAM_ATTACHED,  /* the VPS knows us: a warm connection from now on */
	UPSTREAM_ACCEPTED,  /* the destination is connected: upstream_hand_over() is next */
	UPSTREAM_DENIED,    /* the VPS answered, and it is no: upstream_status() says why */
	UPSTREAM_UNSERVED,  /* over, and certainly nothing on it was served */
	UPSTREAM_LOST,	    /* over, and it cannot be known from here whether OPEN was served */
};

/* After DENIED, UNSERVED and LOST the upstream is only good for upstream_free(). May be freed
 * inside. */
typedef void (*upstream_cb)(void *arg, struct upstream *u, enum upstream_event ev);

/* Begins to dial. Never calls back before it returns. NULL: no memory. */
struct upstream *upstream_new(struct event_base *base, struct vps *remote, struct seal *seal, upstream_cb cb,
			      void *arg);
void upstream_free(struct upstream *u); /* resets the connection; NULL is fine */
void upstream_set_owner(struct upstream *u, upstream_cb cb, void *arg);

/* Attaches under the VPS's newest session; -1: there is none. */
int upstream_attach(struct upstream *u);

/* OPEN with early data, attaching first if need be (one segment then). -1: no session. */
int upstream_open(struct upstream *u, const struct wire_open *open, const void *early, size_t len);
/* How many of them went inside it; the rest follows it. */
size_t upstream_early(const struct upstream *u);
/* On one that is attached, in the place of OPEN: takes up the OPEN of another connection, of this
 * mode. `rest`: the client's bytes behind those that went inside it. */
int upstream_resume(struct upstream *u, const struct wire_resume *r, enum wire_mode mode, const void *rest, size_t len);
/* More of the client's bytes, before ACCEPT, in a SEALED stream. -1: out of memory. */
int upstream_send(struct upstream *u, const void *data, size_t len);

/* Fills in the WAN side of setup (fd, which is the caller's then, keys, what was read and what is
 * owed). The pointers are good until upstream_free(). */
void upstream_hand_over(struct upstream *u, struct relay_setup *setup);

/* True while the peer has not acknowledged all that was sent. */
bool upstream_unheard(const struct upstream *u);

/* Something that the kernel may not have told of is there to be read; it is, next. False:
 * nothing. */
bool upstream_rouse(struct upstream *u);

bool upstream_is_mptcp(const struct upstream *u);
/* The VPS was heard on it: from then on the kernel joins other links to it. */
bool upstream_is_attached(const struct upstream *u);
/* Plain TCP, though its link carries more: it dies with that link, and another should be
 * dialled. */
bool upstream_fell_back(const struct upstream *u, const struct links *links);
/* True when no link carries it any more. */
bool upstream_severed(const struct upstream *u);

struct vps *upstream_vps(const struct upstream *u);
uint16_t upstream_status(const struct upstream *u);
struct session *upstream_session(const struct upstream *u); /* NULL before the attach */
uint64_t upstream_ctr(const struct upstream *u);
const struct addr *upstream_src(const struct upstream *u);
uint64_t upstream_since(const struct upstream *u); /* clock_ms() of the last event */

/* For the pool's list. */
TAILQ_HEAD(upstream_list, upstream);
void upstream_list_add(struct upstream_list *list, struct upstream *u);
void upstream_list_del(struct upstream_list *list, struct upstream *u);
struct upstream *upstream_list_next(const struct upstream *u);

#endif
