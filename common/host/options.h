/* SPDX-License-Identifier: BSD-2-Clause */
/* options: the command line, the same for both programs. */
#ifndef PLAIT_OPTIONS_H
#define PLAIT_OPTIONS_H

#include <stdbool.h>
#include <stdio.h>

enum options_verb {
	OPTIONS_RUN,
	OPTIONS_CHECK,
	OPTIONS_GENKEY,
	OPTIONS_PUBKEY,
	OPTIONS_STATUS,
	OPTIONS_RELOAD,
	OPTIONS_LINKS, /* this and the next: of a program that has lines */
	OPTIONS_LINK,
	OPTIONS_VERSION,
	OPTIONS_HELP,
};

struct options {
	const char *prog;	  /* plait-local */
	enum options_verb verb;
	bool lines;		  /* as told to options_parse() */
	const char *conf;	  /* run, check, status, reload, links, link: -c, or the default */
	const char *file;	  /* genkey, pubkey */
	const char *link, *role;  /* link */
	const char *socket;	  /* status, reload, links, link: -s, or NULL: the one that the config names */
	bool json;		  /* status, links: --json */
	bool once;		  /* links --once */
};

/* Points into argv. 0; or the exit code, with what was wrong already on stderr. `lines`: the verbs
 * of lines exist. */
int options_parse(struct options *o, int argc, char **argv, const char *prog, const char *default_conf, bool lines);

/* Does genkey, pubkey, version and help, and returns the exit code; -1 for the verbs that are the
 * caller's own. */
int options_simple_verb(const struct options *o);

void options_usage(const struct options *o, FILE *out);

#endif
