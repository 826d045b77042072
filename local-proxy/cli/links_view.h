/* links_view: what `plait-local links` shows: the daemon's answers about its lines as a table, with the rates between
 * two of them. */
#ifndef PLAIT_LINKS_VIEW_H
#define PLAIT_LINKS_VIEW_H

#include <jansson.h>
#include <stdio.h>

/* Adds rate_down and rate_up (bits a second, null when they cannot be told) to each line of `now`, from an earlier
 * answer. */
void links_view_rates(json_t *now, const json_t *before);

void links_view_print(const json_t *answer, FILE *out);

#endif
