/* opening: a LAN connection from accept to relay. See opening.c. */
#ifndef PLAIT_OPENING_H
#define PLAIT_OPENING_H

#include <stdbool.h>
#include <sys/queue.h>

#include "lan.h"

struct opening;
LIST_HEAD(opening_list, opening);

/* Begins; owns fd. The opening takes itself out of the list when it has become a relay or has failed (`count` goes down when
 * the connection is over, not before). */
void opening_new(const struct lan_house *house, struct opening_list *list, unsigned *count, int fd,
		 const struct addr *src, const struct addr *dst);

/* There is a session, perhaps with another remote. */
void opening_session(struct opening *o);
/* The process of this remote is another one than before. */
void opening_restarted(struct opening *o, const struct remote *r);
/* There is no session any more, and no hope of one: resets the client, who may try another way. */
void opening_give_up(struct opening *o);
void opening_free(struct opening *o); /* resets the client */
/* For how long in ms what carries OPEN has been without any line; to be asked again and again. 0: it has one, or needs none. */
uint64_t opening_severed(struct opening *o, uint64_t now_ms);
struct opening *opening_next(const struct opening *o);

#endif
