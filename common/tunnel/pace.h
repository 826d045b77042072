/* SPDX-License-Identifier: BSD-2-Clause */
/* pace: how fast one path may be sent on, learnt from what the peer reports of it. A value: pass
 * now in. See pace.c. */
#ifndef PLAIT_PACE_H
#define PLAIT_PACE_H

#include <stdbool.h>
#include <stdint.h>

#include "jitter.h"

struct pace {
	uint64_t rate;	    /* bytes a second; pace_init() sets it */
	uint64_t base;	    /* what we believe it carries */
	int64_t tokens;	    /* bytes that may go now */
	int64_t spare;	    /* bytes that may go as copies: what the path's own load leaves */
	uint64_t filled_us; /* tokens and spare are of then */
	uint64_t judged_us;
	uint64_t high_us;   /* since when the modem's queue has been too long; 0: it is not */
	uint64_t over_us;   /* since when we have sent more than arrives; 0: we do not */
	uint32_t queue_us;  /* as it was when judged last */
	struct jitter jitter;
	uint64_t load;	    /* bytes a second of first copies, smoothed */
	uint64_t sent;	    /* all bytes a second, smoothed */
	int64_t share;	    /* bytes that may go as copies of what is urgent, room or no room */
	uint64_t load_bytes, sent_bytes, load_us;
	uint64_t stuck_us;  /* starting: grew last then; 0: not yet */
	bool starting;	    /* nothing has ever slowed it */
	bool backlog;	    /* something waits: the caller's to set */
	bool limited;	    /* something waited since it was judged last */
};

struct pace_seen { /* what the peer reports */
	uint32_t queue_us, srtt_us;
	uint64_t delivered; /* bytes a second, the most lately; 0: not known */
	uint64_t arrives;   /* and now */
};

void pace_init(struct pace *p, uint64_t now_us);
void pace_fill(struct pace *p, uint64_t now_us);
/* Once a round trip it moves; call it as often as you like. */
void pace_judge(struct pace *p, const struct pace_seen *seen, uint64_t now_us);

/* len: all outer bytes of a packet. */
void pace_spend(struct pace *p, uint64_t len, bool copy);
static inline bool pace_may(const struct pace *p) { return p->tokens > 0; }
/* What must not wait may borrow up to so many microseconds of the path. */
static inline bool pace_may_borrow(const struct pace *p, uint32_t us)
{
	return p->tokens > -(int64_t)(p->rate * us / 1000000);
}
static inline bool pace_may_copy(const struct pace *p) { return p->tokens > 0 && p->spare > 0; }

#endif
