#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "sysctl.h"
#include "tune.h"

static const struct sysctl settings[] = {
	/* One line that swallows SYNs would switch MPTCP off for an hour, and a connection after two lost SYNs. */
	{ .path = "net/mptcp/blackhole_timeout", .want = 0 },
	{ .path = "net/mptcp/syn_retrans_before_tcp_fallback", .want = 128 },
};
#define SETTINGS (sizeof(settings) / sizeof(*settings))

struct tune {
	struct sysctl settings[SETTINGS];
};

struct tune *tune_new(void)
{
	struct tune *t = malloc(sizeof(*t));

	if (!t)
		return NULL;
	memcpy(t->settings, settings, sizeof(settings));
	for (size_t i = 0; i < SETTINGS; i++) {
		int err = sysctl_apply(&t->settings[i]);

		if (err && err != -ENOENT)
			log_warn("cannot set %s to %ld: %s", settings[i].path, settings[i].want, strerror(-err));
	}
	return t;
}

void tune_free(struct tune *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < SETTINGS; i++)
		sysctl_restore(&t->settings[i]);
	free(t);
}
