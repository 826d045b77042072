/* SPDX-License-Identifier: BSD-2-Clause */
/* Frames of a control connection, behind a TLS that gives them out in any pieces, stops, fails and
 * ends: each frame is handed over once, whole and in order, until the owner lets go inside whatever
 * callback he likes. */
#include <event2/event.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "control.h"
#include "fuzz.h"

struct world {
	struct control *c;
	const uint8_t *stream; /* what the peer says, frame behind frame */
	size_t len, read, told;
	const uint8_t *how; /* a byte for each call */
	size_t how_len;
	bool up, down;
	uint8_t free_in;
};

static struct world *world;

static uint8_t next(void)
{
	if (!world->how_len)
		return 0;
	world->how_len--;
	return *world->how++;
}

/* --- a TLS --- */

struct tls *tls_new(struct tls_ctx *ctx, int fd)
{
	(void)ctx, (void)fd;
	return (struct tls *)world;
}

void tls_free(struct tls *t)
{
	(void)t;
}

int tls_handshake(struct tls *t)
{
	uint8_t how = next();

	(void)t;
	return how < 200 ? 0 : how < 220 ? TLS_WANT_READ : how < 240 ? TLS_WANT_WRITE : TLS_FAILED;
}

ssize_t tls_read(struct tls *t, void *buf, size_t len)
{
	uint8_t how = next();
	size_t left = world->len - world->read, n = how & 64 ? SIZE_MAX : 1u + (how & 63);

	(void)t;
	MUST(len); /* or it would never end */
	if (how >= 240)
		return how & 1 ? TLS_EOF : TLS_FAILED;
	if (how >= 224 || !left)
		return how & 1 ? TLS_WANT_READ : TLS_WANT_WRITE;
	n = n < left ? n : left;
	n = n < len ? n : len;
	memcpy(buf, world->stream + world->read, n);
	world->read += n;
	return (ssize_t)n;
}

ssize_t tls_write(struct tls *t, const void *buf, size_t len)
{
	uint8_t how = next();

	(void)t, (void)buf;
	MUST(len);
	return how >= 250 ? TLS_FAILED : how >= 200 ? TLS_WANT_WRITE : how & 1 && len > 3 ? 3 : (ssize_t)len;
}

int tls_peer_pin(const struct tls *t, uint8_t pin[TLS_PIN])
{
	(void)t;
	memset(pin, 7, TLS_PIN);
	return 0;
}

int tls_export(struct tls *t, const void *context, size_t len, uint8_t out[32])
{
	(void)t, (void)context, (void)len;
	memset(out, 1, 32);
	return 0;
}

const char *tls_error(const struct tls *t)
{
	(void)t;
	return "of a kind";
}

/* --- the owner --- */

static void let_go(uint8_t when)
{
	if (world->free_in != when)
		return;
	control_free(world->c);
	world->c = NULL;
}

static void on_up(void *arg, const uint8_t pin[WIRE_PIN])
{
	(void)arg;
	MUST(pin[0] == 7 && !world->up && !world->down);
	world->up = true;
	let_go(1);
}

static void on_frame(void *arg, uint8_t type, const uint8_t *value, size_t len)
{
	size_t at = world->told, want;
	uint8_t want_type;

	(void)arg;
	MUST(world->c && world->up && !world->down);
	MUST(wire_get_frame_hdr(&want_type, &want, world->stream + at, world->len - at) > 0);
	MUST(want_type == type && want == len && at + WIRE_FRAME_HDR + len <= world->read);
	MUST(!memcmp(world->stream + at + WIRE_FRAME_HDR, value, len));
	world->told += WIRE_FRAME_HDR + len;
	if (type & 1)
		control_send(world->c, (enum wire_frame)type, value, len);
	if (type & 2)
		control_offer(world->c, (enum wire_frame)type, value, len);
	let_go(2);
}

static void on_down(void *arg, const char *why)
{
	(void)arg;
	MUST(*why && !world->down);
	world->down = true;
	let_go(3);
}

static void on_room(void *arg)
{
	(void)arg;
	MUST(world->c && world->up && !world->down);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct control_ops ops = { .up = on_up, .frame = on_frame, .down = on_down, .room = on_room };
	struct world w = { .how = data };
	struct event_base *base = event_base_new();
	uint64_t one = 1;
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	world = &w;
	if (size) { /* how long the list of hows is, then it, then the stream */
		w.free_in = data[0] & 3;
		w.how_len = (data[0] >> 2) < size - 1 ? data[0] >> 2 : size - 1;
		w.how = data + 1;
		w.stream = w.how + w.how_len;
		w.len = size - 1 - w.how_len;
	}
	MUST(write(fd, &one, sizeof(one)) == sizeof(one)); /* always readable, and writable */
	w.c = control_new(base, NULL, fd, NULL, &ops, NULL);
	MUST(w.c);
	for (unsigned i = 0; i < 80 && w.c && !w.down; i++)
		event_base_loop(base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
	control_free(w.c);
	event_base_free(base);
	return 0;
}
