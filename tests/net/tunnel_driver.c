/* SPDX-License-Identifier: BSD-2-Clause */
/* tunnel_driver: one end of a tunnel alone in a loop, with keys that everybody knows: for
 * measurements and tests of the engine, without daemons, sessions and rules around it.
 *
 *   tunnel_driver local DEVICE ADDRESS... to HOST:PORT from LINE-ADDRESS...  [OPTION=VALUE...]
 *   tunnel_driver remote DEVICE ADDRESS... at HOST:PORT                      [OPTION=VALUE...]
 *
 * ADDRESS is of the TUN device, with its network ("10.99.0.1/24"); routes are the caller's.
 * Options: redundancy=always|never, fec=auto, deadline=MS, aggregate=1, dscp=class|zero, clients=N
 * (that many local ends, all but the first idle, or the remote's ends for them). A line "status" on
 * stdin is answered by one line of JSON; the end of stdin ends it. */
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "tun.h"
#include "tunnel.h"

#define CLIENTS 256

struct driver;

struct end { /* one association and its tunnel */
	struct driver *d;
	struct tunnel *tunnel;
	struct udp *udp[ASSOC_PATHS]; /* the local's */
	struct event *readable[ASSOC_PATHS];
	unsigned n;
};

struct driver {
	struct event_base *base;
	struct seal *seal;
	struct tun *tun;
	struct udp *udp; /* the remote's */
	enum assoc_side side;
	struct tunnel_config how;
	struct end end[CLIENTS];
	unsigned n;
	char *address[8], *from[ASSOC_PATHS], *at;
	unsigned n_addresses, n_from;
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void on_deliver(void *arg, uint8_t *packet, size_t len)
{
	tun_write(((struct end *)arg)->d->tun, packet, len);
}

static void on_flush(void *arg)
{
	tun_flush(((struct end *)arg)->d->tun);
}

static void on_mtu(void *arg, unsigned mtu)
{
	struct end *e = arg;

	if (e == e->d->end)
		tun_set_mtu(e->d->tun, mtu);
}

static void on_tun(evutil_socket_t fd, short what, void *arg)
{
	struct driver *d = arg;
	struct tun_packet p[TUN_PACKETS];

	(void)fd, (void)what;
	for (unsigned round = 0; round < 8; round++) {
		unsigned n = tun_read(d->tun, p, TUN_PACKETS);

		for (unsigned i = 0; i < n; i++)
			tunnel_send(d->end[0].tunnel, p[i].data, p[i].len);
		if (!n)
			break;
	}
	tunnel_send_end(d->end[0].tunnel);
}

struct reading {
	struct driver *d;
	struct end *e; /* NULL: by the index */
	struct udp *udp;
};

static void on_got(void *arg, const struct udp_got *got)
{
	struct reading *r = arg;
	struct wire_dgram h;
	struct end *e = r->e;

	if (!e && wire_get_dgram(&h, got->data, got->len) >= 0 && h.index < r->d->n)
		e = &r->d->end[h.index];
	if (e)
		assoc_input(tunnel_assoc(e->tunnel), r->udp, got);
	for (unsigned i = 0; !got->more && i < r->d->n; i++)
		assoc_batch_end(tunnel_assoc(r->d->end[i].tunnel));
}

static void on_udp(evutil_socket_t fd, short what, void *arg)
{
	struct end *e = arg;

	(void)what;
	for (unsigned i = 0; i < e->n; i++)
		if (udp_fd(e->udp[i]) == fd)
			udp_receive(e->udp[i], on_got, &(struct reading){ e->d, e, e->udp[i] });
}

static void on_port(evutil_socket_t fd, short what, void *arg)
{
	struct driver *d = arg;

	(void)fd, (void)what;
	udp_receive(d->udp, on_got, &(struct reading){ d, NULL, d->udp });
}

static void on_stdin(evutil_socket_t fd, short what, void *arg)
{
	struct driver *d = arg;
	char line[64];
	json_t *j;
	char *text;

	(void)what;
	if (read(fd, line, sizeof(line)) <= 0) {
		event_base_loopbreak(d->base);
		return;
	}
	j = tunnel_status(d->end[0].tunnel);
	text = json_dumps(j, JSON_COMPACT);
	puts(text);
	fflush(stdout);
	free(text);
	json_decref(j);
}

static void line_add(struct end *e, const struct addr *to, const char *from)
{
	struct assoc_path p = { .use = WIRE_USE_FULL, .keepalive_s = 20, .to = *to };
	struct addr a;
	unsigned i = e->n++;

	if (addr_parse(&a, from, 0) < 0 || !(e->udp[i] = udp_connect(&a, to, 0)))
		die(from);
	e->readable[i] = event_new(e->d->base, udp_fd(e->udp[i]), EV_READ | EV_PERSIST, on_udp, e);
	event_add(e->readable[i], NULL);
	p.udp = e->udp[i];
	p.from = a;
	assoc_set_path(tunnel_assoc(e->tunnel), i, &p);
}

static void end_begin(struct driver *d, unsigned i)
{
	static const struct tunnel_ops ops = { .deliver = on_deliver, .flush = on_flush, .mtu = on_mtu };
	uint8_t sid[WIRE_SID] = { 1 }, exported[32] = { 2, (uint8_t)i, (uint8_t)(i >> 8) };
	struct end *e = &d->end[i];
	struct session *s = session_new(sid, SEAL_AES256_GCM, exported);
	struct addr to;

	e->d = d;
	e->tunnel = tunnel_new(d->base, d->seal, d->side, &d->how, &ops, e);
	if (!s || !e->tunnel)
		die("memory");
	assoc_rekey(tunnel_assoc(e->tunnel), s, i);
	session_put(s);
	if (d->side == ASSOC_LOCAL && addr_parse(&to, d->at, 7300) < 0)
		die(d->at);
	for (unsigned k = 0; k < d->n_from; k++)
		line_add(e, &to, d->from[k]);
}

static int option(struct driver *d, const char *text)
{
	const char *value = strchr(text, '=');

	if (!value++)
		return -1;
	if (!strncmp(text, "redundancy", 10))
		d->how.redundancy = !strcmp(value, "always") ? TUNNEL_ALWAYS : !strcmp(value, "never") ? TUNNEL_NEVER : TUNNEL_AUTO;
	else if (!strncmp(text, "fec", 3))
		d->how.fec = !strcmp(value, "auto") ? TUNNEL_FEC_AUTO : TUNNEL_FEC_OFF;
	else if (!strncmp(text, "dscp", 4))
		d->how.dscp = !strcmp(value, "class") ? TUNNEL_DSCP_CLASS : !strcmp(value, "zero") ? TUNNEL_DSCP_ZERO : TUNNEL_DSCP_COPY;
	else if (!strncmp(text, "deadline", 8))
		d->how.deadline_ms = (uint32_t)atoi(value);
	else if (!strncmp(text, "aggregate", 9))
		d->how.aggregate = *value == '1';
	else if (!strncmp(text, "clients", 7))
		d->n = (unsigned)atoi(value);
	else
		return -1;
	return 0;
}

static void parse(struct driver *d, char **argv)
{
	char **list = d->address;
	unsigned *n = &d->n_addresses;

	for (; *argv; argv++) {
		if (!strcmp(*argv, "to") || !strcmp(*argv, "at"))
			d->at = *++argv;
		else if (!strcmp(*argv, "from"))
			list = d->from, n = &d->n_from;
		else if (option(d, *argv) < 0 && *n < 8)
			list[(*n)++] = *argv;
		if (!*argv)
			break;
	}
}

static void begin(struct driver *d, const char *device)
{
	struct prefix p;
	struct addr at;

	d->tun = tun_open(device, 1280);
	if (!d->tun)
		die(device);
	for (unsigned i = 0; i < d->n_addresses; i++)
		if (prefix_parse(&p, d->address[i]) < 0 || tun_add_address(d->tun, &p) < 0)
			die(d->address[i]);
	if (d->side == ASSOC_REMOTE && (addr_parse(&at, d->at, 7300) < 0 || !(d->udp = udp_bind(&at, 0))))
		die(d->at);
	for (unsigned i = 0; i < d->n; i++)
		end_begin(d, i);
}

static void finish(struct driver *d)
{
	for (unsigned i = 0; i < d->n; i++) {
		tunnel_free(d->end[i].tunnel);
		for (unsigned k = 0; k < d->end[i].n; k++) {
			event_free(d->end[i].readable[k]);
			udp_close(d->end[i].udp[k]);
		}
	}
	udp_close(d->udp);
	tun_close(d->tun);
	seal_free(d->seal);
}

int main(int argc, char **argv)
{
	static struct driver d = { .n = 1, .how = { .deadline_ms = 150 } };
	struct event *tun, *port = NULL, *in;

	if (argc < 4 || (strcmp(argv[1], "local") && strcmp(argv[1], "remote")))
		return 2;
	d.side = strcmp(argv[1], "local") ? ASSOC_REMOTE : ASSOC_LOCAL;
	parse(&d, argv + 3);
	if (!d.at || !d.n || d.n > CLIENTS)
		return 2;
	log_level = LOG_LVL_DEBUG;
	d.base = event_base_new();
	d.seal = seal_new();
	begin(&d, argv[2]);
	tun = event_new(d.base, tun_fd(d.tun), EV_READ | EV_PERSIST, on_tun, &d);
	in = event_new(d.base, STDIN_FILENO, EV_READ | EV_PERSIST, on_stdin, &d);
	event_add(tun, NULL);
	event_add(in, NULL);
	if (d.udp) {
		port = event_new(d.base, udp_fd(d.udp), EV_READ | EV_PERSIST, on_port, &d);
		event_add(port, NULL);
	}
	puts("ready");
	fflush(stdout);
	event_base_dispatch(d.base);
	event_free(tun);
	event_free(in);
	if (port)
		event_free(port);
	finish(&d);
	event_base_free(d.base);
	return 0;
}
