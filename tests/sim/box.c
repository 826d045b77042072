/* SPDX-License-Identifier: BSD-2-Clause */
/* box: a machine's firewall, settings, TUN device and admin socket.
 *
 * Theory of operation. These rooms of the daemons fork, or open files of the kernel's, so here are
 * others of the same names. A script is not run; that it was is noted, and its `up`, `drain` and
 * `down` change the state of its rules. A guard runs the scripts it was armed with when its daemon
 * is killed. Settings are a table that begins with zeros. The admin socket keeps the functions that
 * answer, and box_ask() calls them. The TUN device is a queue.
 *
 * Left out: scripts that fail or hang, settings that somebody else changes. */
#include "box.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin.h"
#include "daemon.h"
#include "fd.h"
#include "guard.h"
#include "hook.h"
#include "instance.h"
#include "memo.h"
#include "script.h"
#include "script_ask.h"
#include "sim.h"
#include "sysctl.h"
#include "tun.h"

#define SCRIPTS 8
#define SETTINGS 64
#define TUN_QUEUE 256
#define PACKET 2048

struct box {
	struct {
		char name[32];
		enum rules_state state;
	} rules[SCRIPTS];
	struct script armed[SCRIPTS];
	unsigned n_armed;
	struct {
		char path[64];
		long value, first;
	} setting[SETTINGS];
	struct memo memo[MEMO_MAX];
	size_t n_memo;
	json_t *(*status)(void *arg);
	void *status_arg;
	struct {
		const char *verb;
		admin_answer answer;
		void *arg;
	} on[ADMIN_VERBS];
	unsigned n_on;
	struct event_base *loop;
	struct tun *tun;
};

static struct box boxes[HOSTS];
static box_packet packet_told;
static void *packet_arg;

void box_begin(void)
{
	memset(boxes, 0, sizeof(boxes));
}

static struct box *here(void)
{
	return &boxes[proc_current()];
}

/* --- the daemon as a program --- */

int daemon_init(struct daemon_base *d, size_t need, char *err, size_t err_len)
{
	struct event_config *cfg = event_config_new();

	(void)need, (void)err, (void)err_len;
	memset(d, 0, sizeof(*d));
	event_config_set_flag(cfg, EVENT_BASE_FLAG_IGNORE_ENV);
	d->base = event_base_new_with_config(cfg);
	event_config_free(cfg);
	d->descriptors = 65536;
	return 0;
}

int daemon_alone(struct daemon_base *d, const char *name, char *err, size_t err_len)
{
	(void)d, (void)name, (void)err, (void)err_len;
	return 0;
}

int daemon_run(struct daemon_base *d)
{
	here()->loop = d->base;
	return event_base_dispatch(d->base) < 0 ? -1 : 0;
}

void box_stopping(void)
{
	if (here()->loop)
		event_base_loopbreak(here()->loop);
}

void daemon_stop(struct daemon_base *d)
{
	event_base_loopbreak(d->base);
}

void daemon_free(struct daemon_base *d)
{
	here()->loop = NULL;
	if (d->base)
		event_base_free(d->base);
	d->base = NULL;
}

/* --- scripts and the firewall --- */

static long *setting(struct box *b, const char *path);

/* "PLAIT_HELD=net/ipv4/ip_forward=1:0 ...": `down` puts back what is still as it was set. */
static void put_back(struct box *b, const struct script *s)
{
	const char *at = s->env, *end = s->env + s->env_len;
	char path[64];
	long set, was;
	int n;

	while (at < end && strncmp(at, "PLAIT_HELD=", 11))
		at += strlen(at) + 1;
	for (at += at < end ? 11 : 0;
	     at < end && sscanf(at, " %63[^=]=%ld:%ld%n", path, &set, &was, &n) == 3; at += n)
		if (*setting(b, path) == set)
			*setting(b, path) = was;
}

static void run_on(struct box *b, const struct script *s)
{
	const char *name = strrchr(s->path, '/') + 1;
	unsigned i = 0;

	while (i < SCRIPTS && b->rules[i].name[0] && strcmp(b->rules[i].name, name))
		i++;
	if (i == SCRIPTS)
		sim_fail("more than %d scripts", SCRIPTS);
	snprintf(b->rules[i].name, sizeof(b->rules[i].name), "%s", name);
	b->rules[i].state = !strcmp(s->verb, "up")    ? RULES_IN :
			    !strcmp(s->verb, "drain") ? RULES_DRAINED :
							RULES_OUT;
	if (!strcmp(s->verb, "down"))
		put_back(b, s);
	sim_say("%s: %s %s",
		b == &boxes[GATEWAY] ? "gateway" :
		b == &boxes[VPS]     ? "VPS" :
				       "second VPS",
		name, s->verb);
}

int script_run(const struct script *s, unsigned limit_ms, char *out, size_t out_len)
{
	(void)limit_ms;
	if (out_len)
		out[0] = 0;
	run_on(here(), s);
	return 0;
}

struct script_ask {
	struct event due;
	char state[8];
	void (*answered)(void *arg, const char *line);
	void *arg;
};

static void script_ask_due(evutil_socket_t fd, short what, void *arg)
{
	struct script_ask *a = arg;

	(void)fd, (void)what;
	a->answered(a->arg, a->state);
}

struct script_ask *script_ask_new(struct event_base *base, const struct script *s,
				  unsigned limit_ms, void (*answered)(void *arg, const char *line),
				  void *arg)
{
	static const struct timeval soon = { .tv_usec = 20000 };
	struct script_ask *a = sim_alloc(sizeof(*a));
	const char *name = strrchr(s->path, '/') + 1;

	(void)limit_ms;
	a->answered = answered;
	a->arg = arg;
	for (unsigned i = 0; i < SCRIPTS; i++)
		if (!strcmp(here()->rules[i].name, name))
			snprintf(a->state, sizeof(a->state), "%d", here()->rules[i].state);
	event_assign(&a->due, base, -1, 0, script_ask_due, a);
	event_add(&a->due, &soon);
	return a;
}

void script_ask_free(struct script_ask *a)
{
	if (a)
		event_del(&a->due);
	free(a);
}

enum rules_state box_interception(enum host host)
{
	for (unsigned i = 0; i < SCRIPTS; i++)
		if (!strcmp(boxes[host].rules[i].name, "nftables"))
			return boxes[host].rules[i].state;
	return RULES_OUT;
}

unsigned box_rules_left(enum host host)
{
	unsigned n = 0;

	for (unsigned i = 0; i < SCRIPTS; i++)
		n += boxes[host].rules[i].state != RULES_OUT;
	return n;
}

/* --- the guard --- */

void guard_become(char **argv)
{
	(void)argv;
}

struct guard *guard_start(void)
{
	here()->n_armed = 0;
	return (struct guard *)(void *)here();
}

void guard_succeed(struct guard *g, const char *name)
{
	(void)g, (void)name;
}

int guard_arm(struct guard *g, const struct script *down)
{
	struct box *b = (struct box *)(void *)g;
	unsigned i = 0;

	while (i < b->n_armed && strcmp(b->armed[i].path, down->path))
		i++;
	if (i == SCRIPTS)
		return -1;
	b->armed[i] = *down;
	b->n_armed = i == b->n_armed ? i + 1 : b->n_armed;
	return 0;
}

void guard_watch(struct guard *g, struct event_base *base)
{
	(void)g, (void)base;
}

void guard_unwatch(struct guard *g)
{
	(void)g;
}

void guard_dismiss(struct guard *g)
{
	((struct box *)(void *)g)->n_armed = 0;
}

void box_killed(enum host host)
{
	struct box *b = &boxes[host];

	for (unsigned i = 0; i < b->n_armed; i++)
		run_on(b, &b->armed[i]);
	b->n_armed = 0;
	b->status = NULL;
	b->n_on = 0;
	b->tun = NULL;
	b->loop = NULL;
}

/* --- settings --- */

static long *setting(struct box *b, const char *path)
{
	for (unsigned i = 0; i < SETTINGS; i++) {
		if (!b->setting[i].path[0])
			snprintf(b->setting[i].path, sizeof(b->setting[i].path), "%s", path);
		if (!strcmp(b->setting[i].path, path))
			return &b->setting[i].value;
	}
	sim_fail("more than %d settings", SETTINGS);
}

unsigned box_settings_left(enum host host)
{
	unsigned n = 0;

	for (unsigned i = 0; i < SETTINGS; i++)
		n += boxes[host].setting[i].value != boxes[host].setting[i].first;
	return n;
}

int sysctl_read(const char *path, long *value)
{
	*value = *setting(here(), path);
	return 0;
}

int sysctl_write(const char *path, long value)
{
	*setting(here(), path) = value;
	return 0;
}

void memo_path(char path[MEMO_PATH], const char *program)
{
	snprintf(path, MEMO_PATH, "%s", program);
}

size_t memo_load(const char *path, struct memo out[MEMO_MAX])
{
	(void)path;
	memcpy(out, here()->memo, sizeof(here()->memo));
	return here()->n_memo;
}

int memo_save(const char *path, const struct memo *list, size_t count)
{
	(void)path;
	memcpy(here()->memo, list, count * sizeof(*list));
	here()->n_memo = count;
	return 0;
}

void memo_remove(const char *path)
{
	(void)path;
	here()->n_memo = 0;
}

/* --- the owner's program --- */

struct hook *hook_new(struct event_base *base, const char *path)
{
	(void)base, (void)path;
	return sim_alloc(1);
}

void hook_free(struct hook *h)
{
	free(h);
}

void hook_tell(struct hook *h, const char *event, const char *topic, const char *const *env)
{
	(void)h, (void)env;
	sim_say("hook: %s (%s)", event, topic);
}

/* --- the admin socket --- */

struct admin *admin_new(struct event_base *base, const char *path, json_t *(*status)(void *arg),
			void *arg, char *err, size_t err_len)
{
	(void)base, (void)path, (void)err, (void)err_len;
	here()->status = status;
	here()->status_arg = arg;
	return (struct admin *)(void *)here();
}

void admin_on(struct admin *a, const char *verb, admin_answer answer, void *arg)
{
	struct box *b = (struct box *)(void *)a;

	b->on[b->n_on].verb = verb;
	b->on[b->n_on].answer = answer;
	b->on[b->n_on++].arg = arg;
}

void admin_free(struct admin *a)
{
	struct box *b = (struct box *)(void *)a;

	if (b) {
		b->status = NULL;
		b->n_on = 0;
	}
}

json_t *box_ask(enum host host, const char *verb, const char *rest)
{
	struct box *b = &boxes[host];
	json_t *answer = NULL;
	enum host was = proc_borrow(host);

	if (!strcmp(verb, "status") && b->status)
		answer = b->status(b->status_arg);
	for (unsigned i = 0; i < b->n_on; i++)
		if (!strcmp(b->on[i].verb, verb))
			answer = b->on[i].answer(b->on[i].arg, rest);
	proc_borrow(was);
	proc_wake(host);
	return answer;
}

/* --- the TUN device --- */

struct tun {
	enum host host;
	int fd;
	unsigned mtu, n;
	struct tun_caps caps;
	struct {
		size_t len;
		uint8_t data[TUN_HEADROOM + PACKET + TUN_TAILROOM];
	} queue[TUN_QUEUE];
	uint8_t read[TUN_PACKETS][TUN_HEADROOM + PACKET + TUN_TAILROOM];
};

static uint32_t tun_ready(void *obj)
{
	return ((struct tun *)obj)->n ? EPOLLIN : 0;
}

static void tun_gone(void *obj)
{
	struct tun *t = obj;

	if (boxes[t->host].tun == t)
		boxes[t->host].tun = NULL;
	free(t);
}

static const struct fd_ops tun_ops = { .ready = tun_ready, .close = tun_gone };

struct tun *tun_open(const char *name, unsigned mtu)
{
	struct tun *t = sim_alloc(sizeof(*t));

	(void)name;
	t->host = proc_current();
	t->mtu = mtu;
	t->fd = fd_new(&tun_ops, t);
	here()->tun = t;
	return t;
}

void tun_close(struct tun *t)
{
	extern int close(int);

	if (t)
		close(t->fd);
}

int tun_fd(const struct tun *t)
{
	return t->fd;
}

int tun_index(const struct tun *t)
{
	(void)t;
	return 99;
}

const struct tun_caps *tun_caps(const struct tun *t)
{
	return &t->caps;
}

int tun_set_mtu(struct tun *t, unsigned mtu)
{
	t->mtu = mtu;
	return 0;
}

int tun_add_address(struct tun *t, const struct prefix *p)
{
	(void)t, (void)p;
	return 0;
}

int tun_del_address(struct tun *t, const struct prefix *p)
{
	(void)t, (void)p;
	return 0;
}

unsigned tun_read(struct tun *t, struct tun_packet *out, unsigned max)
{
	unsigned n = 0;

	for (; n < max && n < t->n; n++) {
		memcpy(t->read[n], t->queue[n].data, sizeof(t->read[n]));
		out[n] = (struct tun_packet){ .data = t->read[n] + TUN_HEADROOM,
					      .len = t->queue[n].len };
	}
	memmove(&t->queue[0], &t->queue[n], (t->n - n) * sizeof(t->queue[0]));
	t->n -= n;
	return n;
}

void tun_write(struct tun *t, uint8_t *data, size_t len)
{
	if (packet_told)
		packet_told(packet_arg, t->host, data, len);
}

void tun_flush(struct tun *t)
{
	(void)t;
}

bool box_tun_send(enum host host, const uint8_t *packet, size_t len)
{
	struct tun *t = boxes[host].tun;

	if (!t || t->n == TUN_QUEUE || len > t->mtu || len > PACKET)
		return false;
	t->queue[t->n].len = len;
	memcpy(t->queue[t->n++].data + TUN_HEADROOM, packet, len);
	fd_changed(t->fd);
	return true;
}

void box_on_packet(box_packet told, void *arg)
{
	packet_told = told;
	packet_arg = arg;
}
