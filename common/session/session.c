/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * A session is what one control connection leaves behind: an id, an algorithm and
 * three keys drawn from the TLS exporter. The local numbers its connections under
 * it; number and a fresh salt give each connection two keys of its own, which then
 * live with the connection and need the session no more. That is why a session can
 * be replaced every hour while its relays run on.
 *
 * At most once. The remote opens no destination twice for one number. Two exact
 * windows of 65,536 numbers hold the promise. `attached` has the numbers whose
 * ATTACH was admitted: a second ATTACH with the same number, whatever its salt, is
 * refused, and so is one that fell out of the window. So for each number there is
 * one connection at most. `opened` has the numbers whose right to be served was
 * given away: OPEN takes it for serving, REVOKE takes it to make sure nobody will.
 *
 * OPEN and REVOKE race safely because both are one test-and-mark of the same bit in
 * one loop: whoever comes first has the right and the other one hears "no". A local
 * whose connection died before ACCEPT asks REVOKE on the control connection. "Not
 * served" then means not served and never to be: an OPEN still crawling along a dead
 * line finds the bit taken, an ATTACH that has not arrived yet finds its number used
 * up, and the local may send the request again under a new number. The answer may be
 * lost with its control connection and the question come again on the next: the last
 * PROMISES that were given are remembered, and given again. "Served" also
 * stands for "not known", and then the client gets a reset: we never guess.
 *
 * A live connection may wait in the pool until its number is older than the window.
 * OPEN is then granted, since its connection is the only one of that number,
 * unless a REVOKE was ever granted for that number or a newer one: `revoked` is one
 * past the highest of those, and below it the old bits cannot tell who was forbidden.
 *
 * No clock is involved: numbers only grow, and a number far ahead of all others
 * (SESSION_JUMP) is refused before it could push honest ones out of the window. That
 * verdict and "replayed" are given before the tag is checked, because they are
 * cheap; so they say nothing about who sent it, and must cost nobody but that one
 * connection.
 *
 * Restarts. When the remote restarts it has forgotten its windows, and with them the
 * sessions: an ATTACH is answered by RESET with a token that only the maker of the
 * sid can compute and only the local of that session was told. The local then knows
 * that nothing on this connection was served, makes a new control connection and
 * sends again. When the local restarts it has forgotten its numbers, but also its
 * keys: it begins with a new session, and the old one dies with its control
 * connection. Keys are in memory only, so old traffic stays closed. */
#include "session.h"

#include <stdlib.h>
#include <string.h>

#define PROMISES 512

struct session {
	uint8_t sid[WIRE_SID];
	enum seal_alg alg;
	unsigned refs;
	uint8_t open[SEAL_KEY];	  /* gives the keys of attached connections */
	uint8_t udp[2][SEAL_KEY]; /* up, down */
	struct udp_keys *udp_keys[2]; /* of the end that sends up, down */
	uint64_t next;		  /* local: the next number */
	uint64_t revoked;	  /* remote: one past the highest number given to REVOKE */
	uint64_t promised[PROMISES]; /* remote: the last numbers given to REVOKE, a ring */
	uint32_t n_promised;
	struct window attached, opened;
	uint64_t attached_words[WINDOW_WORDS(SESSION_WINDOW)];
	uint64_t opened_words[WINDOW_WORDS(SESSION_WINDOW)];
};

static void derive(uint8_t out[SEAL_KEY], const uint8_t exported[32], const char *info)
{
	seal_hkdf(out, SEAL_KEY, exported, 32, NULL, 0, info, strlen(info));
}

struct session *session_new(const uint8_t sid[WIRE_SID], enum seal_alg alg, const uint8_t exported[32])
{
	struct session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	memcpy(s->sid, sid, WIRE_SID);
	s->alg = alg;
	s->refs = 1;
	derive(s->open, exported, "plait open");
	derive(s->udp[0], exported, "plait udp c2s");
	derive(s->udp[1], exported, "plait udp s2c");
	window_init(&s->attached, s->attached_words, WINDOW_WORDS(SESSION_WINDOW));
	window_init(&s->opened, s->opened_words, WINDOW_WORDS(SESSION_WINDOW));
	return s;
}

struct session *session_get(struct session *s)
{
	s->refs++;
	return s;
}

void session_put(struct session *s)
{
	if (!s || --s->refs > 0)
		return;
	for (int dir = 0; dir < 2; dir++)
		udp_keys_free(s->udp_keys[dir]);
	seal_wipe(s, sizeof(*s));
	free(s);
}

const uint8_t *session_sid(const struct session *s)
{
	return s->sid;
}

enum seal_alg session_alg(const struct session *s)
{
	return s->alg;
}

struct udp_keys *session_udp_keys(struct session *s, struct seal *seal, int dir, uint32_t index)
{
	struct udp_keys **k = &s->udp_keys[dir];

	if (!*k)
		*k = udp_keys_new(seal, s->alg, s->udp[dir], s->udp[!dir], index);
	return *k && udp_keys_index(*k) == index ? *k : NULL;
}

const uint8_t *session_udp_key(const struct session *s, int dir)
{
	return s->udp[dir];
}

/* The two keys of the connection that this number and salt name. */
static void attach_keys(const struct session *s, uint64_t ctr, const uint8_t salt[WIRE_SALT], struct seal_key keys[2])
{
	static const char label[] = "plait attach";
	uint8_t info[sizeof(label) - 1 + WIRE_SID + 8], both[2 * SEAL_KEY];
	uint8_t *p = info + sizeof(label) - 1;

	memcpy(info, label, sizeof(label) - 1);
	memcpy(p, s->sid, WIRE_SID);
	for (int i = 0; i < 8; i++)
		p[WIRE_SID + i] = (uint8_t)(ctr >> (56 - 8 * i));
	seal_hkdf(both, sizeof(both), s->open, SEAL_KEY, salt, WIRE_SALT, info, sizeof(info));
	for (int i = 0; i < 2; i++) {
		memcpy(keys[i].key, both + i * SEAL_KEY, SEAL_KEY);
		keys[i].ctr = 0;
	}
	seal_wipe(both, sizeof(both));
}

void session_attach_as(const struct session *s, struct seal *seal, uint64_t ctr, const uint8_t salt[WIRE_SALT],
		       uint8_t out[WIRE_ATTACH_LEN], struct seal_key keys[2])
{
	struct wire_attach a = { .ctr = ctr };

	memcpy(a.sid, s->sid, WIRE_SID);
	memcpy(a.salt, salt, WIRE_SALT);
	wire_put_attach(out, &a);
	attach_keys(s, ctr, salt, keys);
	if (seal_seal(seal, s->alg, &keys[0], out, WIRE_ATTACH_AAD, NULL, 0, out + WIRE_ATTACH_AAD) < 0)
		abort(); /* a fresh key cannot be spent */
}

void session_attach(struct session *s, struct seal *seal, uint8_t out[WIRE_ATTACH_LEN], struct seal_key keys[2],
		    uint64_t *ctr)
{
	uint8_t salt[WIRE_SALT];

	seal_random(salt, sizeof(salt));
	*ctr = s->next++;
	session_attach_as(s, seal, *ctr, salt, out, keys);
}

enum session_verdict session_admit(struct session *s, struct seal *seal, const struct wire_attach *a,
				   const uint8_t *raw, struct seal_key keys[2])
{
	uint8_t nothing[1];

	if (!seal_equal(a->sid, s->sid, WIRE_SID))
		return SESSION_FORGED;
	if (a->ctr > s->attached.next + SESSION_JUMP)
		return SESSION_JUMPED;
	if (window_check(&s->attached, a->ctr) != WINDOW_NEW)
		return SESSION_REPLAYED;
	attach_keys(s, a->ctr, a->salt, keys);
	if (seal_open(seal, s->alg, &keys[0], raw, WIRE_ATTACH_AAD, raw + WIRE_ATTACH_AAD, WIRE_TAG, nothing) < 0) {
		seal_wipe(keys, 2 * sizeof(*keys));
		return SESSION_FORGED;
	}
	window_mark(&s->attached, a->ctr);
	return SESSION_OK;
}

bool session_claim_open(struct session *s, uint64_t ctr)
{
	switch (window_mark(&s->opened, ctr)) {
	case WINDOW_NEW:
		return true;
	case WINDOW_OLD:
		return ctr >= s->revoked;
	default:
		return false;
	}
}

static bool was_promised(const struct session *s, uint64_t ctr)
{
	for (uint32_t i = 0; i < PROMISES && i < s->n_promised; i++)
		if (s->promised[i] == ctr)
			return true;
	return false;
}

bool session_claim_revoke(struct session *s, uint64_t ctr)
{
	if (ctr > s->attached.next + SESSION_JUMP)
		return false;
	if (window_mark(&s->opened, ctr) != WINDOW_NEW)
		return was_promised(s, ctr);
	s->promised[s->n_promised++ % PROMISES] = ctr;
	window_mark(&s->attached, ctr);
	if (ctr >= s->revoked)
		s->revoked = ctr + 1;
	return true;
}

/* The first `len` bytes of HMAC(secret, label || data). */
static void label_mac(uint8_t *out, size_t len, const uint8_t secret[32], const char *label, const void *data,
		      size_t data_len)
{
	uint8_t text[64], mac[32];
	size_t n = strlen(label);

	memcpy(text, label, n);
	memcpy(text + n, data, data_len);
	seal_hmac(mac, secret, 32, text, n + data_len);
	memcpy(out, mac, len);
}

void session_make_sid(uint8_t sid[WIRE_SID], const uint8_t secret[32])
{
	seal_random(sid, 8);
	label_mac(sid + 8, 8, secret, "sid", sid, 8);
}

bool session_is_our_sid(const uint8_t sid[WIRE_SID], const uint8_t secret[32])
{
	uint8_t mac[8];

	label_mac(mac, sizeof(mac), secret, "sid", sid, 8);
	return seal_equal(mac, sid + 8, sizeof(mac));
}

void session_reset_token(uint8_t token[16], const uint8_t sid[WIRE_SID], const uint8_t secret[32])
{
	label_mac(token, 16, secret, "reset", sid, WIRE_SID);
}

void session_knock(struct wire_knock *k, const uint8_t pin[WIRE_PIN])
{
	seal_random(k->nonce, sizeof(k->nonce));
	label_mac(k->mac, sizeof(k->mac), pin, "plait knock", k->nonce, sizeof(k->nonce));
}

bool session_knock_ok(const struct wire_knock *k, const uint8_t pin[WIRE_PIN])
{
	uint8_t mac[WIRE_MAC];

	label_mac(mac, sizeof(mac), pin, "plait knock", k->nonce, sizeof(k->nonce));
	return seal_equal(mac, k->mac, sizeof(mac));
}
