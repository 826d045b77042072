/* SPDX-License-Identifier: BSD-2-Clause */
/* dgram: what its files share. */
#ifndef DGRAM_H
#define DGRAM_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define DGRAM_MAX 65000
#define DGRAM_MAGIC 0x706c6169u
#define DGRAM_REFLECT 1 /* send it back */
#define DGRAM_PULL 2    /* a request: send such a stream to me */
#define DGRAM_BACK 4    /* it was reflected */

/* What begins each packet; the rest of `size` bytes follows from seq. Both ends are on one machine
 * and share its clock. */
struct dgram {
	uint32_t magic, flow, seq, count, size, pps;
	uint32_t flags, batch;
	uint64_t sent_ns, turned_ns; /* turned: when the far end reflected it */
};

uint64_t dgram_now_ns(void);
_Noreturn void dgram_die(const char *what);
void dgram_fill(uint8_t *packet, const struct dgram *head);
bool dgram_is_whole(const uint8_t *packet, size_t len, struct dgram *head);

/* stream: packets going out at their times. */
struct stream {
	struct dgram head;
	struct sockaddr_storage to;
	socklen_t to_len;
	uint64_t begun_ns;
	uint64_t refused;
};
/* Sends what is due; false when all is sent. */
bool stream_step(struct stream *s, int fd);
uint64_t stream_next_ns(const struct stream *s);

/* tally: what became of a flow. */
struct tally;
struct tally *tally_new(uint32_t flow, uint32_t count);
void tally_free(struct tally *t);
uint32_t tally_flow(const struct tally *t);
uint32_t tally_got(const struct tally *t);
void tally_add(struct tally *t, uint32_t seq, uint64_t sent_ns, uint64_t now_ns);
void tally_print(const struct tally *t, const char *name, bool series, FILE *to);

#endif
