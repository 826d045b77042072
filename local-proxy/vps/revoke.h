/* SPDX-License-Identifier: BSD-2-Clause */
/* revoke: was that OPEN served? The questions to a VPS that wait for their answer. See revoke.c. */
#ifndef PLAIT_REVOKE_H
#define PLAIT_REVOKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "wire.h"

struct revoke;
LIST_HEAD(revoke_list, revoke);

typedef void (*vps_revoked)(void *arg, bool served);
typedef void (*revoke_sender)(void *arg, const uint8_t frame[WIRE_REVOKE_LEN]);

/* Joins the list; sending it is the caller's. NULL: no memory. */
struct revoke *revoke_new(struct revoke_list *list, const uint8_t sid[WIRE_SID], uint64_t ctr, vps_revoked cb, void *arg);
void revoke_free(struct revoke *v); /* unanswered; NULL is fine */

/* Puts one, or all, into frames and hands them to `send`. */
void revoke_send(const struct revoke *v, revoke_sender send, void *arg);
void revoke_send_all(const struct revoke_list *list, revoke_sender send, void *arg);

void revoke_take_answer(struct revoke_list *list, const uint8_t *value, size_t len);

/* Those that have waited too long count as served, or all of them. */
void revoke_answer_due(struct revoke_list *list, uint64_t now);
void revoke_answer_all(struct revoke_list *list);

/* Has one waited for so long that the connection it was sent by is in doubt itself? */
bool revoke_has_waited(const struct revoke_list *list, uint64_t now);

#endif
