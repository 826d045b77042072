/* SPDX-License-Identifier: BSD-2-Clause */
/* client: a LAN connection from accept to relay. See client.c. */
#ifndef PLAIT_CLIENT_H
#define PLAIT_CLIENT_H

#include <stdbool.h>
#include <sys/queue.h>

#include "lan.h"
#include "sources.h"

struct client;
LIST_HEAD(client_list, client);

/* Begins; owns fd and turn, which lasts until the connection is over. It takes itself out of the
 * list when it has become a relay or has failed. */
void client_new(const struct lan_house *house, struct client_list *list, struct turn *turn, int fd,
		 const struct addr *src, const struct addr *dst);

/* There is a session, perhaps with another VPS. */
void client_session(struct client *c);
/* The process of this VPS is another one than before. */
void client_restarted(struct client *c, const struct vps *v);
/* There is no session any more, and no hope of one: resets the client, who may try another way. */
void client_give_up(struct client *c);
void client_free(struct client *c); /* resets the client */
/* For how long in ms what carries OPEN has been without any link; to be asked again and again. 0:
 * it has one, or needs none. */
uint64_t client_severed(struct client *c, uint64_t now_ms);
struct client *client_next(const struct client *c);

#endif
