/* opening_again: was the request served, and may it be sent again?
 *
 * Theory of operation. What the client said may be sent again, but only where it certainly was not served: the upstream never
 * got as far as OPEN, or the remote proved with RESET that it does not know the session, or
 * it promised with REVOKED that the OPEN was not and will not be served. An upstream that dies
 * between OPEN and ACCEPT, whose OPEN is not even acknowledged after UNHEARD_MS, or that says nothing
 * for PATIENCE_MS, is asked after in this way. Each try is given more time than the one before, and all of them CONNECT_MS.
 *
 * Served, or unknowable, and the upstream dead: the client is reset, never answered twice. Unless OPEN asked to be kept, as it does
 * while the lines are uneasy: then RESUME asks for the same destination on another upstream, and what the client said
 * behind OPEN follows it again. */
#include <string.h>

#include "clock.h"
#include "counter.h"
#include "opening_room.h"

#define UNHEARD_MS 300 /* OPEN not even acknowledged */
#define PATIENCE_MS 1000
#define ACCEPT_MS 60000 /* from OPEN */
#define RESUME_MS 2000	/* from the word that it was served */
#define BEREAVED_MS 8000
#define CONNECT_MS 60000 /* without an answer that settles it */
#define AGAIN_MS 100
#define DOUBLES 3 /* that each try is more patient than the one before */
#define LOOK_MS 200

/* Lines that are full let an OPEN wait behind what was sent before; to ask again at the same pace would fill them more. */
unsigned opening_longer(const struct opening *o, unsigned ms)
{
	return ms << (o->tries < DOUBLES ? o->tries : DOUBLES);
}

/* The upstream is given up. Is there time for another? */
static bool may_try_again(struct opening *o, const char *else_why)
{
	remote_revoke_cancel(o->revoke);
	o->revoke = NULL;
	upstream_free(o->up);
	o->up = NULL;
	o->asked = o->patient = o->bereaved = false;
	o->tries++;
	if (clock_ms() - o->since_ms < CONNECT_MS)
		return true;
	opening_fail(o, else_why);
	return false;
}

void opening_again(struct opening *o)
{
	if (may_try_again(o, "no connection to the remote lasts long enough to ask for it"))
		opening_go(o);
}

void opening_unserved(struct opening *o)
{
	unsigned pause = opening_longer(o, AGAIN_MS);

	counters.opens_resent += o->state >= OPENED;
	if (!may_try_again(o, "the remote cannot be reached"))
		return;
	o->state = SESSION;
	opening_wake_in(o, pause);
}

/* It was served, and its answer does not come. */
static void resume(struct opening *o)
{
	counters.opens_resumed++;
	o->resume = o->about;
	o->served = true;
	opening_again(o);
}

static void on_revoked(void *arg, bool served)
{
	struct opening *o = arg;

	o->revoke = NULL;
	if (!served) {
		counters.opens_resent++;
		pool_distrust(o->house->pool);
		opening_again(o);
	} else if (o->up) {
		o->state = OPENED;
		opening_wake_in(o, o->keeps ? opening_longer(o, RESUME_MS) : ACCEPT_MS);
	} else if (o->keeps) {
		resume(o);
	} else {
		opening_fail(o, "the connection to the remote was lost; the request may have been served");
	}
}

/* Silence after OPEN, or the upstream has died: was it served? False: there was no way to ask, and o is gone. */
static bool doubt(struct opening *o)
{
	if (o->state == DOUBT)
		return true;
	o->state = DOUBT;
	o->asked = true;
	memcpy(o->about.sid, session_sid(upstream_session(o->up)), WIRE_SID);
	o->about.ctr = upstream_ctr(o->up);
	event_del(&o->timer);
	o->revoke = remote_revoke(upstream_remote(o->up), upstream_session(o->up), upstream_ctr(o->up), on_revoked, o);
	if (o->revoke)
		return true;
	opening_fail(o, "out of memory");
	return false;
}

void opening_lost(struct opening *o)
{
	if (!doubt(o))
		return;
	upstream_free(o->up);
	o->up = NULL;
}

void opening_watch(struct opening *o)
{
	o->state = OPENED;
	opening_wake_in(o, opening_longer(o, UNHEARD_MS));
}

void opening_be_patient(struct opening *o)
{
	if (upstream_rouse(o->up)) {
		opening_wake_in(o, LOOK_MS);
	} else if (o->bereaved && !upstream_severed(o->up) && clock_ms() - upstream_since(o->up) < BEREAVED_MS) {
		opening_wake_in(o, LOOK_MS);
	} else if (o->asked && o->keeps && !o->bereaved) {
		resume(o);
	} else if (o->asked) {
		opening_fail(o, "the remote gives no answer");
	} else if (o->patient || upstream_unheard(o->up)) {
		doubt(o);
	} else {
		o->patient = true;
		opening_wake_in(o, opening_longer(o, PATIENCE_MS - UNHEARD_MS));
	}
}

uint64_t opening_severed(struct opening *o, uint64_t now_ms)
{
	return clock_held_ms(&o->severed_ms, o->state >= OPENED && o->up && upstream_severed(o->up), now_ms);
}

void opening_bereave(struct opening *o)
{
	remote_revoke_cancel(o->revoke);
	o->revoke = NULL;
	if (!o->up) {
		opening_fail(o, "the remote was restarted; the request may have been served");
		return;
	}
	o->state = OPENED;
	o->asked = o->bereaved = true;
	opening_wake_in(o, LOOK_MS);
}
