/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * One TUN device without queues of its own: what is read is read once, what the kernel does not
 * take is lost. With IFF_VNET_HDR a virtio header stands before each packet, and TUNSETOFFLOAD
 * tells the kernel which super-packets we understand: sums left to us (CSUM), TCP (TSO) and, from
 * Linux 6.2 on, UDP (USO). Each is asked for, and less is asked for when it is refused.
 *
 * Reading: a packet that stands alone is told where it was read, its checksum completed. A
 * super-packet is cut (offload.h) into slots of their own, up to as many as the caller has room
 * for; the next tun_read goes on with the rest before it reads anew.
 *
 * Writing: datagrams of a UDP flow are collected, up to RUNS flows at a time, and written as one
 * super-packet each. Whatever cannot join its flow's run writes the run first, so within a flow the
 * order stays; between flows there is none to keep. A piece of a fragmented datagram belongs to a
 * flow that it does not name: it writes all runs first.
 *
 * The device goes when its descriptor is closed, and its routes and addresses with it, also when
 * the process is killed. It is made without a link-local IPv6 address (nobody here speaks over it),
 * and with the loose reverse path check: strict, as some distributions set it, would drop all that
 * comes in by a route of policy. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "counter.h"
#include "offload.h"
#include "sysctl.h"
#include "tun.h"
#include "without.h"

/* Debian 12's headers are older than the kernels plait runs on. */
#define TUN_USO (0x20 | 0x40) /* TUN_F_USO4, TUN_F_USO6: only together */
#define TUN_TSO (TUN_F_TSO4 | TUN_F_TSO6)

#define SUPER 65600 /* 65535 and IPv6's header on top */
#define SEGMENT 2048
#define SLOT (TUN_HEADROOM + SEGMENT + TUN_TAILROOM)
#define RUNS 8
#define QUEUE 1000

struct tun {
	int fd, index;
	char name[IFNAMSIZ];
	struct tun_caps caps;
	struct offload_split split;
	bool splitting; /* there may be more of it */
	struct offload_run run[RUNS];
	unsigned n_runs;
	uint8_t slot[TUN_PACKETS][SLOT];
	uint8_t super[TUN_HEADROOM + SUPER + TUN_TAILROOM];
};

/* --- birth and end --- */

static int interface_ioctl(const char *name, unsigned long request, struct ifreq *r)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), rc;

	if (fd < 0)
		return -1;
	memcpy(r->ifr_name, name, IFNAMSIZ);
	rc = ioctl(fd, request, r);
	close(fd);
	return rc;
}

int tun_set_mtu(struct tun *t, unsigned mtu)
{
	struct ifreq r = { .ifr_mtu = (int)mtu };

	return interface_ioctl(t->name, SIOCSIFMTU, &r) ? -errno : 0;
}

static void set_conf(const struct tun *t, const char *family, const char *what, long value)
{
	char path[96];

	snprintf(path, sizeof(path), "net/%s/conf/%s/%s", family, t->name, what);
	sysctl_write(path, value); /* it goes with the device */
}

static int bring_up(struct tun *t, unsigned mtu)
{
	struct ifreq r = { .ifr_qlen = QUEUE };

	set_conf(t, "ipv4", "rp_filter", 2);
	set_conf(t, "ipv6", "addr_gen_mode", 1);
	set_conf(t, "ipv6", "accept_ra", 0);
	interface_ioctl(t->name, SIOCSIFTXQLEN, &r);
	if (tun_set_mtu(t, mtu) || interface_ioctl(t->name, SIOCGIFINDEX, &r))
		return -1;
	t->index = r.ifr_ifindex;
	if (interface_ioctl(t->name, SIOCGIFFLAGS, &r))
		return -1;
	r.ifr_flags |= IFF_UP;
	return interface_ioctl(t->name, SIOCSIFFLAGS, &r);
}

static bool can_offload(const struct tun *t, unsigned what)
{
	return ioctl(t->fd, TUNSETOFFLOAD, (unsigned long)what) == 0;
}

static void tun_find_caps(struct tun *t)
{
	unsigned tso = without("tso") ? 0 : TUN_TSO;

	if (!t->caps.vnet_hdr)
		return;
	t->caps.uso = !without("uso") && can_offload(t, TUN_F_CSUM | tso | TUN_USO);
	t->caps.tso = tso && (t->caps.uso || can_offload(t, TUN_F_CSUM | tso));
	if (!t->caps.uso && !t->caps.tso)
		can_offload(t, TUN_F_CSUM);
}

static int tun_make(struct tun *t, const char *name, unsigned mtu)
{
	struct ifreq r = { .ifr_flags = IFF_TUN | IFF_NO_PI };
	int size = OFFLOAD_HDR;

	t->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (t->fd < 0) {
		errno = errno == ENODEV || errno == ENXIO ? ENOENT : errno;
		return -1;
	}
	snprintf(t->name, sizeof(t->name), "%s", name);
	memcpy(r.ifr_name, t->name, IFNAMSIZ);
	t->caps.vnet_hdr = !without("vnet");
	if (t->caps.vnet_hdr)
		r.ifr_flags |= IFF_VNET_HDR;
	if (ioctl(t->fd, TUNSETIFF, &r))
		return -1;
	memcpy(t->name, r.ifr_name, IFNAMSIZ);
	if (t->caps.vnet_hdr && ioctl(t->fd, TUNSETVNETHDRSZ, &size))
		return -1;
	tun_find_caps(t);
	return bring_up(t, mtu);
}

struct tun *tun_open(const char *name, unsigned mtu)
{
	struct tun *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	if (!tun_make(t, name, mtu))
		return t;
	tun_close(t);
	return NULL;
}

void tun_close(struct tun *t)
{
	int saved = errno;

	if (t && t->fd >= 0)
		close(t->fd);
	free(t);
	errno = saved;
}

int tun_fd(const struct tun *t)
{
	return t->fd;
}

int tun_index(const struct tun *t)
{
	return t->index;
}

const struct tun_caps *tun_caps(const struct tun *t)
{
	return &t->caps;
}

/* --- addresses --- */

static int address_call(const struct tun *t, const struct prefix *p, uint16_t type, uint16_t flags)
{
	char buf[256];
	struct nlmsghdr *msg = mnl_nlmsg_put_header(memset(buf, 0, sizeof(buf)));
	struct netlink *nl = netlink_open(NETLINK_ROUTE);
	struct addr a = { .port = 0 };
	struct ifaddrmsg *h;
	const uint8_t *ip;
	size_t len;
	int err;

	if (!nl)
		return -errno;
	memcpy(a.ip, p->ip, sizeof(a.ip));
	ip = addr_bytes(&a, &len);
	msg->nlmsg_type = type;
	msg->nlmsg_flags = flags;
	h = mnl_nlmsg_put_extra_header(msg, sizeof(*h));
	h->ifa_family = (uint8_t)addr_family(&a);
	h->ifa_prefixlen = (uint8_t)(len == 4 ? p->bits - 96 : p->bits);
	h->ifa_index = (unsigned)t->index;
	mnl_attr_put(msg, IFA_LOCAL, len, ip);
	mnl_attr_put(msg, IFA_ADDRESS, len, ip);
	mnl_attr_put_u32(msg, IFA_FLAGS, IFA_F_NODAD | IFA_F_NOPREFIXROUTE);
	err = netlink_call(nl, msg, NULL, NULL);
	netlink_close(nl);
	return err;
}

int tun_add_address(struct tun *t, const struct prefix *p)
{
	return address_call(t, p, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE);
}

int tun_del_address(struct tun *t, const struct prefix *p)
{
	return address_call(t, p, RTM_DELADDR, 0);
}

/* --- reading --- */

/* The packet's bytes, or -1; the virtio header, if there is one, in *how. */
static ssize_t read_one(struct tun *t, struct offload *how)
{
	uint8_t hdr[OFFLOAD_HDR] = { 0 };
	struct iovec iov[2] = { { hdr, t->caps.vnet_hdr ? sizeof(hdr) : 0 }, { t->super + TUN_HEADROOM, SUPER } };
	ssize_t len = readv(t->fd, iov, 2);

	if (len < (ssize_t)iov[0].iov_len)
		return -1;
	offload_get(how, hdr);
	return len - (ssize_t)iov[0].iov_len;
}

static unsigned next_segments(struct tun *t, struct tun_packet *out, unsigned max)
{
	unsigned n = 0;

	while (n < max && n < TUN_PACKETS) {
		uint8_t *to = t->slot[n] + TUN_HEADROOM;
		size_t len = offload_split_next(&t->split, to, SEGMENT);

		if (!len) {
			t->splitting = false;
			break;
		}
		out[n++] = (struct tun_packet){ .data = to, .len = len };
	}
	return n;
}

unsigned tun_read(struct tun *t, struct tun_packet *out, unsigned max)
{
	struct offload how;
	unsigned n = t->splitting ? next_segments(t, out, max) : 0;
	uint8_t *packet = t->super + TUN_HEADROOM;
	ssize_t len;

	while (!n) {
		len = read_one(t, &how);
		if (len < 0)
			return 0;
		if (how.kind == OFFLOAD_NONE && offload_complete(&how, packet, (size_t)len) == 0) {
			out[n++] = (struct tun_packet){ .data = packet, .len = (size_t)len };
		} else if (offload_split(&t->split, &how, packet, (size_t)len) == 0) {
			t->splitting = true;
			n = next_segments(t, out, max);
		} else {
			counters.tun_malformed++;
		}
	}
	return n;
}

/* --- writing --- */

static void count_write(ssize_t written)
{
	if (written < 0)
		counters.tun_refused++;
}

static void write_alone(struct tun *t, uint8_t *data, size_t len)
{
	size_t front = t->caps.vnet_hdr ? OFFLOAD_HDR : 0;

	memset(data - front, 0, front);
	count_write(write(t->fd, data - front, front + len));
}

static void run_write(struct tun *t, struct offload_run *r)
{
	struct iovec iov[OFFLOAD_RUN + 1];
	struct offload how;
	uint8_t *front = r->head - OFFLOAD_HDR;

	offload_run_end(r, &how);
	offload_put(front, &how, r->headers);
	iov[0] = (struct iovec){ front, (size_t)OFFLOAD_HDR + r->headers };
	for (unsigned i = 0; i < r->n; i++)
		iov[i + 1] = (struct iovec){ (void *)(uintptr_t)r->payload[i], r->len[i] };
	count_write(writev(t->fd, iov, (int)r->n + 1));
}

static void run_close(struct tun *t, unsigned i)
{
	run_write(t, &t->run[i]);
	t->n_runs--;
	memmove(&t->run[i], &t->run[i + 1], (t->n_runs - i) * sizeof(t->run[0]));
}

void tun_flush(struct tun *t)
{
	for (unsigned i = 0; i < t->n_runs; i++)
		run_write(t, &t->run[i]);
	t->n_runs = 0;
}

static bool is_fragment(const uint8_t *p, size_t len)
{
	if (len >= 20 && p[0] >> 4 == 4)
		return (p[6] & 0x3f) || p[7];
	return len >= 40 && p[0] >> 4 == 6 && p[6] == 44;
}

static void write_udp(struct tun *t, uint8_t *data, size_t len)
{
	for (unsigned i = 0; i < t->n_runs; i++) {
		if (!offload_same_flow(&t->run[i], data, len))
			continue;
		if (offload_run_add(&t->run[i], data, len))
			return;
		run_close(t, i);
		break;
	}
	if (t->n_runs == RUNS)
		run_close(t, 0);
	if (offload_run_start(&t->run[t->n_runs], data, len))
		t->n_runs++;
	else
		write_alone(t, data, len);
}

void tun_write(struct tun *t, uint8_t *data, size_t len)
{
	if (t->caps.uso && offload_is_udp(data, len)) {
		write_udp(t, data, len);
		return;
	}
	if (t->n_runs && is_fragment(data, len))
		tun_flush(t);
	write_alone(t, data, len);
}
