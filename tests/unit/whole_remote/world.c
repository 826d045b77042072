/* SPDX-License-Identifier: BSD-2-Clause */
#include "world.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "acceptor.h"
#include "caller.h"
#include "log.h"
#include "seal.h"
#include "sock.h"
#include "virtual_time.h"

#define HALF_IDLE_S 300
#define GRACE_MS 3 /* real, for what is on its way over the loopback of a busy machine */
#define LONG_MS 1000
#define ENDING_MS 5000
#define HANG_MS 60000 /* real: only a hang takes so long */

uint64_t world_ms(void)
{
	return virtual_ms();
}

static void on_waited(evutil_socket_t fd, short what, void *arg)
{
	bool *over = arg;

	(void)fd;
	(void)what;
	*over = true;
}

static void wait_with(struct world *w, uint64_t ms, int grace_ms)
{
	struct timeval tv = { (time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000) };
	bool over = false;

	event_base_once(w->base, -1, EV_TIMEOUT, on_waited, &over, &tv);
	virtual_grace_ms = grace_ms;
	while (!over)
		event_base_loop(w->base, EVLOOP_ONCE);
	virtual_grace_ms = GRACE_MS;
}

/* In a long wait what is on its way need not arrive before the clock's next step. */
void world_wait(struct world *w, uint64_t ms)
{
	wait_with(w, ms, ms > LONG_MS ? 0 : GRACE_MS);
}

void world_pass(struct world *w, uint64_t ms)
{
	wait_with(w, ms, 1);
}

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	*(short *)arg = what;
}

void world_wait_for(struct world *w, int fd, uint64_t ms)
{
	struct timeval tv = { (time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000) };
	short what = 0;

	event_base_once(w->base, fd, EV_READ | EV_TIMEOUT, on_ready, &what, &tv);
	while (!what)
		event_base_loop(w->base, EVLOOP_ONCE);
}

/* --- connections --- */

static int listen_at(const char *ip, struct addr *at)
{
	int fd;

	assert_int_equal(addr_parse(at, ip, 0), 0);
	fd = sock_listen_wan(at, &(struct sock_wan){ .plain = false });
	assert_true(fd >= 0);
	assert_int_equal(sock_local(fd, at), 0);
	return fd;
}

static void wait_real(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	assert_int_equal(poll(&p, 1, HANG_MS), 1);
}

static int dial(struct world *w, bool plain)
{
	int fd = sock_dial_wan(&w->door_addr, NULL, &(struct sock_wan){ .plain = plain });

	assert_true(fd >= 0);
	wait_real(fd, POLLOUT);
	assert_int_equal(sock_connect_error(fd), 0);
	return fd;
}

int world_knock_at(struct world *w)
{
	return dial(w, true);
}

void world_admit(struct world *w, int *remote_fd)
{
	struct addr peer;
	int fd;

	wait_real(w->door, POLLIN);
	fd = sock_accept(w->door, &peer);
	assert_true(fd >= 0);
	if (remote_fd)
		*remote_fd = fd;
	acceptor_take(w->r.acceptor, fd, &peer);
}

int world_connect(struct world *w, int *remote_fd)
{
	int fd = world_knock_at(w);

	world_admit(w, remote_fd);
	return fd;
}

int world_connect_mptcp(struct world *w)
{
	int fd = dial(w, false);

	world_admit(w, NULL);
	return fd;
}

void world_say(int fd, const void *data, size_t len)
{
	assert_int_equal(send(fd, data, len, MSG_NOSIGNAL), len);
}

/* The kernel delays acknowledgements by its own clock. */
static void acknowledge(int fd)
{
	int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on));
}

enum ending world_listen(struct world *w, int fd, uint64_t ms, void *out, size_t room, size_t *len)
{
	uint64_t until = world_ms() + ms;

	for (*len = 0; *len < room;) {
		ssize_t n = read(fd, (uint8_t *)out + *len, room - *len);

		acknowledge(fd);
		if (n == 0)
			return AT_EOF;
		if (n < 0 && errno != EAGAIN)
			return AT_RESET;
		if (n > 0)
			*len += (size_t)n;
		else if (world_ms() < until)
			world_wait_for(w, fd, until - world_ms());
		else
			break;
	}
	return STILL_OPEN;
}

enum ending world_ending(struct world *w, int fd)
{
	uint64_t until = world_ms() + ENDING_MS;
	uint8_t sink[4096];
	enum ending end;
	size_t len;

	do
		end = world_listen(w, fd, until - world_ms(), sink, sizeof(sink), &len);
	while (len == sizeof(sink) && end == STILL_OPEN);
	return end;
}

void world_abort(int fd)
{
	sock_close_reset(fd);
}

/* --- the destination --- */

static void arrival_end(struct arrival *a, enum ending how)
{
	a->end = how;
	event_del(a->readable);
	if (how == AT_EOF)
		sock_shut(a->fd);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct arrival *a = arg;
	static uint8_t data[65536];
	ssize_t n = read(fd, data, sizeof(data));

	(void)what;
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		arrival_end(a, n ? AT_RESET : AT_EOF);
		return;
	}
	a->bytes += (size_t)n;
	if (!a->first_len) {
		a->first_len = (size_t)n < sizeof(a->first) ? (size_t)n : sizeof(a->first);
		memcpy(a->first, data, a->first_len);
	}
	if (send(fd, data, (size_t)n, MSG_NOSIGNAL) < 0)
		arrival_end(a, AT_RESET);
}

static void on_arriving(evutil_socket_t listener, short what, void *arg)
{
	struct world *w = arg;
	struct arrival *a;
	struct addr peer;
	int fd;

	(void)what;
	while ((fd = sock_accept(listener, &peer)) >= 0) {
		a = calloc(1, sizeof(*a));
		assert_non_null(a);
		a->world = w;
		a->fd = fd;
		a->readable = event_new(w->base, fd, EV_READ | EV_PERSIST, on_readable, a);
		event_add(a->readable, NULL);
		TAILQ_INSERT_HEAD(&w->arrivals, a, link);
		w->dialled++;
	}
}

bool world_heard(const struct world *w, const char *text)
{
	const struct arrival *a;

	TAILQ_FOREACH(a, &w->arrivals, link)
		if (memmem(a->first, a->first_len, text, strlen(text)))
			return true;
	return false;
}

/* --- the remote --- */

static void remote_start(struct world *w)
{
	const struct relay_limits limits = { w->config->idle_s, HALF_IDLE_S, w->config->stall_s };
	struct addr own[2];

	w->r.policy = policy_new(w->config);
	assert_int_equal(addr_parse(&own[0], "11.7.0.2", 0), 0);
	assert_int_equal(addr_parse(&own[1], "2a11:7::2", 0), 0);
	policy_add_own(w->r.policy, &own[0]);
	policy_add_own(w->r.policy, &own[1]);
	w->r.users = users_new(w->config);
	w->r.seal = seal_new();
	w->r.relays = relay_loop_new(w->base, w->r.seal, &limits);
	relay_loop_congestion(w->r.relays, "");
	w->r.fallback = fallback_new("");
	w->r.demux = demux_new(w->base, w->config, w->r.seal, NULL, NULL);
	w->r.places = places_new();
	w->r.tarpit = tarpit_new(w->base);
	w->r.sessions = sessions_new(w->base, w->config, w->key[REMOTE], w->r.users, w->r.tarpit, w->r.demux, w->r.fallback);
	w->r.requests = requests_new(w->base, w->config, w->r.policy, w->r.seal, w->r.relays, NULL);
	identity_pin(w->key[REMOTE], w->pin);
	w->r.acceptor = acceptor_new(w->base, w->pin, &(struct acceptor_rooms){ w->r.seal, w->r.sessions, w->r.requests, w->r.places, w->r.tarpit });
	assert_non_null(w->r.acceptor);
}

static void remote_stop(struct world *w)
{
	acceptor_free(w->r.acceptor);
	requests_free(w->r.requests);
	sessions_free(w->r.sessions);
	demux_free(w->r.demux);
	fallback_free(w->r.fallback);
	tarpit_free(w->r.tarpit);
	places_free(w->r.places);
	relay_loop_free(w->r.relays);
	assert_int_equal(users_relays(w->r.users), 0);
	seal_free(w->r.seal);
	users_free(w->r.users);
	policy_free(w->r.policy);
}

void world_restart(struct world *w)
{
	remote_stop(w);
	remote_start(w);
}

void world_change_key(struct world *w)
{
	struct identity *was = w->key[REMOTE];

	remote_stop(w);
	w->key[REMOTE] = w->key[NOBODY];
	w->key[NOBODY] = was;
	remote_start(w);
}

struct user *world_user(struct world *w, enum world_who who)
{
	return users_at(w->r.users, who - USER_A);
}

/* --- from the beginning to the end --- */

static struct identity *make_key(void)
{
	char dir[] = "/tmp/plait-world-XXXXXX", path[64], err[256];
	struct identity *id;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/key", dir);
	assert_int_equal(identity_generate(path, err, sizeof(err)), 0);
	id = identity_load(path, err, sizeof(err));
	assert_non_null(id);
	unlink(path);
	rmdir(dir);
	return id;
}

static void load_config(struct world *w, const char *pin_a, const char *pin_b)
{
	char path[] = "/tmp/plait-world-XXXXXX", err[256] = "";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	dprintf(fd, "[listen]\naddress = 127.0.0.1\n[policy]\nallow = " SERVER "\n[user a]\nkey = %s\n[user b]\nkey = %s\n", pin_a, pin_b);
	close(fd);
	w->config = calloc(1, sizeof(*w->config));
	assert_non_null(w->config);
	if (config_load(w->config, path, err, sizeof(err)))
		fail_msg("%s", err);
	unlink(path);
	w->config->listen.port = 0; /* of the datagrams: any */
}

static void meet(struct world *w)
{
	char text[WORLD_KEYS][SEAL_B64_LEN];
	uint8_t pin[WIRE_PIN];

	for (unsigned i = 0; i < WORLD_KEYS; i++) {
		w->key[i] = make_key();
		identity_pin(w->key[i], pin);
		seal_b64(text[i], pin);
	}
	load_config(w, text[USER_A], text[USER_B]);
}

int world_setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	signal(SIGPIPE, SIG_IGN);
	virtual_grace_ms = GRACE_MS;
	log_level = LOG_LVL_ERROR;
	memset(&counters, 0, sizeof(counters));
	TAILQ_INIT(&w->arrivals);
	TAILQ_INIT(&w->gateways);
	TAILQ_INIT(&w->upstreams);
	w->base = event_base_new();
	w->seal = seal_new();
	meet(w);
	w->door = listen_at("127.0.0.1", &w->door_addr);
	w->server = listen_at(SERVER, &w->server_addr);
	w->arriving = event_new(w->base, w->server, EV_READ | EV_PERSIST, on_arriving, w);
	event_add(w->arriving, NULL);
	remote_start(w);
	*state = w;
	return 0;
}

int world_teardown(void **state)
{
	struct world *w = *state;
	struct arrival *a;

	callers_free(w);
	remote_stop(w);
	while ((a = TAILQ_FIRST(&w->arrivals))) {
		TAILQ_REMOVE(&w->arrivals, a, link);
		event_free(a->readable);
		close(a->fd);
		free(a);
	}
	event_free(w->arriving);
	close(w->door);
	close(w->server);
	for (unsigned i = 0; i < WORLD_KEYS; i++)
		identity_free(w->key[i]);
	seal_free(w->seal);
	event_base_free(w->base);
	free(w->config);
	free(w);
	return 0;
}
