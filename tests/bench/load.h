/* SPDX-License-Identifier: BSD-2-Clause */
/* load: what loadgen's server and clients share. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define LOAD_BUFFER (256 * 1024)
#define LOAD_EVENTS 256

extern char load_buffer[LOAD_BUFFER];

uint64_t load_now_ns(void);
int load_die(const char *what);

/* A listening socket of both families; protocol is socket()'s. */
int load_listen(uint16_t port, int protocol);

/* Never returns: serves port until killed. */
int load_serve(uint16_t port);

/* Never returns: relays until killed. a: PORT HOST PORT near|far. */
int load_relay(char **a);

#endif
