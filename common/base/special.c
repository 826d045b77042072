/* SPDX-License-Identifier: BSD-2-Clause */
/* special: the registries as a table; a network more is a line more. */
#include "special.h"

#define V4(a, b, c, d, n) { { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d }, 96 + (n) }

const struct prefix special_nets[SPECIAL_NETS] = {
	V4(0, 0, 0, 0, 8),		    /* this network */
	V4(10, 0, 0, 0, 8),		    /* private */
	V4(100, 64, 0, 0, 10),		    /* carrier-grade NAT */
	V4(127, 0, 0, 0, 8),		    /* loopback */
	V4(168, 63, 129, 16, 32),	    /* a cloud's own services, from inside its machines */
	V4(169, 254, 0, 0, 16),		    /* link-local, and the metadata service of clouds */
	V4(172, 16, 0, 0, 12),		    /* private */
	V4(192, 0, 0, 0, 24),		    /* protocol assignments */
	V4(192, 0, 2, 0, 24),		    /* documentation */
	V4(192, 88, 99, 0, 24),		    /* 6to4 relays */
	V4(192, 168, 0, 0, 16),		    /* private */
	V4(198, 18, 0, 0, 15),		    /* benchmarking */
	V4(198, 51, 100, 0, 24),	    /* documentation */
	V4(203, 0, 113, 0, 24),		    /* documentation */
	V4(224, 0, 0, 0, 4),		    /* multicast */
	V4(240, 0, 0, 0, 4),		    /* reserved, broadcast */
	{ { 0 }, 128 },			    /* unspecified */
	{ { [15] = 1 }, 128 },		    /* loopback */
	{ { 0 }, 96 },			    /* IPv4-compatible */
	{ { [8] = 0xff, [9] = 0xff }, 96 }, /* IPv4-translated */
	{ { 0x00, 0x64, 0xff, 0x9b, 0x00, 0x01 }, 48 }, /* local NAT64 */
	{ { 0x01 }, 64 },				/* discard */
	{ { 0x20, 0x01, 0x00 }, 23 },			/* protocol assignments, Teredo */
	{ { 0x20, 0x01, 0x0d, 0xb8 }, 32 },		/* documentation */
	{ { 0x3f, 0xff }, 20 },				/* documentation */
	{ { 0x5f }, 16 },				/* segment routing */
	{ { 0xfc }, 7 },				/* unique local */
	{ { 0xfe, 0x80 }, 10 },				/* link-local */
	{ { 0xfe, 0xc0 }, 10 },				/* site-local */
	{ { 0xff }, 8 },				/* multicast */
};
