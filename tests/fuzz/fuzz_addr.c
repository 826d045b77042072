/* SPDX-License-Identifier: BSD-2-Clause */
/* Text of addresses and networks: what parses prints as something that parses to the same. */
#include "addr.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), buf[ADDR_STRLEN];
	struct sockaddr_storage ss;
	struct prefix p, q;
	struct addr a, b;

	memcpy(text, data, size);
	text[size] = '\0';
	if (addr_parse(&a, text, 7) == 0) {
		MUST(addr_parse(&b, addr_print(&a, buf), 0) == 0 && addr_equal(&a, &b));
		MUST(addr_to_sockaddr(&a, AF_INET6, &ss) > 0);
		MUST(addr_from_sockaddr(&b, (struct sockaddr *)&ss) == 0 && addr_equal(&a, &b));
	}
	if (prefix_parse(&p, text) == 0) {
		MUST(prefix_parse(&q, prefix_print(&p, buf)) == 0);
		MUST(memcmp(p.ip, q.ip, 16) == 0 && p.bits == q.bits);
	}
	free(text);
	return 0;
}
