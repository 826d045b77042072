/* SPDX-License-Identifier: BSD-2-Clause */
/* A relay between a client and the other plait, whose sockets end, break and fill up in any order.
 * What arrives is the front of what was sent, whatever else was said; the relay ends once, and
 * gives back all it held. */
#include <event2/event.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "fuzz.h"
#include "log.h"
#include "record.h"
#include "relay.h"

#define MOST (1u << 20)

static uint64_t now_us = 1000000000;

/* The fuzzer's own time is the real one. */
int clock_gettime(clockid_t id, struct timespec *ts)
{
	if (id == CLOCK_REALTIME)
		return (int)syscall(SYS_clock_gettime, id, ts);
	ts->tv_sec = (time_t)(now_us / 1000000);
	ts->tv_nsec = (long)(now_us % 1000000) * 1000;
	return 0;
}

struct world {
	struct event_base *base;
	struct seal *seal;
	struct relay_loop *loop;
	struct relay_budget budget;
	struct seal_key up, down; /* as the far side of the WAN uses them */
	int fd[2];		  /* our halves of NEAR and WAN, -1: closed */
	size_t sent[2], got[2];	  /* payload: into NEAR and WAN; out of them */
	bool sealed, odd, fin;	  /* odd: the far side said what it may not */
	unsigned ended;
	uint8_t in[2 * RELAY_CHUNK];
	size_t in_len; /* sealed bytes out of WAN that make no record yet */
};

static uint8_t byte_at(size_t i)
{
	return (uint8_t)(i * 31 + i / 251);
}

static void on_done(void *arg, enum relay_end how, const uint64_t bytes[2])
{
	struct world *w = arg;

	(void)bytes;
	MUST(!w->ended++);
	MUST(how != RELAY_CUT || w->sealed);
}

static void turn(struct world *w)
{
	now_us += 2000;
	event_base_loop(w->base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
}

/* --- what is sent --- */

static void fill(uint8_t *out, size_t from, size_t len)
{
	for (size_t i = 0; i < len; i++)
		out[i] = byte_at(from + i);
}

static void say(struct world *w, unsigned end, const void *data, size_t len)
{
	/* a record that went in half is one that was cut */
	if (w->fd[end] >= 0 && send(w->fd[end], data, len, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)len)
		w->odd |= end == RELAY_WAN;
}

static void say_near(struct world *w, size_t len)
{
	static uint8_t buf[65536];
	ssize_t n;

	fill(buf, w->sent[RELAY_NEAR], len);
	n = w->fd[RELAY_NEAR] < 0 ? 0 : send(w->fd[RELAY_NEAR], buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	w->sent[RELAY_NEAR] += n > 0 ? (size_t)n : 0;
}

/* A right record, perhaps in two pieces. */
static void say_wan(struct world *w, enum wire_kind kind, size_t len, size_t cut)
{
	static uint8_t plain[WIRE_RECORD_MAX], out[WIRE_RECORD_MAX + 64];
	ssize_t n;

	len = len < WIRE_RECORD_MAX ? len : WIRE_RECORD_MAX;
	fill(plain, w->sent[RELAY_WAN], len);
	if (!w->sealed) {
		if (!w->odd && w->fd[RELAY_WAN] >= 0 && (n = send(w->fd[RELAY_WAN], plain, len, MSG_DONTWAIT | MSG_NOSIGNAL)) > 0)
			w->sent[RELAY_WAN] += (size_t)n;
		return;
	}
	n = record_seal(w->seal, SEAL_CHACHA20_POLY1305, &w->down, kind, plain, kind == WIRE_DATA ? len : 0, out);
	if (n < 0)
		return;
	cut %= (size_t)n;
	say(w, RELAY_WAN, out, cut);
	turn(w);
	say(w, RELAY_WAN, out + cut, (size_t)n - cut);
	if (kind == WIRE_DATA && !w->fin && !w->odd)
		w->sent[RELAY_WAN] += len;
	w->fin |= kind != WIRE_DATA;
}

/* --- what arrives --- */

static void check(struct world *w, unsigned end, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		MUST(data[i] == byte_at(w->got[end] + i));
	w->got[end] += len;
	MUST(w->got[end] <= w->sent[!end] || (end == RELAY_NEAR && w->odd));
}

static void hear_records(struct world *w)
{
	struct record r;
	size_t at = 0;
	int verdict;

	for (;;) {
		enum wire_kind kind;
		size_t len;

		if (wire_get_record_hdr(&kind, &len, w->in + at, w->in_len - at) <= 0 || w->in_len - at < WIRE_RECORD_HDR + len)
			break;
		verdict = record_open(w->seal, SEAL_CHACHA20_POLY1305, &w->up, w->in + at, WIRE_RECORD_HDR + len, &r);
		MUST(verdict == 1);
		if (r.kind == WIRE_DATA)
			check(w, RELAY_WAN, r.data, r.len);
		at += WIRE_RECORD_HDR + len;
	}
	memmove(w->in, w->in + at, w->in_len - at);
	w->in_len -= at;
}

static void hear(struct world *w, unsigned end, size_t most)
{
	static uint8_t buf[65536];
	ssize_t n;

	if (w->fd[end] < 0)
		return;
	if (end == RELAY_WAN && w->sealed) {
		most = most < sizeof(w->in) - w->in_len ? most : sizeof(w->in) - w->in_len;
		n = recv(w->fd[end], w->in + w->in_len, most, MSG_DONTWAIT);
		w->in_len += n > 0 ? (size_t)n : 0;
		hear_records(w);
		return;
	}
	n = recv(w->fd[end], buf, most, MSG_DONTWAIT);
	if (n > 0)
		check(w, end, buf, (size_t)n);
}

static void leave(struct world *w, unsigned end)
{
	if (w->fd[end] >= 0)
		close(w->fd[end]); /* with bytes unread: a reset */
	w->fd[end] = -1;
}

static void begin(struct world *w, uint8_t options)
{
	static const struct relay_limits limits = { 3600, 3600, 3600 };
	struct relay_setup s = { .closes_first = options & 2, .alg = SEAL_CHACHA20_POLY1305, .done = on_done, .arg = w, .budget = &w->budget };
	int two[2], small = 4096;

	w->base = event_base_new();
	w->seal = seal_new();
	w->sealed = s.sealed = options & 1;
	w->budget.max = options & 4 ? MOST : 8192;
	memset(s.key[RELAY_TX].key, 1, SEAL_KEY);
	memset(s.key[RELAY_RX].key, 2, SEAL_KEY);
	w->up = s.key[RELAY_TX];
	w->down = s.key[RELAY_RX];
	w->loop = relay_loop_new(w->base, w->seal, &limits);
	for (unsigned i = 0; i < 2; i++) {
		MUST(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, two));
		w->fd[i] = two[0];
		s.fd[i] = two[1];
		if (options & 8)
			setsockopt(two[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	}
	MUST(relay_new(w->loop, &s));
}

static void deed(struct world *w, uint8_t what, uint8_t how, const uint8_t *more, size_t left)
{
	unsigned end = what >> 7;
	size_t len = (size_t)how * how;

	switch (what & 15) {
	case 0: case 1: case 2:
		say_near(w, len);
		break;
	case 3: case 4: case 5:
		say_wan(w, WIRE_DATA, len, what >> 4 ? len / 2 : 0);
		break;
	case 6: case 7: case 8:
		hear(w, end, len + 1);
		break;
	case 9:
		shutdown(w->fd[end], SHUT_WR);
		w->odd |= end == RELAY_WAN && w->sealed && !w->fin;
		break;
	case 10:
		leave(w, end);
		break;
	case 11:
		say_wan(w, how & 1 ? WIRE_FIN : WIRE_RST, 0, how);
		break;
	case 12:
		if (!w->sealed || !how || !left)
			break; /* any bytes are right there */
		w->odd = true;
		say(w, RELAY_WAN, more, left < how ? left : how);
		break;
	default:
		turn(w);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world *w = calloc(1, sizeof(*w));

	log_level = LOG_LVL_ERROR;
	signal(SIGPIPE, SIG_IGN); /* as the daemons do */
	begin(w, size ? data[0] : 0);
	for (size_t i = 1; i + 2 <= size; i += 2) {
		deed(w, data[i], data[i + 1], data + i + 2, size - i - 2);
		if (data[i] & 16)
			turn(w);
	}
	for (unsigned i = 0; i < 4; i++)
		turn(w);
	if (size && data[0] & 16)
		relay_loop_clear(w->loop, NULL);
	leave(w, RELAY_NEAR);
	leave(w, RELAY_WAN);
	for (unsigned i = 0; i < 200 && relay_loop_count(w->loop); i++) {
		now_us += 50000; /* whoever lingers has had his time */
		turn(w);
	}
	turn(w);
	MUST(w->ended == 1 && !relay_loop_count(w->loop) && !w->budget.held);
	relay_loop_free(w->loop);
	seal_free(w->seal);
	event_base_free(w->base);
	free(w);
	return 0;
}
