/* SPDX-License-Identifier: BSD-2-Clause */
/* bytes: big-endian fields, for who reads and writes messages. Builders and readers walk a cursor;
 * each step is one field. */
#ifndef PLAIT_BYTES_H
#define PLAIT_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint8_t *put_bytes(uint8_t *p, const void *from, size_t len)
{
	memcpy(p, from, len);
	return p + len;
}

static inline uint8_t *put_be(uint8_t *p, uint64_t v, unsigned len)
{
	for (unsigned i = 0; i < len; i++)
		p[i] = (uint8_t)(v >> 8 * (len - 1 - i));
	return p + len;
}

static inline const uint8_t *get_bytes(const uint8_t *p, void *to, size_t len)
{
	memcpy(to, p, len);
	return p + len;
}

static inline uint64_t get_be(const uint8_t *p, unsigned len)
{
	uint64_t v = 0;

	while (len--)
		v = v << 8 | *p++;
	return v;
}

#endif
