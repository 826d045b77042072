/* SPDX-License-Identifier: BSD-2-Clause */
/* revoke: questions that must have an answer.
 *
 * Theory of operation. A connection that died between OPEN and ACCEPT leaves a doubt: was the
 * request served? The VPS is asked over the control connection, and its answer binds it: what was
 * not served then never will be. The owner sends each question once, and all again whenever there
 * is a new control connection. With no answer in REVOKE_MS the doubt counts as served. Each is
 * answered exactly once. */
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "revoke.h"

#define REVOKE_MS 25000 /* control connections may have to be made anew meanwhile */
#define REASK_MS 1000

struct revoke {
	LIST_ENTRY(revoke) link;
	struct wire_revoke ask;
	uint64_t since;
	vps_revoked cb;
	void *arg;
};

struct revoke *revoke_new(struct revoke_list *list, const uint8_t sid[WIRE_SID], uint64_t ctr, vps_revoked cb, void *arg)
{
	struct revoke *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	memcpy(v->ask.sid, sid, WIRE_SID);
	v->ask.ctr = ctr;
	v->since = clock_ms();
	v->cb = cb;
	v->arg = arg;
	LIST_INSERT_HEAD(list, v, link);
	return v;
}

void revoke_free(struct revoke *v)
{
	if (!v)
		return;
	LIST_REMOVE(v, link);
	free(v);
}

static void revoke_answer(struct revoke *v, bool served)
{
	vps_revoked cb = v->cb;
	void *arg = v->arg;

	revoke_free(v);
	cb(arg, served);
}

void revoke_send(const struct revoke *v, revoke_sender send, void *arg)
{
	uint8_t out[WIRE_REVOKE_LEN];

	wire_put_revoke(out, &v->ask);
	send(arg, out);
}

void revoke_send_all(const struct revoke_list *list, revoke_sender send, void *arg)
{
	const struct revoke *v;

	LIST_FOREACH(v, list, link)
		revoke_send(v, send, arg);
}

void revoke_take_answer(struct revoke_list *list, const uint8_t *value, size_t len)
{
	struct wire_revoke said;
	struct revoke *v;

	if (wire_get_revoked(&said, value, len) <= 0)
		return;
	LIST_FOREACH(v, list, link)
		if (v->ask.ctr == said.ctr && !memcmp(v->ask.sid, said.sid, WIRE_SID))
			break;
	if (v)
		revoke_answer(v, said.verdict != WIRE_NOT_SERVED);
}

/* Callbacks may free other revokes, so the walk begins again after each. */
void revoke_answer_due(struct revoke_list *list, uint64_t now)
{
	struct revoke *v;

	do {
		LIST_FOREACH(v, list, link)
			if (now - v->since >= REVOKE_MS)
				break;
		if (v)
			revoke_answer(v, true);
	} while (v);
}

void revoke_answer_all(struct revoke_list *list)
{
	while (LIST_FIRST(list))
		revoke_answer(LIST_FIRST(list), true);
}

bool revoke_has_waited(const struct revoke_list *list, uint64_t now)
{
	const struct revoke *v;

	LIST_FOREACH(v, list, link)
		if (now - v->since >= REASK_MS)
			return true;
	return false;
}
