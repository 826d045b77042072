/* SPDX-License-Identifier: BSD-2-Clause */
/* The one secret of a box: whoever else could read or swap it is noticed before it is used. */
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "identity.h"

static char dir[64], key[128], other[128], err[320];

/* A folder of our own with a good key in it. */
static int setup(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/plait-key-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(key, sizeof(key), "%s/the.key", dir);
	snprintf(other, sizeof(other), "%s/other", dir);
	return identity_generate(key, err, sizeof(err));
}

static int teardown(void **state)
{
	(void)state;
	remove(key);
	remove(other);
	return rmdir(dir);
}

static void generate_never_overwrites(void **state)
{
	struct identity *before = identity_load(key, err, sizeof(err)), *after;
	uint8_t a[32], b[32];
	struct stat s;

	(void)state;
	assert_int_equal(identity_generate(key, err, sizeof(err)), -1);
	assert_non_null(strstr(err, key));
	assert_int_equal(stat(key, &s), 0);
	assert_int_equal(s.st_mode & 07777, 0600);
	after = identity_load(key, err, sizeof(err));
	identity_pin(before, a), identity_pin(after, b), assert_memory_equal(a, b, 32);
	identity_free(before), identity_free(after);
}

static void a_key_has_one_pin_and_many_secrets(void **state)
{
	struct identity *a = identity_load(key, err, sizeof(err)), *b;
	struct identity *again = identity_load(key, err, sizeof(err));
	uint8_t x[32], y[32];

	(void)state;
	assert_int_equal(identity_generate(other, err, sizeof(err)), 0);
	b = identity_load(other, err, sizeof(err));
	identity_pin(a, x), identity_pin(again, y), assert_memory_equal(x, y, 32);
	identity_pin(b, y), assert_memory_not_equal(x, y, 32);
	identity_secret(a, "one", x), identity_secret(again, "one", y), assert_memory_equal(x, y, 32);
	identity_secret(a, "two", y), assert_memory_not_equal(x, y, 32);
	identity_secret(b, "one", y), assert_memory_not_equal(x, y, 32);
	identity_free(a), identity_free(again), identity_free(b);
}

/* --- what can be wrong with the file; each gets a good one and spoils it --- */

static void write_bytes(const void *bytes, size_t len)
{
	FILE *f = fopen(key, "w"); /* which keeps the mode */

	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

/* Writes a key of another kind, encrypted if there is a passphrase, or only its public half. */
static void write_key(const char *kind, const char *passphrase, bool public_only)
{
	EVP_PKEY *k = EVP_PKEY_Q_keygen(NULL, NULL, kind);
	const EVP_CIPHER *with = passphrase ? EVP_aes_256_cbc() : NULL;
	FILE *f = fopen(key, "w");

	assert_non_null(k);
	assert_non_null(f);
	if (public_only)
		assert_int_equal(PEM_write_PUBKEY(f, k), 1);
	else
		assert_int_equal(PEM_write_PKCS8PrivateKey(f, k, with, NULL, 0, NULL, (void *)(uintptr_t)passphrase), 1);
	assert_int_equal(fclose(f), 0);
	EVP_PKEY_free(k);
}

static void readable(void) { assert_int_equal(chmod(key, 0644), 0); }
static void group_readable(void) { assert_int_equal(chmod(key, 0640), 0); }
static void executable(void) { assert_int_equal(chmod(key, 0700), 0); }
static void fifo(void) { assert_int_equal(unlink(key) || mkfifo(key, 0600), 0); }
static void folder(void) { assert_int_equal(unlink(key) || mkdir(key, 0700), 0); }
static void empty(void) { write_bytes("", 0); }
static void absent(void) { assert_int_equal(unlink(key), 0); }
static void thirty_one_bytes(void) { write_bytes("thirty-one bytes are not a key.", 31); }
static void a_gigabyte(void) { assert_int_equal(truncate(key, 1 << 30), 0); }
static void another_kind(void) { write_key("X25519", NULL, false); }
static void with_passphrase(void) { write_key("ED25519", "x", false); }
static void public_half(void) { write_key("ED25519", NULL, true); }
static void folder_of_a_group(void) { assert_int_equal(chmod(dir, 0770), 0); }
static void folder_of_all(void) { assert_int_equal(chmod(dir, 0777), 0); }
static void folder_like_tmp(void) { assert_int_equal(chmod(dir, 01777), 0); }
static void of_another_user(void) { assert_int_equal(chown(key, 65534, (gid_t)-1), 0); }
static void folder_of_another_user(void) { assert_int_equal(chown(dir, 65534, (gid_t)-1), 0); }

static void link_to_it(void)
{
	assert_int_equal(rename(key, other), 0);
	assert_int_equal(symlink(other, key), 0);
}

static void cut(void)
{
	struct stat s;

	assert_int_equal(stat(key, &s), 0);
	assert_int_equal(truncate(key, s.st_size - 40), 0);
}

static const struct spoiling {
	const char *what;
	void (*spoil)(void);
	const char *said; /* behind FILE: to the end */
	enum { ANYBODY, ROOT } who; /* can do it */
} spoilings[] = {
	{ "readable", readable, "others may read the key (mode 0644; chmod 600 it)", ANYBODY },
	{ "group readable", group_readable, "others may read the key (mode 0640; chmod 600 it)", ANYBODY },
	{ "executable", executable, "others may read the key (mode 0700; chmod 600 it)", ANYBODY },
	{ "link", link_to_it, "the key is a symbolic link", ANYBODY },
	{ "fifo", fifo, "the key is not a regular file", ANYBODY },
	{ "folder", folder, "the key is not a regular file", ANYBODY },
	{ "empty", empty, "the key file is empty", ANYBODY },
	{ "absent", absent, "No such file or directory", ANYBODY },
	{ "thirty-one bytes", thirty_one_bytes, "not a private key (make one with genkey)", ANYBODY },
	{ "cut", cut, "not a private key (make one with genkey)", ANYBODY },
	{ "a gigabyte", a_gigabyte, "too long for a key", ANYBODY },
	{ "another kind", another_kind, "not an Ed25519 key (make one with genkey)", ANYBODY },
	{ "with a passphrase", with_passphrase, "not a private key (make one with genkey)", ANYBODY },
	{ "public half", public_half, "not a private key (make one with genkey)", ANYBODY },
	{ "folder of a group", folder_of_a_group,
	  "others can write the key's folder (mode 0770; chmod go-w it)", ANYBODY },
	{ "folder of all", folder_of_all,
	  "others can write the key's folder (mode 0777; chmod go-w it)", ANYBODY },
	{ "folder like /tmp", folder_like_tmp,
	  "others can write the key's folder (mode 1777; chmod go-w it)", ANYBODY },
	{ "of another user", of_another_user, "the key belongs to another user", ROOT },
	{ "folder of another user", folder_of_another_user,
	  "the key's folder belongs to another user", ROOT },
};

/* Refused, in one line that says which file and why, to the letter. */
static void is_refused(const char *what, const char *path, const char *said)
{
	struct identity *id = identity_load(path, err, sizeof(err));
	char want[512];

	snprintf(want, sizeof(want), "%s: %s", path, said);
	if (id)
		fail_msg("%s: was taken", what);
	if (strcmp(err, want) || strchr(err, '\n'))
		fail_msg("%s: got \"%s\", wanted \"%s\"", what, err, want);
}

static void each_fault_of_the_file_is_told(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(spoilings) / sizeof(*spoilings); i++) {
		const struct spoiling *s = &spoilings[i];

		if (s->who == ROOT && geteuid())
			continue;
		s->spoil();
		is_refused(s->what, key, s->said);
		assert_int_equal(teardown(NULL), 0);
		assert_int_equal(setup(NULL), 0);
	}
}

/* The longest path that key_file takes: what is wrong is still said, and not only where. */
static void a_long_path_leaves_room_for_the_reason(void **state)
{
	char path[256];
	size_t len = (size_t)snprintf(path, sizeof(path), "%s/", dir);

	(void)state;
	while (len < sizeof(path) - 1)
		path[len++] = '/';
	path[len] = 0;
	memcpy(path + len - 7, "the.key", 7); /* which is the same file: many slashes are one */
	folder_of_all();
	is_refused("folder of all", path, "others can write the key's folder (mode 0777; chmod go-w it)");
}

static void a_folder_that_is_absent_is_told(void **state)
{
	char path[160];

	(void)state;
	snprintf(path, sizeof(path), "%s/none/the.key", dir);
	is_refused("no folder", path, "the key's folder: No such file or directory");
	assert_int_equal(identity_generate(path, err, sizeof(err)), -1);
	assert_non_null(strstr(err, "/none/the.key: the key's folder: No such file or directory"));
}

/* Nobody may read more than its owner, who need not be able to write. */
static void a_key_that_is_only_readable_will_do(void **state)
{
	struct identity *id;

	(void)state;
	assert_int_equal(chmod(key, 0400), 0);
	id = identity_load(key, err, sizeof(err));
	assert_non_null(id);
	identity_free(id);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(generate_never_overwrites),
		TEST(a_key_has_one_pin_and_many_secrets),
		TEST(each_fault_of_the_file_is_told),
		TEST(a_long_path_leaves_room_for_the_reason),
		TEST(a_folder_that_is_absent_is_told),
		TEST(a_key_that_is_only_readable_will_do),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
