/* SPDX-License-Identifier: BSD-2-Clause */
/* tls: see tls.h. OpenSSL is told to accept any certificate, and the pin is compared by the caller.
 */
#include "tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "seal.h"

static const char export_label[] = "EXPORTER plait v1";

#define CERTIFICATES 4096 /* bytes: one of ours has some 300 */

struct tls_ctx {
	SSL_CTX *ssl;
	bool server;
};

struct tls {
	SSL *ssl;
	char error[128];
};

/* Certificates are judged by their key, afterwards, by the caller. OpenSSL still proves that the
 * peer holds that key (CertificateVerify). */
static int accept_any(X509_STORE_CTX *store, void *arg)
{
	(void)store, (void)arg;
	return 1;
}

static bool ctx_restrict(SSL_CTX *ssl)
{
	return SSL_CTX_set_min_proto_version(ssl, TLS1_3_VERSION) == 1 &&
	       SSL_CTX_set_max_proto_version(ssl, TLS1_3_VERSION) == 1 &&
	       SSL_CTX_set_ciphersuites(ssl, "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") == 1 &&
	       SSL_CTX_set1_sigalgs_list(ssl, "ed25519") == 1 &&
	       SSL_CTX_set1_groups_list(ssl, "X25519") == 1 && SSL_CTX_set_num_tickets(ssl, 0) == 1 &&
	       SSL_CTX_set_max_early_data(ssl, 0) == 1;
}

static void ctx_behave(SSL_CTX *ssl)
{
	SSL_CTX_set_max_cert_list(ssl, CERTIFICATES); /* else a stranger may have us keep 100 KB */
	SSL_CTX_set_options(ssl, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET |
					 SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				      SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	SSL_CTX_set_cert_verify_callback(ssl, accept_any, NULL);
	SSL_CTX_set_quiet_shutdown(ssl, 1);
}

struct tls_ctx *tls_ctx_new(const struct identity *id, bool server)
{
	struct tls_ctx *ctx = calloc(1, sizeof(*ctx));

	if (!ctx)
		return NULL;
	ctx->server = server;
	ctx->ssl = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
	if (!ctx->ssl || !ctx_restrict(ctx->ssl) || identity_install(id, ctx->ssl) < 0) {
		tls_ctx_free(ctx);
		return NULL;
	}
	ctx_behave(ctx->ssl);
	return ctx;
}

void tls_ctx_free(struct tls_ctx *ctx)
{
	if (!ctx)
		return;
	SSL_CTX_free(ctx->ssl);
	free(ctx);
}

struct tls *tls_new(struct tls_ctx *ctx, int fd)
{
	struct tls *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->ssl = SSL_new(ctx->ssl);
	if (!t->ssl || SSL_set_fd(t->ssl, fd) != 1) {
		tls_free(t);
		return NULL;
	}
	if (ctx->server)
		SSL_set_accept_state(t->ssl);
	else
		SSL_set_connect_state(t->ssl);
	return t;
}

void tls_free(struct tls *t)
{
	if (!t)
		return;
	SSL_free(t->ssl);
	free(t);
}

/* OpenSSL's reason when it has one, else the system's. */
static int tls_fail(struct tls *t, int saved_errno)
{
	unsigned long e = ERR_peek_error();
	const char *why = e ? ERR_reason_error_string(e) : NULL;

	if (!why)
		why = saved_errno ? strerror(saved_errno) : "the connection broke";
	snprintf(t->error, sizeof(t->error), "%s", why);
	ERR_clear_error();
	return TLS_FAILED;
}

/* What a call that returned ret <= 0 means. */
static int tls_result(struct tls *t, int ret)
{
	int saved_errno = errno;

	switch (SSL_get_error(t->ssl, ret)) {
	case SSL_ERROR_WANT_READ:
		return TLS_WANT_READ;
	case SSL_ERROR_WANT_WRITE:
		return TLS_WANT_WRITE;
	case SSL_ERROR_ZERO_RETURN:
		snprintf(t->error, sizeof(t->error), "closed by the peer");
		return TLS_EOF;
	default:
		return tls_fail(t, saved_errno);
	}
}

/* An old error in OpenSSL's queue would be taken for the next call's. */
static void tls_begin(void)
{
	ERR_clear_error();
	errno = 0;
}

int tls_handshake(struct tls *t)
{
	int ret;

	tls_begin();
	ret = SSL_do_handshake(t->ssl);
	return ret == 1 ? 0 : tls_result(t, ret);
}

ssize_t tls_read(struct tls *t, void *buf, size_t len)
{
	size_t n;
	int ret;

	tls_begin();
	ret = SSL_read_ex(t->ssl, buf, len, &n);
	return ret == 1 ? (ssize_t)n : tls_result(t, ret);
}

ssize_t tls_write(struct tls *t, const void *buf, size_t len)
{
	size_t n;
	int ret;

	tls_begin();
	ret = SSL_write_ex(t->ssl, buf, len, &n);
	return ret == 1 ? (ssize_t)n : tls_result(t, ret);
}

int tls_peer_pin(const struct tls *t, uint8_t pin[TLS_PIN])
{
	X509 *cert = SSL_get0_peer_certificate(t->ssl);
	unsigned char *der = NULL;
	int len = cert ? i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der) : -1;

	if (len <= 0)
		return -1;
	seal_sha256(pin, der, (size_t)len);
	OPENSSL_free(der);
	return 0;
}

int tls_export(struct tls *t, const void *context, size_t len, uint8_t out[32])
{
	return SSL_export_keying_material(t->ssl, out, 32, export_label, sizeof(export_label) - 1, context, len, 1) ==
			       1 ?
		       0 :
		       -1;
}

const char *tls_error(const struct tls *t)
{
	return t->error[0] ? t->error : "no error";
}
