/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * A life has one order. The config and the key are read first: what can be wrong with what the
 * owner wrote is told before anything is touched. Then comes the lock, because a second instance
 * must not disturb the one that runs; then the guard of a predecessor who was killed is waited
 * for, and what he left of kernel settings is put back. Then every room is built, then all are
 * wired, and only then anything starts, so that nobody is called who is not there yet. The end is
 * the same way backwards, from wherever it begins. */
#include "program.h"

#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include "admin.h"
#include "guard.h"
#include "identity.h"
#include "machine.h"
#include "reload.h"
#include "settings.h"

struct life {
	const struct program_ops *ops;
	struct program *root;
	struct program_wants wants;
	char err[PROGRAM_ERR];
};

static int life_configure(struct life *l, const char *conf)
{
	l->root->conf = conf;
	if (l->ops->configure(l->root, conf, &l->wants, l->err, sizeof(l->err)))
		return -1;
	log_level = l->wants.log;
	l->root->identity = identity_load(l->wants.key_file, l->err, sizeof(l->err));
	return l->root->identity ? 0 : -1;
}

static int life_build(struct life *l)
{
	struct program *p = l->root;

	if (daemon_init(&p->loop, daemon_descriptors(l->wants.relays), l->err, sizeof(l->err)) ||
	    daemon_alone(&p->loop, l->ops->name, l->err, sizeof(l->err)))
		return -1;
	guard_succeed(p->guard, l->ops->name);
	sock_probe(&p->caps);
	machine_warn(&p->caps);
	p->admin = admin_new(p->loop.base, l->wants.control, l->ops->status, p, l->err,
			     sizeof(l->err));
	if (!p->admin || !(p->settings = settings_new(l->ops->name)))
		return -1;
	return l->ops->build(p, l->err, sizeof(l->err));
}

static void life_hangup(void *life)
{
	struct life *l = life;

	json_decref(l->ops->reload(l->root, ""));
}

static void life_wire(struct life *l)
{
	l->ops->wire(l->root);
	admin_on(l->root->admin, "reload", l->ops->reload, l->root);
	l->root->loop.reload = life_hangup;
	l->root->loop.arg = l;
}

static void life_end(struct life *l)
{
	struct program *p = l->root;

	guard_unwatch(p->guard);
	admin_free(p->admin);
	l->ops->end(p);
	settings_free(p->settings);
	daemon_free(&p->loop);
}

static int life_run(struct life *l)
{
	int rc = EXIT_FAILURE;

	if (life_build(l)) {
		log_error("%s", l->err);
	} else {
		life_wire(l);
		guard_watch(l->root->guard, l->root->loop.base);
		if (l->ops->start(l->root, l->err, sizeof(l->err)))
			log_error("%s", l->err);
		else
			rc = daemon_run(&l->root->loop) ? EXIT_FAILURE : EXIT_SUCCESS;
	}
	life_end(l);
	return rc;
}

/* run and check. */
static int program_live(struct life *l, const struct options *o)
{
	bool check_only = o->verb == OPTIONS_CHECK;
	int rc = EX_CONFIG;

	if (!check_only)
		l->root->guard = guard_start();
	if (life_configure(l, o->conf))
		log_error("%s", l->err);
	else if (check_only)
		rc = puts("ok") < 0;
	else
		rc = life_run(l);
	identity_free(l->root->identity);
	guard_dismiss(l->root->guard);
	return rc;
}

/* Needs no key, and no config where the socket is named. */
static int program_ask(struct life *l, const struct options *o)
{
	const char *control = o->socket;

	if (!control && l->ops->configure(l->root, o->conf, &l->wants, l->err, sizeof(l->err))) {
		fprintf(stderr, "%s: %s\n", o->prog, l->err);
		return EX_CONFIG;
	}
	if (!control)
		control = l->wants.control;
	if (o->verb == OPTIONS_RELOAD)
		return reload_ask(control, stdout);
	return o->verb == OPTIONS_STATUS ? admin_ask(control, "status", o->json, stdout) :
					   l->ops->ask(control, o);
}

int program_main(const struct program_ops *ops, int argc, char **argv)
{
	struct life l = { .ops = ops, .err = "out of memory" };
	struct options o;
	int rc;

	guard_become(argv);
	rc = options_parse(&o, argc, argv, ops->name, ops->conf, ops->links);
	if (rc || (rc = options_simple_verb(&o)) >= 0)
		return rc;
	l.root = calloc(1, ops->root_size);
	if (!l.root)
		return EXIT_FAILURE;
	rc = o.verb == OPTIONS_RUN || o.verb == OPTIONS_CHECK ? program_live(&l, &o) :
								program_ask(&l, &o);
	free(l.root);
	return rc;
}
