/* SPDX-License-Identifier: BSD-2-Clause */
/* box: what of a machine is neither a descriptor nor netlink: its firewall, settings, TUN device,
 * admin socket. See box.c. */
#ifndef SIM_BOX_H
#define SIM_BOX_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proc.h"

enum rules_state { RULES_OUT, RULES_IN, RULES_DRAINED };

void box_begin(void);
enum rules_state box_interception(enum host host); /* what the scripts have left there */
unsigned box_rules_left(enum host host);	   /* scripts whose rules are in, of any kind */
unsigned box_settings_left(enum host host);	   /* kernel settings that are not what they were */
void box_killed(enum host host);		   /* the guard sees it */
void box_stopping(void);			   /* SIGTERM has come to the one that runs */

/* As plait-local status, reload, link NAME ROLE ... The caller owns the answer; NULL: nobody
 * answers. */
json_t *box_ask(enum host host, const char *verb, const char *rest);

/* Packets that the kernel would send into the daemon's TUN device, and what comes out of it. False:
 * there is none. */
bool box_tun_send(enum host host, const uint8_t *packet, size_t len);
typedef void (*box_packet)(void *arg, enum host host, const uint8_t *packet, size_t len);
void box_on_packet(box_packet told, void *arg);

#endif
