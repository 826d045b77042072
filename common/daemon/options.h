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
	OPTIONS_VERSION,
	OPTIONS_HELP,
};

struct options {
	const char *prog;	  /* plait-local */
	enum options_verb verb;
	const char *conf;	  /* run, check, status: -c, or the default */
	const char *file;	  /* genkey, pubkey */
	const char *socket;	  /* status -s, or NULL: the one that the config names */
	bool json;		  /* status --json */
};

/* Points into argv. 0; or the exit code, with what was wrong already on stderr. */
int options_parse(struct options *o, int argc, char **argv, const char *prog, const char *default_conf);

/* Does genkey, pubkey, version and help, and returns the exit code; -1 for the verbs that are the caller's own. */
int options_simple_verb(const struct options *o);

void options_usage(const struct options *o, FILE *out);

#endif
