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
 * away they would stay in, which is logged. */
#include "firewall.h"

#include <stdio.h>
#include <stdlib.h>

#include "log.h"

#define LIMIT_MS 10000
#define ERR 640

struct firewall {
	struct firewall_setup setup;
	enum firewall_state state;
	const char *way;   /* one of setup.ways, when they are not out */
	struct script put; /* what was run last to put them in */
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

int firewall_put_in(struct firewall *f, char *err, size_t err_len)
{
	const char *way = find_way(f, err, err_len);

	if (!way) {
		f->state = FIREWALL_OUT;
		return -1;
	}
	f->state = FIREWALL_IN;
	f->way = way;
	err[0] = 0; /* of a way that failed before it */
	firewall_prepare(f, way, "up", false, &f->put);
	firewall_tell_guard(f);
	return 0;
}

int firewall_drain(struct firewall *f, char *err, size_t err_len)
{
	if (run(f, f->way, "drain", err, err_len))
		return -1;
	f->state = FIREWALL_DRAINED;
	return 0;
}

void firewall_take_out(struct firewall *f)
{
	char err[ERR];

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

	if (f)
		f->setup = *setup;
	return f;
}

void firewall_free(struct firewall *f)
{
	if (!f)
		return;
	firewall_take_out(f);
	free(f);
}

struct firewall *tun_firewall_new(bool only_iptables, bool only_nftables, const char *dir,
				  struct guard *guard,
				  int (*describe)(void *arg, bool undo, struct script *out),
				  void *arg)
{
	static const char *const ways[] = { "tunnel-nftables", "tunnel-iptables", NULL },
				 *const nftables[] = { "tunnel-nftables", NULL };

	return firewall_new(&(struct firewall_setup){ .what = "what the tunnel needs",
						      .ways = only_iptables ? &ways[1] :
							      only_nftables ? nftables :
									      ways,
						      .dir = dir,
						      .guard = guard,
						      .describe = describe,
						      .arg = arg });
}
