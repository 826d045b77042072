/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * LTE and Wi-Fi delay packets by what their cell is doing, in their order, so that at a high rate
 * nearly all of them are late. Taken for a queue that would be a reason to send less, and no less
 * would ever be enough: 8 ms to and fro left a line of 20 Mbit/s with 4.6.
 *
 * So it is learnt. While next to nothing is sent, every delay above the least is the line's own (or
 * others' queue, which cannot be told from it: hence never more than MOST_US, and only for as long
 * as it is seen); the largest of the last 5 to 10 s counts.
 *
 * It may be that a line is never idle, or jitters more later. So when the mean delay of WATCH_US is
 * above what a queue is steered to, and that of the next, a trial is made: for CURE_US and a round
 * trip a quarter less is sent, which cures a queue of ours of 50 ms, then for LOOK_US we look. If
 * all of it arrived and the delay is still there, and not halved from the first half of that to the
 * second, it is the line's own. After one that found nothing the next comes after a rest, each time
 * a longer one. */
#include "jitter.h"

#define MOST_US 30000
#define LONG_US 6000
#define WATCH_US 1000000
#define CURE_US 200000
#define LOOK_US 400000
#define LATE 2 /* in a row: what is left of a line's being found full is gone then */
#define REST_US 2000000
#define REST_MOST_US 16000000

static void jitter_learn(struct jitter *j, uint64_t us)
{
	j->us = us < MOST_US ? (uint32_t)us : MOST_US;
}

static void start_again(struct jitter *j, uint64_t now)
{
	j->since_us = now;
	j->sum[0] = j->sum[1] = j->sent = j->arrived = 0;
	j->n[0] = j->n[1] = 0;
}

void jitter_idle(struct jitter *j, uint32_t queue_us, uint64_t now)
{
	jitter_learn(j, gauge_most(&j->most, queue_us, now));
	j->trial_us = j->rest_us = j->late = 0;
	start_again(j, now);
}

static void jitter_take(struct jitter *j, const struct jitter_seen *s, unsigned half)
{
	j->sum[half] += jitter_queue_us(j, s->queue_us);
	j->n[half]++;
	j->sent += s->sent;
	j->arrived += s->arrived;
}

static uint64_t mean(const struct jitter *j, unsigned half)
{
	return j->n[half] ? j->sum[half] / j->n[half] : 0;
}

static void jitter_watch(struct jitter *j, const struct jitter_seen *s, uint64_t now)
{
	jitter_take(j, s, 0);
	if (now - j->since_us < WATCH_US)
		return;
	if (mean(j, 0) < LONG_US)
		j->late = 0;
	else if (++j->late >= LATE && now - j->tried_us >= j->rest_us)
		j->trial_us = now;
	start_again(j, now);
}

static bool was_in_vain(const struct jitter *j)
{
	uint64_t first = mean(j, 0), second = mean(j, 1);

	return first <= MOST_US && second >= LONG_US && second >= first / 2 && j->sent <= j->arrived / 10 * 11;
}

static void jitter_try(struct jitter *j, const struct jitter_seen *s, uint64_t now)
{
	uint64_t past = now - j->trial_us, cured = CURE_US + s->srtt_us;

	if (past < cured)
		return;
	jitter_take(j, s, past >= cured + LOOK_US / 2);
	if (past < cured + LOOK_US)
		return;
	if (was_in_vain(j)) {
		jitter_learn(j, j->us + (mean(j, 0) + mean(j, 1)) / 2);
		j->rest_us = REST_US;
	} else if (j->rest_us < REST_MOST_US) {
		j->rest_us = j->rest_us ? 2 * j->rest_us : REST_US;
	}
	j->tried_us = now;
	j->trial_us = j->late = 0;
	start_again(j, now);
}

void jitter_busy(struct jitter *j, const struct jitter_seen *s, uint64_t now)
{
	if (j->trial_us)
		jitter_try(j, s, now);
	else
		jitter_watch(j, s, now);
}
