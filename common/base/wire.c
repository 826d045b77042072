/* SPDX-License-Identifier: BSD-2-Clause */
/* wire: see wire.h. A new message or status begins there, and has its row in docs/protocol.md. */
#include "wire.h"

#include <string.h>

#include "bytes.h"

/* A message with a fixed start: -1 as soon as a byte differs, 0 while bytes are missing. */
static ssize_t expect(const uint8_t *start, size_t start_len, size_t total, const uint8_t *in, size_t len)
{
	for (size_t i = 0; i < start_len && i < len; i++)
		if (in[i] != start[i])
			return -1;
	return len < total ? 0 : (ssize_t)total;
}

static const uint8_t knock_start[] = { WIRE_CONTROL, WIRE_VERSION };
static const uint8_t attach_start[] = { WIRE_ATTACH, WIRE_VERSION, 0, WIRE_ATTACH_LEN - 4 };
static const uint8_t reset_start[] = { WIRE_RESET, WIRE_VERSION };

size_t wire_put_knock(uint8_t *out, const struct wire_knock *k)
{
	uint8_t *p = put_bytes(out, knock_start, sizeof(knock_start));

	p = put_bytes(p, k->nonce, sizeof(k->nonce));
	put_bytes(p, k->mac, sizeof(k->mac));
	return WIRE_KNOCK_LEN;
}

ssize_t wire_get_knock(struct wire_knock *k, const uint8_t *in, size_t len)
{
	ssize_t used = expect(knock_start, sizeof(knock_start), WIRE_KNOCK_LEN, in, len);

	if (used > 0) {
		in = get_bytes(in + sizeof(knock_start), k->nonce, sizeof(k->nonce));
		get_bytes(in, k->mac, sizeof(k->mac));
	}
	return used;
}

size_t wire_put_attach(uint8_t *out, const struct wire_attach *a)
{
	uint8_t *p = put_bytes(out, attach_start, sizeof(attach_start));

	p = put_bytes(p, a->sid, sizeof(a->sid));
	p = put_be(p, a->ctr, 8);
	p = put_bytes(p, a->salt, sizeof(a->salt));
	put_bytes(p, a->tag, sizeof(a->tag));
	return WIRE_ATTACH_LEN;
}

ssize_t wire_get_attach(struct wire_attach *a, const uint8_t *in, size_t len)
{
	ssize_t used = expect(attach_start, sizeof(attach_start), WIRE_ATTACH_LEN, in, len);

	if (used > 0) {
		in = get_bytes(in + sizeof(attach_start), a->sid, sizeof(a->sid));
		a->ctr = get_be(in, 8);
		in = get_bytes(in + 8, a->salt, sizeof(a->salt));
		get_bytes(in, a->tag, sizeof(a->tag));
	}
	return used;
}

size_t wire_put_reset(uint8_t *out, const struct wire_reset *r)
{
	uint8_t *p = put_bytes(out, reset_start, sizeof(reset_start));

	p = put_bytes(p, r->random, sizeof(r->random));
	put_bytes(p, r->token, sizeof(r->token));
	return WIRE_RESET_LEN;
}

ssize_t wire_get_reset(struct wire_reset *r, const uint8_t *in, size_t len)
{
	ssize_t used = expect(reset_start, sizeof(reset_start), WIRE_RESET_LEN, in, len);

	if (used > 0) {
		in = get_bytes(in + sizeof(reset_start), r->random, sizeof(r->random));
		get_bytes(in, r->token, sizeof(r->token));
	}
	return used;
}

void wire_put_record_hdr(uint8_t *out, enum wire_kind kind, size_t plain_len)
{
	wire_put16(out, (uint16_t)((unsigned)kind << 14 | (plain_len + WIRE_TAG)));
}

ssize_t wire_get_record_hdr(enum wire_kind *kind, size_t *cipher_len, const uint8_t *in, size_t len)
{
	size_t n;

	if (len < WIRE_RECORD_HDR)
		return 0;
	n = wire_get16(in) & 0x3fff;
	if (n < WIRE_TAG || n > WIRE_RECORD_MAX + WIRE_TAG)
		return -1;
	*kind = (enum wire_kind)(in[0] >> 6);
	*cipher_len = n;
	return WIRE_RECORD_HDR;
}

static uint8_t *wire_put_addr(uint8_t *p, const struct addr *a)
{
	return put_be(put_bytes(p, a->ip, sizeof(a->ip)), a->port, 2);
}

static const uint8_t *get_addr(const uint8_t *p, struct addr *a)
{
	p = get_bytes(p, a->ip, sizeof(a->ip));
	a->port = wire_get16(p);
	return p + 2;
}

size_t wire_put_open(uint8_t *out, const struct wire_open *o)
{
	out[0] = (uint8_t)o->mode;
	out[1] = o->flags;
	wire_put_addr(wire_put_addr(out + 2, &o->dst), &o->src);
	return WIRE_OPEN_LEN;
}

ssize_t wire_get_open(struct wire_open *o, const uint8_t *in, size_t len)
{
	if ((len >= 1 && in[0] > WIRE_CLEAR) || (len >= 2 && in[1] & ~WIRE_OPEN_KEEP))
		return -1;
	if (len < WIRE_OPEN_LEN)
		return 0;
	o->mode = (enum wire_mode)in[0];
	o->flags = in[1];
	get_addr(get_addr(in + 2, &o->dst), &o->src);
	return WIRE_OPEN_LEN;
}

size_t wire_put_resume(uint8_t *out, const struct wire_resume *r)
{
	out[0] = WIRE_RESUME_MODE;
	out[1] = 0;
	put_be(put_bytes(out + 2, r->sid, WIRE_SID), r->ctr, 8);
	return WIRE_RESUME_LEN;
}

ssize_t wire_get_resume(struct wire_resume *r, const uint8_t *in, size_t len)
{
	if ((len >= 1 && in[0] != WIRE_RESUME_MODE) || (len >= 2 && in[1] != 0) || len > WIRE_RESUME_LEN)
		return -1;
	if (len < WIRE_RESUME_LEN)
		return 0;
	get_bytes(in + 2, r->sid, WIRE_SID);
	r->ctr = get_be(in + 2 + WIRE_SID, 8);
	return WIRE_RESUME_LEN;
}

size_t wire_put_answer(uint8_t *out, const struct wire_answer *a)
{
	out[0] = (uint8_t)a->what;
	wire_put16(out + 1, a->status);
	return WIRE_ANSWER_LEN;
}

ssize_t wire_get_answer(struct wire_answer *a, const uint8_t *in, size_t len)
{
	if (len >= 1 && in[0] > WIRE_ACCEPT)
		return -1;
	if (len < WIRE_ANSWER_LEN)
		return 0;
	a->what = (enum wire_what)in[0];
	a->status = wire_get16(in + 1);
	return WIRE_ANSWER_LEN;
}

const char *wire_status_name(uint16_t status)
{
	switch (status) {
	case WIRE_OK:
		return "ok";
	case WIRE_MALFORMED:
		return "malformed message (1)";
	case WIRE_UNSUPPORTED:
		return "unsupported message (2)";
	case WIRE_FORBIDDEN:
		return "not authorized (32)";
	case WIRE_NO_RESOURCES:
		return "out of resources (64)";
	case WIRE_NET_FAILURE:
		return "network failure (65)";
	case WIRE_WAS_RESET:
		return "connection reset (96)";
	case WIRE_UNREACHABLE:
		return "destination unreachable (97)";
	default:
		return "unknown error";
	}
}

void wire_put_frame_hdr(uint8_t *out, uint8_t type, size_t len)
{
	out[0] = type;
	wire_put16(out + 1, (uint16_t)len);
}

ssize_t wire_get_frame_hdr(uint8_t *type, size_t *len, const uint8_t *in, size_t avail)
{
	size_t n;

	if (avail < WIRE_FRAME_HDR)
		return 0;
	n = wire_get16(in + 1);
	if (n > (in[0] == WIRE_PACKET ? WIRE_PACKET_MAX : WIRE_FRAME_MAX))
		return -1;
	*type = in[0];
	*len = n;
	return WIRE_FRAME_HDR;
}

size_t wire_put_hello(uint8_t *out, const struct wire_hello *h)
{
	out[0] = h->version;
	out[1] = h->flags;
	put_bytes(out + 2, h->boot, sizeof(h->boot));
	return WIRE_HELLO_LEN;
}

ssize_t wire_get_hello(struct wire_hello *h, const uint8_t *in, size_t len)
{
	if (len >= 1 && in[0] == 0)
		return -1;
	if (len < WIRE_HELLO_LEN)
		return 0;
	h->version = in[0];
	h->flags = in[1];
	get_bytes(in + 2, h->boot, sizeof(h->boot));
	return WIRE_HELLO_LEN;
}

size_t wire_put_welcome(uint8_t *out, const struct wire_welcome *w)
{
	uint8_t *p = out;

	*p++ = w->version;
	*p++ = w->flags;
	*p++ = w->aead;
	*p++ = 0;
	p = put_bytes(p, w->sid, sizeof(w->sid));
	p = put_bytes(p, w->token, sizeof(w->token));
	p = put_bytes(p, w->boot, sizeof(w->boot));
	p = put_bytes(p, w->inner4, sizeof(w->inner4));
	p = put_bytes(p, w->inner6, sizeof(w->inner6));
	p = put_be(p, w->mtu, 2);
	p = put_be(p, w->pool_cap, 2);
	p = put_be(p, w->pool_age, 2);
	p = put_be(p, w->rekey, 2);
	p = put_be(p, w->relays, 4);
	p = put_be(p, w->opens, 4);
	put_be(p, w->index, 4);
	return WIRE_WELCOME_LEN;
}

ssize_t wire_get_welcome(struct wire_welcome *w, const uint8_t *in, size_t len)
{
	if (len < WIRE_WELCOME_LEN)
		return len >= 1 && in[0] == 0 ? -1 : 0;
	/* aead: the two that enum seal_alg names */
	if (in[0] == 0 || in[2] < 1 || in[2] > 2 || in[3] != 0 || in[WIRE_WELCOME_LEN - 4] != 0)
		return -1;
	w->version = in[0];
	w->flags = in[1];
	w->aead = in[2];
	in = get_bytes(in + 4, w->sid, sizeof(w->sid));
	in = get_bytes(in, w->token, sizeof(w->token));
	in = get_bytes(in, w->boot, sizeof(w->boot));
	in = get_bytes(in, w->inner4, sizeof(w->inner4));
	in = get_bytes(in, w->inner6, sizeof(w->inner6));
	w->mtu = wire_get16(in);
	w->pool_cap = wire_get16(in + 2);
	w->pool_age = wire_get16(in + 4);
	w->rekey = wire_get16(in + 6);
	w->relays = (uint32_t)get_be(in + 8, 4);
	w->opens = (uint32_t)get_be(in + 12, 4);
	w->index = (uint32_t)get_be(in + 16, 4);
	return WIRE_WELCOME_LEN;
}

size_t wire_put_revoke(uint8_t *out, const struct wire_revoke *r)
{
	put_be(put_bytes(out, r->sid, sizeof(r->sid)), r->ctr, 8);
	return WIRE_REVOKE_LEN;
}

ssize_t wire_get_revoke(struct wire_revoke *r, const uint8_t *in, size_t len)
{
	if (len < WIRE_REVOKE_LEN)
		return 0;
	in = get_bytes(in, r->sid, sizeof(r->sid));
	r->ctr = get_be(in, 8);
	return WIRE_REVOKE_LEN;
}

size_t wire_put_revoked(uint8_t *out, const struct wire_revoke *r)
{
	out[wire_put_revoke(out, r)] = (uint8_t)r->verdict;
	return WIRE_REVOKED_LEN;
}

ssize_t wire_get_revoked(struct wire_revoke *r, const uint8_t *in, size_t len)
{
	if (len < WIRE_REVOKED_LEN)
		return 0;
	if (in[WIRE_REVOKE_LEN] > WIRE_SERVED)
		return -1;
	wire_get_revoke(r, in, len);
	r->verdict = (enum wire_verdict)in[WIRE_REVOKE_LEN];
	return WIRE_REVOKED_LEN;
}

size_t wire_put_carrier(uint8_t *out, const enum wire_carrier *c)
{
	out[0] = (uint8_t)*c;
	return WIRE_CARRIER_LEN;
}

ssize_t wire_get_carrier(enum wire_carrier *c, const uint8_t *in, size_t len)
{
	if (len < WIRE_CARRIER_LEN)
		return 0;
	if (in[0] > WIRE_BY_STREAM)
		return -1;
	*c = (enum wire_carrier)in[0];
	return WIRE_CARRIER_LEN;
}

bool wire_is_tls(const uint8_t *in, size_t len)
{
	size_t n;

	if (len < 3 || in[0] != 22 || in[1] != 3 || in[2] > 4)
		return false;
	if (len < 5)
		return true;
	n = wire_get16(in + 3);
	return n >= 4 && n <= 16384 && (len < 6 || in[5] == 1); /* a ClientHello */
}
