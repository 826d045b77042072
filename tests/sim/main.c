/* SPDX-License-Identifier: BSD-2-Clause */
/* sim [FIRST [COUNT]]: lives through the households of these seeds, each in a process of its own.
 * SIM_LOG=1 tells what happens, SIM_LOG=debug all that the daemons do; SIM_JOBS so many at a time;
 * SIM_SECONDS ends after that time. */
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "house.h"
#include "sim.h"
#include "sim_clock.h"

bool sim_says;
static uint64_t seed_now;

void sim_fail(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fprintf(stderr, "sim: seed %llu, at %.3f s: ", (unsigned long long)seed_now,
		(double)clock_now() / 1e6 - 3600);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	house_clean();
	_exit(1);
}

void sim_say(const char *fmt, ...)
{
	va_list ap;

	if (!sim_says)
		return;
	fprintf(stderr, "%10.3f ", (double)clock_now() / 1e6 - 3600);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

void *sim_alloc(size_t size)
{
	void *p = calloc(1, size);

	if (!p)
		sim_fail("out of memory");
	return p;
}

static double real_seconds(void)
{
	struct timespec t;

	syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static pid_t live(uint64_t seed)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	seed_now = seed;
	mallopt(M_MMAP_THRESHOLD,
		64 << 20); /* memory that is given back to the kernel costs most of the time */
	mallopt(M_TRIM_THRESHOLD, 512 << 20);
	house_prepare();
	house_live(seed);
	house_clean();
	exit(0);
}

int main(int argc, char **argv)
{
	uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1,
		 count = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
	int jobs = getenv("SIM_JOBS") ? atoi(getenv("SIM_JOBS")) : 1, running = 0, status;
	double limit = getenv("SIM_SECONDS") ? atof(getenv("SIM_SECONDS")) : 1e9,
	       since = real_seconds();
	uint64_t begun = 0, failed = 0;

	sim_says = getenv("SIM_LOG") != NULL;
	setenv("PLAIT_WITHOUT", "gso,gro", 1);
	while (running || (begun < count && real_seconds() - since < limit)) {
		while (running < jobs && begun < count && real_seconds() - since < limit) {
			if (live(first + begun++) < 0)
				return 1;
			running++;
		}
		if (wait(&status) < 0)
			return 1;
		running--;
		failed += status != 0;
		if (status && WIFSIGNALED(status))
			fprintf(stderr, "sim: one of the last seeds before %llu: signal %d\n",
				(unsigned long long)(first + begun), WTERMSIG(status));
	}
	printf("sim: %llu households from seed %llu on in %.0f s, %llu failed\n",
	       (unsigned long long)begun, (unsigned long long)first, real_seconds() - since,
	       (unsigned long long)failed);
	return failed != 0;
}
