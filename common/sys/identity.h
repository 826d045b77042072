/* SPDX-License-Identifier: BSD-2-Clause */
/* identity: the one long-lived secret of a box, an Ed25519 key in a file. */
#ifndef PLAIT_IDENTITY_H
#define PLAIT_IDENTITY_H

#include <stddef.h>
#include <stdint.h>

#define TLS_PIN 32

struct identity;
struct ssl_ctx_st;

/* Writes a new private key (PEM, PKCS#8) to path with mode 0600; refuses to overwrite. 0, or -1 and
 * a sentence in err. */
int identity_generate(const char *path, char *err, size_t err_len);

/* Loads one. The file must be regular (not a link or FIFO), mode 0600 or less, owned by root or
 * by us, in a folder only its owner can write. NULL and a sentence naming the file in err. */
struct identity *identity_load(const char *path, char *err, size_t err_len);
void identity_free(struct identity *id);
void identity_pin(const struct identity *id, uint8_t pin[TLS_PIN]);

/* A 32-byte secret that only this identity can derive and that survives restarts. */
void identity_secret(const struct identity *id, const char *label, uint8_t out[32]);

/* For tls.c: makes OpenSSL's context speak as this identity. 0 or -1. */
int identity_install(const struct identity *id, struct ssl_ctx_st *ctx);

#endif
