/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "session.h"

struct pair {
	struct session *local, *remote;
	struct seal *seal;
};

static const uint8_t exported[32] = "thirty-two bytes out of the TLS";

static struct pair pair_new(enum seal_alg alg)
{
	uint8_t sid[WIRE_SID];
	struct pair p;

	seal_random(sid, sizeof(sid));
	p.local = session_new(sid, alg, exported);
	p.remote = session_new(sid, alg, exported);
	p.seal = seal_new();
	assert_non_null(p.local);
	assert_non_null(p.remote);
	assert_non_null(p.seal);
	return p;
}

static void pair_free(struct pair *p)
{
	session_put(p->local);
	session_put(p->remote);
	seal_free(p->seal);
}

static enum session_verdict admit(struct pair *p, const uint8_t *raw, struct seal_key keys[2])
{
	struct wire_attach a;

	if (wire_get_attach(&a, raw, WIRE_ATTACH_LEN) != WIRE_ATTACH_LEN)
		return SESSION_FORGED;
	return session_admit(p->remote, p->seal, &a, raw, keys);
}

static uint64_t attach(struct pair *p, uint8_t raw[WIRE_ATTACH_LEN], struct seal_key keys[2])
{
	uint64_t ctr;

	session_attach(p->local, p->seal, raw, keys, &ctr);
	return ctr;
}

/* An ATTACH with this number that the remote admits. */
static void admit_number(struct pair *p, uint64_t ctr)
{
	uint8_t raw[WIRE_ATTACH_LEN], salt[WIRE_SALT] = { 0 };
	struct seal_key keys[2];

	session_attach_as(p->local, p->seal, ctr, salt, raw, keys);
	assert_int_equal(admit(p, raw, keys), SESSION_OK);
}

static void both_ends_get_the_same_keys(void **st)
{
	(void)st;
	for (int alg = 1; alg <= 2; alg++) {
		struct pair p = pair_new((enum seal_alg)alg);
		uint8_t raw[WIRE_ATTACH_LEN];
		struct seal_key l[2], r[2];

		assert_int_equal(attach(&p, raw, l), 0);
		assert_int_equal(admit(&p, raw, r), SESSION_OK);
		for (int i = 0; i < 2; i++)
			assert_memory_equal(l[i].key, r[i].key, SEAL_KEY);
		assert_int_equal(l[0].ctr, 1);
		assert_int_equal(r[0].ctr, 1);
		assert_int_equal(l[1].ctr, 0);
		assert_int_equal(r[1].ctr, 0);
		assert_memory_not_equal(l[0].key, l[1].key, SEAL_KEY);
		assert_memory_not_equal(session_udp_key(p.local, 0), session_udp_key(p.local, 1), SEAL_KEY);
		assert_int_equal(attach(&p, raw, l), 1);
		pair_free(&p);
	}
}

static void every_flipped_bit_is_refused(void **st)
{
	(void)st;
	for (int alg = 1; alg <= 2; alg++) {
		struct pair p = pair_new((enum seal_alg)alg);
		uint8_t raw[WIRE_ATTACH_LEN];
		struct seal_key k[2];

		attach(&p, raw, k);
		for (int bit = 0; bit < WIRE_ATTACH_LEN * 8; bit++) {
			raw[bit / 8] ^= (uint8_t)(1 << bit % 8);
			assert_int_not_equal(admit(&p, raw, k), SESSION_OK);
			raw[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		/* and none of them used the number up */
		assert_int_equal(admit(&p, raw, k), SESSION_OK);
		pair_free(&p);
	}
}

static void replay_at_once_and_after_65536_more(void **st)
{
	struct pair p = pair_new(SEAL_AES256_GCM);
	uint8_t first[WIRE_ATTACH_LEN], raw[WIRE_ATTACH_LEN];
	struct seal_key k[2];

	(void)st;
	attach(&p, first, k);
	assert_int_equal(admit(&p, first, k), SESSION_OK);
	assert_int_equal(admit(&p, first, k), SESSION_REPLAYED);
	for (int i = 0; i < SESSION_WINDOW + 64; i++) {
		attach(&p, raw, k);
		assert_int_equal(admit(&p, raw, k), SESSION_OK);
		if (i % 4096 == 0 || i > SESSION_WINDOW - 3)
			assert_int_equal(admit(&p, first, k), SESSION_REPLAYED);
	}
	pair_free(&p);
}

static void late_but_inside_the_window_is_served(void **st)
{
	struct pair p = pair_new(SEAL_AES256_GCM);

	(void)st;
	admit_number(&p, SESSION_WINDOW);
	admit_number(&p, 1);
	pair_free(&p);
}

static void swapped_onto_another_session(void **st)
{
	struct pair a = pair_new(SEAL_AES256_GCM), b = pair_new(SEAL_AES256_GCM);
	uint8_t raw[WIRE_ATTACH_LEN];
	struct seal_key k[2];

	(void)st;
	attach(&a, raw, k);
	assert_int_equal(admit(&b, raw, k), SESSION_FORGED);
	memcpy(raw + 4, session_sid(b.remote), WIRE_SID);
	assert_int_equal(admit(&b, raw, k), SESSION_FORGED);
	pair_free(&a);
	pair_free(&b);
}

static void same_number_other_salt(void **st)
{
	struct pair p = pair_new(SEAL_CHACHA20_POLY1305);
	uint8_t raw[WIRE_ATTACH_LEN], salt[WIRE_SALT] = { 9 };
	struct seal_key k[2];

	(void)st;
	admit_number(&p, 5);
	session_attach_as(p.local, p.seal, 5, salt, raw, k);
	assert_int_equal(admit(&p, raw, k), SESSION_REPLAYED);
	pair_free(&p);
}

static void a_jump_ahead_is_refused_and_harms_nobody(void **st)
{
	static const uint64_t far[] = { SESSION_JUMP + 2, (uint64_t)1 << 60, UINT64_MAX - 1, UINT64_MAX };
	struct pair p = pair_new(SEAL_AES256_GCM);
	uint8_t raw[WIRE_ATTACH_LEN], salt[WIRE_SALT] = { 0 };
	struct seal_key k[2];

	(void)st;
	admit_number(&p, 0);
	for (int i = 0; i < 4; i++) {
		session_attach_as(p.local, p.seal, far[i], salt, raw, k);
		assert_int_equal(admit(&p, raw, k), SESSION_JUMPED);
	}
	admit_number(&p, 1);
	admit_number(&p, 2 + SESSION_JUMP);
	pair_free(&p);
}

static void revoke_first_then_open(void **st)
{
	struct pair p = pair_new(SEAL_AES256_GCM);

	(void)st;
	admit_number(&p, 0);
	assert_true(session_claim_revoke(p.remote, 0));
	assert_false(session_claim_open(p.remote, 0));
	assert_true(session_claim_revoke(p.remote, 0)); /* the answer was lost with its control connection */
	assert_false(session_claim_open(p.remote, 0));
	pair_free(&p);
}

static void open_first_then_revoke(void **st)
{
	struct pair p = pair_new(SEAL_AES256_GCM);

	(void)st;
	admit_number(&p, 0);
	assert_true(session_claim_open(p.remote, 0));
	assert_false(session_claim_revoke(p.remote, 0));
	assert_false(session_claim_open(p.remote, 0));
	pair_free(&p);
}

static void revoke_before_its_attach_arrives(void **st)
{
	struct pair p = pair_new(SEAL_AES256_GCM);
	uint8_t raw[WIRE_ATTACH_LEN];
	struct seal_key k[2];
	uint64_t ctr = attach(&p, raw, k);

	(void)st;
	assert_true(session_claim_revoke(p.remote, ctr));
	assert_int_equal(admit(&p, raw, k), SESSION_REPLAYED);
	assert_false(session_claim_revoke(p.remote, SESSION_JUMP * 4));
	assert_false(session_claim_revoke(p.remote, UINT64_MAX));
	pair_free(&p);
}

/* A connection that waited while more than a window of others were served. */
static void an_old_waiter(void **st)
{
	struct pair p = pair_new(SEAL_AES256_GCM);

	(void)st;
	admit_number(&p, 3);
	admit_number(&p, 4);
	for (uint64_t n = 10; n < 10 + SESSION_WINDOW + 70; n++)
		assert_true(session_claim_open(p.remote, n));
	assert_true(session_claim_open(p.remote, 3));
	assert_false(session_claim_revoke(p.remote, 4));
	pair_free(&p);
}

/* A promise that nobody will be served outlives the window. */
static void a_revoke_holds_for_ever(void **st)
{
	struct pair p = pair_new(SEAL_AES256_GCM);

	(void)st;
	admit_number(&p, 3);
	admit_number(&p, 4);
	assert_true(session_claim_revoke(p.remote, 3));
	for (uint64_t n = 10; n < 10 + SESSION_WINDOW + 70; n++)
		assert_true(session_claim_open(p.remote, n));
	assert_false(session_claim_open(p.remote, 3));
	assert_true(session_claim_open(p.remote, 4));
	pair_free(&p);
}

static void ids_prove_their_maker(void **st)
{
	uint8_t secret[32] = { 1 }, other[32] = { 2 }, sid[WIRE_SID], a[16], b[16];

	(void)st;
	session_make_sid(sid, secret);
	assert_true(session_is_our_sid(sid, secret));
	assert_false(session_is_our_sid(sid, other));
	session_reset_token(a, sid, secret);
	session_reset_token(b, sid, other);
	assert_memory_not_equal(a, b, 16);
	for (int bit = 0; bit < 128; bit++) {
		sid[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_false(session_is_our_sid(sid, secret));
		sid[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

static void knocks(void **st)
{
	uint8_t pin[WIRE_PIN] = { 7 };
	struct wire_knock k;

	(void)st;
	session_knock(&k, pin);
	assert_true(session_knock_ok(&k, pin));
	for (size_t bit = 0; bit < sizeof(k) * 8; bit++) {
		((uint8_t *)&k)[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_false(session_knock_ok(&k, pin));
		((uint8_t *)&k)[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	pin[0]++;
	assert_false(session_knock_ok(&k, pin));
}

/* A virtual machine's snapshot, brought to life twice: two processes go on from the same state.
 * Their connections still have different keys. */
static void a_snapshot_makes_no_key_twice(void **state)
{
	struct pair p = pair_new(SEAL_AES256_GCM);
	uint8_t raw[WIRE_ATTACH_LEN];
	struct seal_key keys[2], others[2];
	int fd[2], status;
	pid_t pid;

	(void)state;
	attach(&p, raw, keys);
	assert_int_equal(pipe(fd), 0);
	pid = fork();
	assert_true(pid >= 0);
	attach(&p, raw, keys);
	if (!pid)
		_exit(write(fd[1], keys, sizeof(keys)) != sizeof(keys));
	assert_int_equal(read(fd[0], others, sizeof(others)), sizeof(others));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	for (int i = 0; i < 2; i++)
		assert_memory_not_equal(keys[i].key, others[i].key, SEAL_KEY);
	close(fd[0]);
	close(fd[1]);
	pair_free(&p);
}

static void references(void **st)
{
	struct pair p = pair_new(SEAL_AES256_GCM);

	(void)st;
	assert_ptr_equal(session_get(p.remote), p.remote);
	session_put(p.remote);
	assert_int_equal(session_alg(p.remote), SEAL_AES256_GCM);
	pair_free(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_ends_get_the_same_keys),
		cmocka_unit_test(every_flipped_bit_is_refused),
		cmocka_unit_test(replay_at_once_and_after_65536_more),
		cmocka_unit_test(late_but_inside_the_window_is_served),
		cmocka_unit_test(swapped_onto_another_session),
		cmocka_unit_test(same_number_other_salt),
		cmocka_unit_test(a_jump_ahead_is_refused_and_harms_nobody),
		cmocka_unit_test(revoke_first_then_open),
		cmocka_unit_test(open_first_then_revoke),
		cmocka_unit_test(revoke_before_its_attach_arrives),
		cmocka_unit_test(an_old_waiter),
		cmocka_unit_test(a_revoke_holds_for_ever),
		cmocka_unit_test(ids_prove_their_maker),
		cmocka_unit_test(knocks),
		cmocka_unit_test(a_snapshot_makes_no_key_twice),
		cmocka_unit_test(references),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
