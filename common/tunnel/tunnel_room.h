/* SPDX-License-Identifier: BSD-2-Clause */
/* tunnel_room: what the files of tunnel share, and nobody else may see. They call each other in one
 * direction only: tunnel.c (time, and the association's news) uses tunnel_in.c and tunnel_out.c,
 * which use tunnel_again.c, tunnel_stream.c and tunnel_fec.c, which use tunnel_path.c and
 * tunnel_view.c. */
#ifndef PLAIT_TUNNEL_ROOM_H
#define PLAIT_TUNNEL_ROOM_H

#include <event2/event_struct.h>

#include "classify.h"
#include "fec.h"
#include "fragment.h"
#include "gaps.h"
#include "pace.h"
#include "pmtu.h"
#include "reorder.h"
#include "resend.h"
#include "slab.h"
#include "stream.h"
#include "timer.h"
#include "tunnel.h"
#include "tunnel_queue.h"

#define OUTER 28 /* bytes of IPv4 and UDP around a datagram, as pacing counts */
#define FIFO 1024 /* a ring of resend.c may come at once */
#define DONE 128
#define HOLD_MAX_US 50000
#define BORROW_US 20000
#define PATIENT_US 1000000 /* what was held up meanwhile is sent behind a load of 90 % */

struct fifo { /* sealed packets that wait for one path */
	struct packet *slot[FIFO];
	uint32_t head, tail;
};

struct tunnel_path { /* a path as the sender sees it */
	struct pace pace;
	struct fifo *urgent, *again; /* made when used */
	bool silent; /* nothing is known to arrive */
	uint8_t copies_upto; /* the bulkiest class that is copied there now */
	uint64_t packets[WIRE_CLASSES], copies[WIRE_CLASSES], resent, repairs, shed, overflows; /* for status */
	uint64_t lost[WIRE_CLASSES]; /* went out there and nowhere else, and was resent or given up */
	struct {
		uint64_t received, duplicates, repaired, late;
	} in[WIRE_CLASSES]; /* for status, of what came there */
};

struct tunnel;
/* A packet that parity gave back. */
typedef void (*tunnel_mended)(struct tunnel *t, unsigned class, uint64_t seq, const uint8_t *packet,
			      size_t len);

struct parity { /* of a class */
	struct fec_rate rate;
	struct fec_encoder *encoder; /* made when used */
	struct fec_decoder *decoder;
	uint64_t next, lost;	  /* the number that comes next; the last one that was lost */
	uint64_t packets, copies[ASSOC_PATHS]; /* as they were when it was judged last */
	struct tunnel *tunnel;		       /* these three are for the decoder's callback */
	uint8_t class;
	tunnel_mended mended_cb;
	uint64_t sent, received, mended; /* for status */
};

struct sort { /* a class */
	struct parity parity;
	struct resend resend;
	struct gaps *gaps; /* made when used */
	struct reorder *reorder;
	uint64_t packets, bytes, duplicates, marked; /* for status */
};

struct view { /* what the paths are good for now */
	uint8_t urgent; /* bits: R goes on all of them */
	uint8_t returning; /* none of the others, nor in `order`: a copy of R goes there, if small, and is not waited for */
	uint8_t bulk;	/* F and B go on one of them */
	uint8_t wide;	/* ... those of them that take the longest packets */
	uint8_t order[ASSOC_PATHS]; /* of urgent | bulk, the best first */
	unsigned n;
	uint32_t cost_us[ASSOC_PATHS];
	uint32_t hold_us; /* for reorder */
	struct resend_paths paths;
};

struct tunnel {
	struct event_base *base;
	struct assoc *assoc;
	struct pmtu *pmtu;
	enum assoc_side side;
	struct tunnel_config config;
	struct tunnel_ops ops;
	void *arg;
	tunnel_path_cb on_path;
	void (*on_unknown)(void *arg);
	void *watch_arg;

	uint64_t now;	    /* of this batch */
	uint64_t look_us;   /* `view` is of then */
	uint64_t active_us; /* a packet moved */
	uint64_t fec_us;    /* parity was judged */
	uint64_t mends_us;  /* the peer said that it understands repairs; 0: never */
	uint64_t moved_us;  /* a flow was sent elsewhere because its path was crowded */
	uint8_t deserted;   /* bits: paths that went silent, and what they had is still to be sent elsewhere */
	bool in_batch, rehome;
	struct event tick;
	uint64_t tick_us; /* when it is due; 0: not set */

	struct slab slab;
	struct classify *flows;
	struct queue queue;
	struct stream stream;
	tunnel_offer_cb offer;
	void *offer_arg;
	bool by_stream;
	struct fragments *fragments;
	uint16_t fragment_id;
	struct tunnel_path path[ASSOC_PATHS];
	struct sort sort[WIRE_CLASSES];
	struct view view;
	uint32_t index, index_before; /* of the numbers that come in */

	struct packet *done[DONE]; /* to be let go once the socket, or the kernel, has them */
	unsigned n_done;
	bool delivered; /* since ops.flush() */
};

/* tunnel_view.c */
void tunnel_look(struct tunnel *t); /* brings `view` up to date */
bool tunnel_answers_again(const struct tunnel *t, unsigned i, uint64_t now_us); /* i was found dead, and has to prove itself */
uint8_t tunnel_home(const struct tunnel *t, uint8_t now, uint32_t len); /* the best path for a flow, which is on `now` */
uint8_t tunnel_room_for(const struct tunnel *t, uint8_t home, uint32_t rate); /* a path with room for that, or QUEUE_NO_PATH */

/* tunnel_out.c */
void tunnel_pump(struct tunnel *t); /* sends what may go */

/* tunnel_path.c: i is a path; what is passed stays the caller's */
bool tunnel_fits(const struct tunnel *t, unsigned i, const struct packet *p);
bool tunnel_send_on(struct tunnel *t, unsigned i, struct packet *p, bool copy); /* now */
void tunnel_send_or_wait(struct tunnel *t, unsigned i, struct fifo **f, struct packet *p);
void tunnel_send_again(struct tunnel *t, unsigned i, struct packet *p);
bool tunnel_waits(const struct fifo *f);
void tunnel_drain(struct tunnel *t, unsigned i, struct fifo *f, uint32_t borrow_us);
bool tunnel_backlog(const struct tunnel *t);
void tunnel_let_go(struct tunnel *t, struct packet *p); /* packet_put() at tunnel_flush() */
void tunnel_flush(struct tunnel *t);
void tunnel_drop_backlog(struct tunnel *t, unsigned path);

/* tunnel_again.c */
void tunnel_again(void *tunnel, struct packet *p); /* a resend */
/* What became of a packet that went out on one path: hints about its length. */
void tunnel_tell_pmtu(struct tunnel *t, const struct packet *p, bool lost);
void tunnel_desert(struct tunnel *t); /* what the paths in `deserted` had */

/* tunnel_in.c */
void tunnel_on_got(void *arg, const struct assoc_got *got);
void tunnel_on_copy(void *arg, unsigned path, const struct wire_dgram *hdr, uint64_t seq);
void tunnel_on_ack(struct tunnel *t, unsigned path, const uint8_t *value, size_t len);
void tunnel_release(struct tunnel *t); /* what was held long enough */
void tunnel_ack_due(struct tunnel *t);

/* tunnel_fec.c */
void tunnel_fec_heard(struct tunnel *t, const uint8_t *value, size_t len); /* the peer's MEND */
void tunnel_fec_fate(struct tunnel *t, const struct packet *p, bool lost); /* of one that was sent on one path */
void tunnel_fec_judge(struct tunnel *t);
void tunnel_fec_note(struct tunnel *t, const struct packet *p); /* about to be sealed */
void tunnel_fec_sent(struct tunnel *t, const struct packet *p); /* sealed, and gone or waiting: a repair may be due */
void tunnel_fec_say(struct tunnel *t, unsigned path);
void tunnel_fec_repair(struct tunnel *t, const struct assoc_got *got, tunnel_mended mended);
bool tunnel_fec_source(struct tunnel *t, const struct assoc_got *got); /* false: was mended before */
void tunnel_fec_forget(struct tunnel *t); /* numbers that come in begin anew */
void tunnel_fec_rest(struct tunnel *t);

/* tunnel_stream.c */
void tunnel_stream_put(struct tunnel *t, struct packet *p);
void tunnel_stream_pump(struct tunnel *t);

/* The tick comes then, or before; 0: still in this turn of the loop. */
static inline void tunnel_wake(struct tunnel *t, uint32_t us)
{
	uint64_t due = t->now + us;

	if (!us) {
		event_active(&t->tick, 0, 0);
	} else if (!t->tick_us || t->tick_us > due) {
		t->tick_us = due;
		timer_in_us(&t->tick, us);
	}
}

#endif
