/* SPDX-License-Identifier: BSD-2-Clause */
/* weigh: is a link worth having beside the others? Judged by what each carried, second by second. A
 * value: see weigh.c. */
#ifndef PLAIT_WEIGH_H
#define PLAIT_WEIGH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WEIGH_LINKS 8

struct weigh_second { /* of one link */
	bool in;	   /* it was there, and all others think it an equal */
	uint64_t bytes[2]; /* down, up */
	uint32_t rtt_us;   /* its least; 0: not known */
	uint32_t queue_us; /* how long bytes wait before it, the worse direction */
};

struct weigh_link {
	bool aside;	      /* the verdict */
	bool trial;	      /* it was, and is being tried again */
	bool in;	      /* as last told */
	unsigned against;     /* seconds that spoke against it */
	unsigned tried;	      /* seconds of the trial */
	uint32_t share;	      /* per mille of what all can carry, when it was last judged */
	uint32_t limit;	      /* what was asked of it then */
	uint64_t rate;	      /* bytes a second that it carried then, */
	uint64_t level;	      /* with what the others can carry */
	int way;	      /* and which direction that was */
	uint64_t peak[2];     /* most bytes in a second, slowly forgotten */
	uint64_t retry_ms, since_ms;
	uint32_t rest_ms;     /* between trials */
};

struct weigh { /* all zero: nothing known */
	struct weigh_link link[WEIGH_LINKS];
	unsigned busy; /* seconds in a row in which there was something to carry */
};

/* Known beforehand: so many bytes a second, down and up (0: not). */
void weigh_hint(struct weigh *w, size_t link, uint64_t down, uint64_t up);

/* Another line, perhaps: all that was found out of this link is forgotten, its verdict too. */
void weigh_forget(struct weigh *w, size_t link);

/* A second has passed. True when some link's verdict is another now. */
bool weigh_second(struct weigh *w, const struct weigh_second *link, size_t n, uint64_t now_ms);

/* Lines came or went: a verdict holds only beside links as good as those it was found with. */
bool weigh_present(struct weigh *w, const bool *present, size_t n);

#endif
