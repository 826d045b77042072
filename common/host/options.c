/* SPDX-License-Identifier: BSD-2-Clause */
/* options: see options.h. One table holds the verbs, what each takes and what help says of it. */
#include <string.h>
#include <sysexits.h>

#include "identity.h"
#include "options.h"
#include "seal.h"
#include "wire.h"

static const struct verb {
	const char *name, *args, *text;
	bool conf, file, status, lines;
} verbs[] = {
	[OPTIONS_RUN] = { "run", "[-c FILE]", "run in the foreground until SIGTERM", .conf = true },
	[OPTIONS_CHECK] = { "check", "[-c FILE]", "say whether the config is right, and exit", .conf = true },
	[OPTIONS_GENKEY] = { "genkey", "FILE", "write a new private key and print its public half", .file = true },
	[OPTIONS_PUBKEY] = { "pubkey", "FILE", "print the public half of a key, for the other side's config", .file = true },
	[OPTIONS_STATUS] = { "status", "[--json] [-s SOCKET | -c FILE]", "ask the running daemon how it is", .conf = true,
			     .status = true },
	[OPTIONS_RELOAD] = { "reload", "[-s SOCKET | -c FILE]", "have the running daemon read its config again", .conf = true,
			     .status = true },
	[OPTIONS_LINKS] = { "links", "[--once] [--json] [-s SOCKET | -c FILE]", "show the links as they are, each second anew on a terminal",
			    .conf = true, .status = true, .lines = true },
	[OPTIONS_LINK] = { "link", "NAME primary|backup|off [-s SOCKET | -c FILE]", "change a link's role until the daemon ends", .conf = true,
			   .status = true, .lines = true },
	[OPTIONS_VERSION] = { "version", "", "print the version", .conf = false },
	[OPTIONS_HELP] = { "help", "", "print this", .conf = false },
};

#define VERBS (sizeof(verbs) / sizeof(*verbs))

void options_usage(const struct options *o, FILE *out)
{
	fprintf(out, "usage: %s VERB\n\n", o->prog);
	for (const struct verb *v = verbs; v < verbs + VERBS; v++)
		if (o->lines || !v->lines)
			fprintf(out, "  %-7s %-*s %s\n", v->name, o->lines ? 49 : 32, v->args, v->text);
	fprintf(out, "\nFILE is %s unless -c names another. Exit: 0 fine, 1 failed, %d wrong usage, %d wrong config.\n", o->conf,
		EX_USAGE, EX_CONFIG);
}

static int usage_error(const struct options *o, const char *what, const char *which)
{
	fprintf(stderr, "%s: %s%s%s (see %s help)\n", o->prog, what, *which ? " " : "", which, o->prog);
	return EX_USAGE;
}

static int find_verb(struct options *o, const char *word)
{
	if (!strcmp(word, "-h") || !strcmp(word, "--help"))
		word = "help";
	if (!strcmp(word, "-V") || !strcmp(word, "--version"))
		word = "version";
	for (size_t i = 0; i < VERBS; i++) {
		if (!strcmp(word, verbs[i].name) && (o->lines || !verbs[i].lines)) {
			o->verb = (enum options_verb)i;
			return 0;
		}
	}
	return -1;
}

/* The option that takes a value and is given by `flag`, or NULL. */
static const char **valued(struct options *o, const char *flag)
{
	if (verbs[o->verb].conf && (!strcmp(flag, "-c") || !strcmp(flag, "--config")))
		return &o->conf;
	if (verbs[o->verb].status && (!strcmp(flag, "-s") || !strcmp(flag, "--socket")))
		return &o->socket;
	return NULL;
}

/* The option without a value that is given by `flag`, or NULL. */
static bool *switched(struct options *o, const char *flag)
{
	if (verbs[o->verb].status && o->verb != OPTIONS_LINK && o->verb != OPTIONS_RELOAD && !strcmp(flag, "--json"))
		return &o->json;
	return o->verb == OPTIONS_LINKS && !strcmp(flag, "--once") ? &o->once : NULL;
}

/* Where the next plain word of this verb goes, or NULL: it takes no more. */
static const char **next_word(struct options *o)
{
	if (verbs[o->verb].file && !o->file)
		return &o->file;
	if (o->verb == OPTIONS_LINK)
		return !o->link ? &o->link : !o->role ? &o->role : NULL;
	return NULL;
}

int options_parse(struct options *o, int argc, char **argv, const char *prog, const char *default_conf, bool lines)
{
	*o = (struct options){ .prog = prog, .conf = default_conf, .lines = lines };
	if (argc < 2) {
		options_usage(o, stderr);
		return EX_USAGE;
	}
	if (find_verb(o, argv[1]))
		return usage_error(o, "unknown verb", argv[1]);
	for (int i = 2; i < argc; i++) {
		const char **value = valued(o, argv[i]), **word = *argv[i] != '-' ? next_word(o) : NULL;
		bool *on = switched(o, argv[i]);

		if (value && ++i == argc)
			return usage_error(o, "a value is missing after", argv[i - 1]);
		if (value)
			*value = argv[i];
		else if (on)
			*on = true;
		else if (word)
			*word = argv[i];
		else
			return usage_error(o, "not understood:", argv[i]);
	}
	if (verbs[o->verb].file && !o->file)
		return usage_error(o, "name the key's FILE", "");
	if (o->verb == OPTIONS_LINK && !o->role)
		return usage_error(o, "name a link and its role: primary, backup or off", "");
	return 0;
}

static int print_pin(const struct options *o)
{
	char err[320], text[SEAL_B64_LEN];
	struct identity *id = identity_load(o->file, err, sizeof(err));
	uint8_t pin[WIRE_PIN];

	if (!id) {
		fprintf(stderr, "%s: %s\n", o->prog, err);
		return EX_CONFIG;
	}
	identity_pin(id, pin);
	identity_free(id);
	seal_b64(text, pin);
	return puts(text) < 0 || fflush(stdout) ? 1 : 0;
}

static int generate(const struct options *o)
{
	char err[320];

	if (!identity_generate(o->file, err, sizeof(err)))
		return print_pin(o);
	fprintf(stderr, "%s: %s\n", o->prog, err);
	return 1;
}

int options_simple_verb(const struct options *o)
{
	switch (o->verb) {
	case OPTIONS_GENKEY:
		return generate(o);
	case OPTIONS_PUBKEY:
		return print_pin(o);
	case OPTIONS_VERSION:
		printf("%s %s\n", o->prog, PLAIT_VERSION);
		return 0;
	case OPTIONS_HELP:
		options_usage(o, stdout);
		return 0;
	case OPTIONS_RUN:
	case OPTIONS_CHECK:
	case OPTIONS_STATUS:
	case OPTIONS_RELOAD:
	case OPTIONS_LINKS:
	case OPTIONS_LINK:
		break;
	}
	return -1;
}
