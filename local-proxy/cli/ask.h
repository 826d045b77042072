/* SPDX-License-Identifier: BSD-2-Clause */
/* ask: the verbs that ask a running daemon: status, links, link. */
#ifndef PLAIT_ASK_H
#define PLAIT_ASK_H

#include "options.h"

/* The exit code; what was wrong is on stderr. */
int ask(const struct options *o);

#endif
