/* SPDX-License-Identifier: BSD-2-Clause */
/* links_table: what `plait-local links` shows: the daemon's answers about its links as a table,
 * with the rates between two of them. */
#ifndef PLAIT_LINKS_TABLE_H
#define PLAIT_LINKS_TABLE_H

#include <jansson.h>
#include <stdio.h>

/* Adds rate_down and rate_up (bits a second, null when they cannot be told) to each link of `now`,
 * from an earlier answer. */
void links_table_rates(json_t *now, const json_t *before);

void links_table_print(const json_t *answer, FILE *out);

#endif
