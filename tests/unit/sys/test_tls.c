/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tls.h"

static char dir[] = "/tmp/plait-test-XXXXXX";
static char key[128], other[128], err[256];

static const char *in_dir(char *out, const char *name)
{
	snprintf(out, 128, "%s/%s", dir, name);
	return out;
}

static int setup(void **st)
{
	(void)st;
	if (!mkdtemp(dir) || identity_generate(in_dir(key, "a"), err, sizeof(err)) < 0)
		return -1;
	return identity_generate(in_dir(other, "b"), err, sizeof(err));
}

static int teardown(void **st)
{
	(void)st;
	unlink(key);
	unlink(other);
	return rmdir(dir);
}

struct pair {
	struct identity *id[2];
	struct tls_ctx *ctx[2];
	struct tls *t[2];
	int fd[2];
};

static struct pair pair_new(void)
{
	struct pair p;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p.fd), 0);
	for (int i = 0; i < 2; i++) {
		p.id[i] = identity_load(i ? other : key, err, sizeof(err));
		p.ctx[i] = tls_ctx_new(p.id[i], i == 1);
		p.t[i] = tls_new(p.ctx[i], p.fd[i]);
		assert_non_null(p.t[i]);
	}
	return p;
}

static void pair_free(struct pair *p)
{
	for (int i = 0; i < 2; i++) {
		tls_free(p->t[i]);
		tls_ctx_free(p->ctx[i]);
		identity_free(p->id[i]);
		close(p->fd[i]);
	}
}

static void pair_shake(struct pair *p)
{
	int done[2] = { -1, -1 };

	for (int i = 0; i < 10 && (done[0] || done[1]); i++)
		if (done[i % 2])
			done[i % 2] = tls_handshake(p->t[i % 2]);
	assert_int_equal(done[0] | done[1], 0);
}

static void both_learn_pin_and_secret(void **st)
{
	struct pair p = pair_new();
	uint8_t pin[32], want[32], a[32], b[32];
	char buf[8];

	(void)st;
	assert_int_equal(tls_peer_pin(p.t[0], pin), -1);
	pair_shake(&p);
	for (int i = 0; i < 2; i++) {
		identity_pin(p.id[!i], want);
		assert_int_equal(tls_peer_pin(p.t[i], pin), 0);
		assert_memory_equal(pin, want, 32);
	}
	assert_int_equal(tls_export(p.t[0], "sid", 3, a), 0);
	assert_int_equal(tls_export(p.t[1], "sid", 3, b), 0);
	assert_memory_equal(a, b, 32);
	assert_int_equal(tls_export(p.t[1], "sie", 3, b), 0);
	assert_memory_not_equal(a, b, 32);
	assert_int_equal(tls_read(p.t[1], buf, sizeof(buf)), TLS_WANT_READ);
	assert_int_equal(tls_write(p.t[0], "hello", 5), 5);
	assert_int_equal(tls_read(p.t[1], buf, sizeof(buf)), 5);
	assert_memory_equal(buf, "hello", 5);
	shutdown(p.fd[0], SHUT_WR);
	assert_int_equal(tls_read(p.t[1], buf, sizeof(buf)), TLS_EOF);
	pair_free(&p);
}

static void garbage_fails_with_a_reason(void **st)
{
	struct pair p = pair_new();

	(void)st;
	assert_int_equal(write(p.fd[0], "GET / HTTP/1.1\r\n\r\n", 18), 18);
	assert_int_equal(tls_handshake(p.t[1]), TLS_FAILED);
	assert_int_not_equal(strlen(tls_error(p.t[1])), 0);
	assert_string_not_equal(tls_error(p.t[1]), "no error");
	pair_free(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_learn_pin_and_secret),
		cmocka_unit_test(garbage_fails_with_a_reason),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
