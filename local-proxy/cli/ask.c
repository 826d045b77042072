/* SPDX-License-Identifier: BSD-2-Clause */
/* ask: a request, its answer, and the answer as people read it. */
#include "ask.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "admin.h"
#include "links_table.h"

static void sleep_ms(long ms)
{
	const struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&t, NULL);
}

static int print_links(const json_t *answer, const struct options *o, bool anew)
{
	if (anew)
		fputs("\033[H\033[J", stdout);
	if (o->json)
		fputs(json_dumpf(answer, stdout, JSON_INDENT(2)) ? "" : "\n", stdout);
	else
		links_table_print(answer, stdout);
	return fflush(stdout) ? 1 : 0;
}

/* Rates need two answers: the first table comes half a second late. */
static int ask_links(const char *path, const struct options *o)
{
	bool once = o->once || o->json || !isatty(STDOUT_FILENO);
	json_t *before = admin_fetch(path, "links"), *now;
	int rc = before ? 0 : 1;

	for (long pause = 500; !rc; pause = 1000) {
		sleep_ms(pause);
		now = admin_fetch(path, "links");
		if (now)
			links_table_rates(now, before);
		rc = now ? print_links(now, o, !once) : 1;
		json_decref(before);
		before = now;
		if (once)
			break;
	}
	json_decref(before);
	return rc;
}

static int ask_link(const char *path, const struct options *o)
{
	char request[64];
	json_t *answer;
	const char *link, *was, *is;

	if ((size_t)snprintf(request, sizeof(request), "link %s %s", o->link, o->role) >= sizeof(request)) {
		fprintf(stderr, "%s: no link is called %.40s\n", o->prog, o->link);
		return 1;
	}
	answer = admin_fetch(path, request);
	if (!answer || json_unpack(answer, "{s:s, s:s, s:s}", "link", &link, "was", &was, "is", &is)) {
		json_decref(answer);
		return 1;
	}
	if (strcmp(was, is))
		printf("%s was %s and is %s until plait-local ends or this is changed again\n", link, was, is);
	else
		printf("%s is %s already\n", link, is);
	json_decref(answer);
	return fflush(stdout) ? 1 : 0;
}

int ask(const char *control, const struct options *o)
{
	return o->verb == OPTIONS_LINKS ? ask_links(control, o) : ask_link(control, o);
}
