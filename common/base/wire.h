/* SPDX-License-Identifier: BSD-2-Clause */
/* wire: every byte that travels between plait-local and plait-remote, and
 * nothing else. docs/protocol.md is this file in prose, byte by byte.
 *
 * All integers are big-endian. A `get` never reads past `len`; it returns the
 * bytes it used, 0 when the message is not complete yet, -1 when it can never
 * become valid. A `put` writes exactly its size and returns it. Nothing here
 * authenticates: that is `seal`, `session` and `record`. */
#ifndef PLAIT_WIRE_H
#define PLAIT_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "addr.h"

#define WIRE_VERSION 1
#define WIRE_PIN 32  /* SHA-256 of a peer's SubjectPublicKeyInfo */
#define WIRE_SID 16  /* session id: 8 random bytes, 8 that prove the remote made it */
#define WIRE_TAG 16  /* AEAD tag, both algorithms */
#define WIRE_SALT 16
#define WIRE_NONCE 16 /* of a knock */
#define WIRE_MAC 16   /* of a knock: HMAC-SHA256 cut to 16 */

/* The first byte of a TCP connection from local to remote; the second is WIRE_VERSION. */
enum wire_type { WIRE_CONTROL = 1, WIRE_ATTACH = 2, WIRE_RESET = 3 };

/* CONTROL knock: 01 01 | nonce 16 | mac 16. TLS 1.3 follows. */
struct wire_knock {
	uint8_t nonce[WIRE_NONCE];
	uint8_t mac[WIRE_MAC];
};
#define WIRE_KNOCK_LEN (2 + WIRE_NONCE + WIRE_MAC)
size_t wire_put_knock(uint8_t *out, const struct wire_knock *k);
ssize_t wire_get_knock(struct wire_knock *k, const uint8_t *in, size_t len);

/* ATTACH: 02 01 len u16 | sid 16 | ctr u64 | salt 16 | tag 16; len counts what follows it (56).
 * The tag is the AEAD of nothing, with the bytes before it as AAD. */
struct wire_attach {
	uint8_t sid[WIRE_SID];
	uint64_t ctr;
	uint8_t salt[WIRE_SALT];
	uint8_t tag[WIRE_TAG];
};
#define WIRE_ATTACH_AAD (4 + WIRE_SID + 8 + WIRE_SALT)
#define WIRE_ATTACH_LEN (WIRE_ATTACH_AAD + WIRE_TAG)
size_t wire_put_attach(uint8_t *out, const struct wire_attach *a);
ssize_t wire_get_attach(struct wire_attach *a, const uint8_t *in, size_t len);

/* RESET, remote to local, the answer to an ATTACH whose sid this remote once made but no longer
 * knows (it restarted): 03 01 | random 16 | token 16. The token was told in WELCOME, so the local
 * knows that *this* connection was refused and nothing on it was served. */
struct wire_reset {
	uint8_t random[16];
	uint8_t token[16];
};
#define WIRE_RESET_LEN (2 + 16 + 16)
size_t wire_put_reset(uint8_t *out, const struct wire_reset *r);
ssize_t wire_get_reset(struct wire_reset *r, const uint8_t *in, size_t len);

/* Records follow ATTACH in both directions: hdr u16 = kind (2 bits) | length (14 bits), the length
 * being that of the ciphertext with its tag. hdr is the AAD. */
enum wire_kind { WIRE_DATA = 0, WIRE_OPEN = 1, WIRE_FIN = 2, WIRE_RST = 3 };
#define WIRE_RECORD_HDR 2
#define WIRE_RECORD_OVERHEAD (WIRE_RECORD_HDR + WIRE_TAG)
#define WIRE_RECORD_MAX 16000 /* plaintext bytes in a record; a longer one is malformed */
void wire_put_record_hdr(uint8_t *out, enum wire_kind kind, size_t plain_len);
/* -1: length below the tag or above WIRE_RECORD_MAX + tag; 0: needs more; else WIRE_RECORD_HDR. */
ssize_t wire_get_record_hdr(enum wire_kind *kind, size_t *cipher_len, const uint8_t *in, size_t len);

/* OPEN, plaintext of the first record up: mode u8 | flags u8 | dst 16 port u16 | src 16 port u16 |
 * early data (the rest). Flags that are not known make it malformed. */
enum wire_mode { WIRE_SEALED = 0, WIRE_CLEAR = 1 };
#define WIRE_OPEN_KEEP 0x01 /* RESUME may ask for it until ACCEPT was acknowledged */
struct wire_open {
	enum wire_mode mode;
	uint8_t flags;
	struct addr dst;
	struct addr src; /* the LAN client, for the remote's logs and limits */
};
#define WIRE_OPEN_LEN (2 + 18 + 18)
size_t wire_put_open(uint8_t *out, const struct wire_open *o);
ssize_t wire_get_open(struct wire_open *o, const uint8_t *in, size_t len);

/* RESUME, in the place of OPEN: 2 u8 | reserved u8 = 0 | sid 16 | ctr u64 of the connection whose
 * OPEN is meant. */
#define WIRE_RESUME_MODE 2
#define WIRE_RESUME_LEN (2 + WIRE_SID + 8)
struct wire_resume {
	uint8_t sid[WIRE_SID];
	uint64_t ctr;
};
size_t wire_put_resume(uint8_t *out, const struct wire_resume *r);
ssize_t wire_get_resume(struct wire_resume *r, const uint8_t *in, size_t len);

/* Answer, plaintext of a WIRE_OPEN record down: what u8 | status u16 | first bytes (ACCEPT only).
 * ATTACHED is always the first down record, ACCEPT the second. */
enum wire_what { WIRE_ATTACHED = 0, WIRE_ACCEPT = 1 };
struct wire_answer {
	enum wire_what what;
	uint16_t status; /* enum wire_status */
};
#define WIRE_ANSWER_LEN 3
size_t wire_put_answer(uint8_t *out, const struct wire_answer *a);
ssize_t wire_get_answer(struct wire_answer *a, const uint8_t *in, size_t len);

/* 0, or 0x100 | the error number of RFC 8803 section 6.2.8. Also the body (u16) of a WIRE_RST
 * record. */
enum wire_status {
	WIRE_OK = 0,
	WIRE_MALFORMED = 0x100 | 1,
	WIRE_UNSUPPORTED = 0x100 | 2,
	WIRE_FORBIDDEN = 0x100 | 32,	/* policy: not authorized */
	WIRE_NO_RESOURCES = 0x100 | 64, /* a cap of the user or of the remote */
	WIRE_NET_FAILURE = 0x100 | 65,
	WIRE_WAS_RESET = 0x100 | 96,	/* the destination sent RST */
	WIRE_UNREACHABLE = 0x100 | 97,	/* time-out or ICMP unreachable */
};
#define WIRE_RST_LEN 2
const char *wire_status_name(uint16_t status); /* "connection reset (96)"; never NULL */

/* Control frames, inside TLS: type u8 | len u16 | value. */
enum wire_frame {
	WIRE_HELLO = 1,	  /* local first */
	WIRE_WELCOME = 2, /* remote's answer */
	WIRE_PING = 3,	  /* value echoed in */
	WIRE_PONG = 4,
	WIRE_LINKS = 5, /* for a later version: ignored */
	WIRE_STATS = 6, /* likewise */
	WIRE_BYE = 7,	/* reason text, for the other side's log */
	WIRE_REVOKE = 8,  /* local asks: was this OPEN served? and forbids it from now on */
	WIRE_REVOKED = 9, /* the verdict */
	WIRE_PACKET = 10, /* an inner packet of the tunnel, bare: where datagrams do not get through */
	WIRE_CARRIER = 11, /* local: which way packets travel from now on, in both directions */
};
#define WIRE_FRAME_HDR 3
#define WIRE_FRAME_MAX 1024  /* of a value; a longer one ends the connection */
#define WIRE_PACKET_MAX 1476 /* of a PACKET: what a datagram could hold */
void wire_put_frame_hdr(uint8_t *out, uint8_t type, size_t len);
ssize_t wire_get_frame_hdr(uint8_t *type, size_t *len, const uint8_t *in, size_t avail);

/* HELLO: version u8 | flags u8 | boot id 16. Unknown flags are ignored; longer values too. */
#define WIRE_F_AES 0x01	  /* this box has AES instructions */
#define WIRE_F_CLEAR 0x02 /* this box's config allows CLEAR */
#define WIRE_F_STREAM 0x04 /* WELCOME: the remote takes PACKET and CARRIER */
#define WIRE_F_RESUME 0x08 /* WELCOME: the remote knows WIRE_OPEN_KEEP and RESUME */
struct wire_hello {
	uint8_t version, flags;
	uint8_t boot[16];
};
#define WIRE_HELLO_LEN 18
size_t wire_put_hello(uint8_t *out, const struct wire_hello *h);
ssize_t wire_get_hello(struct wire_hello *h, const uint8_t *in, size_t len);

/* WELCOME: version u8 | flags u8 | aead u8 | reserved u8 | sid 16 | reset token 16 | boot id 16 |
 * inner4 4 | inner6 16 | mtu u16 | pool cap u16 | pool age s u16 | rekey s u16 | relays u32 |
 * opens/s u32 | udp index u32. Inner addresses and mtu are zero while there is no tunnel, the index
 * (24 bits) where no UDP is heard. */
struct wire_welcome {
	uint8_t version, flags, aead;
	uint8_t sid[WIRE_SID];
	uint8_t token[16];
	uint8_t boot[16];
	uint8_t inner4[4], inner6[16];
	uint16_t mtu;
	uint16_t pool_cap, pool_age; /* attached connections kept waiting, and for how many seconds */
	uint16_t rekey;		     /* seconds after which the local should come with a new control connection */
	uint32_t relays, opens;	     /* the user's caps */
	uint32_t index;		     /* of our datagrams, in both directions (see wire_udp.h) */
};
#define WIRE_WELCOME_LEN 92
size_t wire_put_welcome(uint8_t *out, const struct wire_welcome *w);
ssize_t wire_get_welcome(struct wire_welcome *w, const uint8_t *in, size_t len);

/* REVOKE: sid 16 | ctr u64. REVOKED: sid 16 | ctr u64 | verdict u8. */
enum wire_verdict { WIRE_NOT_SERVED = 0, WIRE_SERVED = 1 /* or not known */ };
struct wire_revoke {
	uint8_t sid[WIRE_SID];
	uint64_t ctr;
	enum wire_verdict verdict; /* REVOKED only */
};
#define WIRE_REVOKE_LEN 24
#define WIRE_REVOKED_LEN 25
size_t wire_put_revoke(uint8_t *out, const struct wire_revoke *r);
ssize_t wire_get_revoke(struct wire_revoke *r, const uint8_t *in, size_t len);
size_t wire_put_revoked(uint8_t *out, const struct wire_revoke *r);
ssize_t wire_get_revoked(struct wire_revoke *r, const uint8_t *in, size_t len);

/* CARRIER: carrier u8. */
enum wire_carrier { WIRE_BY_UDP = 0, WIRE_BY_STREAM = 1 };
#define WIRE_CARRIER_LEN 1
size_t wire_put_carrier(uint8_t *out, const enum wire_carrier *c);
ssize_t wire_get_carrier(enum wire_carrier *c, const uint8_t *in, size_t len);

/* Whether the first bytes of a client look like a TLS record (RFC 8446 5.1: handshake, major
 * version 3). */
bool wire_is_tls(const uint8_t *in, size_t len);

/* Byte order, for the few callers outside. */
static inline uint16_t wire_get16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static inline void wire_put16(uint8_t *p, uint16_t v) { p[0] = (uint8_t)(v >> 8); p[1] = (uint8_t)v; }

#endif
