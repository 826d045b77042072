/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * A session gives one key up and one down. Each (type, class) counts its datagrams for itself, from
 * 0, and type and class are part of the nonce, so no nonce is used twice. Where copies and resends
 * of a datagram are sent, they are the same bytes, not sealed again.
 *
 * A key, what it was used for and what was seen under it are this one object, and it is the
 * session's: whoever comes back to a session (from another VPS, say) goes on where it was left. Two
 * objects of one key would count from 0 twice.
 *
 * The receiver keeps a window for each (type, class): a deep queue of bulk never makes a voice
 * packet too old. Only the low half of a number travels; the high half is the one that brings the
 * number nearest to the highest one seen, so up to 2^31 may be lost in a row.
 *
 * The order of work is: infer the number, ask the window, open, mark. What the window has seen is a
 * copy and dropped before it costs anything; but one of 32 copies is opened all the same, so that
 * copies are worth believing as a measure of a path. A window comes into being with the first
 * datagram of its kind that authenticates: strangers allocate nothing. */
#include "udp_keys.h"

#include <stdlib.h>

#include "bytes.h"
#include "window.h"

#define TYPES 4 /* those that are sealed */
#define VERIFY 32
#define SPENT ((uint64_t)1 << 48)
#define RECENT 64

struct stream { /* one (type, class) as it is received */
	struct window window;
	uint64_t words[];
};

struct udp_keys {
	struct seal_ctx *tx, *rx;
	uint32_t index;
	unsigned copies;
	uint64_t sealed;
	uint64_t next[TYPES][WIRE_CLASSES];
	struct stream *stream[TYPES][WIRE_CLASSES];
};

struct udp_keys *udp_keys_new(struct seal *seal, enum seal_alg alg, const uint8_t tx[SEAL_KEY],
			      const uint8_t rx[SEAL_KEY], uint32_t index)
{
	struct udp_keys *k = calloc(1, sizeof(*k));

	if (!k)
		return NULL;
	k->index = index;
	k->tx = seal_ctx_new(seal, alg, tx, true);
	k->rx = seal_ctx_new(seal, alg, rx, false);
	if (!k->tx || !k->rx) {
		udp_keys_free(k);
		return NULL;
	}
	return k;
}

void udp_keys_free(struct udp_keys *k)
{
	if (!k)
		return;
	for (int t = 0; t < TYPES; t++)
		for (int c = 0; c < WIRE_CLASSES; c++)
			free(k->stream[t][c]);
	seal_ctx_free(k->tx);
	seal_ctx_free(k->rx);
	free(k);
}

uint32_t udp_keys_index(const struct udp_keys *k)
{
	return k->index;
}

uint64_t udp_keys_sealed(const struct udp_keys *k)
{
	return k->sealed;
}

bool udp_keys_recent(const struct udp_keys *k, uint32_t low)
{
	uint64_t next = k->next[WIRE_DG_CONTROL][WIRE_CLASS_CONTROL];
	uint32_t ago = (uint32_t)next - low;

	return ago >= 1 && ago <= RECENT && ago <= next;
}

static void make_nonce(uint8_t nonce[SEAL_NONCE], unsigned type, unsigned class, uint64_t seq)
{
	nonce[0] = nonce[1] = 0;
	nonce[2] = (uint8_t)type;
	nonce[3] = (uint8_t) class;
	put_be(nonce + 4, seq, 8);
}

int udp_keys_seal(struct udp_keys *k, enum wire_dgram_type type, uint8_t class, uint8_t *buf,
		  size_t len, uint64_t *seq)
{
	uint64_t n = k->next[type][class];
	struct wire_dgram hdr = {
		.type = type, .class = class, .index = k->index, .low = (uint32_t)n
	};
	uint8_t nonce[SEAL_NONCE];

	if (n >= SPENT)
		return -1;
	wire_put_dgram(buf, &hdr);
	make_nonce(nonce, type, class, n);
	if (seal_ctx_seal(k->tx, nonce, buf, WIRE_DG_HDR, buf + WIRE_DG_HDR, len,
			  buf + WIRE_DG_HDR))
		return -1;
	k->next[type][class]++;
	k->sealed++;
	*seq = n;
	return 0;
}

/* The number with this low half that is nearest to `next`, one past the highest one seen. */
static uint64_t infer(uint64_t next, uint32_t low)
{
	uint64_t n = (next & ~(uint64_t)UINT32_MAX) | low;

	if (n > next && n - next > (uint64_t)1 << 31 && n >> 32)
		n -= (uint64_t)1 << 32;
	else if (n < next && next - n > (uint64_t)1 << 31)
		n += (uint64_t)1 << 32;
	return n;
}

static struct stream *stream_new(uint8_t class)
{
	static const uint32_t bits[WIRE_CLASSES] = { 8192, 8192, 16384, 32768 };
	struct stream *s = malloc(sizeof(*s) + WINDOW_WORDS(bits[class]) * sizeof(*s->words));

	if (s)
		window_init(&s->window, s->words, WINDOW_WORDS(bits[class]));
	return s;
}

static int open_in_place(struct udp_keys *k, const struct wire_dgram *hdr, uint8_t *data,
			 size_t len, uint64_t seq)
{
	uint8_t nonce[SEAL_NONCE], *box = data + WIRE_DG_HDR;

	make_nonce(nonce, hdr->type, hdr->class, seq);
	return seal_ctx_open(k->rx, nonce, data, WIRE_DG_HDR, box, len - WIRE_DG_HDR, box);
}

enum udp_keys_verdict udp_keys_open(struct udp_keys *k, const struct wire_dgram *hdr, uint8_t *data,
				    size_t len, uint64_t *seq)
{
	struct stream **s = &k->stream[hdr->type][hdr->class];
	enum window_verdict v;

	*seq = infer(*s ? (*s)->window.next : 0, hdr->low);
	v = *s ? window_check(&(*s)->window, *seq) : WINDOW_NEW;
	if (v == WINDOW_OLD)
		return UDP_KEYS_OLD;
	if (v == WINDOW_SEEN && k->copies++ % VERIFY)
		return UDP_KEYS_COPY;
	if (open_in_place(k, hdr, data, len, *seq))
		return UDP_KEYS_FORGED;
	if (v == WINDOW_SEEN)
		return UDP_KEYS_COPY;
	if (!*s && !(*s = stream_new(hdr->class)))
		return UDP_KEYS_OLD;
	window_mark(&(*s)->window, *seq);
	return UDP_KEYS_NEW;
}
