/* harm: puts a line aside that makes the whole slower than without it. See harm.c and weigh.c. */
#ifndef PLAIT_HARM_H
#define PLAIT_HARM_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "health.h"
#include "links.h"
#include "roles.h"

struct harm;

struct harm_ops {
	uint64_t (*moved)(void *arg);				 /* grows by the bytes that TCP's relays move */
	const struct health *(*health)(void *arg, size_t line); /* NULL: not known */
};

struct harm *harm_new(struct event_base *base, const struct config *config, struct links *links, struct roles *roles,
		      const struct harm_ops *ops, void *arg); /* NULL with errno */
void harm_free(struct harm *h);

void harm_reload(struct harm *h); /* the config may have other rates now */
void harm_links_changed(struct harm *h);

/* Into a line's object: {share_percent, trial}, once something is known. */
void harm_status(const struct harm *h, size_t line, json_t *o);

#endif
