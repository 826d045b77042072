/* SPDX-License-Identifier: BSD-2-Clause */
/* A TUN device in a network namespace of the test's own: what goes in comes out, whole and in
 * order, with each of the kernel's offloads and without. Without root it says that it skips. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "tun.h"

#define PACKETS 100

static const char *const ways[] = { "", "uso", "tso", "uso,tso", "vnet" };

static struct tun *open_or_skip(const char *less)
{
	struct tun *t = NULL;
	struct prefix p4, p6;

	if (geteuid() == 0 && unshare(CLONE_NEWNET) == 0) {
		setenv("PLAIT_WITHOUT", less, 1);
		t = tun_open("test0", 1400);
		unsetenv("PLAIT_WITHOUT");
	}
	if (!t) {
		print_message("skipped: needs root for a network namespace, and a kernel with TUN\n");
		skip();
	}
	assert_int_equal(prefix_parse(&p4, "10.78.0.1/32"), 0);
	assert_int_equal(prefix_parse(&p6, "fd78::1/128"), 0);
	assert_int_equal(tun_add_address(t, &p4), 0);
	assert_int_equal(tun_add_address(t, &p6), 0);
	assert_int_equal(tun_add_address(t, &p4), 0); /* twice is once */
	assert_int_equal(system("ip link set lo up && ip route add default dev test0 && ip -6 route add default dev test0"), 0);
	return t;
}

static int sender(bool v6, uint16_t segment)
{
	int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM, 0), n = segment;
	struct sockaddr_in6 to6 = { .sin6_family = AF_INET6, .sin6_port = htons(53) };
	struct sockaddr_in to4 = { .sin_family = AF_INET, .sin_port = htons(53) };

	inet_pton(AF_INET, "11.9.0.2", &to4.sin_addr);
	inet_pton(AF_INET6, "2a11::2", &to6.sin6_addr);
	assert_int_equal(connect(fd, v6 ? (void *)&to6 : (void *)&to4, v6 ? sizeof(to6) : sizeof(to4)), 0);
	if (segment)
		assert_int_equal(setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &n, sizeof(n)), 0);
	return fd;
}

static uint32_t sum(const uint8_t *p, size_t len, uint32_t s)
{
	for (size_t i = 0; i < len; i++)
		s += i % 2 ? p[i] : (uint32_t)p[i] << 8;
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return s;
}

static void check_udp(const struct tun_packet *p, size_t payload)
{
	size_t ip = p->data[0] >> 4 == 6 ? 40 : 20, upper = payload + 8;
	size_t from = ip == 40 ? 8 : 12;

	assert_int_equal(p->len, ip + upper);
	assert_int_equal(sum(p->data + ip, upper, sum(p->data + from, ip - from, (uint32_t)(17 + upper))), 0xffff);
	memset(p->data - 16, 0xee, 16);
	memset(p->data + p->len, 0xee, 16);
}

/* A super-packet of the host's own, and single ones. The number of system calls that it took. */
static unsigned send_and_read(struct tun *t, bool v6, unsigned ask)
{
	static uint8_t data[50 * 1000];
	struct tun_packet out[TUN_PACKETS];
	unsigned n, seen = 0, calls = 0;
	int fd = sender(v6, 1000), plain = sender(v6, 0);

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i / 1000);
	assert_int_equal(send(fd, data, sizeof(data), 0), sizeof(data));
	assert_int_equal(send(plain, data, 77, 0), 77);
	while ((n = tun_read(t, out, ask))) {
		assert_true(n <= ask);
		calls++;
		for (unsigned i = 0; i < n; i++, seen++) {
			check_udp(&out[i], seen < 50 ? 1000 : 77);
			assert_int_equal(out[i].data[out[i].len - 1], seen < 50 ? seen : 0);
		}
	}
	assert_int_equal(seen, 51);
	close(fd);
	close(plain);
	return calls;
}

static void test_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		struct tun *t = open_or_skip(ways[i]);

		for (int v6 = 0; v6 < 2; v6++) {
			unsigned calls = send_and_read(t, v6, TUN_PACKETS);

			assert_int_equal(calls, tun_caps(t)->uso ? 2 : 51);
			send_and_read(t, v6, 7);
		}
		tun_close(t);
	}
}

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* A datagram from outside to us, to port 5000 + flow. */
static size_t make(uint8_t *p, bool v6, unsigned flow, size_t payload, uint8_t fill)
{
	size_t ip = v6 ? 40 : 20, upper = 8 + payload, from = v6 ? 8 : 12;

	memset(p, fill, ip + upper);
	memset(p, 0, ip + 8);
	p[0] = v6 ? 0x60 : 0x45;
	if (v6) {
		put16(p + 4, (uint32_t)upper);
		p[6] = 17;
		p[7] = 60;
		inet_pton(AF_INET6, "2a11::2", p + 8);
		inet_pton(AF_INET6, "fd78::1", p + 24);
	} else {
		put16(p + 2, (uint32_t)(ip + upper));
		p[6] = 0x40;
		p[8] = 60;
		p[9] = 17;
		inet_pton(AF_INET, "11.9.0.2", p + 12);
		inet_pton(AF_INET, "10.78.0.1", p + 16);
		put16(p + 10, ~sum(p, 20, 0));
	}
	put16(p + ip, 53);
	put16(p + ip + 2, 5000 + flow);
	put16(p + ip + 4, (uint32_t)upper);
	put16(p + ip + 6, ~sum(p + ip, upper, sum(p + from, ip - from, (uint32_t)(17 + upper))));
	return ip + upper;
}

static int receiver(bool v6, unsigned flow)
{
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK, 0), much = 1 << 20;
	struct sockaddr_in6 at = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)(5000 + flow)) };

	(void)v6;
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &much, sizeof(much));
	assert_int_equal(bind(fd, (void *)&at, sizeof(at)), 0);
	return fd;
}

/* Three flows mixed, of packets short and long: each arrives in its order; one with a wrong
 * checksum does not. */
static void write_and_receive(struct tun *t, bool v6)
{
	static uint8_t packet[PACKETS][16 + 1400];
	uint8_t got[2000];
	unsigned want[3] = { 0 };
	int fd[3];

	for (unsigned f = 0; f < 3; f++)
		fd[f] = receiver(v6, f);
	for (unsigned i = 0; i < PACKETS; i++) {
		size_t len = make(packet[i] + 16, v6, i % 3, i % 20 == 19 ? 50 : 1000, (uint8_t)i);

		packet[i][16 + len - 1] ^= i == 60; /* is lost alone, not repaired */
		tun_write(t, packet[i] + 16, len);
	}
	tun_flush(t);
	for (unsigned i = 0; i < PACKETS; i++) {
		if (i == 60)
			continue;
		assert_int_equal(recv(fd[i % 3], got, sizeof(got), 0), i % 20 == 19 ? 50 : 1000);
		assert_int_equal(got[0], i);
		want[i % 3]++;
	}
	for (unsigned f = 0; f < 3; f++) {
		assert_int_equal(recv(fd[f], got, sizeof(got), 0), -1);
		close(fd[f]);
	}
	assert_int_equal(want[0] + want[1] + want[2], PACKETS - 1);
}

static void test_write(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		struct tun *t = open_or_skip(ways[i]);

		write_and_receive(t, false);
		write_and_receive(t, true);
		tun_close(t);
	}
}

static void test_device(void **state)
{
	struct tun *t = open_or_skip(""), *second;
	struct prefix p4;

	(void)state;
	assert_true(tun_caps(t)->vnet_hdr);
	assert_int_equal(if_nametoindex("test0"), tun_index(t));
	assert_int_equal(tun_set_mtu(t, 1280), 0);
	assert_int_equal(system("ip link show test0 | grep -q 'mtu 1280'"), 0);
	assert_int_equal(system("test -z \"$(ip -6 addr show dev test0 scope link)\""), 0);
	second = tun_open("test0", 1400); /* somebody else's */
	assert_null(second);
	assert_int_equal(errno, EBUSY);
	assert_int_equal(prefix_parse(&p4, "10.78.0.1/32"), 0);
	assert_int_equal(tun_del_address(t, &p4), 0);
	assert_int_equal(system("ip -4 addr show dev test0 | grep -q 10.78"), 256);
	tun_close(t);
	assert_int_equal(if_nametoindex("test0"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_write),
		cmocka_unit_test(test_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
