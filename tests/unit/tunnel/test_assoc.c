/* SPDX-License-Identifier: BSD-2-Clause */
/* Two ends of an association in one loop, over sockets of the loopback device. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "virtual_time.h"

#include "assoc.h"
#include "clock.h"
#include "counter.h"

#define PATHS 2

struct world {
	struct event_base *base;
	struct seal *seal;
	struct session *session[2]; /* old, new */
	struct udp *near[PATHS], *far;
	struct event *ev[PATHS + 1];
	struct assoc *local, *remote;
	uint32_t index;
	unsigned got, copies, changes, unknown;
	uint64_t seq;
	uint8_t text[64];
	size_t len;
	unsigned path;
	bool deaf[PATHS]; /* what comes to the local on it is thrown away */
	bool dumb[PATHS]; /* what the local sends on it is */
	uint16_t port[PATHS];
	uint8_t kept[2048]; /* the last datagram up */
	size_t kept_len;
	bool came[WIRE_DG_MAX + 1]; /* a datagram of this length */
};

static void on_got(void *arg, const struct assoc_got *got)
{
	struct world *w = arg;

	w->got++;
	w->seq = got->seq;
	w->path = got->path;
	w->len = got->len;
	memcpy(w->text, got->plain, got->len < sizeof(w->text) ? got->len : sizeof(w->text));
}

static void on_copy(void *arg, unsigned path, const struct wire_dgram *hdr, uint64_t seq)
{
	(void)path;
	(void)hdr;
	(void)seq;
	((struct world *)arg)->copies++;
}

static void on_path(void *arg, unsigned path, enum health_state was)
{
	(void)path;
	(void)was;
	((struct world *)arg)->changes++;
}

static void on_unknown(void *arg)
{
	((struct world *)arg)->unknown++;
}

static const struct assoc_ops ops = { .path = on_path, .got = on_got, .copy = on_copy, .unknown = on_unknown };

static void to_remote(void *arg, const struct udp_got *got)
{
	struct world *w = arg;

	for (int i = 0; i < PATHS; i++)
		if (w->dumb[i] && got->from.port == w->port[i])
			return;
	memcpy(w->kept, got->data, got->len);
	w->kept_len = got->len;
	w->came[got->len] = true;
	assoc_input(w->remote, w->far, got);
}

static void on_far(evutil_socket_t fd, short what, void *arg)
{
	struct world *w = arg;

	(void)fd;
	(void)what;
	udp_receive(w->far, to_remote, w);
}

struct near_arg {
	struct world *w;
	int i;
};
static struct near_arg near_args[PATHS];

static void to_local(void *arg, const struct udp_got *got)
{
	struct near_arg *n = arg;

	if (!n->w->deaf[n->i])
		assoc_input(n->w->local, n->w->near[n->i], got);
}

static void on_near(evutil_socket_t fd, short what, void *arg)
{
	struct near_arg *n = arg;

	(void)fd;
	(void)what;
	udp_receive(n->w->near[n->i], to_local, n);
}

static uint16_t port_of(int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct addr a;

	assert_int_equal(getsockname(fd, (struct sockaddr *)&ss, &len), 0);
	assert_int_equal(addr_from_sockaddr(&a, (struct sockaddr *)&ss), 0);
	return a.port;
}

static int setup(void **state)
{
	static struct world w;
	uint8_t sid[WIRE_SID] = "sid", exported[32] = "secret";
	struct addr any, to;

	memset(&w, 0, sizeof(w));
	w.base = event_base_new();
	w.seal = seal_new();
	w.session[0] = session_new(sid, SEAL_AES256_GCM, exported);
	exported[0]++;
	w.session[1] = session_new(sid, SEAL_CHACHA20_POLY1305, exported);
	addr_parse(&any, "127.0.0.1", 0);
	w.far = udp_bind(&any, 0);
	assert_non_null(w.far);
	to = any;
	to.port = port_of(udp_fd(w.far));
	w.local = assoc_new(w.base, w.seal, ASSOC_LOCAL, &ops, &w);
	w.remote = assoc_new(w.base, w.seal, ASSOC_REMOTE, &ops, &w);
	for (int i = 0; i < PATHS; i++) {
		w.near[i] = udp_connect(&any, &to, 0);
		assert_non_null(w.near[i]);
		w.port[i] = port_of(udp_fd(w.near[i]));
		near_args[i] = (struct near_arg){ &w, i };
		w.ev[i] = event_new(w.base, udp_fd(w.near[i]), EV_READ | EV_PERSIST, on_near, &near_args[i]);
		event_add(w.ev[i], NULL);
	}
	w.ev[PATHS] = event_new(w.base, udp_fd(w.far), EV_READ | EV_PERSIST, on_far, &w);
	event_add(w.ev[PATHS], NULL);
	w.index = 0x123456;
	assoc_rekey(w.remote, w.session[0], w.index);
	assoc_rekey(w.local, w.session[0], w.index);
	for (unsigned i = 0; i < PATHS; i++)
		assoc_set_path(w.local, i, &(struct assoc_path){ .udp = w.near[i], .use = WIRE_USE_FULL, .keepalive_s = 20 });
	*state = &w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	assoc_free(w->local);
	assoc_free(w->remote);
	for (int i = 0; i <= PATHS; i++)
		event_free(w->ev[i]);
	for (int i = 0; i < PATHS; i++)
		udp_close(w->near[i]);
	udp_close(w->far);
	session_put(w->session[0]);
	session_put(w->session[1]);
	seal_free(w->seal);
	event_base_free(w->base);
	return 0;
}

static void run_ms(struct world *w, unsigned ms)
{
	struct timeval tv = { ms / 1000, (suseconds_t)(ms % 1000) * 1000 };

	event_base_loopexit(w->base, &tv);
	event_base_dispatch(w->base);
}

/* Busy all the while, until a condition holds; how long it took, in ms, at most `most`. */
static unsigned until(struct world *w, bool (*cond)(const struct world *), unsigned most)
{
	uint64_t begin = clock_ms();

	while (!cond(w) && clock_ms() - begin < most) {
		assoc_busy(w->local);
		run_ms(w, 2);
	}
	return (unsigned)(clock_ms() - begin);
}

static enum health_state state_of(const struct assoc *a, unsigned path)
{
	return assoc_health(a, path)->state;
}

static bool all_up(const struct world *w)
{
	for (unsigned i = 0; i < PATHS; i++)
		if (state_of(w->local, i) != HEALTH_UP || state_of(w->remote, i) != HEALTH_UP)
			return false;
	return true;
}

static bool first_suspect(const struct world *w)
{
	return state_of(w->local, 0) == HEALTH_SUSPECT || state_of(w->local, 0) == HEALTH_DOWN;
}

static bool first_down(const struct world *w)
{
	return state_of(w->local, 0) == HEALTH_DOWN;
}

static void raise_paths(struct world *w)
{
	until(w, all_up, 3000);
	assert_true(all_up(w));
	until(w, first_suspect, 300); /* briskly, and nothing happens */
	assert_true(all_up(w));
}

static void send_up(struct world *w, const char *text, unsigned copies)
{
	static uint8_t buf[2048];
	uint64_t seq;

	strcpy((char *)buf + WIRE_DG_HDR, text);
	assert_int_equal(assoc_seal(w->local, WIRE_DG_DATA, WIRE_CLASS_R, buf, strlen(text), &seq), 0);
	for (unsigned i = 0; i < copies; i++)
		assert_true(assoc_send(w->local, i % PATHS, 0, buf, WIRE_DG_OVERHEAD + strlen(text)));
	assoc_flush(w->local);
	run_ms(w, 20);
}

static void paths_come_up(void **state)
{
	struct world *w = *state;

	raise_paths(w);
	assert_true(assoc_health(w->local, 0)->srtt_us > 0);
	assert_true(assoc_health(w->local, 0)->srtt_us < 50000);
}

static void data_once(void **state)
{
	struct world *w = *state;

	raise_paths(w);
	w->got = w->copies = 0;
	send_up(w, "hello", 5);
	assert_int_equal(w->got, 1);
	assert_int_equal(w->copies, 4);
	assert_int_equal(w->len, 5);
	assert_memory_equal(w->text, "hello", 5);
	assert_true(w->path < PATHS);
}

static void dead(struct world *w, bool *switch_off)
{
	unsigned took;

	raise_paths(w);
	*switch_off = true;
	took = until(w, first_suspect, 1000);
	assert_in_range(took, 40, 250);
	took += until(w, first_down, 1000);
	assert_in_range(took, 200, 500);
	assert_int_equal(state_of(w->local, 1), HEALTH_UP);
	*switch_off = false;
	until(w, all_up, 3000);
	assert_true(all_up(w));
}

static void deaf_is_seen(void **state)
{
	struct world *w = *state;

	dead(w, &w->deaf[0]);
}

static void dumb_is_seen(void **state)
{
	struct world *w = *state;

	dead(w, &w->dumb[0]);
}

static void rekeys(void **state)
{
	struct world *w = *state;

	raise_paths(w);
	assoc_rekey(w->remote, w->session[1], 77);
	w->got = 0;
	send_up(w, "under the old keys", 1);
	assert_int_equal(w->got, 1);
	assoc_rekey(w->local, w->session[1], 77);
	send_up(w, "under the new keys", 1);
	assert_int_equal(w->got, 2);
	until(w, first_suspect, 300);
	assert_true(all_up(w));
}

/* Another VPS, who knows its own session, and back: the first one finds no number that it had. */
static void a_session_is_left_and_come_back_to(void **state)
{
	struct world *w = *state;
	uint64_t before = 0, forged = counters.udp_forged;

	for (int round = 0; round < 3; round++) {
		raise_paths(w);
		w->got = 0;
		send_up(w, "to the first", 1);
		assert_int_equal(w->got, 1);
		assert_true(!round || w->seq > before);
		before = w->seq;
		assoc_restart(w->local);
		assoc_rekey(w->local, w->session[1], 77);
		send_up(w, "to the other", 1);
		assert_int_equal(w->got, 1);
		assoc_restart(w->local);
		assoc_rekey(w->local, w->session[0], w->index);
	}
	assert_int_equal(counters.udp_forged, forged);
}

/* The same bytes again, from anywhere: no path moves, nothing is delivered. */
static void replays_move_nothing(void **state)
{
	struct world *w = *state;
	struct udp_got got = { .data = w->kept };
	uint64_t moved, copies;

	raise_paths(w);
	moved = counters.udp_moved;
	copies = counters.udp_copies;
	got.len = w->kept_len;
	addr_parse(&got.from, "192.0.2.1:5000", 0);
	addr_parse(&got.to, "127.0.0.1", 0);
	w->got = 0;
	for (int i = 0; i < 100; i++) {
		uint8_t bytes[2048];

		memcpy(bytes, w->kept, w->kept_len);
		got.data = bytes;
		assoc_input(w->remote, w->far, &got);
	}
	assert_int_equal(counters.udp_copies - copies, 100);
	assert_int_equal(counters.udp_moved, moved);
	assert_int_equal(w->got, 0);
	until(w, first_suspect, 300);
	assert_true(all_up(w));
}

static void forgeries_are_counted(void **state)
{
	struct world *w = *state;
	struct udp_got got = { .len = 0 };
	uint64_t forged;

	raise_paths(w);
	forged = counters.udp_forged;
	addr_parse(&got.from, "127.0.0.1", w->port[0]);
	got.len = w->kept_len;
	for (size_t i = 4; i < w->kept_len; i++) { /* the number and all behind it */
		uint8_t bytes[2048];

		memcpy(bytes, w->kept, w->kept_len);
		bytes[4] ^= 0x01; /* a number that was not seen yet */
		bytes[i] ^= 0x40;
		got.data = bytes;
		assoc_input(w->remote, w->far, &got);
	}
	assert_int_equal(counters.udp_forged - forged, w->kept_len - 4);
	until(w, first_suspect, 200);
	assert_true(all_up(w));
}

static void hints_need_a_recent_number(void **state)
{
	struct world *w = *state;
	struct wire_dgram d = { .type = WIRE_DG_UNKNOWN, .index = w->index }, sent;
	uint8_t bytes[64];
	struct udp_got got = { .data = bytes + 16, .len = WIRE_DG_HDR };

	raise_paths(w);
	assert_true(wire_get_dgram(&sent, w->kept, w->kept_len) > 0);
	d.low = sent.low + 100000;
	wire_put_dgram(got.data, &d);
	assoc_input(w->local, w->near[0], &got);
	assert_int_equal(w->unknown, 0);
	d.low = sent.low;
	wire_put_dgram(got.data, &d);
	for (int i = 0; i < 10; i++)
		assoc_input(w->local, w->near[0], &got);
	assert_int_equal(w->unknown, 1);
}

static void idle_is_quiet(void **state)
{
	struct world *w = *state;
	uint32_t before;

	until(w, all_up, 3000);
	run_ms(w, 2300); /* business ebbs away */
	before = assoc_health(w->local, 0)->side[HEALTH_TX].packets;
	run_ms(w, 2000);
	assert_in_range(assoc_health(w->local, 0)->side[HEALTH_TX].packets - before, 1, 3);
	assert_true(all_up(w));
}

static void sized(void **state)
{
	struct world *w = *state;

	raise_paths(w);
	for (size_t size = 40; size <= WIRE_DG_MAX; size++) {
		assert_int_equal(assoc_control_sized(w->local, 0, WIRE_CTL_MTU_PROBE, "abc", 3, size), 0);
		if (size % 32 == 0) {
			run_ms(w, 1);
			assert_true(w->came[size] && w->came[size - 1]);
		}
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(paths_come_up), T(data_once), T(deaf_is_seen), T(dumb_is_seen), T(rekeys), T(a_session_is_left_and_come_back_to), T(replays_move_nothing),
		T(forgeries_are_counted), T(hints_need_a_recent_number), T(idle_is_quiet), T(sized),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
