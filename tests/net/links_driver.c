/* links_driver: links or egress alone in a loop, for tests of what they put into the kernel.
 *
 *   driver DEVICE...	(links)  follows these lines, prints their status on every change
 *   driver INITCWND	(egress) the VPS's side
 *
 * Ends in order at SIGTERM or SIGINT. Built once with -DDRIVE_LINKS and once with -DDRIVE_EGRESS. */
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"

#ifdef DRIVE_LINKS
#include "links.h"
#else
#include "egress.h"
#endif

static void on_signal(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	event_base_loopbreak(arg);
}

#ifdef DRIVE_LINKS
static struct links *driven;

static void show(void *arg)
{
	struct addr to[2], out[CONFIG_LINKS];
	json_t *status = links_status(driven);
	char text[ADDR_STRLEN];

	(void)arg;
	json_dumpf(status, stdout, JSON_COMPACT);
	json_decref(status);
	addr_parse(&to[0], "203.0.113.1", 1);
	addr_parse(&to[1], "2001:db8::1", 1);
	for (int i = 0; i < 2; i++) {
		size_t n = links_sources(driven, &to[i], out, CONFIG_LINKS);

		printf(" sources%d:", i ? 6 : 4);
		for (size_t j = 0; j < n; j++)
			printf(" %s=%s", addr_print_ip(&out[j], text), links_name(driven, &out[j]));
	}
	printf("\n");
	fflush(stdout);
}

static struct links *drive_new(struct event_base *base, struct config *c, char **argv)
{
	for (; *argv && c->n_links < CONFIG_LINKS; argv++) {
		struct config_link *l = &c->links[c->n_links++];

		snprintf(l->name, sizeof(l->name), "line-%s", *argv);
		snprintf(l->device, sizeof(l->device), "%s", *argv);
		l->initcwnd = 40;
	}
	driven = links_new(base, c, show, NULL);
	if (driven)
		show(NULL);
	return driven;
}
#define drive_free links_free
#else
static struct egress *drive_new(struct event_base *base, struct config *c, char **argv)
{
	struct egress *e;

	c->initcwnd = *argv ? (uint32_t)atoi(*argv) : 40;
	e = egress_new(base, c);
	printf("ready\n");
	fflush(stdout);
	return e;
}
#define drive_free egress_free
#endif

int main(int argc, char **argv)
{
	static struct config config;
	struct event_base *base = event_base_new();
	struct event *term = evsignal_new(base, SIGTERM, on_signal, base), *intr = evsignal_new(base, SIGINT, on_signal, base);
	void *driven_one;

	(void)argc;
	event_add(term, NULL);
	event_add(intr, NULL);
	driven_one = drive_new(base, &config, argv + 1);
	if (!driven_one)
		return 1;
	event_base_dispatch(base);
	drive_free(driven_one);
	event_free(term);
	event_free(intr);
	event_base_free(base);
	return 0;
}
