/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * QUIC is UDP, so it goes through the tunnel, where one flow has one link, as a rule. Over TCP the
 * same page has all of them. With quic = auto it is refused where that is known to be better: when
 * the second link brings down more than half of what the first does, as they were said or seen to
 * carry; and while the tunnel itself goes through a stream. Where the rates are not known it is not
 * refused. */
#include "quic.h"

/* What this link brings down, in bits a second; 0: not known. */
static uint64_t link_rate(const struct config *c, const struct assoc *a, unsigned link)
{
	if (link >= c->n_links || !assoc_has_path(a, link) || assoc_use(a, link) != WIRE_USE_FULL ||
	    assoc_health(a, link)->state != HEALTH_UP)
		return 0;
	return c->links[link].rate_down;
}

static bool second_line_adds_much(const struct config *c, const struct assoc *a)
{
	uint64_t best = 0, second = 0;

	for (unsigned i = 0; i < ASSOC_PATHS; i++) {
		uint64_t rate = link_rate(c, a, i);

		if (rate > best) {
			second = best;
			best = rate;
		} else if (rate > second) {
			second = rate;
		}
	}
	return second > best / 2;
}

bool quic_is_refused(const struct config *config, struct tunnel *tunnel)
{
	if (config->quic != QUIC_AUTO)
		return config->quic == QUIC_REJECT;
	return tunnel_by_stream(tunnel) || second_line_adds_much(config, tunnel_assoc(tunnel));
}
