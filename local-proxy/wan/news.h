/* news: what happened to the lines and the VPS, told to the owner's program once per change. See news.c. */
#ifndef PLAIT_NEWS_H
#define PLAIT_NEWS_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "config.h"
#include "links.h"

struct news;

struct news *news_new(struct event_base *base, const struct config *config); /* NULL: no memory */
void news_free(struct news *n);

/* Perhaps some line is another now. */
void news_links(struct news *n, const struct links *links);
void news_remote(struct news *n, bool up, const char *address, const char *why);
/* "quota-warning", "quota-spent", "quota-renewed" */
void news_quota(struct news *n, size_t line, const char *event, const char *why);

/* The state of a line as people call it, from its object in links_status(): up, plain, idle, backup, aside, off, down. */
const char *news_state(const json_t *link);

#endif
