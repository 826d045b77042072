/* SPDX-License-Identifier: BSD-2-Clause */
/* resolve: keeps the addresses of one name, or the targets of one service, fresh.
 *
 * Theory of operation. A round asks for A and AAAA at once. What comes back is cut to RESOLVE_MAX
 * addresses, rid of those that no host in the Internet can have, and compared with what is known:
 * only another set is told. The next round follows when the shortest TTL ends (30 s to 1 h), or
 * earlier when resolve_failed() says that the addresses are of no use. A round that fails, in
 * whatever way, changes nothing: the last good addresses stay, and the next round comes after a
 * pause that doubles from 1 to 60 s, give or take a quarter. Rounds that were asked for and
 * brought nothing new lengthen that pause as well, so a dead peer does not become a load on DNS.
 *
 * c-ares does not tell how long the targets of a service are good: SRV_TTL_S.
 *
 * Each round has a c-ares channel of its own, so a resolv.conf that DHCP rewrote is read again. A
 * channel must not die inside its own callback: it lives until the next round or the end. */
#include <ares.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "log.h"
#include "resolve.h"
#include "seal.h"
#include "sock.h"
#include "timer.h"

#define TTL_MIN_S 30
#define TTL_MAX_S 3600
#define SRV_TTL_S 300
#define DNS_IN 1
#define DNS_SRV 33
#define PAUSE_MIN_MS 1000
#define PAUSE_MAX_MS 60000
#define TRY_MS 2000
#define TRIES 3

/* One of c-ares' sockets in our loop. */
struct watch {
	LIST_ENTRY(watch) at;
	struct resolve *r;
	struct event *ev;
	int fd;
};

struct resolve {
	struct event_base *base;
	char *host, *servers;
	uint16_t port;
	bool numeric, private_ok;
	resolve_cb cb;
	resolve_srv_cb srv_cb; /* instead: it is a service */
	void *arg;

	struct srv targets[RESOLVE_SRV_MAX];
	size_t n_targets;
	struct addr known[RESOLVE_MAX];
	size_t n_known;
	uint32_t pause_ms;
	bool asked; /* the coming round is resolve_failed()'s */
	bool busy;  /* a round is under way */

	ares_channel channel;
	bool have_channel;
	LIST_HEAD(, watch) watches;
	struct event *round_ev, *timeout_ev, *news_ev;
	struct log_limit said;
};

/* --- c-ares in our loop --- */

static void tend_timeout(struct resolve *r)
{
	struct timeval tv, *left = r->have_channel ? ares_timeout(r->channel, NULL, &tv) : NULL;

	if (left)
		event_add(r->timeout_ev, left);
	else
		event_del(r->timeout_ev);
}

static void resolve_socket(evutil_socket_t fd, short what, void *arg)
{
	struct watch *w = arg;
	struct resolve *r = w->r;

	ares_process_fd(r->channel, what & EV_READ ? fd : ARES_SOCKET_BAD, what & EV_WRITE ? fd : ARES_SOCKET_BAD);
	tend_timeout(r); /* w may be gone */
}

static void resolve_timed_out(evutil_socket_t fd, short what, void *arg)
{
	struct resolve *r = arg;

	(void)fd;
	(void)what;
	ares_process_fd(r->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	tend_timeout(r);
}

static void watch_end(struct watch *w)
{
	LIST_REMOVE(w, at);
	if (w->ev)
		event_free(w->ev);
	free(w);
}

/* c-ares says what it wants of a socket; nothing: it is about to close it. */
static void resolve_want(void *arg, ares_socket_t fd, int readable, int writable)
{
	struct resolve *r = arg;
	short what = (short)(EV_PERSIST | (readable ? EV_READ : 0) | (writable ? EV_WRITE : 0));
	struct watch *w;

	LIST_FOREACH(w, &r->watches, at) {
		if (w->fd == fd)
			break;
	}
	if (w)
		watch_end(w);
	if (what == EV_PERSIST)
		return;
	w = calloc(1, sizeof(*w));
	if (!w)
		return; /* its timer ends the query */
	*w = (struct watch){ .r = r, .fd = fd, .ev = event_new(r->base, fd, what, resolve_socket, w) };
	LIST_INSERT_HEAD(&r->watches, w, at);
	if (!w->ev || event_add(w->ev, NULL))
		watch_end(w);
}

/* Before connect(), which is when the route is chosen. Without the right to mark, it is an ordinary
 * socket. */
static int resolve_new_socket(ares_socket_t fd, int type, void *arg)
{
	(void)type;
	(void)arg;
	sock_mark(fd, SOCK_SELF_MARK);
	return 0;
}

/* --- rounds --- */

static void next_round(struct resolve *r, uint64_t ms)
{
	timer_in_ms(r->round_ev, ms);
}

/* The pause at hand, give or take a quarter; the next one is twice as long. */
static uint64_t take_pause(struct resolve *r)
{
	uint32_t pause = r->pause_ms, dice;

	seal_random(&dice, sizeof(dice));
	r->pause_ms = pause * 2 < PAUSE_MAX_MS ? pause * 2 : PAUSE_MAX_MS;
	return pause - pause / 4 + dice % (pause / 2);
}

/* Addresses that only a forged or mistaken answer gives to a host in the Internet. */
static bool is_private(const struct addr *a)
{
	static const char *const nets[] = {
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16",
		"224.0.0.0/3", "::/96", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
	};
	struct prefix p;

	for (size_t i = 0; i < sizeof(nets) / sizeof(*nets); i++) {
		if (!prefix_parse(&p, nets[i]) && prefix_contains(&p, a))
			return true;
	}
	return false;
}

static bool is_among(const struct addr *a, const struct addr *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (addr_equal(a, &list[i]))
			return true;
	}
	return false;
}

/* The usable addresses of an answer, and their shortest TTL in seconds. */
static size_t sift(struct resolve *r, const struct ares_addrinfo *answer, struct addr out[RESOLVE_MAX], int *ttl)
{
	char text[ADDR_STRLEN];
	size_t n = 0;

	*ttl = TTL_MAX_S;
	for (const struct ares_addrinfo_node *node = answer->nodes; node && n < RESOLVE_MAX; node = node->ai_next) {
		if (addr_from_sockaddr(&out[n], node->ai_addr))
			continue;
		out[n].port = r->port;
		if (!r->private_ok && is_private(&out[n])) {
			log_limited(&r->said, "%s has the private address %s: not used (allow_private = yes would)", r->host,
				    addr_print_ip(&out[n], text));
			continue;
		}
		if (is_among(&out[n], out, n))
			continue;
		if (node->ai_ttl < *ttl)
			*ttl = node->ai_ttl;
		n++;
	}
	if (*ttl < TTL_MIN_S)
		*ttl = TTL_MIN_S;
	return n;
}

/* Another set, whatever the order (servers turn it round on purpose)? Then it is the known one from
 * now on. */
static bool resolve_learn(struct resolve *r, const struct addr *found, size_t n)
{
	bool same = n == r->n_known;

	for (size_t i = 0; same && i < n; i++)
		same = is_among(&found[i], r->known, r->n_known);
	if (same)
		return false;
	memcpy(r->known, found, n * sizeof(*found));
	r->n_known = n;
	return true;
}

static void round_failed(struct resolve *r, const char *why)
{
	log_limited(&r->said, "%s: %s%s", r->host, why, r->n_known || r->n_targets ? "; what is known so far stays" : "");
	next_round(r, take_pause(r));
}

static void round_succeeded(struct resolve *r, bool news, int ttl)
{
	if (news || !r->asked)
		r->pause_ms = PAUSE_MIN_MS;
	r->asked = false;
	next_round(r, (uint64_t)ttl * 1000);
	if (news)
		event_active(r->news_ev, EV_TIMEOUT, 0); /* tells from the loop, not from inside c-ares */
}

static bool same_srv(const struct srv *a, const struct srv *b)
{
	return a->priority == b->priority && a->weight == b->weight && a->port == b->port && !strcasecmp(a->host, b->host);
}

static bool srv_among(const struct srv *s, const struct srv *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (same_srv(s, &list[i]))
			return true;
	}
	return false;
}

/* A target of "." says that the service is not offered; one without a port is none. */
static size_t sift_srv(const struct ares_srv_reply *reply, struct srv out[RESOLVE_SRV_MAX])
{
	size_t n = 0;

	for (; reply && n < RESOLVE_SRV_MAX; reply = reply->next) {
		size_t len = strlen(reply->host);

		while (len && reply->host[len - 1] == '.')
			len--;
		if (!len || len >= sizeof(out[n].host) || !reply->port)
			continue;
		memset(&out[n], 0, sizeof(out[n]));
		memcpy(out[n].host, reply->host, len);
		out[n].priority = reply->priority;
		out[n].weight = reply->weight;
		out[n].port = reply->port;
		n += !srv_among(&out[n], out, n);
	}
	return n;
}

static void resolve_srv_answer(void *arg, int status, int timeouts, unsigned char *buf, int len)
{
	struct ares_srv_reply *reply = NULL;
	struct srv found[RESOLVE_SRV_MAX];
	struct resolve *r = arg;
	size_t n;
	bool same;

	(void)timeouts;
	r->busy = false;
	if (status == ARES_EDESTRUCTION || status == ARES_ECANCELLED)
		return;
	if (status == ARES_SUCCESS)
		status = ares_parse_srv_reply(buf, len, &reply);
	if (status != ARES_SUCCESS) {
		round_failed(r, ares_strerror(status));
		return;
	}
	n = sift_srv(reply, found);
	ares_free_data(reply);
	same = n == r->n_targets;
	for (size_t i = 0; same && i < n; i++)
		same = srv_among(&found[i], r->targets, r->n_targets);
	memcpy(r->targets, found, n * sizeof(*found));
	r->n_targets = n;
	round_succeeded(r, !same, SRV_TTL_S);
}

static void resolve_answer(void *arg, int status, int timeouts, struct ares_addrinfo *answer)
{
	struct resolve *r = arg;
	struct addr found[RESOLVE_MAX];
	size_t n;
	bool news;
	int ttl;

	(void)timeouts;
	r->busy = false;
	if (status == ARES_EDESTRUCTION || status == ARES_ECANCELLED)
		return;
	n = status == ARES_SUCCESS ? sift(r, answer, found, &ttl) : 0;
	if (answer)
		ares_freeaddrinfo(answer);
	if (!n) {
		round_failed(r, status == ARES_SUCCESS ? "no usable address" : ares_strerror(status));
		return;
	}
	news = resolve_learn(r, found, n);
	round_succeeded(r, news, ttl);
}

static void channel_end(struct resolve *r)
{
	if (r->have_channel)
		ares_destroy(r->channel);
	r->have_channel = false;
	while (!LIST_EMPTY(&r->watches))
		watch_end(LIST_FIRST(&r->watches));
}

static int channel_begin(struct resolve *r)
{
	struct ares_options opt = {
		.flags = ARES_FLAG_NOSEARCH,
		.timeout = TRY_MS,
		.tries = TRIES,
		.sock_state_cb = resolve_want,
		.sock_state_cb_data = r,
	};
	int rc = ares_init_options(&r->channel, &opt,
				   ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB);

	if (rc)
		return rc;
	r->have_channel = true;
	ares_set_socket_configure_callback(r->channel, resolve_new_socket, NULL);
	return *r->servers ? ares_set_servers_ports_csv(r->channel, r->servers) : 0;
}

static void resolve_round_due(evutil_socket_t fd, short what, void *arg)
{
	struct ares_addrinfo_hints hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = ARES_AI_NOSORT };
	struct resolve *r = arg;
	int rc;

	(void)fd;
	(void)what;
	if (r->numeric) {
		event_active(r->news_ev, EV_TIMEOUT, 0);
		return;
	}
	channel_end(r);
	rc = channel_begin(r);
	if (rc) {
		round_failed(r, ares_strerror(rc));
		return;
	}
	r->busy = true;
	if (r->srv_cb)
		ares_query(r->channel, r->host, DNS_IN, DNS_SRV, resolve_srv_answer, r);
	else
		ares_getaddrinfo(r->channel, r->host, NULL, &hints, resolve_answer, r);
	tend_timeout(r);
}

/* --- for the rest of the house --- */

static void resolve_news(evutil_socket_t fd, short what, void *arg)
{
	struct resolve *r = arg;

	(void)fd;
	(void)what;
	if (r->srv_cb)
		r->srv_cb(r->arg, r->targets, r->n_targets);
	else
		r->cb(r->arg, r->known, r->n_known); /* either may free r */
}

/* c-ares takes commas only. */
static char *without_blanks(const char *text)
{
	char *copy = calloc(1, strlen(text) + 1), *to = copy;

	for (; copy && *text; text++) {
		if (*text != ' ' && *text != '\t')
			*to++ = *text;
		else if (to > copy && to[-1] != ',')
			*to++ = ',';
	}
	return copy;
}

static struct resolve *resolve_make(struct event_base *base, const char *host, const char *servers)
{
	struct resolve *r;

	if (ares_library_init(ARES_LIB_INIT_ALL))
		return NULL;
	r = calloc(1, sizeof(*r));
	if (!r) {
		ares_library_cleanup();
		return NULL;
	}
	*r = (struct resolve){ .base = base, .pause_ms = PAUSE_MIN_MS };
	LIST_INIT(&r->watches);
	r->host = strdup(host);
	r->servers = without_blanks(servers ? servers : "");
	r->round_ev = evtimer_new(base, resolve_round_due, r);
	r->timeout_ev = evtimer_new(base, resolve_timed_out, r);
	r->news_ev = evtimer_new(base, resolve_news, r);
	if (!r->host || !r->servers || !r->round_ev || !r->timeout_ev || !r->news_ev) {
		resolve_free(r);
		return NULL;
	}
	next_round(r, 0);
	return r;
}

struct resolve *resolve_new(struct event_base *base, const char *host, uint16_t port, const char *servers, bool private_ok,
			    resolve_cb cb, void *arg)
{
	struct resolve *r = resolve_make(base, host, servers);

	if (!r)
		return NULL;
	r->port = port;
	r->private_ok = private_ok;
	r->cb = cb;
	r->arg = arg;
	r->numeric = !addr_parse(&r->known[0], host, port);
	r->n_known = r->numeric;
	return r;
}

struct resolve *resolve_srv_new(struct event_base *base, const char *name, const char *servers, resolve_srv_cb cb, void *arg)
{
	struct resolve *r = resolve_make(base, name, servers);

	if (!r)
		return NULL;
	r->srv_cb = cb;
	r->arg = arg;
	return r;
}

void resolve_free(struct resolve *r)
{
	if (!r)
		return;
	channel_end(r);
	if (r->round_ev)
		event_free(r->round_ev);
	if (r->timeout_ev)
		event_free(r->timeout_ev);
	if (r->news_ev)
		event_free(r->news_ev);
	free(r->host);
	free(r->servers);
	free(r);
	ares_library_cleanup();
}

void resolve_failed(struct resolve *r)
{
	if (r->numeric || r->busy || r->asked || !(r->n_known || r->n_targets))
		return; /* nothing to ask, or asking already */
	r->asked = true;
	next_round(r, take_pause(r));
}
