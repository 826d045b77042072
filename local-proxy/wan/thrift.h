/* thrift: a metered line rests while there is little to carry. See thrift.c. */
#ifndef PLAIT_THRIFT_H
#define PLAIT_THRIFT_H

#include <event2/event.h>
#include <stdint.h>

#include "config.h"
#include "links.h"

struct thrift;

/* moved: grows by the bytes that TCP's relays move. NULL: no memory. */
struct thrift *thrift_new(struct event_base *base, const struct config *config, struct links *links, uint64_t (*moved)(void *arg),
			  void *arg);
void thrift_free(struct thrift *t);

void thrift_reload(struct thrift *t); /* other lines are metered now */
void thrift_links_changed(struct thrift *t);

#endif
