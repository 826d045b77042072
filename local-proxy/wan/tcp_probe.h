/* SPDX-License-Identifier: BSD-2-Clause */
/* tcp_probe: is the VPS there by TCP on this link? A connection that is made and reset before a
 * byte was said. */
#ifndef PLAIT_TCP_PROBE_H
#define PLAIT_TCP_PROBE_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "addr.h"

struct tcp_probe;
/* There: a SYN was answered, be it by a refusal. Called once, from the loop, unless cancelled; the
 * probe is gone then. */
typedef void (*tcp_probe_cb)(void *arg, bool there);

struct tcp_probe *tcp_probe_new(struct event_base *base, const struct addr *from, const struct addr *to, uint32_t mark, tcp_probe_cb cb, void *arg);
void tcp_probe_cancel(struct tcp_probe *p); /* NULL is fine */

#endif
