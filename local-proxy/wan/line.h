/* line: one [link] of the config as the kernel's state makes it: a value, computed anew from a snapshot. */
#ifndef PLAIT_LINE_H
#define PLAIT_LINE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "config.h"
#include "rtnl.h"

enum { LINE_V4, LINE_V6, LINE_SIDES };

struct line_side { /* one address family of a line */
	bool has_addr, has_route;
	struct rtnl_addr addr;
	bool has_gateway; /* false and has_route: point-to-point */
	struct addr gateway;
	unsigned endpoint; /* MPTCP endpoint id, 0: none */
	bool foreign;	   /* the endpoint is somebody else's */
	int score;	   /* of addr */
	uint32_t priority; /* of the default route found */
	bool clash;	   /* another line has this address too */
};

struct line {
	char name[32];
	char device[IFNAMSIZ];
	int index; /* 0: no such device now */
	bool up, carrier;
	struct line_side side[LINE_SIDES];
};

void line_init(struct line *l, const struct config_link *config);

/* The three kinds of news, in this order. Those of other devices leave the line as it is. */
void line_link(struct line *l, const struct rtnl_link *link);
void line_addr(struct line *l, const struct rtnl_addr *addr);
void line_route(struct line *l, const struct rtnl_route *route);

/* Fit to carry connections of this family. */
bool line_side_up(const struct line *l, int side);
bool line_up(const struct line *l);

/* Why the line is not up, one clause; "" when it is. */
const char *line_why(const struct line *l);

bool line_side_differs(const struct line *a, const struct line *b, int side);

/* Tells what is new, or all of it the first time. */
void line_log(const struct line *is, const struct line *was, bool first);

/* Puts its addresses, gateways and endpoints into the object. */
void line_status(const struct line *l, json_t *o);

#endif
