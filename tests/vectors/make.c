/* SPDX-License-Identifier: BSD-2-Clause */
/* Writes one file of test vectors to stdout: what plait's own code makes of fixed keys, numbers and
 * salts. tests/vectors/decode.py reads it with code that shares nothing with ours. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "record.h"
#include "session.h"

static void put(const char *name, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	printf("  \"%s\": \"", name);
	for (size_t i = 0; i < len; i++)
		printf("%02x", p[i]);
	printf("\",\n");
}

static void fill(uint8_t *p, size_t len, uint8_t from)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(from + i);
}

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "make: %s\n", what);
	exit(1);
}

static void make_knock(void)
{
	uint8_t pin[WIRE_PIN], text[11 + WIRE_NONCE], mac[32], out[WIRE_KNOCK_LEN];
	struct wire_knock k;

	fill(pin, sizeof(pin), 0x10);
	fill(k.nonce, sizeof(k.nonce), 0x90);
	memcpy(text, "plait knock", 11);
	memcpy(text + 11, k.nonce, WIRE_NONCE);
	seal_hmac(mac, pin, sizeof(pin), text, sizeof(text));
	memcpy(k.mac, mac, WIRE_MAC);
	must(session_knock_ok(&k, pin), "the knock is refused");
	put("pin", pin, sizeof(pin));
	put("knock", out, wire_put_knock(out, &k));
}

static void make_sid(uint8_t sid[WIRE_SID], uint8_t token[16])
{
	uint8_t secret[32], text[3 + 8] = "sid", mac[32], out[WIRE_RESET_LEN];
	struct wire_reset r;

	fill(secret, sizeof(secret), 0x20);
	fill(sid, 8, 0xc0);
	memcpy(text + 3, sid, 8);
	seal_hmac(mac, secret, sizeof(secret), text, sizeof(text));
	memcpy(sid + 8, mac, 8);
	must(session_is_our_sid(sid, secret), "the sid is not ours");
	session_reset_token(token, sid, secret);
	fill(r.random, sizeof(r.random), 0x01);
	memcpy(r.token, token, sizeof(r.token));
	put("secret", secret, sizeof(secret));
	put("sid", sid, WIRE_SID);
	put("reset", out, wire_put_reset(out, &r));
}

struct stream {
	struct seal *seal;
	enum seal_alg alg;
	struct seal_key key;
	uint8_t out[70000];
	size_t len;
};

static void add(struct stream *s, enum wire_kind kind, const void *plain, size_t len)
{
	ssize_t n = record_seal(s->seal, s->alg, &s->key, kind, plain, len, s->out + s->len);

	must(n > 0, "record_seal");
	s->len += (size_t)n;
}

static void make_up(struct stream *s)
{
	struct wire_open o = { .mode = WIRE_SEALED };
	uint8_t plain[WIRE_OPEN_LEN + 5], big[16001];

	must(addr_parse(&o.dst, "192.0.2.80:443", 0) == 0 && addr_parse(&o.src, "[2001:db8::7]:50123", 0) == 0, "addr");
	wire_put_open(plain, &o);
	memcpy(plain + WIRE_OPEN_LEN, "early", 5);
	add(s, WIRE_OPEN, plain, sizeof(plain));
	fill(big, sizeof(big), 0);
	add(s, WIRE_DATA, big, sizeof(big));
	add(s, WIRE_FIN, NULL, 0);
	put("up", s->out, s->len);
}

static void make_resumed(struct stream *s, const uint8_t sid[WIRE_SID])
{
	struct wire_open o = { .mode = WIRE_SEALED, .flags = WIRE_OPEN_KEEP };
	struct wire_resume r = { .ctr = 0x0102 };
	uint8_t plain[WIRE_OPEN_LEN];

	must(addr_parse(&o.dst, "192.0.2.80:443", 0) == 0 && addr_parse(&o.src, "[2001:db8::7]:50123", 0) == 0, "addr");
	put("open_keep", plain, wire_put_open(plain, &o));
	memcpy(r.sid, sid, WIRE_SID);
	add(s, WIRE_OPEN, plain, wire_put_resume(plain, &r));
	put("resume", s->out, s->len);
}

static void make_down(struct stream *s)
{
	struct wire_answer a = { .what = WIRE_ATTACHED };
	uint8_t plain[WIRE_ANSWER_LEN + 5], rst[WIRE_RST_LEN];

	wire_put_answer(plain, &a);
	add(s, WIRE_OPEN, plain, WIRE_ANSWER_LEN);
	a.what = WIRE_ACCEPT;
	wire_put_answer(plain, &a);
	memcpy(plain + WIRE_ANSWER_LEN, "first", 5);
	add(s, WIRE_OPEN, plain, sizeof(plain));
	add(s, WIRE_DATA, "more", 4);
	wire_put16(rst, WIRE_WAS_RESET);
	add(s, WIRE_RST, rst, sizeof(rst));
	put("down", s->out, s->len);
}

static void make_streams(const uint8_t sid[WIRE_SID], enum seal_alg alg)
{
	static struct stream streams[2], resumed;
	uint8_t exported[32], salt[WIRE_SALT], raw[WIRE_ATTACH_LEN];
	struct seal_key keys[2];
	struct session *session;
	struct seal *seal = seal_new();

	fill(exported, sizeof(exported), 0x40);
	fill(salt, sizeof(salt), 0xe0);
	session = session_new(sid, alg, exported);
	must(session && seal, "memory");
	put("exported", exported, sizeof(exported));
	put("udp_c2s", session_udp_key(session, 0), SEAL_KEY);
	put("udp_s2c", session_udp_key(session, 1), SEAL_KEY);
	session_attach_as(session, seal, 0x0102, salt, raw, keys);
	put("attach", raw, sizeof(raw));
	for (int i = 0; i < 2; i++)
		streams[i] = (struct stream){ .seal = seal, .alg = alg, .key = keys[i] };
	resumed = streams[0];
	make_up(&streams[0]);
	make_down(&streams[1]);
	make_resumed(&resumed, sid);
	session_put(session);
	seal_free(seal);
}

static void make_frame(const char *name, enum wire_frame type, const uint8_t *value, size_t len)
{
	uint8_t out[WIRE_FRAME_HDR + WIRE_PACKET_MAX];

	wire_put_frame_hdr(out, (uint8_t)type, len);
	memcpy(out + WIRE_FRAME_HDR, value, len);
	put(name, out, WIRE_FRAME_HDR + len);
}

static void make_frames(const uint8_t sid[WIRE_SID], const uint8_t token[16], enum seal_alg alg)
{
	struct wire_hello h = { .version = WIRE_VERSION, .flags = WIRE_F_AES | WIRE_F_CLEAR };
	struct wire_welcome w = { .version = WIRE_VERSION, .flags = WIRE_F_CLEAR, .aead = (uint8_t)alg, .mtu = 1400,
				  .pool_cap = 64, .pool_age = 120, .rekey = 3600, .relays = 2000, .opens = 200,
				  .index = 0xabcdef };
	struct wire_revoke r = { .ctr = 0x0102, .verdict = WIRE_SERVED };
	uint8_t value[WIRE_PACKET_MAX] = { 0x45, 0, WIRE_PACKET_MAX >> 8, WIRE_PACKET_MAX & 255 };
	enum wire_carrier c = WIRE_BY_STREAM;

	fill(value + 4, sizeof(value) - 4, 4);
	make_frame("packet", WIRE_PACKET, value, sizeof(value));
	make_frame("carrier", WIRE_CARRIER, value, wire_put_carrier(value, &c));
	fill(h.boot, sizeof(h.boot), 0x60);
	fill(w.boot, sizeof(w.boot), 0x70);
	fill(w.inner4, sizeof(w.inner4), 10);
	fill(w.inner6, sizeof(w.inner6), 0xfd);
	memcpy(w.sid, sid, WIRE_SID);
	memcpy(w.token, token, 16);
	memcpy(r.sid, sid, WIRE_SID);
	make_frame("hello", WIRE_HELLO, value, wire_put_hello(value, &h));
	make_frame("welcome", WIRE_WELCOME, value, wire_put_welcome(value, &w));
	make_frame("revoke", WIRE_REVOKE, value, wire_put_revoke(value, &r));
	make_frame("revoked", WIRE_REVOKED, value, wire_put_revoked(value, &r));
}

int main(int argc, char **argv)
{
	enum seal_alg alg = argc > 1 && strcmp(argv[1], "chacha20") == 0 ? SEAL_CHACHA20_POLY1305 : SEAL_AES256_GCM;
	uint8_t sid[WIRE_SID], token[16];

	printf("{\n");
	make_knock();
	make_sid(sid, token);
	make_streams(sid, alg);
	make_frames(sid, token, alg);
	printf("  \"aead\": %d\n}\n", alg);
	return 0;
}
