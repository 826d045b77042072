/* SPDX-License-Identifier: BSD-2-Clause */
/* client_retry: was the request served, and may it be sent again?
 *
 * Theory of operation. What the client said may be sent again, but only where it certainly was not
 * served: the upstream never got as far as OPEN, or the VPS proved with RESET that it does not know
 * the session, or it promised with REVOKED that the OPEN was not and will not be served. An
 * upstream that dies between OPEN and ACCEPT, whose OPEN is not even acknowledged after UNHEARD_MS,
 * or that says nothing for PATIENCE_MS, is asked after in this way. Each try is given more time
 * than the one before, and all of them CONNECT_MS.
 *
 * Served, or unknowable, and the upstream dead: the client is reset, never answered twice. Unless
 * OPEN asked to be kept, as it does while the links are uneasy or when it leaves together with
 * ATTACH: then RESUME asks for the same destination on another upstream, and what the client said
 * behind OPEN follows it again. */
#include <string.h>

#include "client_room.h"
#include "clock.h"
#include "counter.h"

#define UNHEARD_MS 300 /* OPEN not even acknowledged */
#define PATIENCE_MS 1000
#define ACCEPT_MS 60000 /* from OPEN */
#define RESUME_MS 2000	/* from the word that it was served */
#define BEREAVED_MS 8000
#define CONNECT_MS 60000 /* without an answer that settles it */
#define AGAIN_MS 100
#define DOUBLES 3 /* that each try is more patient than the one before */
#define LOOK_MS 200

/* Lines that are full let an OPEN wait behind what was sent before; to ask again at the same pace
 * would fill them more. */
unsigned client_longer(const struct client *c, unsigned ms)
{
	return ms << (c->tries < DOUBLES ? c->tries : DOUBLES);
}

/* The upstream is given up. Is there time for another? */
static bool may_try_again(struct client *c, const char *else_why)
{
	vps_revoke_cancel(c->revoke);
	c->revoke = NULL;
	upstream_free(c->up);
	c->up = NULL;
	c->tries++;
	if (clock_ms() - c->since_ms < CONNECT_MS)
		return true;
	client_fail(c, else_why);
	return false;
}

void client_retry(struct client *c)
{
	if (may_try_again(c, "no connection to the VPS lasts long enough to ask for it"))
		client_go(c);
}

void client_unserved(struct client *c)
{
	unsigned pause = client_longer(c, AGAIN_MS);

	counters.opens_resent += c->state >= OPENED;
	if (!may_try_again(c, "the VPS cannot be reached"))
		return;
	c->state = SESSION;
	client_wake_in(c, pause);
}

/* It was served, and its answer does not come. */
static void resume(struct client *c)
{
	counters.opens_resumed++;
	c->resume = c->about;
	c->served = true;
	client_retry(c);
}

static void take_verdict(struct client *c, bool served)
{
	if (!served) {
		counters.opens_resent++;
		pool_distrust(c->house->pool);
		client_retry(c);
	} else if (c->up) {
		c->state = SERVED;
		client_wake_in(c, c->keeps ? client_longer(c, RESUME_MS) : ACCEPT_MS);
	} else if (c->keeps) {
		resume(c);
	} else {
		client_fail(c, "the connection to the VPS was lost; the request may have been served");
	}
}

static void client_revoked(void *arg, bool served)
{
	struct client *c = arg;

	c->revoke = NULL;
	take_verdict(c, served);
	client_sweep(c);
}

/* Silence after OPEN, or the upstream has died: was it served? */
static void client_doubt(struct client *c)
{
	if (c->state == DOUBT)
		return;
	c->state = DOUBT;
	memcpy(c->about.sid, session_sid(upstream_session(c->up)), WIRE_SID);
	c->about.ctr = upstream_ctr(c->up);
	event_del(&c->timer);
	c->revoke = vps_revoke(upstream_vps(c->up), upstream_session(c->up), upstream_ctr(c->up),
					client_revoked, c);
	if (!c->revoke)
		client_fail(c, "out of memory");
}

void client_lost(struct client *c)
{
	client_doubt(c);
	upstream_free(c->up);
	c->up = NULL;
}

void client_watch(struct client *c)
{
	c->state = OPENED;
	client_wake_in(c, client_longer(c, UNHEARD_MS));
}

/* Silence since OPEN. */
static void patience_ends(struct client *c)
{
	if (c->state == HEARD || upstream_unheard(c->up)) {
		client_doubt(c);
		return;
	}
	c->state = HEARD;
	client_wake_in(c, client_longer(c, PATIENCE_MS - UNHEARD_MS));
}

void client_be_patient(struct client *c)
{
	bool hope = c->state == BEREAVED && !upstream_severed(c->up) && clock_ms() - upstream_since(c->up) < BEREAVED_MS;

	if (upstream_rouse(c->up) || hope)
		client_wake_in(c, LOOK_MS);
	else if (c->state < DOUBT)
		patience_ends(c);
	else if (c->state == SERVED && c->keeps)
		resume(c);
	else
		client_fail(c, "the VPS gives no answer");
}

uint64_t client_severed(struct client *c, uint64_t now_ms)
{
	return clock_held_ms(&c->severed_ms, c->state >= OPENED && c->up && upstream_severed(c->up), now_ms);
}

void client_bereave(struct client *c)
{
	vps_revoke_cancel(c->revoke);
	c->revoke = NULL;
	if (!c->up) {
		client_fail(c, "the VPS was restarted; the request may have been served");
		return;
	}
	c->state = BEREAVED;
	client_wake_in(c, LOOK_MS);
}
