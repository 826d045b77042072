/* SPDX-License-Identifier: BSD-2-Clause */
/* firewall: the one owner of our rules in this machine's firewall.
 *
 * Theory of operation. What the rules are stands in scripts (iptables/), for a person to read and
 * to run by hand; here it is only decided which of them are run, and when. There may be several
 * ways to the same end (nftables, iptables with TPROXY, ...): `up` of each is tried, the best
 * first, and the first that succeeds is the way until they are put in again. A script that was
 * killed half-way cannot clean up after itself, so behind an `up` that failed comes its `down`.
 *
 * What was put in is told to the guard, who takes it out when this process dies. While the guard is
 * away they would stay in, which is logged.
 *
 * The house is furnished: others reload the firewall, and with it goes what is ours. So it is
 * watched. The script's verb `state` prints a sum over all that is ours in the kernel; the first
 * one behind `up` is what it has to be, and it is asked again, beside the loop, when the kernel
 * says that somebody changed something (DEBOUNCE_MS later), and every CHECK_MS, since not
 * everything is said. When it is another one the rules are put in again, by the best way that works
 * now. Who takes them out more than AGAIN times within AGAIN_MS is not fought: then they go out
 * whole, and the owner of the firewall is told. */
#include "firewall.h"

#include <event2/event_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "counter.h"
#include "log.h"
#include "nft_monitor.h"
#include "rtnl.h"
#include "script_ask.h"
#include "timer.h"

#define LIMIT_MS 10000
#define ERR 640
#define DEBOUNCE_MS 300
#define CHECK_MS 30000
#define AGAIN 3
#define AGAIN_MS 60000

struct firewall {
	struct firewall_setup setup;
	enum firewall_state state;
	const char *way;   /* one of setup.ways, when they are not out */
	struct script put; /* what was run last to put them in */

	struct nft_monitor *nft;    /* NULL: nobody tells */
	struct rtnl_monitor *rules; /* the policy rules that lead to what is taken */
	struct event check;
	struct script_ask *asked;
	bool asking, ask_again, tampered;
	char sum[SCRIPT_LINE]; /* as they were put in; "": not known yet */
	unsigned again;	       /* how often they were put in again */
	uint64_t again_ms;     /* since then */
};

static int firewall_prepare(const struct firewall *f, const char *way, const char *verb, bool undo,
			    struct script *out)
{
	return script_init(out, f->setup.dir, way, verb) ||
			       f->setup.describe(f->setup.arg, undo, out) ?
		       -1 :
		       0;
}

static int run(const struct firewall *f, const char *way, const char *verb, char *err,
	       size_t err_len)
{
	char out[512];
	struct script s;

	if (firewall_prepare(f, way, verb, false, &s)) {
		snprintf(err, err_len, "rules: %s/%s: too long, or not absolute", f->setup.dir,
			 way);
		return -1;
	}
	if (script_run(&s, LIMIT_MS, out, sizeof(out)) == 0)
		return 0;
	snprintf(err, err_len, "rules: %s %s: %s", s.path, verb, out);
	return -1;
}

static int firewall_try(const struct firewall *f, const char *way, char *err, size_t err_len)
{
	char ignored[ERR];

	if (run(f, way, "up", err, err_len) == 0)
		return 0;
	run(f, way, "down", ignored, sizeof(ignored));
	return -1;
}

/* The first way that works; NULL: none does, and err is of the last. */
static const char *find_way(const struct firewall *f, char *err, size_t err_len)
{
	for (const char *const *way = f->setup.ways; *way; way++) {
		if (firewall_try(f, *way, err, err_len) == 0)
			return *way;
		if (way[1])
			log_info("%s", err);
	}
	return NULL;
}

void firewall_tell_guard(const struct firewall *f)
{
	struct script undo;

	if (f->state == FIREWALL_OUT)
		return;
	if (firewall_prepare(f, f->way, "down", true, &undo) || guard_arm(f->setup.guard, &undo))
		log_warn("the guard is away: if this process is killed, %s will not be taken out",
			 f->setup.what);
}

/* --- are they as they were put in? --- */

static void firewall_unwatch(struct firewall *f)
{
	script_ask_free(f->asked);
	f->asked = NULL;
	f->asking = f->ask_again = f->tampered = false;
	f->sum[0] = 0;
	event_del(&f->check);
}

static void firewall_tampered(struct firewall *f)
{
	uint64_t now = clock_ms();
	char err[ERR];

	counters.rules_lost++;
	if (now - f->again_ms > AGAIN_MS) {
		f->again_ms = now;
		f->again = 0;
	}
	if (++f->again > AGAIN) {
		firewall_take_out(f);
		snprintf(err, sizeof(err),
			 "another program takes out our rules (%s) again and again", f->way);
	} else {
		log_warn("%s: another program has changed or taken out our rules (%s): they are "
			 "put in again",
			 f->setup.what, f->way);
		firewall_put_in(f, err, sizeof(err));
	}
	f->setup.changed(f->setup.arg, err[0] ? err : NULL);
}

static void firewall_answered(void *arg, const char *line)
{
	struct firewall *f = arg;

	f->asking = false;
	if (!line)
		log_debug("%s: %s does not say how its rules are", f->setup.what, f->way);
	else if (!f->sum[0])
		snprintf(f->sum, sizeof(f->sum), "%s", line);
	else
		f->tampered = strcmp(line, f->sum);
	timer_in_ms(&f->check, f->ask_again || f->tampered ? 0 : CHECK_MS);
}

static void firewall_check_due(evutil_socket_t fd, short what, void *arg)
{
	struct firewall *f = arg;
	struct script s;

	(void)fd, (void)what;
	if (f->state != FIREWALL_IN)
		return;
	if (f->tampered) {
		firewall_tampered(f);
		return;
	}
	f->ask_again = f->asking;
	if (f->asking)
		return;
	script_ask_free(f->asked);
	f->asked = firewall_prepare(f, f->way, "state", false, &s) ?
			   NULL :
			   script_ask_new(f->setup.base, &s, LIMIT_MS, firewall_answered, f);
	f->asking = f->asked;
	if (!f->asking)
		timer_in_ms(&f->check, CHECK_MS);
}

static void firewall_news(void *arg)
{
	firewall_check_due(-1, 0, arg);
}

/* --- in and out --- */

int firewall_put_in(struct firewall *f, char *err, size_t err_len)
{
	const char *way;

	firewall_unwatch(f);
	way = find_way(f, err, err_len);
	if (!way) {
		f->state = FIREWALL_OUT;
		return -1;
	}
	f->state = FIREWALL_IN;
	f->way = way;
	err[0] = 0; /* of a way that failed before it */
	firewall_prepare(f, way, "up", false, &f->put);
	firewall_tell_guard(f);
	timer_in_ms(&f->check, 0);
	return 0;
}

int firewall_drain(struct firewall *f, char *err, size_t err_len)
{
	if (run(f, f->way, "drain", err, err_len))
		return -1;
	firewall_unwatch(f);
	f->state = FIREWALL_DRAINED;
	return 0;
}

void firewall_take_out(struct firewall *f)
{
	char err[ERR];

	firewall_unwatch(f);
	if (f->state != FIREWALL_OUT && run(f, f->way, "down", err, sizeof(err)))
		log_warn("%s", err);
	f->state = FIREWALL_OUT;
}

bool firewall_is_stale(const struct firewall *f)
{
	struct script now;

	return f->state == FIREWALL_IN && firewall_prepare(f, f->way, "up", false, &now) == 0 &&
	       !script_equal(&now, &f->put);
}

enum firewall_state firewall_state(const struct firewall *f)
{
	return f->state;
}

const char *firewall_way(const struct firewall *f)
{
	return f->state == FIREWALL_IN ? f->way : "out";
}

struct firewall *firewall_new(const struct firewall_setup *setup)
{
	struct firewall *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->setup = *setup;
	event_assign(&f->check, setup->base, -1, 0, firewall_check_due, f);
	f->nft = nft_monitor_new(setup->base, "plait", DEBOUNCE_MS, firewall_news, f);
	f->rules = rtnl_monitor_new(setup->base, RTNL_RULES, DEBOUNCE_MS, firewall_news, f);
	return f;
}

void firewall_free(struct firewall *f)
{
	if (!f)
		return;
	firewall_take_out(f);
	nft_monitor_free(f->nft);
	rtnl_monitor_free(f->rules);
	free(f);
}

struct firewall *tun_firewall_new(bool only_iptables, bool only_nftables,
				  struct firewall_setup *setup)
{
	static const char *const ways[] = { "tunnel-nftables", "tunnel-iptables", NULL },
				 *const nftables[] = { "tunnel-nftables", NULL };

	setup->what = "what the tunnel needs";
	setup->ways = only_iptables ? &ways[1] : only_nftables ? nftables : ways;
	return firewall_new(setup);
}
