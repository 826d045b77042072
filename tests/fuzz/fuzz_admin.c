/* SPDX-License-Identifier: BSD-2-Clause */
/* The admin socket: requests in any pieces from clients who leave when they like; and any JSON as
 * the answer that is printed for people. */
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "admin.h"
#include "fuzz.h"
#include "log.h"

static char dir[] = "/tmp/plait-fuzz-XXXXXX";
static struct sockaddr_un at = { .sun_family = AF_UNIX };
static struct event_base *base;
static struct admin *admin;
static FILE *nowhere;

static json_t *status(void *arg)
{
	(void)arg;
	return json_pack("{s:s, s:o}", "state", "fine", "counters", admin_counters());
}

static json_t *answer(void *arg, const char *rest)
{
	(void)arg;
	MUST(strlen(rest) < 64 && !strchr(rest, '\n'));
	return *rest ? json_pack("{s:i}", "length", (int)strlen(rest)) : NULL;
}

static void end(void)
{
	admin_free(admin);
	event_base_free(base);
	rmdir(dir);
}

static void begin(void)
{
	char err[ADMIN_ERR];

	log_level = LOG_LVL_ERROR;
	nowhere = fopen("/dev/null", "we");
	MUST(mkdtemp(dir) && nowhere);
	snprintf(at.sun_path, sizeof(at.sun_path), "%s/sock", dir);
	base = event_base_new();
	admin = admin_new(base, at.sun_path, status, NULL, err, sizeof(err));
	MUST(admin);
	admin_on(admin, "link", answer, NULL);
	admin_on(admin, "why", answer, NULL);
	atexit(end);
}

/* Nothing, or one whole document. */
static void reply(int fd)
{
	static char buf[65536];
	size_t got = 0;
	ssize_t n;

	while ((n = recv(fd, buf + got, sizeof(buf) - got, MSG_DONTWAIT)) > 0)
		got += (size_t)n;
	if (got) {
		json_t *j = json_loadb(buf, got, 0, NULL);

		MUST(j && buf[got - 1] == '\n');
		json_decref(j);
	}
}

/* Each piece has its length in front; 0x80: leaves without hearing the answer. */
static void client(const uint8_t *data, size_t size)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool hears = true;

	MUST(fd >= 0 && !connect(fd, (struct sockaddr *)&at, sizeof(at)));
	while (size && hears) {
		size_t len = data[0] & 127;

		hears = !(data[0] & 128);
		data++, size--;
		len = len < size ? len : size;
		send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		data += len;
		size -= len;
		event_base_loop(base, EVLOOP_NONBLOCK);
	}
	if (hears) {
		shutdown(fd, SHUT_WR);
		event_base_loop(base, EVLOOP_NONBLOCK);
		reply(fd);
	}
	close(fd);
	event_base_loop(base, EVLOOP_NONBLOCK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *j;

	if (!base)
		begin();
	if (!size)
		return 0;
	if (data[0] & 1) {
		client(data + 1, size - 1);
	} else if ((j = json_loadb((const char *)data + 1, size - 1, 0, NULL))) {
		admin_page(j, nowhere);
		json_decref(j);
	}
	return 0;
}
