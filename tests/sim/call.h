/* SPDX-License-Identifier: BSD-2-Clause */
/* call: packets of the LAN that go through the tunnel to somebody who sends each back. See call.c.
 */
#ifndef SIM_CALL_H
#define SIM_CALL_H

#include <stdbool.h>
#include <stdint.h>

void call_begin(void); /* from now on, ten packets a second */
void call_mark(void);  /* from now on they are counted */
unsigned call_sent(void),
	call_back(void); /* since then; those that are on their way are among the first */

#endif
