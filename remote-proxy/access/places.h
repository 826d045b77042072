/* SPDX-License-Identifier: BSD-2-Clause */
/* places: for strangers, who have not proven yet to be users. See places.c. */
#ifndef PLAIT_PLACES_H
#define PLAIT_PLACES_H

#include <stdbool.h>
#include <stdint.h>

#include "addr.h"

struct places;
struct place;

struct places *places_new(void);      /* NULL: no memory */
void places_free(struct places *all); /* after the last place; NULL is fine */
unsigned places_taken(const struct places *all);

/* For a connection from there that was accepted just now. When all are taken somebody is turned
 * out. NULL: no memory. */
struct place *place_new(struct places *all, const struct addr *peer);

/* Who has it from now on: turn_out(arg) has to end the connection, and with it the place. judged:
 * he was found out already, and goes before others. */
void place_give(struct place *p, bool judged, void (*turn_out)(void *arg), void *arg);

void place_free(struct place *p); /* he is no stranger any more, or gone; NULL is fine */
uint64_t place_since_ms(const struct place *p);

#endif
