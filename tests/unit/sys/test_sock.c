/* SPDX-License-Identifier: BSD-2-Clause */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "sock.h"

static int room(int fd)
{
	int n = 0;
	socklen_t len = sizeof(n);

	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &n, &len), 0);
	return n;
}

/* Full to the brim, which for a reader who is not slow can only be what came out of order. */
static void room_is_made_where_there_is_none(void **state)
{
	static char junk[1400];
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int fd[2], before;

	(void)state;
	if (geteuid())
		skip();
	fd[0] = socket(AF_INET, SOCK_DGRAM, 0);
	fd[1] = socket(AF_INET, SOCK_DGRAM, 0);
	assert_int_equal(bind(fd[1], (struct sockaddr *)&at, len), 0);
	assert_int_equal(getsockname(fd[1], (struct sockaddr *)&at, &len), 0);
	assert_int_equal(connect(fd[0], (struct sockaddr *)&at, len), 0);
	before = room(fd[1]);
	sock_make_room(fd[1]);
	assert_int_equal(room(fd[1]), before);
	assert_int_equal(setsockopt(fd[1], SOL_SOCKET, SO_RCVBUF, &(int){ 4096 }, sizeof(int)), 0);
	before = room(fd[1]);
	for (int i = 0; i < 20; i++)
		(void)!write(fd[0], junk, sizeof(junk));
	sock_make_room(fd[1]);
	assert_int_equal(room(fd[1]), 2 * before);
	close(fd[0]);
	close(fd[1]);
}

static int option(int fd, int level, int name)
{
	int n = -1;
	socklen_t len = sizeof(n);

	assert_int_equal(getsockopt(fd, level, name, &n, &len), 0);
	return n;
}

/* A gateway's connection tracking forgets what is half closed after a minute of silence, and what
 * is not tracked is not taken. */
static void a_half_closed_connection_is_not_silent_for_a_minute(void **state)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	(void)state;
	sock_keepalive(fd, SOCK_HALF_CLOSED_S);
	assert_int_equal(option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
	assert_int_equal(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 45);
	assert_int_equal(option(fd, IPPROTO_TCP, TCP_KEEPINTVL), 15); /* a lost one is made good before the minute is over */
	assert_int_equal(option(fd, IPPROTO_TCP, TCP_KEEPCNT), 4);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(room_is_made_where_there_is_none),
		cmocka_unit_test(a_half_closed_connection_is_not_silent_for_a_minute),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
