/* SPDX-License-Identifier: BSD-2-Clause */
/* wire_udp: see wire_udp.h. */
#include "wire_udp.h"

#include "bytes.h"

#define VERSION 1

size_t wire_put_dgram(uint8_t *out, const struct wire_dgram *d)
{
	out[0] = (uint8_t)(VERSION << 6 | (unsigned)d->type << 3 | d->class);
	put_be(put_be(out + 1, d->index, 3), d->low, 4);
	return WIRE_DG_HDR;
}

static bool known_type(unsigned type)
{
	return type <= WIRE_DG_FRAGMENT || type == WIRE_DG_UNKNOWN;
}

ssize_t wire_get_dgram(struct wire_dgram *d, const uint8_t *in, size_t len)
{
	unsigned type, class;

	if (len < WIRE_DG_HDR || len > WIRE_DG_MAX || in[0] >> 6 != VERSION)
		return -1;
	type = in[0] >> 3 & 7;
	class = in[0] & 7;
	if (!known_type(type) || class >= WIRE_CLASSES)
		return -1;
	if (type == WIRE_DG_UNKNOWN ? len != WIRE_DG_HDR : len < WIRE_DG_OVERHEAD)
		return -1;
	d->type = (enum wire_dgram_type)type;
	d->class = (uint8_t)class;
	d->index = (uint32_t)get_be(in + 1, 3);
	d->low = (uint32_t)get_be(in + 4, 4);
	return WIRE_DG_HDR;
}

size_t wire_put_ctl(uint8_t *out, enum wire_ctl type, const void *value, size_t len)
{
	out[0] = (uint8_t)type;
	out[1] = (uint8_t)len;
	if (len)
		memcpy(out + WIRE_CTL_HDR, value, len);
	return WIRE_CTL_HDR + len;
}

ssize_t wire_get_ctl(uint8_t *type, const uint8_t **value, size_t *len, const uint8_t *in, size_t avail)
{
	if (avail == 0)
		return 0;
	if (avail < WIRE_CTL_HDR || (size_t)in[1] + WIRE_CTL_HDR > avail)
		return -1;
	*type = in[0];
	*len = in[1];
	*value = in + WIRE_CTL_HDR;
	return (ssize_t)(WIRE_CTL_HDR + *len);
}

size_t wire_put_probe(uint8_t *out, const struct wire_probe *p)
{
	out[0] = p->path;
	out[1] = p->use;
	put_be(put_be(put_be(put_be(out + 2, p->seq, 4), p->time_us, 4), p->packets, 4), p->bytes, 8);
	return WIRE_PROBE_LEN;
}

ssize_t wire_get_probe(struct wire_probe *p, const uint8_t *in, size_t len)
{
	if (len < WIRE_PROBE_LEN || in[0] >= WIRE_PATHS || in[1] > WIRE_USE_NOT)
		return -1;
	p->path = in[0];
	p->use = in[1];
	p->seq = (uint32_t)get_be(in + 2, 4);
	p->time_us = (uint32_t)get_be(in + 6, 4);
	p->packets = (uint32_t)get_be(in + 10, 4);
	p->bytes = get_be(in + 14, 8);
	return WIRE_PROBE_LEN;
}

size_t wire_put_report(uint8_t *out, const struct wire_report *r)
{
	out[0] = r->path;
	out[1] = r->flags;
	out = put_be(put_be(put_be(out + 2, r->seq, 4), r->time_us, 4), r->hold_us, 4);
	out = put_be(put_be(out, r->packets, 4), r->bytes, 8);
	put_be(put_be(out, r->queue_us, 4), r->rate, 4);
	return WIRE_REPORT_LEN;
}

ssize_t wire_get_report(struct wire_report *r, const uint8_t *in, size_t len)
{
	if (len < WIRE_REPORT_LEN || in[0] >= WIRE_PATHS)
		return -1;
	r->path = in[0];
	r->flags = in[1];
	r->seq = (uint32_t)get_be(in + 2, 4);
	r->time_us = (uint32_t)get_be(in + 6, 4);
	r->hold_us = (uint32_t)get_be(in + 10, 4);
	r->packets = (uint32_t)get_be(in + 14, 4);
	r->bytes = get_be(in + 18, 8);
	r->queue_us = (uint32_t)get_be(in + 26, 4);
	r->rate = (uint32_t)get_be(in + 30, 4);
	return WIRE_REPORT_LEN;
}

size_t wire_put_ack(uint8_t *out, const struct wire_ack *a)
{
	out[0] = a->type;
	out[1] = a->class;
	*put_be(out + 2, a->top, 8) = a->n;
	memcpy(out + WIRE_ACK_LEN_MIN, a->map, a->n);
	return WIRE_ACK_LEN_MIN + (size_t)a->n;
}

ssize_t wire_get_ack(struct wire_ack *a, const uint8_t *in, size_t len)
{
	if (len < WIRE_ACK_LEN_MIN || in[0] > WIRE_DG_FRAGMENT || in[1] >= WIRE_CLASSES)
		return -1;
	if (in[10] > WIRE_ACK_MAP || len < WIRE_ACK_LEN_MIN + (size_t)in[10])
		return -1;
	a->type = in[0];
	a->class = in[1];
	a->top = get_be(in + 2, 8);
	a->n = in[10];
	memset(a->map, 0, sizeof(a->map));
	memcpy(a->map, in + WIRE_ACK_LEN_MIN, a->n);
	return WIRE_ACK_LEN_MIN + (ssize_t)a->n;
}

size_t wire_put_fragment(uint8_t *out, const struct wire_fragment *f)
{
	put_be(put_be(out, f->id, 2), (unsigned)f->offset << 1 | (f->more ? 1u : 0u), 2);
	return WIRE_FRAGMENT_HDR;
}

ssize_t wire_get_fragment(struct wire_fragment *f, const uint8_t *in, size_t len)
{
	if (len < WIRE_FRAGMENT_HDR)
		return -1;
	f->id = (uint16_t)get_be(in, 2);
	f->offset = (uint16_t)(get_be(in + 2, 2) >> 1);
	f->more = in[3] & 1;
	return WIRE_FRAGMENT_HDR;
}

size_t wire_put_repair(uint8_t *out, const struct wire_repair *r)
{
	out = put_be(out, r->base, 8);
	*out++ = r->window;
	put_be(put_be(out, r->seed, 2), r->len_xor, 2);
	return WIRE_REPAIR_HDR;
}

ssize_t wire_get_repair(struct wire_repair *r, const uint8_t *in, size_t len)
{
	if (len < WIRE_REPAIR_HDR)
		return -1;
	r->base = get_be(in, 8);
	r->window = in[8];
	r->seed = (uint16_t)get_be(in + 9, 2);
	r->len_xor = (uint16_t)get_be(in + 11, 2);
	return WIRE_REPAIR_HDR;
}
