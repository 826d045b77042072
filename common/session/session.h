/* SPDX-License-Identifier: BSD-2-Clause */
/* session: the keys that one control connection agreed on, and the promise that
 * each OPEN under them is served at most once. See session.c for the theory. */
#ifndef PLAIT_SESSION_H
#define PLAIT_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "seal.h"
#include "udp_keys.h"
#include "window.h"
#include "wire.h"

#define SESSION_WINDOW 65536 /* ATTACH counters told apart exactly */
#define SESSION_JUMP 1048576 /* a counter further ahead than this is not an honest local */

struct session;

/* `exported` is the TLS exporter's value for sid. Starts with one reference. NULL: no memory. */
struct session *session_new(const uint8_t sid[WIRE_SID], enum seal_alg alg, const uint8_t exported[32]);
struct session *session_get(struct session *s); /* one reference more; returns s */
void session_put(struct session *s);		/* one less; wiped and freed at none */

const uint8_t *session_sid(const struct session *s);
enum seal_alg session_alg(const struct session *s);
/* The keys of the datagrams, for the end that sends in direction `dir` (0: local to remote, 1:
 * back); made when first asked for, and always the same from then on. They live as long as the
 * session. NULL: no memory, or they have another index. */
struct udp_keys *session_udp_keys(struct session *s, struct seal *seal, int dir, uint32_t index);
/* For test vectors: whoever seals by it counts for himself. */
const uint8_t *session_udp_key(const struct session *s, int dir);

/* The two keys of one attached connection; index 0 is up (local to remote), 1 is down. The counters
 * stand where the first record finds them: up at 1 (0 went into ATTACH's tag), down at 0. */

/* Local: makes an ATTACH with the next counter; returns it in *ctr. */
void session_attach(struct session *s, struct seal *seal, uint8_t out[WIRE_ATTACH_LEN], struct seal_key keys[2],
		    uint64_t *ctr);

/* The same with a number and a salt of the caller's choice: for test vectors. */
void session_attach_as(const struct session *s, struct seal *seal, uint64_t ctr, const uint8_t salt[WIRE_SALT],
		       uint8_t out[WIRE_ATTACH_LEN], struct seal_key keys[2]);

/* Remote: checks ATTACH (raw is the WIRE_ATTACH_LEN bytes that a was read from), and marks its
 * counter only when the tag is right. JUMPED and REPLAYED are said before the tag is checked: they
 * prove nothing about the sender, so they may cost no more than this one connection. */
enum session_verdict { SESSION_OK, SESSION_FORGED, SESSION_REPLAYED, SESSION_JUMPED };
enum session_verdict session_admit(struct session *s, struct seal *seal, const struct wire_attach *a,
				   const uint8_t *raw, struct seal_key keys[2]);

/* Remote: the right to serve the OPEN of counter ctr, or (REVOKE) to promise that nobody will.
 * Whoever asks first has it; the answer to everyone after is false, but for a REVOKE that is asked
 * again. A REVOKE for a counter never admitted also forbids its ATTACH. */
bool session_claim_open(struct session *s, uint64_t ctr);
bool session_claim_revoke(struct session *s, uint64_t ctr);

/* Remote: session ids that prove their maker across restarts. `secret` is identity_secret(…, "plait
 * sid"). */
void session_make_sid(uint8_t sid[WIRE_SID], const uint8_t secret[32]);
bool session_is_our_sid(const uint8_t sid[WIRE_SID], const uint8_t secret[32]);
/* The token that a RESET for this sid must carry. */
void session_reset_token(uint8_t token[16], const uint8_t sid[WIRE_SID], const uint8_t secret[32]);

/* The knock: a mac that only who knows the remote's pin can make. */
void session_knock(struct wire_knock *k, const uint8_t pin[WIRE_PIN]);
bool session_knock_ok(const struct wire_knock *k, const uint8_t pin[WIRE_PIN]);

#endif
