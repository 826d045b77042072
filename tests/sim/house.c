/* SPDX-License-Identifier: BSD-2-Clause */
/* house: a household that a seed describes.
 *
 * Theory of operation. The seed draws the links (rates, delays, loss, which of them take away MPTCP
 * or drop UDP), then what happens to them and to the two daemons, then who connects to what and
 * when. After that trouble everything is mended, and has some time to find that out. Then the house
 * has to work: each new connection ends well and soon. At last both daemons are asked to end, and
 * nothing of them may be left.
 *
 * A kind of trouble is a row of `troubles`; a thing that must always be true belongs where it can
 * be seen (flow.c for connections, mended() and ended() here for the house). */
#include "house.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "addr.h"
#include "box.h"
#include "call.h"
#include "dgram.h"
#include "fd.h"
#include "flow.h"
#include "identity.h"
#include "kernel.h"
#include "line.h"
#include "numbers.h"
#include "seal.h"
#include "sim.h"
#include "sim_clock.h"
#include "stream.h"
#include "tls.h"

#define TROUBLE_S 120 /* so long things happen */
#define CALM_S 90     /* so long nothing does, before everything has to work */
#define SOON_S 10
#define STALL_S 200 /* who was caught in the trouble has ended by then */

static const struct {
	const char *name, *key, *addr;
} hosts[] = {
	[GATEWAY] = { "the gateway", "local", "192.168.1.1" },
	[VPS] = { "the VPS", "remote", "51.15.1.1" },
	[VPS2] = { "the second VPS", "remote2", "51.15.2.2" },
};

static char dir[] = "/tmp/plait-sim-XXXXXX", conf[OUTSIDE][64];
static enum host last_host; /* VPS2 if there is one */

/* --- keys and configs, once for all seeds --- */

static void make_key(const char *name, char pin_text[SEAL_B64_LEN])
{
	char path[96], err[256];
	struct identity *id;
	uint8_t pin[TLS_PIN];

	snprintf(path, sizeof(path), "%s/%s.key", dir, name);
	if (access(path, F_OK) && identity_generate(path, err, sizeof(err)))
		sim_fail("%s", err);
	id = identity_load(path, err, sizeof(err));
	if (!id)
		sim_fail("%s", err);
	identity_pin(id, pin);
	seal_b64(pin_text, pin);
	identity_free(id);
}

void house_prepare(void)
{
	if (!mkdtemp(dir))
		sim_fail("no folder");
	for (enum host h = GATEWAY; h < OUTSIDE; h++)
		snprintf(conf[h], sizeof(conf[h]), "%s/%s.conf", dir, hosts[h].key);
}

void house_clean(void)
{
	char path[96];

	for (enum host h = GATEWAY; h < OUTSIDE; h++) {
		unlink(conf[h]);
		snprintf(path, sizeof(path), "%s/%s.key", dir, hosts[h].key);
		unlink(path);
	}
	snprintf(path, sizeof(path), "%s/quota.json", dir);
	unlink(path);
	rmdir(dir);
}

static void write_remote(enum host h, const char *level, const char *gateway)
{
	FILE *f = fopen(conf[h], "w");

	fprintf(f,
		"[remote]\nkey_file = %s/%s.key\ncontrol = %s/%s.sock\nlog = "
		"%s\n[listen]\naddress = 0.0.0.0\n[user home]\nkey = %s\n",
		dir, hosts[h].key, dir, hosts[h].key, level, gateway);
	fclose(f);
}

static void write_configs(void)
{
	char pin[OUTSIDE][SEAL_B64_LEN];
	const char *level = !sim_says				? "error" :
			    !strcmp(getenv("SIM_LOG"), "debug") ? "debug" :
								  "info";
	FILE *f = fopen(conf[GATEWAY], "w");

	make_key(hosts[GATEWAY].key, pin[GATEWAY]);
	for (enum host h = VPS; h <= last_host; h++) {
		make_key(hosts[h].key, pin[h]);
		write_remote(h, level, pin[GATEWAY]);
		fprintf(f, "[vps%s]\nhost = %s\nkey = %s\n", h == VPS ? "" : " second",
			hosts[h].addr, pin[h]);
	}
	fprintf(f,
		"[local]\nkey_file = %s/local.key\ncontrol = "
		"%s/local.sock\nstate_dir = %s\nlog = %s\n"
		"[lan]\ndevice = lan0\nrules = nftables\n",
		dir, dir, dir, level);
	for (unsigned i = 0; i < n_lines; i++)
		fprintf(f, "[link l%u]\ndevice = %s\n", i, lines[i].name);
	fclose(f);
}

/* --- the links --- */

static void renumber(unsigned i)
{
	static unsigned last;
	char text[32];

	snprintf(text, sizeof(text), "10.%u.%u.2", 10 + i, ++last % 250);
	inet_pton(AF_INET, text, &lines[i].addr);
	snprintf(text, sizeof(text), "10.%u.%u.1", 10 + i, last % 250);
	inet_pton(AF_INET, text, &lines[i].gateway);
}

static void draw_lines(void)
{
	inet_pton(AF_INET, hosts[GATEWAY].addr, &lines[LINE_LAN].addr);
	for (enum host h = VPS; h <= last_host; h++)
		inet_pton(AF_INET, hosts[h].addr, &lines[line_net(h)].addr);
	n_lines = (unsigned)chance_between(1, 4);
	for (unsigned i = 0; i < n_lines; i++) {
		struct line *l = &lines[i];

		snprintf(l->name, sizeof(l->name), "wan%u", i);
		l->index = 10 + (int)i;
		l->carrier = true;
		renumber(i);
		for (int way = UP; way <= DOWN; way++) {
			l->way[way].delay_us = chance_between(3, 80) * MS;
			l->way[way].rate = chance_between(2, 60) * 125000;
			l->way[way].queue_us = chance_between(50, 500) * MS;
			l->way[way].loss_ppm = chance_below(3) ? 0 : (uint32_t)chance_below(20000);
		}
		l->strips_mptcp = chance_below(10) == 0;
		l->drops_udp = chance_below(10) == 0;
		sim_say("link l%u: %.0f ms, %.1f Mbit/s down, loss %.1f %%%s%s", i,
			(double)line_rtt(l) / 1e3, (double)l->way[DOWN].rate / 125e3,
			l->way[DOWN].loss_ppm / 1e4, l->strips_mptcp ? ", no MPTCP" : "",
			l->drops_udp ? ", no UDP" : "");
	}
}

/* --- trouble --- */

static unsigned any_line(void)
{
	return (unsigned)chance_below(n_lines);
}

static void later(uint64_t us, void (*what)(void *arg), unsigned i)
{
	alarm_once(us, what, (void *)(uintptr_t)i);
}

static void speak_again(void *arg)
{
	struct line *l = &lines[(uintptr_t)arg];

	l->way[UP].silent = l->way[DOWN].silent = false;
	sim_say("l%u speaks again", (unsigned)(uintptr_t)arg);
}

static void fall_silent(void)
{
	unsigned i = any_line(), which = (unsigned)chance_below(4);

	lines[i].way[UP].silent = which != 1;
	lines[i].way[DOWN].silent = which != 0;
	sim_say("l%u falls silent%s", i, which == 0 ? " upwards" : which == 1 ? " downwards" : "");
	later(chance_between(100, 40000) * MS, speak_again, i);
}

static void plug_in(void *arg)
{
	unsigned i = (unsigned)(uintptr_t)arg;

	lines[i].carrier = true;
	sim_say("l%u is plugged in", i);
	kernel_line_changed((int)i);
}

static void unplug(void)
{
	unsigned i = any_line();

	lines[i].carrier = false;
	sim_say("l%u is unplugged", i);
	kernel_line_changed((int)i);
	later(chance_between(500, 30000) * MS, plug_in, i);
}

static void new_address(void)
{
	unsigned i = any_line();

	renumber(i);
	sim_say("l%u has another address", i);
	kernel_line_changed((int)i);
}

static void start_daemon(void *arg)
{
	enum host host = (enum host)(uintptr_t)arg;

	if (proc_alive(host))
		return;
	sim_say("%s starts", hosts[host].name);
	proc_start(host, conf[host]);
}

static void kill_one(enum host host, uint64_t most_ms)
{
	if (!proc_alive(host))
		return;
	sim_say("%s is killed", hosts[host].name);
	proc_kill(host);
	later(chance_between(100, most_ms) * MS, start_daemon, host);
}

static enum host any_vps(void)
{
	return (enum host)chance_between(VPS, last_host);
}

static void kill_vps(void)
{
	kill_one(any_vps(), 20000);
}

static void kill_gateway(void)
{
	kill_one(GATEWAY, 3000);
}

static void restart_vps(void)
{
	enum host host = any_vps();

	if (!proc_alive(host))
		return;
	sim_say("%s is restarted", hosts[host].name);
	proc_stop(host, false);
	proc_terminate(host);
	later(chance_between(100, 2000) * MS, start_daemon, host);
}

static void go_on(void *arg)
{
	enum host host = (enum host)(uintptr_t)arg;

	proc_stop(host, false);
	sim_say("%s goes on", hosts[host].name);
}

/* Its kernel goes on: connections stand, and nobody reads. */
static void stand_still(void)
{
	enum host host = any_vps();

	proc_stop(host, true);
	sim_say("%s stands still", hosts[host].name);
	later(chance_between(500, 12000) * MS, go_on, host);
}

static void change_role(void)
{
	static const char *const roles[] = { "primary", "backup", "off" };
	char rest[32];
	json_t *answer;

	snprintf(rest, sizeof(rest), "l%u %s", any_line(), roles[chance_below(3)]);
	sim_say("link %s", rest);
	answer = box_ask(GATEWAY, "link", rest);
	json_decref(answer);
}

static void read_config_again(void)
{
	json_t *answer = box_ask(chance_below(2) ? GATEWAY : any_vps(), "reload", "");

	json_decref(answer);
}

static const struct trouble {
	void (*happens)(void);
	unsigned weight;
} troubles[] = {
	{ fall_silent, 10 }, { unplug, 4 },	 { new_address, 3 }, { kill_vps, 1 },
	{ kill_gateway, 1 }, { restart_vps, 1 }, { change_role, 2 }, { read_config_again, 1 },
	{ stand_still, 3 },
};

static void trouble_comes(void *arg)
{
	unsigned all = 0, pick;
	const struct trouble *t = troubles;

	(void)arg;
	for (unsigned i = 0; i < sizeof(troubles) / sizeof(*troubles); i++)
		all += troubles[i].weight;
	pick = (unsigned)chance_below(all);
	for (; pick >= t->weight; t++)
		pick -= t->weight;
	t->happens();
}

static void somebody_connects(void *arg)
{
	uint32_t request = (uint32_t)(chance_below(4) ? chance_between(20, 1500) :
							chance_between(1, 200000));
	uint32_t answer = (uint32_t)(chance_below(3) ? chance_between(0, 30000) :
						       chance_between(1, 1000000));

	(void)arg;
	flow_start((enum flow_kind)chance_below(FLOW_KINDS), request, answer);
}

static void draw_trouble(void)
{
	unsigned n = (unsigned)chance_below(20), m = (unsigned)chance_between(5, 60);

	for (unsigned i = 0; i < n; i++)
		later(chance_between(5000, TROUBLE_S * 1000) * MS, trouble_comes, 0);
	for (unsigned i = 0; i < m; i++)
		later(chance_between(3000, TROUBLE_S * 1000) * MS, somebody_connects, 0);
}

/* --- what must be true --- */

static void mend_everything(void)
{
	sim_say("everything is mended");
	for (unsigned i = 0; i < n_lines; i++) {
		struct line *l = &lines[i];
		bool was = l->carrier;
		char rest[32];

		l->way[UP].silent = l->way[DOWN].silent = false;
		l->carrier = true;
		if (!was)
			kernel_line_changed((int)i);
		snprintf(rest, sizeof(rest), "l%u primary", i);
		json_decref(box_ask(GATEWAY, "link", rest));
	}
	for (enum host h = GATEWAY; h <= last_host; h++) {
		proc_stop(h, false);
		start_daemon((void *)(uintptr_t)h);
	}
}

static void print_status(enum host host)
{
	json_t *status = box_ask(host, "status", "");
	char *text = status ? json_dumps(status, JSON_INDENT(1)) : NULL;

	fprintf(stderr, "%s\n", text ? text : "no answer");
	free(text);
	json_decref(status);
}

static void mended(void)
{
	struct flow *f[8];
	char text[160];

	if (box_interception(GATEWAY) != RULES_IN)
		sim_fail("%d s after the last trouble the house is not intercepted", CALM_S);
	call_mark();
	for (unsigned i = 0; i < 8; i++)
		f[i] = flow_start(FLOW_CLIENT_SHUTS, 300, 5000);
	world_run(clock_now() + SOON_S * SECOND);
	sim_say("call: %u of %u packets came back", call_back(), call_sent());
	if (call_sent() < SOON_S * 10 - 2 || call_back() + 12 < call_sent())
		sim_fail("all is well, and of %u packets of a call %u came back", call_sent(),
			 call_back());
	for (unsigned i = 0; i < 8; i++) {
		flow_describe(f[i], text);
		sim_say("%s", text);
		if (flow_direct(f[i]) || !flow_well(f[i])) {
			if (sim_says)
				print_status(GATEWAY);
			sim_fail("all is well, and a new connection is not: %s", text);
		}
	}
}

static void nobody_hangs(void)
{
	const struct flow *f;
	char text[160];

	world_run(clock_now() + STALL_S * SECOND);
	f = flows_oldest_open();
	if (!f)
		return;
	flow_describe(f, text);
	if (sim_says) {
		print_status(GATEWAY);
		for (enum host h = GATEWAY; h <= last_host; h++)
			streams_open(h);
	}
	sim_fail("somebody still hangs: %s", text);
}

static void ended(enum host host)
{
	const char *name = hosts[host].name;

	proc_terminate(host);
	world_run(clock_now() + 5 * SECOND);
	if (proc_alive(host))
		sim_fail("%s does not end", name);
	if (proc_exit_code(host))
		sim_fail("%s ended with %d", name, proc_exit_code(host));
	if (kernel_left(host) || box_rules_left(host) || box_settings_left(host))
		sim_fail("%s left %u routes, rules and endpoints, %u firewalls, %u settings", name,
			 kernel_left(host), box_rules_left(host), box_settings_left(host));
	if (fd_count(host) || streams_open(host))
		sim_fail("%s left %u descriptors and %u connections", name, fd_count(host),
			 streams_open(host));
}

void house_live(uint64_t seed)
{
	clock_begin();
	chance_begin(seed * 0x9e3779b97f4a7c15 + 1);
	lines_begin();
	streams_begin();
	dgrams_begin();
	numbers_begin();
	kernel_begin();
	box_begin();
	flows_begin();
	last_host = chance_below(3) ? VPS : VPS2;
	draw_lines();
	write_configs();
	for (enum host h = GATEWAY; h <= last_host; h++)
		start_daemon((void *)(uintptr_t)h);
	draw_trouble();
	call_begin();
	world_run(clock_now() + (TROUBLE_S + 45) * SECOND);
	mend_everything();
	world_run(clock_now() + CALM_S * SECOND);
	mended();
	nobody_hangs();
	for (enum host h = GATEWAY; h <= last_host; h++)
		ended(h);
	flows_end();
	streams_end();
}
