/* SPDX-License-Identifier: BSD-2-Clause */
/* knocks: those that were heard.
 *
 * Theory of operation. A knock shows that who says it knows this VPS's key; only then is he worth a
 * TLS handshake, which costs the VPS a hundred times what it costs him. Whoever overheard one could
 * say it again, thousands of times a second. So the last 65,536 are remembered by their nonces, in
 * sets of 16 in which the oldest makes room; a gateway needs a few an hour, so that is years. What
 * a restart forgets is good for one handshake each. */
#include "knocks.h"

#include <string.h>

bool knocks_is_new(struct knocks *k, const uint8_t nonce[WIRE_NONCE])
{
	unsigned set = (unsigned)(nonce[0] << 8 | nonce[1]) % KNOCKS_SETS;

	for (unsigned i = 0; i < KNOCKS_WAYS; i++)
		if (!memcmp(k->nonce[set][i], nonce, WIRE_NONCE))
			return false;
	memcpy(k->nonce[set][k->next[set]], nonce, WIRE_NONCE);
	k->next[set] = (uint8_t)((k->next[set] + 1) % KNOCKS_WAYS);
	return true;
}
