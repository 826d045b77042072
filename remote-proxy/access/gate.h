/* gate: every connection arrives here and shows its first bytes. See gate.c. */
#ifndef PLAIT_GATE_H
#define PLAIT_GATE_H

#include <event2/event.h>
#include <stdint.h>

#include "config.h"
#include "hall.h"
#include "quiet.h"
#include "seal.h"
#include "sessions.h"
#include "sock.h"

struct gate;

struct gate_rooms { /* where the gate leads to; all stay the caller's */
	struct seal *seal;
	struct sessions *sessions;
	struct hall *hall;
	struct quiet *quiet;
};

/* NULL: no memory. Nobody comes before gate_listen(), but who is brought by gate_take(). */
struct gate *gate_new(struct event_base *base, const uint8_t pin[WIRE_PIN], const struct gate_rooms *rooms);
void gate_free(struct gate *g);

/* Opens the port. 0, or -1: then a sentence was logged, or there is no memory. */
int gate_listen(struct gate *g, const struct config *config, const struct sock_caps *caps);

/* A connection that was accepted and not read yet. Owns fd. */
void gate_take(struct gate *g, int fd);

#endif
