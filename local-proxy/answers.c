/* SPDX-License-Identifier: BSD-2-Clause */
/* answers: what the gateway as a whole answers to its owner: how it is, and whether it has read its
 * config again. */
#include <stdlib.h>

#include "admin.h"
#include "gateway.h"
#include "identity.h"
#include "intercept.h"
#include "lan.h"
#include "links.h"
#include "log.h"
#include "machine.h"
#include "paths.h"
#include "pool.h"
#include "relay.h"
#include "reload.h"
#include "seal.h"
#include "tls.h"
#include "tundev.h"
#include "vps_choice.h"
#include "wan.h"

#define ERR 320

json_t *gateway_status(void *gateway)
{
	struct gateway *g = gateway;
	json_t *links = links_status(g->links);
	char b64[SEAL_B64_LEN];
	uint8_t pin[TLS_PIN];

	paths_status(g->paths, links);
	identity_pin(g->program.identity, pin);
	seal_b64(b64, pin);
	return json_pack("{s:s, s:b, s:s, s:o, s:o, s:b, s:o, s:o, s:o, s:s, s:i, s:o, s:o, s:o}",
			 "version", PLAIT_VERSION, "connected", vps_choice_session(g->vps) != NULL,
			 "key", b64, "vps", vps_choice_status(g->vps), "links", links, "uneasy",
			 links_uneasy(g->links), "pool", pool_status(g->pool), "tunnel",
			 tundev_status(g->tundev), "lan", lan_status(g->lan), "rules",
			 intercept_mode(g->intercept), "relays", (int)relay_loop_count(g->relays),
			 "kernel", machine_kernel(&g->program.caps), "memory", machine_memory(),
			 "counters", admin_counters());
}

/* Everybody reads the config where it always was; who made something of it is told. Nobody is in
 * the middle of anything. */
static void adopt(struct gateway *g, const struct config *next, json_t *answer)
{
	config_adopt(&g->config, next, reload_told, answer);
	log_level = g->config.log;
	wan_reload(g->wan);
	paths_links_changed(g->paths);
	tundev_reload(g->tundev);
	intercept_reload(g->intercept);
}

json_t *gateway_reload(void *gateway, const char *rest)
{
	struct config *next = malloc(sizeof(*next));
	json_t *answer = reload_begin();
	struct gateway *g = gateway;
	char err[ERR] = "out of memory";

	(void)rest;
	if (!next || !answer || config_load(next, g->program.conf, err, sizeof(err))) {
		json_decref(answer);
		answer = reload_refused(err);
	} else {
		adopt(g, next, answer);
		reload_done(answer);
	}
	free(next);
	return answer;
}
