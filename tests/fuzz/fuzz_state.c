/* SPDX-License-Identifier: BSD-2-Clause */
/* Any bytes as a file of an earlier run: kernel settings to put back, and what the lines have used
 * of their quotas. What is believed is what would have been written. */
#include <stdio.h>
#include <unistd.h>

#include "fuzz.h"
#include "log.h"
#include "memo.h"
#include "quota.h"
#include "rtnl_stats.h"

static char dir[] = "/tmp/plait-fuzz-XXXXXX", path[64];
static struct config config;
static struct event_base *base;
static uint64_t carried;

int rtnl_stats(struct netlink *nl, const char *device, struct rtnl_stats *out)
{
	(void)nl, (void)device;
	*out = (struct rtnl_stats){ 3, carried, 1000 };
	return 0;
}

void links_set_verdict(struct links *l, size_t line, enum links_judge who, enum links_standing standing, const char *why)
{
	(void)l;
	MUST(line < config.n_links && who == LINKS_QUOTA && (standing == LINKS_IN || standing == LINKS_OUT) && why);
}

static void on_told(void *arg, size_t line, enum quota_event event, const char *why)
{
	(void)arg, (void)event;
	MUST(line < config.n_links && *why);
}

static void sweep(void)
{
	unlink(path);
	rmdir(dir);
}

static void begin(void)
{
	log_level = LOG_LVL_ERROR;
	MUST(mkdtemp(dir));
	atexit(sweep);
	snprintf(path, sizeof(path), "%s/quota.json", dir);
	strcpy(config.state_dir, dir);
	config.n_links = 2;
	for (unsigned i = 0; i < 2; i++) {
		snprintf(config.links[i].name, sizeof(config.links[i].name), "line%u", i);
		config.links[i].quota = 1000000;
		config.links[i].quota_day = i ? 31 : 1;
	}
	base = event_base_new();
}

static void write_file(const uint8_t *data, size_t size)
{
	FILE *f = fopen(path, "we");

	MUST(f && fwrite(data, 1, size, f) == size);
	fclose(f);
}

static void quotas(void)
{
	struct quota *q = quota_new(base, &config, NULL, on_told, NULL);
	json_t *o = json_object(), *kept;

	MUST(q);
	for (size_t i = 0; i < 2; i++) {
		quota_status(q, i, o);
		MUST(json_integer_value(json_object_get(o, "used")) >= 0 && json_string_value(json_object_get(o, "again")));
	}
	quota_free(q);
	json_decref(o);
	kept = json_load_file(path, 0, NULL);
	MUST(json_is_object(json_object_get(json_object_get(kept, "links"), "line1")));
	json_decref(kept);
}

static void memos(void)
{
	struct memo list[MEMO_MAX], again[MEMO_MAX];
	size_t n = memo_load(path, list);

	MUST(n <= MEMO_MAX);
	for (size_t i = 0; i < n; i++)
		MUST(*list[i].key && memchr(list[i].key, 0, sizeof(list[i].key)) && !strpbrk(list[i].key, " \n"));
	if (!n || memo_save(path, list, n))
		return;
	MUST(memo_load(path, again) == n);
	for (size_t i = 0; i < n; i++)
		MUST(!strcmp(list[i].key, again[i].key) && list[i].was == again[i].was && list[i].set == again[i].set);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!base)
		begin();
	if (!size)
		return 0;
	carried = data[0] * 4000u;
	write_file(data + 1, size - 1);
	if (data[0] & 1)
		memos();
	else
		quotas();
	unlink(path);
	return 0;
}
