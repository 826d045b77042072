/* SPDX-License-Identifier: BSD-2-Clause */
/* upstream: one connection to the VPS, from dial to ACCEPT.
 *
 * Theory of operation. States in life order: DIALLING (a race between links), CONNECTED
 * (nothing sent), ATTACHING (ATTACH sent, ATTACHED awaited), WARM (may wait for long), OPENING
 * (OPEN sent, ACCEPT awaited), ACCEPTED (to be handed to a relay), OVER. A cold one goes
 * from CONNECTED to OPENING at once, ATTACH, OPEN and the first bytes leaving together. One that
 * its owner has left (LEFT) while he was being told something is freed when that is done.
 *
 * What it promises is to tell the three ways of failing apart. Before OPEN was written, or when
 * the VPS proves with RESET that it does not know the session, nothing was served
 * (UNSERVED): send it again elsewhere. An ACCEPT with a status is the VPS's own word
 * (DENIED). Anything else after OPEN is LOST, and only REVOKE can settle it.
 *
 * A WARM connection stays readable: if the VPS or a NAT resets it, it is found out before
 * somebody uses it. */
#include <errno.h>
#include <event2/event_struct.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "links.h"
#include "log.h"
#include "record.h"
#include "sock.h"
#include "sock_subflow.h"
#include "upstream.h"

/* Two answers and some of what follows; the rest stays in the kernel until the relay reads it. */
#define IN_MAX (2 * (WIRE_RECORD_MAX + WIRE_RECORD_OVERHEAD))
_Static_assert(IN_MAX <= RELAY_CHUNK, "a relay can take over what was read");

enum state { DIALLING, CONNECTED, ATTACHING, WARM, OPENING, ACCEPTED, OVER, LEFT };

struct upstream {
	struct event_base *base;
	struct vps *remote;
	struct seal *seal;
	upstream_cb cb;
	void *arg;
	TAILQ_ENTRY(upstream) link;
	enum state state;
	bool attached;
	bool at_work; /* in an event of the loop */
	uint16_t status;
	int fd;
	struct dial *dial;
	struct addr src;
	struct session *session;
	struct seal_key key[2]; /* up, down */
	uint64_t ctr, since_ms;
	uint8_t token[16];
	enum wire_mode mode;
	struct event rd, wr;
	uint8_t *in, *out;
	size_t in_len, out_len;
	size_t early; /* of the client's bytes, inside OPEN */
	size_t first_off, first_len; /* payload that came inside ACCEPT, within `in` */
};

static void enter(struct upstream *u, enum state state)
{
	u->state = state;
	u->since_ms = clock_ms();
}

static void upstream_emit(struct upstream *u, enum upstream_event ev)
{
	u->cb(u->arg, u, ev);
}

/* Each event of the loop stands between these two. */
static void work_begins(struct upstream *u)
{
	u->at_work = true;
}

static void work_ends(struct upstream *u)
{
	u->at_work = false;
	if (u->state == LEFT)
		upstream_free(u);
}

static void over(struct upstream *u, enum upstream_event ev)
{
	enter(u, OVER);
	event_del(&u->rd);
	event_del(&u->wr);
	upstream_emit(u, ev);
}

/* The connection failed: what does that say about the request? */
static void upstream_broke(struct upstream *u)
{
	over(u, u->state >= OPENING ? UPSTREAM_LOST : UPSTREAM_UNSERVED);
}

/* --- writing --- */

static int upstream_keep(struct upstream *u, const uint8_t *data, size_t len)
{
	uint8_t *more = realloc(u->out, u->out_len + len);

	if (!more)
		return -1;
	u->out = more;
	memcpy(u->out + u->out_len, data, len);
	u->out_len += len;
	event_add(&u->wr, NULL);
	return 0;
}

/* A broken socket shows itself at the next read; here it only counts as "not taken". */
static int send_or_keep(struct upstream *u, const uint8_t *data, size_t len)
{
	ssize_t n = u->out_len ? 0 : write(u->fd, data, len);

	if (n < 0)
		n = 0;
	return (size_t)n == len ? 0 : upstream_keep(u, data + n, len - (size_t)n);
}

static void write_more(struct upstream *u)
{
	ssize_t n = write(u->fd, u->out, u->out_len);

	if (n < 0 && errno != EAGAIN) {
		upstream_broke(u);
		return;
	}
	if (n > 0) {
		u->out_len -= (size_t)n;
		memmove(u->out, u->out + n, u->out_len);
	}
	if (u->out_len)
		event_add(&u->wr, NULL);
}

static void upstream_writable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	work_begins(arg);
	write_more(arg);
	work_ends(arg);
}

/* --- reading --- */

/* RESET is no record: it comes in the place of ATTACHED. 0: more is needed, 1: it is one, -1: it is
 * not. */
static int is_reset(const struct upstream *u)
{
	struct wire_reset reset;
	ssize_t n;

	if (u->attached || u->in[0] != WIRE_RESET)
		return -1;
	n = wire_get_reset(&reset, u->in, u->in_len);
	if (n <= 0)
		return (int)n;
	return seal_equal(reset.token, u->token, sizeof(u->token)) ? 1 : -1;
}

static int take_accept(struct upstream *u, const struct record *rec, size_t rec_end)
{
	struct wire_answer answer;

	if (u->state != OPENING || wire_get_answer(&answer, rec->data, rec->len) <= 0 || answer.what != WIRE_ACCEPT)
		return -1;
	u->status = answer.status;
	u->first_off = (size_t)(rec->data - u->in) + WIRE_ANSWER_LEN;
	u->first_len = rec->len - WIRE_ANSWER_LEN;
	u->in_len -= rec_end;
	memmove(u->in + u->first_off + u->first_len, u->in + rec_end, u->in_len);
	if (u->status) {
		over(u, UPSTREAM_DENIED);
		return 0;
	}
	enter(u, ACCEPTED);
	event_del(&u->rd);
	upstream_emit(u, UPSTREAM_ACCEPTED);
	return 0;
}

static int take_attached(struct upstream *u, const struct record *rec)
{
	struct wire_answer answer;

	if (wire_get_answer(&answer, rec->data, rec->len) <= 0 || answer.what != WIRE_ATTACHED)
		return -1;
	u->attached = true;
	u->in_len -= rec->used;
	memmove(u->in, u->in + rec->used, u->in_len);
	return 0;
}

/* Looks at what was read; -1 when it cannot be right. `more` says whether to come again. */
static int take_answers(struct upstream *u, bool *more)
{
	struct record rec;
	int got = is_reset(u);

	*more = false;
	if (got > 0) {
		vps_session_refused(u->remote, u->session);
		over(u, UPSTREAM_UNSERVED);
		return 0;
	}
	if (got == 0)
		return 0;
	got = record_open(u->seal, session_alg(u->session), &u->key[1], u->in, u->in_len, &rec);
	if (got <= 0)
		return got;
	if (rec.kind != WIRE_OPEN)
		return -1;
	if (u->attached)
		return take_accept(u, &rec, rec.used);
	if (take_attached(u, &rec))
		return -1;
	if (u->state == ATTACHING && u->in_len)
		return -1; /* it answers what was not asked */
	*more = u->state == OPENING && u->in_len > 0;
	if (u->state == ATTACHING) {
		free(u->in); /* it may wait for long: it should cost little */
		u->in = NULL;
		u->in_len = 0;
		enter(u, WARM);
		upstream_emit(u, UPSTREAM_ATTACHED);
	}
	return 0;
}

static void read_answers(struct upstream *u)
{
	bool more;
	ssize_t n;

	if (!u->in)
		u->in = malloc(IN_MAX);
	if (!u->in || u->in_len == IN_MAX) {
		upstream_broke(u);
		return;
	}
	n = read(u->fd, u->in + u->in_len, IN_MAX - u->in_len);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0 || u->state < ATTACHING) {
		upstream_broke(u);
		return;
	}
	u->in_len += (size_t)n;
	do {
		if (take_answers(u, &more)) {
			log_debug("an answer of the VPS did not open");
			upstream_broke(u);
			return;
		}
	} while (more);
}

static void upstream_readable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	work_begins(arg);
	read_answers(arg);
	work_ends(arg);
}

/* --- dialling --- */

static void take_socket(struct upstream *u, int fd, const struct addr *src)
{
	u->fd = fd;
	u->src = *src;
	event_assign(&u->rd, u->base, fd, EV_READ | EV_PERSIST, upstream_readable, u);
	event_assign(&u->wr, u->base, fd, EV_WRITE, upstream_writable, u);
	event_add(&u->rd, NULL);
}

static void upstream_dialled(void *arg, int fd, const struct addr *src)
{
	struct upstream *u = arg;

	u->dial = NULL;
	work_begins(u);
	if (fd >= 0)
		take_socket(u, fd, src);
	enter(u, fd < 0 ? OVER : CONNECTED);
	upstream_emit(u, fd < 0 ? UPSTREAM_UNSERVED : UPSTREAM_CONNECTED);
	work_ends(u);
}

struct upstream *upstream_new(struct event_base *base, struct vps *remote, struct seal *seal, upstream_cb cb,
			      void *arg)
{
	struct upstream *u = calloc(1, sizeof(*u));

	if (!u)
		return NULL;
	u->base = base;
	u->remote = remote;
	u->seal = seal;
	u->cb = cb;
	u->arg = arg;
	u->fd = -1;
	enter(u, DIALLING);
	u->dial = vps_dial(remote, upstream_dialled, u);
	if (!u->dial) {
		free(u);
		return NULL;
	}
	return u;
}

static void let_go(struct upstream *u)
{
	dial_cancel(u->dial);
	u->dial = NULL;
	if (u->fd < 0)
		return;
	event_del(&u->rd);
	event_del(&u->wr);
	sock_close_reset(u->fd);
	u->fd = -1;
}

void upstream_free(struct upstream *u)
{
	if (!u)
		return;
	let_go(u);
	enter(u, LEFT);
	if (u->at_work)
		return;
	if (u->session)
		session_put(u->session);
	seal_wipe(u->key, sizeof(u->key));
	free(u->in);
	free(u->out);
	free(u);
}

void upstream_set_owner(struct upstream *u, upstream_cb cb, void *arg)
{
	u->cb = cb;
	u->arg = arg;
}

/* --- attach and open --- */

static int make_attach(struct upstream *u, uint8_t out[WIRE_ATTACH_LEN])
{
	struct session *s = vps_session(u->remote);

	if (!s)
		return -1;
	u->session = session_get(s);
	memcpy(u->token, vps_token(u->remote, s), sizeof(u->token));
	session_attach(s, u->seal, out, u->key, &u->ctr);
	return 0;
}

int upstream_attach(struct upstream *u)
{
	uint8_t out[WIRE_ATTACH_LEN];

	if (make_attach(u, out))
		return -1;
	enter(u, ATTACHING);
	return send_or_keep(u, out, sizeof(out));
}

int upstream_open(struct upstream *u, const struct wire_open *open, const void *early, size_t len)
{
	uint8_t plain[WIRE_RECORD_MAX];
	uint8_t out[WIRE_ATTACH_LEN + WIRE_RECORD_MAX + WIRE_RECORD_OVERHEAD];
	size_t first = len > sizeof(plain) - WIRE_OPEN_LEN ? sizeof(plain) - WIRE_OPEN_LEN : len;
	size_t head = 0;
	ssize_t n;

	if (!u->session) {
		if (make_attach(u, out))
			return -1;
		head = WIRE_ATTACH_LEN;
	}
	u->mode = open->mode;
	u->early = first;
	wire_put_open(plain, open);
	if (first)
		memcpy(plain + WIRE_OPEN_LEN, early, first);
	n = record_seal(u->seal, session_alg(u->session), &u->key[0], WIRE_OPEN, plain, WIRE_OPEN_LEN + first,
			out + head);
	if (n < 0)
		return -1;
	enter(u, OPENING);
	if (send_or_keep(u, out, head + (size_t)n))
		return -1;
	return first < len ? upstream_send(u, (const uint8_t *)early + first, len - first) : 0;
}

size_t upstream_early(const struct upstream *u)
{
	return u->early;
}

int upstream_resume(struct upstream *u, const struct wire_resume *r, enum wire_mode mode, const void *rest, size_t len)
{
	uint8_t plain[WIRE_RESUME_LEN], out[WIRE_RESUME_LEN + WIRE_RECORD_OVERHEAD];
	ssize_t n;

	wire_put_resume(plain, r);
	u->mode = mode;
	n = record_seal(u->seal, session_alg(u->session), &u->key[0], WIRE_OPEN, plain, sizeof(plain), out);
	if (n < 0)
		return -1;
	enter(u, OPENING);
	if (send_or_keep(u, out, (size_t)n))
		return -1;
	return len ? upstream_send(u, rest, len) : 0;
}

static int send_sealed(struct upstream *u, const void *data, size_t len)
{
	uint8_t out[WIRE_RECORD_MAX + WIRE_RECORD_OVERHEAD];
	ssize_t n = record_seal(u->seal, session_alg(u->session), &u->key[0], WIRE_DATA, data, len, out);

	return n < 0 ? -1 : send_or_keep(u, out, (size_t)n);
}

int upstream_send(struct upstream *u, const void *data, size_t len)
{
	const uint8_t *p = data;

	if (u->mode == WIRE_CLEAR)
		return send_or_keep(u, p, len);
	while (len) {
		size_t n = len > WIRE_RECORD_MAX ? WIRE_RECORD_MAX : len;

		if (send_sealed(u, p, n))
			return -1;
		p += n;
		len -= n;
	}
	return 0;
}

void upstream_hand_over(struct upstream *u, struct relay_setup *setup)
{
	event_del(&u->rd);
	event_del(&u->wr);
	setup->fd[RELAY_WAN] = u->fd;
	setup->sealed = u->mode == WIRE_SEALED;
	setup->alg = session_alg(u->session);
	setup->key[RELAY_TX] = u->key[0];
	setup->key[RELAY_RX] = u->key[1];
	setup->owed[RELAY_NEAR] = u->in ? u->in + u->first_off : NULL;
	setup->owed_len[RELAY_NEAR] = u->first_len;
	setup->got[RELAY_WAN] = u->in ? u->in + u->first_off + u->first_len : NULL;
	setup->got_len[RELAY_WAN] = u->in_len;
	setup->owed[RELAY_WAN] = u->out;
	setup->owed_len[RELAY_WAN] = u->out_len;
	u->fd = -1;
}

/* --- looking --- */

bool upstream_unheard(const struct upstream *u)
{
	return u->fd >= 0 && sock_unacked(u->fd) > 0;
}

bool upstream_rouse(struct upstream *u)
{
	struct pollfd p = { .fd = u->fd, .events = POLLIN };

	if (u->fd < 0 || u->state == OVER || poll(&p, 1, 0) <= 0)
		return false;
	event_active(&u->rd, EV_READ, 0);
	return true;
}

bool upstream_is_attached(const struct upstream *u)
{
	return u->attached;
}

bool upstream_is_mptcp(const struct upstream *u)
{
	return u->fd >= 0 && sock_is_mptcp(u->fd);
}

bool upstream_fell_back(const struct upstream *u, const struct links *links)
{
	return !upstream_is_mptcp(u) && !links_is_plain(links, &u->src);
}

bool upstream_severed(const struct upstream *u)
{
	return u->fd < 0 || sock_severed(u->fd);
}

struct vps *upstream_vps(const struct upstream *u)
{
	return u->remote;
}

uint16_t upstream_status(const struct upstream *u)
{
	return u->status;
}

struct session *upstream_session(const struct upstream *u)
{
	return u->session;
}

uint64_t upstream_ctr(const struct upstream *u)
{
	return u->ctr;
}

const struct addr *upstream_src(const struct upstream *u)
{
	return &u->src;
}

uint64_t upstream_since(const struct upstream *u)
{
	return u->since_ms;
}

void upstream_list_add(struct upstream_list *list, struct upstream *u)
{
	TAILQ_INSERT_TAIL(list, u, link);
}

void upstream_list_del(struct upstream_list *list, struct upstream *u)
{
	TAILQ_REMOVE(list, u, link);
}

struct upstream *upstream_list_next(const struct upstream *u)
{
	return TAILQ_NEXT(u, link);
}
