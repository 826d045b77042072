/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * Bytes are counted by differences of the device's counter, so a restart of the program loses
 * nothing: what the device carried meanwhile is in the next difference. After a reboot, and when
 * the device was made anew or its counter went back, the counter began at zero and counts as it
 * stands. The very first reading is where counting begins.
 *
 * The date decides one thing only: when a month ends. A date before METER_YEAR is none, and the
 * month goes on; if no date was ever known, the first one names the month that is running and
 * nothing is reset. Which of two dates is wrong cannot be known when a clock jumps, so both ways
 * are kept for a day. A clock that goes back a month: the later month never was, what was counted
 * in it and in the one before it is one sum; but should the clock return to it within a day, that
 * is undone. A clock that goes ahead begins a month; if it goes further ahead within a day, what
 * was counted between belongs to the month before. So no byte is counted twice, and none is lost to
 * a month that was not real. */
#include "meter.h"

#define DAY_MS (86400ull * 1000)

static int last_day(int year, int month)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return days[month - 1] + (month == 2 && leap);
}

static int first_day(int year, int month, unsigned begins)
{
	int last = last_day(year, month);

	return (int)begins < last ? (int)begins : last;
}

uint32_t meter_period(int year, int month, int day, unsigned begins)
{
	if (year < METER_YEAR || year > 9999 || month < 1 || month > 12)
		return 0;
	return (uint32_t)(year * 12 + month - 1) - (day < first_day(year, month, begins));
}

void meter_next(uint32_t period, unsigned begins, int *year, int *month, int *day)
{
	*year = (int)((period + 1) / 12);
	*month = (int)((period + 1) % 12) + 1;
	*day = first_day(*year, *month, begins);
}

static void go_back(struct meter *m, uint32_t now)
{
	m->ahead = m->period;
	m->folded = m->before >= now ? m->before_used : 0;
	m->used += m->folded;
	m->period = now;
	m->age_ms = 0;
}

static void meter_begin_anew(struct meter *m, uint32_t now)
{
	if (m->before && m->age_ms < DAY_MS) {
		m->before_used += m->used;
	} else {
		m->before = m->period;
		m->before_used = m->used;
	}
	m->period = now;
	m->used = 0;
	m->age_ms = 0;
}

bool meter_turn(struct meter *m, uint32_t now, uint64_t elapsed_ms)
{
	m->age_ms += elapsed_ms;
	if (m->ahead && m->age_ms >= DAY_MS) { /* it was wrong then, and is right now */
		m->before = m->folded ? 0 : m->before;
		m->ahead = 0;
	}
	if (!now || now == m->period)
		return false;
	if (!m->period) {
		m->period = now;
	} else if (now < m->period && !m->ahead) {
		go_back(m, now);
	} else if (m->ahead && now < m->ahead) {
		m->period = now;
	} else {
		if (m->ahead) {
			m->used -= m->folded;
			m->period = m->ahead;
			m->ahead = 0;
		}
		if (now == m->period)
			return false;
		meter_begin_anew(m, now);
		return true;
	}
	return false;
}

void meter_count(struct meter *m, int device, uint64_t total)
{
	if (m->device)
		m->used += device == m->device && total >= m->seen ? total - m->seen : total;
	m->device = device;
	m->seen = total;
}

void meter_rebooted(struct meter *m)
{
	m->seen = 0;
}
