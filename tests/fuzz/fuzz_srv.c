/* SPDX-License-Identifier: BSD-2-Clause */
/* Any bytes as a DNS server's answer to the question for a service: its targets are few, have a
 * name and a port, and an order can be made of them. */
#include <ares.h>
#include <event2/event.h>

#include "fuzz.h"
#include "log.h"
#include "resolve.h"

static const uint8_t *in;
static size_t in_len;

/* The question is answered at once by the input. */
void ares_query(ares_channel channel, const char *name, int dnsclass, int type, ares_callback callback, void *arg)
{
	uint8_t *exact = malloc(in_len ? in_len : 1);

	(void)channel, (void)name, (void)dnsclass, (void)type;
	if (in_len)
		memcpy(exact, in, in_len);
	callback(arg, ARES_SUCCESS, 0, exact, (int)in_len);
	free(exact);
}

static uint32_t dice(void *arg)
{
	return *(uint32_t *)arg += 0x9e3779b9;
}

static void on_targets(void *arg, const struct srv *list, size_t n)
{
	struct srv copy[RESOLVE_SRV_MAX];
	uint32_t seed = (uint32_t)in_len;

	MUST(n <= RESOLVE_SRV_MAX);
	memcpy(copy, list, n * sizeof(*copy));
	srv_order(copy, n, dice, &seed);
	for (size_t i = 0; i < n; i++) {
		MUST(*copy[i].host && copy[i].port && memchr(copy[i].host, 0, sizeof(copy[i].host)));
		MUST(!i || copy[i - 1].priority <= copy[i].priority);
	}
	++*(unsigned *)arg;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct event_base *base;
	struct resolve *r;
	unsigned told = 0;

	log_level = LOG_LVL_ERROR;
	if (!base)
		base = event_base_new();
	in = data;
	in_len = size;
	r = resolve_srv_new(base, "_plait._tcp.example.org", "192.0.2.53", on_targets, &told);
	MUST(r);
	event_base_loop(base, EVLOOP_NONBLOCK);
	event_base_loop(base, EVLOOP_NONBLOCK);
	MUST(told <= 1);
	resolve_free(r);
	return 0;
}
