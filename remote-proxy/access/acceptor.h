/* SPDX-License-Identifier: BSD-2-Clause */
/* acceptor: every connection arrives here and shows its first bytes. See acceptor.c. */
#ifndef PLAIT_ACCEPTOR_H
#define PLAIT_ACCEPTOR_H

#include <event2/event.h>
#include <stdint.h>

#include "config.h"
#include "places.h"
#include "requests.h"
#include "seal.h"
#include "sessions.h"
#include "sock.h"
#include "tarpit.h"

struct acceptor;

struct acceptor_rooms { /* where the acceptor leads to; all stay the caller's */
	struct seal *seal;
	struct sessions *sessions;
	struct requests *requests;
	struct places *places;
	struct tarpit *tarpit;
};

/* NULL: no memory. Nobody comes before acceptor_listen(), but who is brought by acceptor_take(). */
struct acceptor *acceptor_new(struct event_base *base, const uint8_t pin[WIRE_PIN], const struct acceptor_rooms *rooms);
void acceptor_free(struct acceptor *acc);

/* Opens the port. 0, or -1 and a sentence in err. */
int acceptor_listen(struct acceptor *acc, const struct config *config, const struct sock_caps *caps, char *err, size_t err_len);

/* A connection from there that was accepted and not read yet. Owns fd. */
void acceptor_take(struct acceptor *acc, int fd, const struct addr *peer);

#endif
