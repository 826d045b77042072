/* SPDX-License-Identifier: BSD-2-Clause */
/* fec: repair datagrams for the inner packets of one class in one direction: each is a random
 * linear combination, over GF(256), of up to the last 32 packets (RFC 8681's idea, with
 * coefficients of our own). Any k of them mend any k losses that they cover. See fec.c for the
 * theory, and for when it pays. */
#ifndef PLAIT_FEC_H
#define PLAIT_FEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire_udp.h"

#define FEC_WINDOW 32
#define FEC_PACKET 1500 /* longest inner packet */
#define FEC_REPAIR_MAX (WIRE_REPAIR_HDR + FEC_PACKET)

/* The sender's side. */
struct fec_encoder;
struct fec_encoder *fec_encoder_new(void); /* NULL: no memory */
void fec_encoder_free(struct fec_encoder *e);

/* Every packet of the class, before it is sealed in place, with the number that it gets; copied. A
 * gap in the numbers begins a new window. */
void fec_encode(struct fec_encoder *e, uint64_t seq, const uint8_t *packet, size_t len);
/* A repair for what is in the window: the plaintext of a REPAIR, at most FEC_REPAIR_MAX; 0 when
 * there is nothing to cover. `last`: cover no more than the last so many packets (FEC_WINDOW:
 * all). */
size_t fec_repair(struct fec_encoder *e, uint8_t out[FEC_REPAIR_MAX], unsigned last);

/* The receiver's side. A mended packet is given to `mended`, which may not call back; the numbers
 * need not come in order. `packet` has 16 writable bytes in front and is gone when `mended`
 * returns. */
struct fec_decoder;
typedef void (*fec_cb)(void *arg, uint64_t seq, uint8_t *packet, size_t len);
struct fec_decoder *fec_decoder_new(fec_cb mended, void *arg);
void fec_decoder_free(struct fec_decoder *d);

/* A packet arrived and opened. False: it was mended before, and so delivered: drop it. Cheap until
 * the first repair comes. */
bool fec_source(struct fec_decoder *d, uint64_t seq, const uint8_t *packet, size_t len);
/* The plaintext of a REPAIR. -1: malformed. Else how many packets were mended by it. */
int fec_repair_in(struct fec_decoder *d, const uint8_t *in, size_t len);

/* How much, and whether at all: repairs per thousand packets. A value; the caller owns it,
 * zeroed. */
struct fec_rate {
	uint32_t run_x16;    /* mean length of runs of losses, sixteenths */
	uint32_t run;	     /* of the one that may still go on */
	uint32_t permille;   /* what fec_rate_judge() said */
	uint32_t credit;     /* thousandths of a repair */
	uint64_t changed_ms; /* between on and off */
};
/* What became of a packet that was sent once on one path, in the order of their numbers. */
void fec_rate_fate(struct fec_rate *r, bool lost);

struct fec_conditions {
	uint32_t loss_ppm;    /* of the path that the packets go on */
	uint32_t rtt_us;      /* least of the usable paths: what a resend costs */
	uint32_t deadline_ms; /* packets later than this are worthless */
	uint32_t pps;	      /* packets a second of this class */
	bool room_for_copies; /* other paths are idle enough to take each packet again */
};
/* Repairs per thousand packets from now on; 0: off, because copies or resends do better, or parity
 * could not help in time. */
uint32_t fec_rate_judge(struct fec_rate *r, const struct fec_conditions *c, uint64_t now_ms);
/* Call after each packet: send a repair now? */
bool fec_rate_due(struct fec_rate *r);

#endif
