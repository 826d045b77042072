/* SPDX-License-Identifier: BSD-2-Clause */
#include "hold.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "sysctl.h"

#define HOLD_MOST 64
#define PATH 96

struct hold {
	struct sysctl held[HOLD_MOST];
	char path[HOLD_MOST][PATH];
	size_t n;
};

struct hold *hold_new(void)
{
	return calloc(1, sizeof(struct hold));
}

void hold_set(struct hold *h, const char *path, long want)
{
	struct sysctl *s = &h->held[h->n];
	int err;

	if (h->n == HOLD_MOST || strlen(path) >= PATH)
		return;
	memcpy(h->path[h->n], path, strlen(path) + 1);
	*s = (struct sysctl){ .path = h->path[h->n], .want = want };
	err = sysctl_apply(s);
	if (err && err != -ENOENT)
		log_warn("cannot set %s to %ld: %s", path, want, strerror(-err));
	if (!s->changed)
		return;
	log_info("%s is %ld while this runs (it was %ld)", path, want, s->was);
	h->n++;
}

void hold_change(struct hold *h, const char *path, long only, long want)
{
	struct sysctl now = { .path = path, .want = only };

	if (sysctl_is(&now))
		hold_set(h, path, want);
}

const char *hold_print(const struct hold *h, char text[HOLD_TEXT])
{
	size_t len = 0;

	text[0] = '\0';
	for (size_t i = h->n; i-- && len < HOLD_TEXT;)
		len += (size_t)snprintf(text + len, HOLD_TEXT - len, "%s%s=%ld:%ld", len ? " " : "", h->held[i].path, h->held[i].want,
					h->held[i].was);
	return text;
}

void hold_free(struct hold *h)
{
	if (!h)
		return;
	while (h->n)
		sysctl_restore(&h->held[--h->n]);
	free(h);
}
