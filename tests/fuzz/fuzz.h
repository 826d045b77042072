/* SPDX-License-Identifier: BSD-2-Clause */
/* fuzz: what every target needs. A broken promise is an abort. */
#ifndef PLAIT_FUZZ_H
#define PLAIT_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MUST(x)          \
	do {             \
		if (!(x)) \
			abort(); \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
