/* SPDX-License-Identifier: BSD-2-Clause */
#define UDP_SEGMENT_OPTION 103

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "dgram.h"

#define BATCH_BYTES 60000

/* When packet `seq` is due. In batches of several: when the last of its batch would be. */
static uint64_t due_ns(const struct stream *s, uint64_t seq)
{
	return s->begun_ns + (s->head.pps ? seq * 1000000000u / s->head.pps : 0);
}

uint64_t stream_next_ns(const struct stream *s)
{
	return due_ns(s, s->head.seq);
}

/* Up to `n` packets as one super-packet. */
static void send_some(struct stream *s, int fd, uint32_t n)
{
	static uint8_t buffer[DGRAM_MAX];
	char control[CMSG_SPACE(sizeof(uint16_t))] = { 0 };
	struct iovec iov = { buffer, 0 };
	struct msghdr m = { .msg_name = s->to_len ? &s->to : NULL, .msg_namelen = s->to_len, .msg_iov = &iov, .msg_iovlen = 1 };
	uint16_t size = (uint16_t)s->head.size;

	s->head.sent_ns = dgram_now_ns();
	for (uint32_t i = 0; i < n; i++, s->head.seq++, iov.iov_len += size)
		dgram_fill(buffer + iov.iov_len, &s->head);
	if (n > 1) {
		struct cmsghdr *c = (struct cmsghdr *)control;

		m.msg_control = control;
		m.msg_controllen = sizeof(control);
		c->cmsg_level = IPPROTO_UDP;
		c->cmsg_type = UDP_SEGMENT_OPTION;
		c->cmsg_len = CMSG_LEN(sizeof(size));
		memcpy(CMSG_DATA(c), &size, sizeof(size));
	}
	while (sendmsg(fd, &m, 0) < 0) {
		if (errno == EINTR)
			continue;
		s->refused += n;
		if (errno != ECONNREFUSED && errno != ENOBUFS && errno != EAGAIN && errno != EHOSTUNREACH && errno != ENETUNREACH &&
		    errno != EMSGSIZE)
			dgram_die("send");
		return;
	}
}

bool stream_step(struct stream *s, int fd)
{
	uint32_t batch = s->head.batch ? s->head.batch : 1, left = s->head.count - s->head.seq;

	if (batch * s->head.size > BATCH_BYTES)
		batch = BATCH_BYTES / s->head.size;
	if (left && stream_next_ns(s) <= dgram_now_ns())
		send_some(s, fd, batch < left ? batch : left);
	return s->head.seq < s->head.count;
}
