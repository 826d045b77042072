/* SPDX-License-Identifier: BSD-2-Clause */
/* daemon: see daemon.h. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "daemon.h"
#include "instance.h"
#include "log.h"

static int raise_descriptors(struct daemon_base *d, size_t need, char *err, size_t err_len)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim)) {
		snprintf(err, err_len, "RLIMIT_NOFILE: %s", strerror(errno));
		return -1;
	}
	lim.rlim_cur = lim.rlim_max;
	setrlimit(RLIMIT_NOFILE, &lim);
	getrlimit(RLIMIT_NOFILE, &lim);
	d->descriptors = (size_t)lim.rlim_cur;
	if (d->descriptors >= need)
		return 0;
	snprintf(err, err_len, "max_relays needs %zu descriptors and the limit is %zu: raise LimitNOFILE= (ulimit -n) or lower max_relays",
		 need, d->descriptors);
	return -1;
}

/* Precise timers, for the loop's own clock is otherwise as coarse as the kernel's tick; and a loop
 * that costs the same with ten thousand sockets as with ten. */
static struct event_base *make_loop(void)
{
	struct event_config *cfg = event_config_new();
	struct event_base *base = NULL;

	if (!cfg)
		return NULL;
	if (!event_config_require_features(cfg, EV_FEATURE_O1) &&
	    !event_config_set_flag(cfg, EVENT_BASE_FLAG_PRECISE_TIMER | EVENT_BASE_FLAG_IGNORE_ENV))
		base = event_base_new_with_config(cfg);
	event_config_free(cfg);
	return base;
}

static void daemon_signal(evutil_socket_t sig, short what, void *arg)
{
	struct daemon_base *d = arg;

	(void)what;
	if (sig == SIGHUP) {
		if (d->reload)
			d->reload(d->arg);
		return;
	}
	log_info("%s: ending", strsignal((int)sig));
	if (!d->ending++ && d->end)
		d->end(d->arg);
	else
		daemon_stop(d);
}

static int hear_signals(struct daemon_base *d)
{
	static const int numbers[] = { SIGTERM, SIGINT, SIGHUP };

	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
		d->signals[i] = evsignal_new(d->base, numbers[i], daemon_signal, d);
		if (!d->signals[i] || event_add(d->signals[i], NULL))
			return -1;
	}
	return 0;
}

int daemon_init(struct daemon_base *d, size_t need, char *err, size_t err_len)
{
	memset(d, 0, sizeof(*d));
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_DUMPABLE, 0);
	if (raise_descriptors(d, need, err, err_len))
		return -1;
	d->base = make_loop();
	if (d->base && !hear_signals(d))
		return 0;
	snprintf(err, err_len, "the event loop could not be made");
	daemon_free(d);
	return -1;
}

int daemon_alone(struct daemon_base *d, const char *name, char *err, size_t err_len)
{
	int fd = instance_take(name);

	if (fd >= 0)
		d->alone = fd;
	else
		snprintf(err, err_len, errno == EADDRINUSE ? "%s is running already" : "%s: no place of its own", name);
	return fd < 0 ? -1 : 0;
}

int daemon_run(struct daemon_base *d)
{
	return event_base_dispatch(d->base) < 0 ? -1 : 0;
}

void daemon_stop(struct daemon_base *d)
{
	event_base_loopbreak(d->base);
}

void daemon_free(struct daemon_base *d)
{
	for (size_t i = 0; i < sizeof(d->signals) / sizeof(*d->signals); i++) {
		if (d->signals[i])
			event_free(d->signals[i]);
		d->signals[i] = NULL;
	}
	if (d->base)
		event_base_free(d->base);
	d->base = NULL;
	if (d->alone > 0)
		close(d->alone);
	d->alone = 0;
}
