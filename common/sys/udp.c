/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * Sending: udp_send() only notes what is to be sent. udp_flush() cuts the notes into runs of the
 * same addresses, the same TOS and the same length (the last of a run may be shorter), makes one
 * message of each run and hands all messages to the kernel with one sendmmsg(). A run of several
 * datagrams carries UDP_SEGMENT: the kernel, or the network card, cuts it again, so the way down
 * through the kernel is paid once for up to 64 datagrams.
 *
 * A refusal costs what was refused and nothing else. A full socket buffer (EAGAIN) ends the flush,
 * because all that follows would be refused too; other errors concern one message. A run that is
 * refused is offered again datagram by datagram: if those are taken it was the run that this path
 * cannot do (a device without checksum offload says EIO), and runs are not tried again here. The
 * error of an ICMP message that came earlier is reported in place of a send: such a send is
 * repeated once.
 *
 * Receiving: one recvmmsg() fills up to 64 buffers. With UDP_GRO each may hold a run of datagrams
 * of one sender, which is told one by one, in place: the 16 bytes in front of each but the first
 * are the tail of the one before, which was told already. All of a batch stay where they are until
 * its last datagram was told.
 *
 * IP_PMTUDISC_PROBE sets DF and lets neither ICMP nor the kernel's memory of it decide what is too
 * long for a path. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "counter.h"
#include "udp.h"
#include "udp_cmsg.h"
#include "without.h"

#define RUN_BYTES 65000 /* of one message; with headers it must stay below 65536 */
#define BUFFER_BYTES (4 << 20) /* of the socket, each way: a burst at 1 Gbit/s and 30 ms */
#define HEADROOM 64
#define GRO_SLOTS 32
#define GRO_ROOM 65536
#define PLAIN_SLOTS UDP_BATCH
#define PLAIN_ROOM 2048

struct item {
	struct addr to, from;
	bool has_to, has_from;
	uint8_t tos;
	const void *data;
	size_t len;
};

struct run {
	size_t first, n;
};

struct udp {
	int fd, family;
	struct udp_caps caps;
	struct udp_count count;
	bool connected;
	struct addr here, peer; /* connected: both ends */

	struct item item[UDP_BATCH];
	size_t n_items;
	struct run run[UDP_BATCH];
	struct mmsghdr out[UDP_BATCH];
	struct iovec out_iov[UDP_BATCH];
	struct sockaddr_storage out_name[UDP_BATCH];
	_Alignas(struct cmsghdr) char out_control[UDP_BATCH][UDP_CMSG_ROOM];

	size_t slots, room; /* of each slot, headroom included */
	uint8_t *memory;
	struct mmsghdr in[UDP_BATCH];
	struct iovec in_iov[UDP_BATCH];
	struct sockaddr_storage in_name[UDP_BATCH];
	_Alignas(struct cmsghdr) char in_control[UDP_BATCH][UDP_CMSG_ROOM];
};

/* --- birth and end --- */

static int udp_set_int(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value));
}

static int udp_socket(int family)
{
	int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	if (udp_set_int(fd, SOL_SOCKET, SO_SNDBUFFORCE, BUFFER_BYTES))
		udp_set_int(fd, SOL_SOCKET, SO_SNDBUF, BUFFER_BYTES);
	if (udp_set_int(fd, SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES))
		udp_set_int(fd, SOL_SOCKET, SO_RCVBUF, BUFFER_BYTES);
	udp_set_int(fd, IPPROTO_IP, IP_MTU_DISCOVER,
		    IP_PMTUDISC_PROBE); /* on AF_INET6 for the IPv4 that it carries */
	if (family == AF_INET6) {
		udp_set_int(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
		udp_set_int(fd, IPPROTO_IPV6, IPV6_DONTFRAG, 1);
	}
	udp_cmsg_ask(fd, family);
	return fd;
}

static void udp_find_caps(struct udp *u)
{
	u->caps.mmsg = !without("mmsg");
	u->caps.gso = !without("gso") && udp_set_int(u->fd, IPPROTO_UDP, UDP_SEGMENT, 0) == 0;
	u->caps.gro = !without("gro") && udp_set_int(u->fd, IPPROTO_UDP, UDP_GRO, 1) == 0;
}

/* Owns fd, also on failure. */
static struct udp *udp_new(int fd, int family)
{
	struct udp *u = calloc(1, sizeof(*u));

	if (u) {
		u->fd = fd;
		u->family = family;
		udp_find_caps(u);
		u->slots = u->caps.gro ? GRO_SLOTS : PLAIN_SLOTS;
		u->room = HEADROOM + (u->caps.gro ? GRO_ROOM : PLAIN_ROOM);
		u->memory = malloc(u->slots * u->room);
	}
	if (u && u->memory)
		return u;
	free(u);
	close(fd);
	errno = ENOMEM;
	return NULL;
}

static int udp_bind_to(int fd, const struct addr *at, int family)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(at, family, &ss);

	return bind(fd, (struct sockaddr *)&ss, len);
}

static int connect_to(int fd, const struct addr *to, int family)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(to, family, &ss);

	return connect(fd, (struct sockaddr *)&ss, len);
}

static struct udp *fail(int fd)
{
	int saved = errno;

	if (fd >= 0)
		close(fd);
	errno = saved;
	return NULL;
}

struct udp *udp_connect(const struct addr *from, const struct addr *to, uint32_t mark)
{
	int family = addr_family(to), fd = udp_socket(family);
	struct sockaddr_storage here;
	socklen_t len = sizeof(here);
	struct udp *u;

	if (fd < 0 || (mark && udp_set_int(fd, SOL_SOCKET, SO_MARK, (int)mark)))
		return fail(fd);
	if ((from && !addr_is_any(from) && udp_bind_to(fd, from, family)) ||
	    connect_to(fd, to, family))
		return fail(fd);
	u = udp_new(fd, family);
	if (!u)
		return NULL;
	u->connected = true;
	u->peer = *to;
	if (!getsockname(fd, (struct sockaddr *)&here, &len))
		addr_from_sockaddr(&u->here, (struct sockaddr *)&here);
	u->here.port = 0;
	return u;
}

static struct udp *bind_as(const struct addr *at, uint32_t mark)
{
	int family = addr_family(at), fd = udp_socket(family);

	if (fd < 0)
		return NULL;
	if (family == AF_INET6)
		udp_set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, !addr_is_any(at));
	if ((mark && udp_set_int(fd, SOL_SOCKET, SO_MARK, (int)mark)) ||
	    udp_bind_to(fd, at, family))
		return fail(fd);
	return udp_new(fd, family);
}

/* :: is for both families; where IPv6 is off, 0.0.0.0 stands in for it. */
struct udp *udp_bind(const struct addr *at, uint32_t mark)
{
	static const uint8_t any[4];
	struct udp *u = bind_as(at, mark);
	struct addr real;

	if (u || addr_is_v4(at) || !addr_is_any(at) || (errno != EAFNOSUPPORT && errno != EADDRNOTAVAIL))
		return u;
	addr_from_bytes(&real, any, sizeof(any), at->port);
	return bind_as(&real, mark);
}

void udp_close(struct udp *u)
{
	if (!u)
		return;
	close(u->fd);
	free(u->memory);
	free(u);
}

int udp_fd(const struct udp *u)
{
	return u->fd;
}

const struct udp_caps *udp_caps(const struct udp *u)
{
	return &u->caps;
}

const struct udp_count *udp_count(const struct udp *u)
{
	return &u->count;
}

/* --- sending --- */

void udp_send_from(struct udp *u, const struct addr *from, const struct addr *to, uint8_t tos, const void *data, size_t len)
{
	struct item *i;

	if (u->n_items == UDP_BATCH)
		udp_flush(u);
	i = &u->item[u->n_items++];
	*i = (struct item){ .tos = tos, .data = data, .len = len, .has_to = to != NULL, .has_from = from != NULL };
	if (to)
		i->to = *to;
	if (from)
		i->from = *from;
}

void udp_send(struct udp *u, const struct addr *to, uint8_t tos, const void *data, size_t len)
{
	udp_send_from(u, NULL, to, tos, data, len);
}

static bool same_way(const struct item *a, const struct item *b)
{
	return a->tos == b->tos && a->has_to == b->has_to && a->has_from == b->has_from &&
	       (!a->has_to || addr_equal(&a->to, &b->to)) && (!a->has_from || addr_same_ip(&a->from, &b->from));
}

/* How many items from `first` on make one message. */
static size_t run_length(const struct udp *u, size_t first)
{
	const struct item *head = &u->item[first];
	size_t n = 1, bytes = head->len;

	while (u->caps.gso && head->len && first + n < u->n_items) {
		const struct item *next = &u->item[first + n];

		if (!next->len || next->len > head->len || bytes + next->len > RUN_BYTES || !same_way(head, next))
			break;
		bytes += next->len;
		n++;
		if (next->len < head->len)
			break;
	}
	return n;
}

/* Message number m of the flush is items first .. first + n - 1, whose iovecs have the same
 * numbers. */
static void make_message(struct udp *u, size_t m, size_t first, size_t n)
{
	const struct item *head = &u->item[first];
	struct msghdr *msg = &u->out[m].msg_hdr;
	struct udp_cmsg_out say = { .tos = head->tos, .from = head->has_from ? &head->from : NULL,
				    .segment = n > 1 ? (uint16_t)head->len : 0 };

	memset(msg, 0, sizeof(*msg));
	say.v4 = u->family == AF_INET || addr_is_v4(head->has_to ? &head->to : &u->peer);
	if (head->has_to) {
		msg->msg_name = &u->out_name[m];
		msg->msg_namelen = addr_to_sockaddr(&head->to, u->family, &u->out_name[m]);
	}
	for (size_t i = first; i < first + n; i++)
		u->out_iov[i] = (struct iovec){ .iov_base = (void *)(uintptr_t)u->item[i].data, .iov_len = u->item[i].len };
	msg->msg_iov = &u->out_iov[first];
	msg->msg_iovlen = n;
	msg->msg_control = u->out_control[m];
	udp_cmsg_put(msg, &say);
	u->run[m] = (struct run){ first, n };
}

static size_t make_messages(struct udp *u)
{
	size_t m = 0;

	for (size_t first = 0; first < u->n_items; m++) {
		size_t n = run_length(u, first);

		make_message(u, m, first, n);
		first += n;
	}
	return m;
}

/* Messages taken by the kernel, at least one; or -1. */
static int offer(struct udp *u, size_t m, size_t n)
{
	if (u->caps.mmsg)
		return sendmmsg(u->fd, &u->out[m], (unsigned)n, MSG_DONTWAIT | MSG_NOSIGNAL);
	return sendmsg(u->fd, &u->out[m].msg_hdr, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -1 : 1;
}

static void udp_refuse(struct udp *u, size_t n)
{
	u->count.refused += n;
	counters.udp_refused += n;
}

static bool udp_is_full(int err)
{
	return err == EAGAIN || err == EWOULDBLOCK || err == ENOBUFS || err == ENOMEM;
}

/* What an ICMP message said of an earlier datagram. */
static bool is_stale(const struct udp *u, int err)
{
	return u->connected && (err == ECONNREFUSED || err == EHOSTUNREACH || err == ENETUNREACH || err == EPROTO ||
				err == ENOPROTOOPT || err == EACCES);
}

/* The datagrams of a refused run one by one. Message m is overwritten. Returns the last error. */
static int send_singly(struct udp *u, size_t m, int why)
{
	struct run run = u->run[m];
	size_t taken = 0;
	int err = 0;

	for (size_t i = run.first; i < run.first + run.n; i++) {
		make_message(u, m, i, 1);
		if (sendmsg(u->fd, &u->out[m].msg_hdr, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
			taken++;
		} else {
			err = errno;
			udp_refuse(u, 1);
		}
	}
	u->count.sent += taken;
	if (taken == run.n && (why == EIO || why == EINVAL || why == EOPNOTSUPP))
		u->caps.gso = false;
	return err;
}

static size_t items_in(const struct udp *u, size_t m, size_t n)
{
	size_t sum = 0;

	for (size_t i = m; i < m + n; i++)
		sum += u->run[i].n;
	return sum;
}

int udp_flush(struct udp *u)
{
	size_t n = make_messages(u), m = 0, again = n;
	int err = 0, taken;

	while (m < n) {
		taken = offer(u, m, n - m);
		if (taken > 0) {
			u->count.sent += items_in(u, m, (size_t)taken);
			m += (size_t)taken;
			continue;
		}
		if (again != m && is_stale(u, errno)) {
			again = m;
			continue;
		}
		err = errno;
		if (udp_is_full(err)) {
			udp_refuse(u, items_in(u, m, n - m));
			break;
		}
		if (u->run[m].n > 1)
			err = send_singly(u, m, err);
		else
			udp_refuse(u, 1);
		m++;
	}
	u->n_items = 0;
	return err;
}

/* --- receiving --- */

static void offer_slots(struct udp *u)
{
	for (size_t i = 0; i < u->slots; i++) {
		u->in_iov[i] = (struct iovec){ .iov_base = u->memory + i * u->room + HEADROOM, .iov_len = u->room - HEADROOM };
		u->in[i].msg_hdr = (struct msghdr){ .msg_name = &u->in_name[i], .msg_namelen = sizeof(u->in_name[i]),
						    .msg_iov = &u->in_iov[i], .msg_iovlen = 1,
						    .msg_control = u->in_control[i], .msg_controllen = UDP_CMSG_ROOM };
	}
}

/* Slots filled, or -1. */
static int fill(struct udp *u)
{
	ssize_t len;

	offer_slots(u);
	if (u->caps.mmsg)
		return recvmmsg(u->fd, u->in, (unsigned)u->slots, MSG_DONTWAIT, NULL);
	len = recvmsg(u->fd, &u->in[0].msg_hdr, MSG_DONTWAIT);
	if (len < 0)
		return -1;
	u->in[0].msg_len = (unsigned)len;
	return 1;
}

/* Tells the datagrams of one slot; `last`: no slot follows. */
static unsigned udp_tell(struct udp *u, size_t slot, bool last, udp_cb cb, void *arg)
{
	struct msghdr *msg = &u->in[slot].msg_hdr;
	struct udp_got got = { .data = u->in_iov[slot].iov_base };
	size_t left = u->in[slot].msg_len, segment;
	struct udp_cmsg_in in;
	unsigned n = 0;

	udp_cmsg_get(&in, msg);
	if (addr_from_sockaddr(&got.from, msg->msg_name))
		return 0;
	got.to = in.has_to ? in.to : u->here;
	got.tos = in.tos;
	segment = in.segment && in.segment < left ? in.segment : left;
	do {
		got.len = left < segment ? left : segment;
		left -= got.len;
		got.more = left || !last;
		cb(arg, &got);
		got.data += got.len;
		n++;
	} while (left);
	return n;
}

unsigned udp_receive(struct udp *u, udp_cb cb, void *arg)
{
	unsigned total = 0;
	int n, err = 0;

	for (int round = 0; round < UDP_ROUNDS; round++) {
		n = fill(u);
		if (n < 0) {
			err = errno;
			if (err == EAGAIN || err == EWOULDBLOCK || err == EBADF)
				break;
			continue; /* an ICMP message's: it is off now, and datagrams may wait behind it */
		}
		for (int i = 0; i < n; i++)
			total += udp_tell(u, (size_t)i, i == n - 1, cb, arg);
		if (u->caps.mmsg && (size_t)n < u->slots)
			break;
	}
	u->count.received += total;
	errno = err;
	return total;
}
