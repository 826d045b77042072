/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * Every LOOK_S seconds the kernel is asked what each device with a quota has carried, and its meter
 * (meter.c) takes the difference: all bytes both ways, whoever sent them, as the provider counts
 * them. When they reach the quota the link's verdict is OUT until the month ends; at WARN_PERCENT a
 * warning is given once.
 *
 * What was counted is kept in a file of state_dir, written beside it and renamed, at most once a
 * minute and at the end. A run that is killed loses nothing by that: the file says where the
 * device's counter stood, and as long as the machine was not started anew (the kernel's boot_id
 * tells) the difference is counted by the next run. A file that cannot be read is set aside by the
 * next writing, one that cannot be written is warned of once, and the count goes on in memory.
 *
 * The date is the wall clock's, in local time, and decides only when a month ends. */
#include "quota.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "clock.h"
#include "log.h"
#include "meter.h"
#include "netlink.h"
#include "rtnl_stats.h"
#include "timer.h"

#define LOOK_S 1
#define KEEP_MS 60000
#define WARN_PERCENT 80
#define PATH_LEN 288

struct quota {
	struct event_base *base;
	const struct config *config;
	struct links *links;
	void (*told)(void *arg, size_t link, enum quota_event event, const char *why);
	void *arg;
	struct netlink *nl;
	struct event *look;
	struct one {
		struct meter meter;
		bool warned, spent;
		uint64_t of; /* its quota, when that was last looked at */
	} link[CONFIG_LINKS];
	char boot[40];
	json_t *kept; /* the file: also of links that the config has not now */
	char path[PATH_LEN];
	uint64_t looked_ms, kept_ms;
	bool write_failed;
};

static const char *amount(uint64_t n, char *buf, size_t size)
{
	static const struct {
		uint64_t unit;
		char name;
	} units[] = { { 1000000000000, 'T' }, { 1000000000, 'G' }, { 1000000, 'M' }, { 1000, 'K' } };

	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++) {
		if (n >= units[i].unit && n % units[i].unit == 0) {
			snprintf(buf, size, "%llu%c", (unsigned long long)(n / units[i].unit), units[i].name);
			return buf;
		}
	}
	snprintf(buf, size, "%llu", (unsigned long long)n);
	return buf;
}

static const char *quota_renewal(const struct meter *m, unsigned begins, char *buf, size_t size)
{
	static const char *const months[] = { "January", "February", "March",	  "April",   "May",	 "June",
					      "July",	 "August",   "September", "October", "November", "December" };
	int year, month, day;

	if (!m->period) {
		snprintf(buf, size, "when the clock is right");
	} else {
		meter_next(m->period, begins, &year, &month, &day);
		snprintf(buf, size, "on %d %s", day, months[month - 1]);
	}
	return buf;
}

static bool has_quota(const struct quota *q, size_t i)
{
	return q->config->links[i].quota != 0;
}

static void quota_verdict(struct quota *q, size_t i)
{
	const struct config_link *c = &q->config->links[i];
	struct one *o = &q->link[i];
	char why[160], size[32], when[40];
	bool was = o->spent;

	amount(c->quota, size, sizeof(size));
	quota_renewal(&o->meter, c->quota_day, when, sizeof(when));
	o->spent = o->meter.used >= c->quota;
	if (o->spent && !was) {
		snprintf(why, sizeof(why), "quota of %s is used up, again %s", size, when);
		links_set_verdict(q->links, i, LINKS_QUOTA, LINKS_OUT, why);
		q->told(q->arg, i, QUOTA_SPENT, why);
		q->kept_ms = 0;
	} else if (was && !o->spent) {
		links_set_verdict(q->links, i, LINKS_QUOTA, LINKS_IN, "");
		q->told(q->arg, i, QUOTA_RENEWED, "a new month, or more to use");
	} else if (!o->spent && !o->warned && o->meter.used / WARN_PERCENT >= c->quota / 100) {
		o->warned = true;
		snprintf(why, sizeof(why), "%u %% of its quota of %s is used, it begins anew %s", WARN_PERCENT, size, when);
		log_warn("link %s: %s", c->name, why);
		q->told(q->arg, i, QUOTA_WARNING, why);
	}
}

static uint32_t period_now(unsigned begins)
{
	time_t now = time(NULL);
	struct tm t;

	if (!localtime_r(&now, &t))
		return 0;
	return meter_period(t.tm_year + 1900, t.tm_mon + 1, t.tm_mday, begins);
}

/* --- the file --- */

static uint64_t quota_number(const json_t *o, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(o, key));

	return n > 0 ? (uint64_t)n : 0;
}

static void recall(struct one *one, const json_t *o)
{
	one->meter = (struct meter){
		.period = (uint32_t)quota_number(o, "period"),
		.used = quota_number(o, "used"),
		.age_ms = quota_number(o, "age_ms"),
		.before = (uint32_t)quota_number(o, "before"),
		.before_used = quota_number(o, "before_used"),
		.ahead = (uint32_t)quota_number(o, "ahead"),
		.folded = quota_number(o, "folded"),
		.device = (int)quota_number(o, "device"),
		.seen = quota_number(o, "seen"),
	};
	one->warned = json_is_true(json_object_get(o, "warned"));
}

static json_t *quota_remember(const struct one *one)
{
	const struct meter *m = &one->meter;

	return json_pack("{sI sI sI sI sI sI sI sI sI sb}", "period", (json_int_t)m->period, "used", (json_int_t)m->used, "age_ms",
			 (json_int_t)m->age_ms, "before", (json_int_t)m->before, "before_used", (json_int_t)m->before_used, "ahead",
			 (json_int_t)m->ahead, "folded", (json_int_t)m->folded, "device", (json_int_t)m->device, "seen",
			 (json_int_t)m->seen, "warned", one->warned);
}

static void load(struct quota *q)
{
	json_error_t err;
	const char *boot;
	json_t *links;

	q->kept = json_load_file(q->path, 0, &err);
	if (!q->kept && json_error_code(&err) != json_error_cannot_open_file)
		log_warn("%s: %s: counting begins at zero", q->path, err.text);
	if (!json_is_object(json_object_get(q->kept, "links"))) {
		json_decref(q->kept);
		q->kept = json_pack("{s:{}}", "links");
	}
	links = json_object_get(q->kept, "links");
	boot = json_string_value(json_object_get(q->kept, "boot"));
	for (size_t i = 0; i < q->config->n_links; i++) {
		recall(&q->link[i], json_object_get(links, q->config->links[i].name));
		if (!boot || strcmp(boot, q->boot))
			meter_rebooted(&q->link[i].meter);
	}
}

static int write_file(const struct quota *q)
{
	char beside[PATH_LEN + 4];

	snprintf(beside, sizeof(beside), "%s.new", q->path);
	if (mkdir(q->config->state_dir, 0755) && errno != EEXIST)
		return -1;
	if (json_dump_file(q->kept, beside, JSON_INDENT(1)))
		return -1;
	return rename(beside, q->path);
}

static void quota_keep(struct quota *q)
{
	json_t *links = json_object_get(q->kept, "links");
	int rc;

	json_object_set_new(q->kept, "boot", json_string(q->boot));
	for (size_t i = 0; i < q->config->n_links; i++)
		if (has_quota(q, i))
			json_object_set_new(links, q->config->links[i].name,
					    quota_remember(&q->link[i]));
	rc = write_file(q);
	if (rc && !q->write_failed)
		log_warn("%s: %s: a restart of this machine will forget what the links have used of their quotas", q->path, strerror(errno));
	q->write_failed = rc;
	q->kept_ms = clock_ms();
}

/* --- counting --- */

static void quota_count(struct quota *q, size_t i, uint64_t elapsed_ms)
{
	const struct config_link *c = &q->config->links[i];
	struct one *o = &q->link[i];
	struct rtnl_stats s;

	/* first the bytes: most of them are of the time before this moment */
	if (rtnl_stats(q->nl, c->device, &s) == 0)
		meter_count(&o->meter, s.index, s.rx + s.tx);
	if (meter_turn(&o->meter, period_now(c->quota_day), elapsed_ms))
		o->warned = false;
	quota_verdict(q, i);
}

static void quota_look_due(evutil_socket_t fd, short what, void *arg)
{
	struct quota *q = arg;
	uint64_t now = clock_ms(), elapsed = now - q->looked_ms;

	(void)fd, (void)what;
	q->looked_ms = now;
	for (size_t i = 0; i < q->config->n_links; i++)
		if (has_quota(q, i))
			quota_count(q, i, elapsed);
	if (now - q->kept_ms >= KEEP_MS)
		quota_keep(q);
}

static void read_boot(char *boot, size_t size)
{
	FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");

	if (f && fgets(boot, (int)size, f))
		boot[strcspn(boot, "\n")] = 0;
	if (f)
		fclose(f);
}

static bool quota_begin(struct quota *q)
{
	q->nl = netlink_open(NETLINK_ROUTE);
	q->look = event_new(q->base, -1, EV_PERSIST, quota_look_due, q);
	if (!q->nl || !q->look || timer_in_s(q->look, LOOK_S))
		return false;
	read_boot(q->boot, sizeof(q->boot));
	snprintf(q->path, sizeof(q->path), "%s/quota.json", q->config->state_dir);
	load(q);
	q->looked_ms = q->kept_ms = clock_ms();
	quota_look_due(-1, 0, q);
	return true;
}

static bool any_quota(const struct quota *q)
{
	for (size_t i = 0; i < q->config->n_links; i++)
		if (has_quota(q, i))
			return true;
	return false;
}

struct quota *quota_new(struct event_base *base, const struct config *config, struct links *links,
			void (*told)(void *arg, size_t link, enum quota_event event, const char *why), void *arg)
{
	struct quota *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	*q = (struct quota){ .base = base, .config = config, .links = links, .told = told, .arg = arg };
	if (any_quota(q) && !quota_begin(q)) {
		quota_free(q);
		return NULL;
	}
	return q;
}

static void set_free(struct quota *q, size_t i)
{
	q->link[i].spent = false;
	links_set_verdict(q->links, i, LINKS_QUOTA, LINKS_IN, "");
	q->told(q->arg, i, QUOTA_RENEWED, "it has no quota any more");
}

void quota_reload(struct quota *q)
{
	for (size_t i = 0; i < q->config->n_links; i++) {
		if (!has_quota(q, i) && q->link[i].spent)
			set_free(q, i);
		if (q->link[i].of != q->config->links[i].quota)
			q->link[i].warned = false;
		q->link[i].of = q->config->links[i].quota;
	}
	if (q->look)
		quota_look_due(-1, 0, q);
	else if (any_quota(q) && !quota_begin(q))
		log_error("quotas cannot be counted: %s", strerror(errno));
}

void quota_free(struct quota *q)
{
	if (!q)
		return;
	if (q->kept) {
		quota_look_due(-1, 0, q);
		quota_keep(q);
	}
	if (q->look)
		event_free(q->look);
	if (q->nl)
		netlink_close(q->nl);
	json_decref(q->kept);
	free(q);
}

void quota_status(const struct quota *q, size_t link, json_t *o)
{
	const struct config_link *c = &q->config->links[link];
	char when[40];

	if (!has_quota(q, link))
		return;
	json_object_set_new(o, "quota", json_integer((json_int_t)c->quota));
	json_object_set_new(o, "used", json_integer((json_int_t)q->link[link].meter.used));
	json_object_set_new(
		o, "again",
		json_string(quota_renewal(&q->link[link].meter, c->quota_day, when, sizeof(when))));
}
