/* SPDX-License-Identifier: BSD-2-Clause */
/* status: the answer to `plait-remote status`. */
#ifndef PLAIT_STATUS_H
#define PLAIT_STATUS_H

#include <jansson.h>

#include "config.h"
#include "demux.h"
#include "requests.h"
#include "return_routes.h"
#include "sessions.h"
#include "sock.h"
#include "tarpit.h"
#include "tundev.h"
#include "users.h"

struct status_rooms {
	const struct config *config;
	const struct sock_caps *caps;
	const struct users *users;
	const struct sessions *sessions;
	const struct demux *demux;
	const struct tundev *tundev;
	const struct tarpit *tarpit;
	const struct requests *requests;
	const struct return_routes *return_routes;
};

json_t *status_make(const struct status_rooms *rooms);

#endif
