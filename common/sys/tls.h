/* SPDX-License-Identifier: BSD-2-Clause */
/* tls: TLS 1.3 between two boxes that know each other's key, over OpenSSL.
 *
 * Each box is one Ed25519 key (`struct identity`) wrapped in a self-signed
 * certificate; names and dates in it mean nothing. A peer is its pin: the
 * SHA-256 of its SubjectPublicKeyInfo. The handshake accepts any certificate and
 * the caller compares the pin afterwards, before it believes a byte. No early
 * data, no tickets, no renegotiation. */
#ifndef PLAIT_TLS_H
#define PLAIT_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "identity.h"

struct tls_ctx;
struct tls_ctx *tls_ctx_new(const struct identity *id, bool server); /* NULL: no memory */
void tls_ctx_free(struct tls_ctx *ctx);

struct tls;
enum { TLS_WANT_READ = -1, TLS_WANT_WRITE = -2, TLS_EOF = -3, TLS_FAILED = -4 };

struct tls *tls_new(struct tls_ctx *ctx, int fd); /* does not own fd */
void tls_free(struct tls *t);

int tls_handshake(struct tls *t); /* 0 done, or one of the negative values above */
ssize_t tls_read(struct tls *t, void *buf, size_t len);
ssize_t tls_write(struct tls *t, const void *buf, size_t len);
int tls_peer_pin(const struct tls *t, uint8_t pin[TLS_PIN]); /* -1: none */

/* RFC 8446 7.5 exporter, label "EXPORTER plait v1". 0 or -1. */
int tls_export(struct tls *t, const void *context, size_t len, uint8_t out[32]);

/* Why the last call failed: one clause, never NULL. */
const char *tls_error(const struct tls *t);

#endif
