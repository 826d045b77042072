/* SPDX-License-Identifier: BSD-2-Clause */
/* wire_udp: every byte of a datagram between plait-local and plait-remote. docs/protocol.md is this
 * file in prose.
 *
 * A datagram is an 8-byte header (the AAD), ciphertext, and a 16-byte tag. The nonce is type and
 * class in the first four bytes and the full 64-bit number behind them, so each (type, class) of a
 * direction counts for itself. Same rules as in wire.h: big-endian; a `get` never reads past `len`
 * and returns the bytes used, or -1; a `put` returns what it wrote. */
#ifndef PLAIT_WIRE_UDP_H
#define PLAIT_WIRE_UDP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define WIRE_PATHS 8 /* of one association */

/* version 2 bits (1) | type 3 | class 3 | receiver's index 24 | low half of the number 32 */
enum wire_dgram_type {
	WIRE_DG_DATA = 0,     /* one inner IP packet, bare */
	WIRE_DG_CONTROL = 1,  /* frames, below */
	WIRE_DG_REPAIR = 2,   /* FEC */
	WIRE_DG_FRAGMENT = 3, /* a piece of an inner packet */
	WIRE_DG_UNKNOWN = 7,  /* the remote does not know this index: header only, unauthenticated, a hint and no more */
};
#define WIRE_DG_TYPES 8

enum wire_class { WIRE_CLASS_CONTROL = 0, WIRE_CLASS_R = 1, WIRE_CLASS_F = 2, WIRE_CLASS_B = 3 };
#define WIRE_CLASSES 4

struct wire_dgram {
	enum wire_dgram_type type;
	uint8_t class;
	uint32_t index; /* 24 bits */
	uint32_t low;	/* of the number */
};
#define WIRE_DG_HDR 8
#define WIRE_DG_TAG 16
#define WIRE_DG_OVERHEAD (WIRE_DG_HDR + WIRE_DG_TAG)
#define WIRE_DG_MAX 1500 /* of a datagram's UDP payload; a longer one is malformed */
size_t wire_put_dgram(uint8_t *out, const struct wire_dgram *d);
ssize_t wire_get_dgram(struct wire_dgram *d, const uint8_t *in, size_t len);

/* Control frames inside a WIRE_DG_CONTROL datagram, one behind the other: type u8 | len u8 | value.
 * Unknown ones are skipped. */
enum wire_ctl {
	WIRE_CTL_PAD = 0,
	WIRE_CTL_PROBE = 1,	/* answered by a REPORT on every path */
	WIRE_CTL_REPORT = 2,
	WIRE_CTL_CHALLENGE = 3, /* 8 random bytes, to an address not heard of before */
	WIRE_CTL_RESPONSE = 4,	/* the same 8 bytes, from there */
	WIRE_CTL_ACK = 5,	/* what arrived of a (type, class), and so what did not */
	WIRE_CTL_MTU_PROBE = 6, /* id u8 | size u16, in a datagram padded to that size */
	WIRE_CTL_MTU_ACK = 7,	/* path u8 | id u8 | size u16 */
	WIRE_CTL_MEND = 8,	/* window u8: its sender understands REPAIRs that cover so many packets */
};
#define WIRE_CTL_HDR 2
size_t wire_put_ctl(uint8_t *out, enum wire_ctl type, const void *value, size_t len);
/* Steps through the frames: 0 at the end, -1 when malformed. */
ssize_t wire_get_ctl(uint8_t *type, const uint8_t **value, size_t *len, const uint8_t *in, size_t avail);

/* PROBE: path u8 | use u8 | seq u32 | time u32 | packets u32 | bytes u64. It also says which path
 * this datagram is on. */
enum wire_use { /* what the local wants of a path, in both directions */
	WIRE_USE_FULL = 0,
	WIRE_USE_COPIES = 1, /* metered: class R and control only */
	WIRE_USE_BACKUP = 2, /* only while no path is FULL and alive */
	WIRE_USE_NOT = 3,    /* control only */
};
struct wire_probe {
	uint8_t path; /* 0..7, the local's number */
	uint8_t use;  /* enum wire_use; the remote echoes what it was told */
	uint32_t seq;
	uint32_t time_us; /* sender's clock */
	uint32_t packets; /* datagrams sent on this path so far, this one included */
	uint64_t bytes;
};
#define WIRE_PROBE_LEN 22
size_t wire_put_probe(uint8_t *out, const struct wire_probe *p);
ssize_t wire_get_probe(struct wire_probe *p, const uint8_t *in, size_t len);

/* REPORT: path u8 | flags u8 | seq u32 | time u32 | hold u32 | packets u32 | bytes u64 | queue u32
 * | rate u32: what the sender of the report has received on that path. */
#define WIRE_REPORT_HEARD 0x01 /* a datagram arrived on it since the last report */
struct wire_report {
	uint8_t path, flags;
	uint32_t seq, time_us; /* of the newest PROBE */
	uint32_t hold_us;      /* how long ago that came */
	uint32_t packets;      /* received on this path when that came, itself included */
	uint64_t bytes;
	uint32_t queue_us; /* one-way delay above its least of 10 s */
	uint32_t rate;	   /* bytes a second, over the last 100 ms or more that were not idle */
};
#define WIRE_REPORT_LEN 34
size_t wire_put_report(uint8_t *out, const struct wire_report *r);
ssize_t wire_get_report(struct wire_report *r, const uint8_t *in, size_t len);

/* ACK: type u8 | class u8 | top u64 | n u8 | map n bytes: top is the highest number seen, bit i of
 * the map (low bit of the first byte first) says whether top - 1 - i was. */
#define WIRE_ACK_MAP 32
struct wire_ack {
	uint8_t type, class;
	uint64_t top;
	uint8_t n;
	uint8_t map[WIRE_ACK_MAP];
};
#define WIRE_ACK_LEN_MIN 11
size_t wire_put_ack(uint8_t *out, const struct wire_ack *a);
ssize_t wire_get_ack(struct wire_ack *a, const uint8_t *in, size_t len);

/* FRAGMENT's first bytes: id u16 | offset u15 more u1. At most two pieces... */
struct wire_fragment {
	uint16_t id, offset;
	uint8_t more;
};
#define WIRE_FRAGMENT_HDR 4
size_t wire_put_fragment(uint8_t *out, const struct wire_fragment *f);
ssize_t wire_get_fragment(struct wire_fragment *f, const uint8_t *in, size_t len);

/* REPAIR's first bytes: base u64 | window u8 | seed u16 | xor of lengths u16. */
struct wire_repair {
	uint64_t base; /* the first number it covers, of (DATA, class) */
	uint8_t window;
	uint16_t seed, len_xor;
};
#define WIRE_REPAIR_HDR 13
size_t wire_put_repair(uint8_t *out, const struct wire_repair *r);
ssize_t wire_get_repair(struct wire_repair *r, const uint8_t *in, size_t len);

#endif
