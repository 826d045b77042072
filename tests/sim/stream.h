/* SPDX-License-Identifier: BSD-2-Clause */
/* stream: TCP and Multipath TCP of the simulated world. See stream.c. */
#ifndef SIM_STREAM_H
#define SIM_STREAM_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proc.h"

struct stream; /* one end of a connection */

/* For fd.c: a socket of the daemon that runs. */
int stream_socket(int protocol);

/* For the devices and servers outside: `event` comes when something may be different. Dials from
 * `from` to `to` over a line; to arrive at another place than it wants to go (interception) `at`
 * names that. */
typedef void (*stream_event)(void *arg);
struct stream *stream_dial(int line, enum host at_host, const struct sockaddr_in *from,
			   const struct sockaddr_in *to, uint16_t at_port, stream_event event,
			   void *arg);
/* A server outside, which takes up to slow_us to answer a SYN: `accept` owns what arrives, and says
 * who is told of its events. */
typedef void (*stream_accept)(void *arg, struct stream *s);
void stream_serve(const struct sockaddr_in *at, uint64_t slow_us, stream_accept accept, void *arg);
void stream_on_event(struct stream *s, stream_event event, void *arg);

bool stream_connected(const struct stream *s);
int stream_error(const struct stream *s); /* errno that it died of; 0 */
/* As the system calls: bytes, 0 at EOF, or a negative errno (-EAGAIN). */
ssize_t stream_read(struct stream *s, void *buf, size_t len);
ssize_t stream_write(struct stream *s, const void *buf, size_t len);
void stream_shut(struct stream *s);
void stream_close(struct stream *s, bool reset);
bool stream_told_fin(const struct stream *s); /* its EOF has arrived at the other end */

/* MPTCP's endpoints of the gateway changed: the line has one (a backup), or none any more. */
void streams_endpoint(int line, bool there, bool backup);
void streams_line_changed(int line); /* it was unplugged, or has another address */

void streams_begin(void);
void streams_end(void);
unsigned streams_open(enum host host);

#endif
