/* status: the answer to `plait-remote status`. */
#ifndef PLAIT_STATUS_H
#define PLAIT_STATUS_H

#include <jansson.h>

#include "config.h"
#include "dock.h"
#include "egress.h"
#include "hall.h"
#include "quiet.h"
#include "sessions.h"
#include "sock.h"
#include "tundev.h"
#include "users.h"

struct status_rooms {
	const struct config *config;
	const struct sock_caps *caps;
	const struct users *users;
	const struct sessions *sessions;
	const struct dock *dock;
	const struct tundev *tundev;
	const struct quiet *quiet;
	const struct hall *hall;
	const struct egress *egress;
};

json_t *status_make(const struct status_rooms *rooms);

#endif
