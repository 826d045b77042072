/* SPDX-License-Identifier: BSD-2-Clause */
/* A session with both its roles, driven by the input: numbers attach late, twice or bent; OPEN and
 * REVOKE race; records carry any plaintext. The promise: one admission and one service a number,
 * none after a REVOKE, and a REVOKE asked again hears what it heard. */
#include <stdbool.h>

#include "fuzz.h"
#include "record.h"
#include "session.h"

#define NUMBERS 256

struct world {
	struct session *local, *remote;
	struct seal *seal;
	bool admitted[NUMBERS], served[NUMBERS], revoked[NUMBERS];
};

/* Bit `bend` of the message is flipped when it is inside it. */
static void attach(struct world *w, uint8_t ctr, unsigned bend)
{
	uint8_t raw[WIRE_ATTACH_LEN], salt[WIRE_SALT] = { (uint8_t)bend };
	struct seal_key l[2], r[2];
	struct wire_attach a;
	bool bent = bend < WIRE_ATTACH_LEN * 8;

	session_attach_as(w->local, w->seal, ctr, salt, raw, l);
	if (bent)
		raw[bend / 8] ^= (uint8_t)(1 << bend % 8);
	if (wire_get_attach(&a, raw, sizeof(raw)) != WIRE_ATTACH_LEN ||
	    session_admit(w->remote, w->seal, &a, raw, r) != SESSION_OK)
		return;
	MUST(!bent && !w->admitted[ctr] && !w->revoked[ctr]);
	MUST(memcmp(l, r, sizeof(l)) == 0);
	w->admitted[ctr] = true;
}

static void claim(struct world *w, uint8_t ctr, bool revoke)
{
	if (revoke) {
		bool granted = session_claim_revoke(w->remote, ctr);

		MUST(!granted || !w->served[ctr]);
		MUST(granted || !w->revoked[ctr]); /* asked again, it is the same promise */
		w->revoked[ctr] |= granted;
	}
	if (!revoke && w->admitted[ctr] && session_claim_open(w->remote, ctr)) {
		MUST(!w->served[ctr] && !w->revoked[ctr]);
		w->served[ctr] = true;
	}
}

/* The input as plaintext of one record, and again as a record of its own making. */
static void records(struct world *w, const uint8_t *data, size_t size)
{
	struct seal_key k = { .key = { 1 } }, at = k;
	enum wire_kind kind = (enum wire_kind)(data[0] & 3);
	uint8_t *out = malloc(record_sealed_len(size)), *raw = malloc(size);
	struct wire_answer a;
	struct wire_resume again;
	struct wire_open o;
	struct record r;

	if (size <= WIRE_RECORD_MAX) {
		ssize_t n = record_seal(w->seal, session_alg(w->local), &k, kind, data, size, out);

		MUST(n == (ssize_t)record_sealed_len(size));
		MUST(record_open(w->seal, session_alg(w->local), &at, out, (size_t)n, &r) == 1);
		MUST(r.kind == kind && r.len == size && memcmp(r.data, data, size) == 0);
		wire_get_open(&o, r.data, r.len);
		wire_get_resume(&again, r.data, r.len);
		wire_get_answer(&a, r.data, r.len);
	}
	memcpy(raw, data, size);
	MUST(record_open(w->seal, session_alg(w->local), &at, raw, size, &r) <= 0);
	free(raw);
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t sid[WIRE_SID] = { 1 }, exported[32] = { 2 };
	enum seal_alg alg = size && data[0] & 0x80 ? SEAL_CHACHA20_POLY1305 : SEAL_AES256_GCM;
	struct world w = { .seal = seal_new() };

	w.local = session_new(sid, alg, exported);
	w.remote = session_new(sid, alg, exported);
	if (size)
		records(&w, data, size);
	for (; size >= 4; data += 4, size -= 4) {
		if (data[0] % 3 == 0)
			attach(&w, data[1], (unsigned)(data[2] << 8 | data[3]) % 1024);
		else
			claim(&w, data[1], data[0] % 3 == 1);
	}
	session_put(w.local);
	session_put(w.remote);
	seal_free(w.seal);
	return 0;
}
