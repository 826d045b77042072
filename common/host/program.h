/* SPDX-License-Identifier: BSD-2-Clause */
/* program: what plait-local and plait-remote have in common as programs: the verbs of the command
 * line, and the order of a life. See program.c. */
#ifndef PLAIT_PROGRAM_H
#define PLAIT_PROGRAM_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "daemon.h"
#include "log.h"
#include "options.h"
#include "sock.h"

#define PROGRAM_ERR 320

/* What either daemon stands on. The first member of its root. */
struct program {
	const char *conf; /* the file that its config came from */
	struct guard *guard;
	struct identity *identity;
	struct daemon_base loop;
	struct sock_caps caps;
	struct admin *admin;
	struct settings *settings;
};

/* What a program needs to know of a config. */
struct program_wants {
	const char *key_file, *control;
	enum log_level log;
	size_t relays;
};

/* What makes a program this one. `root`: what begins with a struct program, all zero at first. */
struct program_ops {
	const char *name,
		*conf; /* plait-local, and where its config lies unless -c names another */
	bool links;    /* it has them, and their verbs */
	size_t root_size;

	/* Reads the config. 0; or -1 and a sentence in err. */
	int (*configure)(void *root, const char *conf, struct program_wants *wants, char *err,
			 size_t err_len);
	int (*build)(void *root, char *err,
		     size_t err_len); /* every room; nobody calls anybody yet */
	void (*wire)(void *root);     /* who is told of what */
	int (*start)(void *root, char *err, size_t err_len);
	void (*end)(void *root); /* the order of birth backwards; also of what was half built */

	json_t *(*status)(void *root);
	json_t *(*reload)(void *root, const char *rest);
	int (*ask)(const char *control,
		   const struct options *o); /* the verbs of links; NULL without */
};

/* All of main(). The exit code. */
int program_main(const struct program_ops *ops, int argc, char **argv);

#endif
