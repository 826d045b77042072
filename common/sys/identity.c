/* SPDX-License-Identifier: BSD-2-Clause */
/* identity: the key is a PEM file that nobody else may read; what is derived from it is derived
 * here. */
#include "identity.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "seal.h"

#define KEY_FILE_MAX 4096 /* a PEM Ed25519 key has about 120 bytes */

struct identity {
	EVP_PKEY *key;
	X509 *cert; /* wraps the public key because TLS wants one; nothing else in it counts */
	uint8_t pin[TLS_PIN];
};

__attribute__((format(printf, 3, 4))) static int fail(char *err, size_t err_len, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, err_len, fmt, ap);
	va_end(ap);
	return -1;
}

static bool ours(const struct stat *st)
{
	return st->st_uid == 0 || st->st_uid == geteuid();
}

/* Who may write the folder may swap the key. Its name is in the path: said again, a long one
 * left no room for the reason. */
static int check_folder(const char *path, char *err, size_t err_len)
{
	char copy[4096];
	const char *dir;
	struct stat st;

	if (strlen(path) >= sizeof(copy))
		return fail(err, err_len, "%.64s...: the path is too long", path);
	strcpy(copy, path);
	dir = dirname(copy);
	if (stat(dir, &st) < 0)
		return fail(err, err_len, "%s: the key's folder: %s", path, strerror(errno));
	if (!ours(&st))
		return fail(err, err_len, "%s: the key's folder belongs to another user", path);
	if (st.st_mode & 022)
		return fail(err, err_len, "%s: others can write the key's folder (mode %04o; chmod go-w it)", path,
			    st.st_mode & 07777);
	return 0;
}

static int check_file(const char *path, int fd, char *err, size_t err_len)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return fail(err, err_len, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return fail(err, err_len, "%s: the key is not a regular file", path);
	if (!ours(&st))
		return fail(err, err_len, "%s: the key belongs to another user", path);
	if (st.st_mode & 0177)
		return fail(err, err_len, "%s: others may read the key (mode %04o; chmod 600 it)", path,
			    st.st_mode & 07777);
	if (st.st_size == 0)
		return fail(err, err_len, "%s: the key file is empty", path);
	if (st.st_size > KEY_FILE_MAX)
		return fail(err, err_len, "%s: too long for a key", path);
	return 0;
}

/* Never waits: a FIFO must not stop the start. */
static int open_key(const char *path, char *err, size_t err_len)
{
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);

	if (fd >= 0)
		return fd;
	if (errno == ELOOP)
		return fail(err, err_len, "%s: the key is a symbolic link", path);
	return fail(err, err_len, "%s: %s", path, strerror(errno));
}

static ssize_t read_key(const char *path, char *buf, size_t size, char *err, size_t err_len)
{
	int fd = check_folder(path, err, err_len) < 0 ? -1 : open_key(path, err, err_len);
	ssize_t n = -1;

	if (fd < 0)
		return -1;
	if (check_file(path, fd, err, err_len) == 0) {
		n = read(fd, buf, size);
		if (n < 0)
			fail(err, err_len, "%s: %s", path, strerror(errno));
	}
	close(fd);
	return n;
}

/* An encrypted key must not make OpenSSL ask on a terminal. */
static int no_passphrase(char *buf, int size, int rw, void *arg)
{
	(void)buf, (void)size, (void)rw, (void)arg;
	return -1;
}

static EVP_PKEY *parse_key(const char *path, const char *pem, size_t len, char *err, size_t err_len)
{
	BIO *bio = BIO_new_mem_buf(pem, (int)len);
	EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;

	BIO_free(bio);
	if (!key) {
		fail(err, err_len, "%s: not a private key (make one with genkey)", path);
	} else if (EVP_PKEY_get_base_id(key) != EVP_PKEY_ED25519) {
		fail(err, err_len, "%s: not an Ed25519 key (make one with genkey)", path);
		EVP_PKEY_free(key);
		key = NULL;
	}
	return key;
}

/* Valid for all times, since a gateway may have no clock. */
static X509 *make_cert(EVP_PKEY *key)
{
	X509 *cert = X509_new();
	X509_NAME *name = cert ? X509_get_subject_name(cert) : NULL;
	bool ok = name && X509_set_version(cert, X509_VERSION_3) &&
		  ASN1_INTEGER_set(X509_get_serialNumber(cert), 1) &&
		  ASN1_TIME_set_string_X509(X509_getm_notBefore(cert), "19700101000000Z") &&
		  ASN1_TIME_set_string_X509(X509_getm_notAfter(cert), "99991231235959Z") &&
		  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"plait", -1, -1, 0) &&
		  X509_set_issuer_name(cert, name) && X509_set_pubkey(cert, key) && X509_sign(cert, key, NULL);

	if (!ok) {
		X509_free(cert);
		return NULL;
	}
	return cert;
}

static bool make_pin(EVP_PKEY *key, uint8_t pin[TLS_PIN])
{
	unsigned char *der = NULL;
	int len = i2d_PUBKEY(key, &der);

	if (len <= 0)
		return false;
	seal_sha256(pin, der, (size_t)len);
	OPENSSL_free(der);
	return true;
}

struct identity *identity_load(const char *path, char *err, size_t err_len)
{
	char pem[KEY_FILE_MAX];
	ssize_t len = read_key(path, pem, sizeof(pem), err, err_len);
	struct identity *id;
	EVP_PKEY *key;

	if (len < 0)
		return NULL;
	key = parse_key(path, pem, (size_t)len, err, err_len);
	seal_wipe(pem, sizeof(pem));
	if (!key)
		return NULL;
	id = calloc(1, sizeof(*id));
	if (id) {
		id->key = key;
		id->cert = make_cert(key);
		if (id->cert && make_pin(key, id->pin))
			return id;
		identity_free(id);
	} else {
		EVP_PKEY_free(key);
	}
	fail(err, err_len, "%s: out of memory", path);
	return NULL;
}

void identity_free(struct identity *id)
{
	if (!id)
		return;
	X509_free(id->cert);
	EVP_PKEY_free(id->key);
	free(id);
}

void identity_pin(const struct identity *id, uint8_t pin[TLS_PIN])
{
	memcpy(pin, id->pin, TLS_PIN);
}

void identity_secret(const struct identity *id, const char *label, uint8_t out[32])
{
	uint8_t raw[32];
	size_t len = sizeof(raw);

	if (EVP_PKEY_get_raw_private_key(id->key, raw, &len) != 1 || len != sizeof(raw))
		abort();
	seal_hkdf(out, 32, raw, sizeof(raw), NULL, 0, label, strlen(label));
	seal_wipe(raw, sizeof(raw));
}

int identity_install(const struct identity *id, struct ssl_ctx_st *ctx)
{
	return SSL_CTX_use_certificate(ctx, id->cert) == 1 && SSL_CTX_use_PrivateKey(ctx, id->key) == 1 ? 0 : -1;
}

/* The key as PEM text in a secure memory BIO; NULL without memory. */
static BIO *new_key_pem(void)
{
	BIO *bio = BIO_new(BIO_s_secmem());
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	bool ok = bio && key && PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1;

	EVP_PKEY_free(key);
	if (!ok) {
		BIO_free(bio);
		return NULL;
	}
	return bio;
}

int identity_generate(const char *path, char *err, size_t err_len)
{
	BIO *bio;
	char *pem;
	long len;
	int fd;
	bool ok;

	if (check_folder(path, err, err_len) < 0)
		return -1;
	bio = new_key_pem();
	if (!bio)
		return fail(err, err_len, "%s: OpenSSL cannot make an Ed25519 key", path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0) {
		BIO_free(bio);
		return fail(err, err_len, "%s: %s", path, strerror(errno));
	}
	len = BIO_get_mem_data(bio, &pem);
	ok = write(fd, pem, (size_t)len) == len && fsync(fd) == 0;
	if (!ok) {
		fail(err, err_len, "%s: %s", path, strerror(errno));
		unlink(path);
	}
	close(fd);
	BIO_free(bio);
	return ok ? 0 : -1;
}
