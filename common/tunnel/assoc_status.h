/* SPDX-License-Identifier: BSD-2-Clause */
/* assoc_status: the paths of an association, for `status`. */
#ifndef PLAIT_ASSOC_STATUS_H
#define PLAIT_ASSOC_STATUS_H

#include <jansson.h>

#include "assoc.h"

/* {path, state, why, use, rtt_ms, ..., up: {state, packets, loss (percent), queue_ms, jitter_ms,
 * rate (bytes a second)}, down: {...}}; NULL: no such path. */
json_t *assoc_path_status(const struct assoc *a, unsigned id);
json_t *assoc_status(const struct assoc *a); /* a list of them */

#endif
