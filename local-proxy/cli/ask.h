/* SPDX-License-Identifier: BSD-2-Clause */
/* ask: the verbs that ask a running daemon: links and link. */
#ifndef PLAIT_ASK_H
#define PLAIT_ASK_H

#include "options.h"

/* `control`: the socket on which it listens. The exit code; what was wrong is on stderr. */
int ask(const char *control, const struct options *o);

#endif
