/* SPDX-License-Identifier: BSD-2-Clause */
/* gf256: the field of 256 elements (polynomial 0x11d), as bytes. Adding is xor. */
#ifndef PLAIT_GF256_H
#define PLAIT_GF256_H

#include <stddef.h>
#include <stdint.h>

uint8_t gf256_mul(uint8_t a, uint8_t b);
uint8_t gf256_inv(uint8_t a); /* of 0: 0 */
/* into += factor * from, and into *= factor. */
void gf256_add_mul(uint8_t *into, const uint8_t *from, uint8_t factor, size_t len);
void gf256_scale(uint8_t *into, uint8_t factor, size_t len);

/* The same in plain C, whatever the processor can do: for the test. */
void gf256_add_mul_plain(uint8_t *into, const uint8_t *from, uint8_t factor, size_t len);

#endif
