/* Theory of operation
 *
 * Every connection to the VPS that waits has a subflow on each line, is kept alive on it and replaced every few
 * minutes: some megabytes a day that a metered line should not pay for nothing. So a metered line rests, without an
 * endpoint and hence without subflows, while another line is in use and the relays move less than MUCH. When they
 * move that for two seconds running it joins in, also on the connections that are running then, and rests again after
 * REST_S without. If no other line is left it is used at once. What the tunnel sends on it is another matter
 * (roles_use). */
#include "thrift.h"

#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>

#define MUCH 250000 /* bytes a second */
#define LASTING 2
#define REST_S 30

struct thrift {
	const struct config *config;
	struct links *links;
	uint64_t (*moved)(void *arg);
	void *arg;
	struct event *second;
	uint64_t last;
	unsigned busy, quiet; /* seconds in a row */
	bool works;	      /* there is much to carry */
};

static bool is_good(const struct thrift *t, size_t i)
{
	struct addr a;

	return links_standing(t->links, i, NULL) <= LINKS_WHOLE &&
	       (links_address(t->links, i, AF_INET, &a) || links_address(t->links, i, AF_INET6, &a));
}

static bool others_are_good(const struct thrift *t)
{
	for (size_t i = 0; i < t->config->n_links; i++)
		if (!t->config->links[i].metered && is_good(t, i))
			return true;
	return false;
}

static void judge(struct thrift *t)
{
	bool rest = !t->works && others_are_good(t);

	for (size_t i = 0; i < t->config->n_links; i++)
		if (t->config->links[i].metered)
			links_judge(t->links, i, LINKS_THRIFT, rest ? LINKS_OUT : LINKS_IN,
				    rest ? "metered: it rests while there is little to carry" : "");
}

static void on_second(evutil_socket_t fd, short what, void *arg)
{
	struct thrift *t = arg;
	uint64_t moved = t->moved(t->arg);
	bool much = moved - t->last >= MUCH;

	(void)fd, (void)what;
	t->last = moved;
	t->busy = much ? t->busy + 1 : 0;
	t->quiet = much ? 0 : t->quiet + 1;
	if (t->busy >= LASTING || t->quiet >= REST_S) {
		t->works = t->busy != 0;
		judge(t);
	}
}

/* Looks once a second, where there is something to be thrifty with. */
static int watch(struct thrift *t)
{
	for (size_t i = 0; i < t->config->n_links; i++)
		if (t->config->links[i].metered)
			return event_pending(t->second, EV_TIMEOUT, NULL) ? 0 : event_add(t->second, &(struct timeval){ .tv_sec = 1 });
	return event_del(t->second);
}

struct thrift *thrift_new(struct event_base *base, const struct config *config, struct links *links, uint64_t (*moved)(void *arg),
			  void *arg)
{
	struct thrift *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	*t = (struct thrift){ .config = config, .links = links, .moved = moved, .arg = arg };
	t->second = event_new(base, -1, EV_PERSIST, on_second, t);
	if (!t->second || watch(t)) {
		thrift_free(t);
		return NULL;
	}
	judge(t);
	return t;
}

void thrift_free(struct thrift *t)
{
	if (!t)
		return;
	if (t->second)
		event_free(t->second);
	free(t);
}

void thrift_reload(struct thrift *t)
{
	for (size_t i = 0; i < t->config->n_links; i++)
		if (!t->config->links[i].metered)
			links_judge(t->links, i, LINKS_THRIFT, LINKS_IN, "");
	watch(t);
	judge(t);
}

void thrift_links_changed(struct thrift *t)
{
	judge(t);
}
