/* SPDX-License-Identifier: BSD-2-Clause */
/* vps_choice: which of several VPSs is used, to the millisecond. The VPSs themselves are the
 * test's: each says what it is told to say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "virtual_time.h"

#include "vps_choice.h"

struct vps {
	const char *host;
	struct vps_ops ops;
	void *arg;
	uint64_t silent_since, well, heard; /* 0: not */
	bool tried;
	uint64_t asked; /* when first */
};

static struct vps remote[2];
static size_t n_vps;
static struct vps_choice *rs;
static struct event_base *base;
static struct config config;
static enum { AWAY, RENEWED, SWITCHED } news;
static unsigned epoch;
static unsigned changes;
static uint64_t changed_ms;

struct vps *vps_new(const struct vps_house *house, const struct config_vps *c, const char *host, uint16_t port,
			  const struct vps_ops *ops, void *arg)
{
	(void)house, (void)c, (void)port;
	remote[n_vps] = (struct vps){ .host = host, .ops = *ops, .arg = arg };
	return &remote[n_vps++];
}

void vps_free(struct vps *v)
{
	(void)v;
}

const char *vps_host(const struct vps *v)
{
	return v->host;
}

uint16_t vps_port(const struct vps *v)
{
	(void)v;
	return 7200;
}

unsigned vps_silent_ms(const struct vps *v)
{
	return v->silent_since ? (unsigned)(virtual_ms() - v->silent_since) : 0;
}

uint64_t vps_well_ms(const struct vps *v)
{
	return v->well;
}

bool vps_heard_since(const struct vps *v, uint64_t ms)
{
	return v->heard && v->heard >= ms;
}

bool vps_tried(const struct vps *v)
{
	return v->tried;
}

void vps_suspect(struct vps *v)
{
	if (!v->asked)
		v->asked = virtual_ms();
}

void vps_retire(struct vps *v, bool retired)
{
	(void)v, (void)retired;
}

/* What the choice has nothing to do with. */
struct session *vps_session(const struct vps *v)
{
	(void)v;
	return NULL;
}

const struct wire_welcome *vps_welcome(const struct vps *v)
{
	(void)v;
	return NULL;
}

size_t vps_targets(const struct vps *v, struct addr *out, size_t max)
{
	(void)v, (void)out, (void)max;
	return 0;
}

bool vps_is_target(const struct vps *v, const struct addr *a)
{
	(void)v, (void)a;
	return false;
}

void vps_links_changed(struct vps *v)
{
	(void)v;
}

void vps_wanted(struct vps *v)
{
	(void)v;
}

bool vps_offer(struct vps *v, const uint8_t *packet, size_t len)
{
	(void)v, (void)packet, (void)len;
	return false;
}

void vps_carrier(struct vps *v, enum wire_carrier carrier, const char *congestion)
{
	(void)v, (void)carrier, (void)congestion;
}

json_t *vps_status(const struct vps *v)
{
	(void)v;
	return json_object();
}

/* What those who watch find. */
static void told(void *arg)
{
	(void)arg;
	news = !vps_choice_active(rs) ? AWAY : vps_choice_epoch(rs) != epoch ? SWITCHED : RENEWED;
	epoch = vps_choice_epoch(rs);
	changes++;
	changed_ms = virtual_ms();
}

static void pass(unsigned ms)
{
	event_base_loopexit(base, &(struct timeval){ .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 });
	event_base_dispatch(base);
}

static int setup(void **state)
{
	static const struct sock_wan opt;

	(void)state;
	virtual_grace_ms = 0;
	config = (struct config){ .n_vps = 2 };
	strcpy(config.vps[0].host, "first");
	strcpy(config.vps[1].host, "second");
	n_vps = changes = epoch = 0;
	base = event_base_new();
	rs = vps_choice_new(base, &config, NULL, NULL, NULL, &opt);
	assert_non_null(rs);
	vps_choice_watch(rs, told, NULL);
	assert_int_equal(n_vps, 0); /* nobody is asked before the start */
	return vps_choice_start(rs);
}

static int teardown(void **state)
{
	(void)state;
	vps_choice_free(rs);
	event_base_free(base);
	return 0;
}

static void is_up(struct vps *v)
{
	v->well = v->heard = virtual_ms();
	v->silent_since = 0;
	v->ops.session(v->arg, v, true, false);
}

static void is_lost(struct vps *v)
{
	v->well = 0;
	v->silent_since = virtual_ms();
	v->ops.session(v->arg, v, false, false);
}

/* Both are well, the first one is used, and the others of a tick begin now. */
static void both_up(void)
{
	is_up(&remote[0]);
	is_up(&remote[1]);
	assert_ptr_equal(vps_choice_active(rs), &remote[0]);
	pass(5000);
	changes = 0;
}

static void falls_silent(struct vps *v)
{
	v->silent_since = virtual_ms();
	v->well = 0;
}

static void after_two_and_a_half_seconds_of_silence_another_that_answers_is_used(void **state)
{
	uint64_t silent;

	(void)state;
	both_up();
	falls_silent(&remote[0]);
	silent = virtual_ms();
	pass(1100);
	assert_int_equal(remote[1].asked - silent, 1000); /* or a link that died would look like a remote that did */
	remote[1].heard = virtual_ms();
	pass(9000);
	assert_ptr_equal(vps_choice_active(rs), &remote[1]);
	assert_int_equal(changed_ms - silent, 2500);
	assert_int_equal(news, SWITCHED);
	assert_int_equal(changes, 1);
}

static void one_that_does_not_answer_either_is_no_better(void **state)
{
	(void)state;
	both_up();
	falls_silent(&remote[0]);
	pass(60000);
	assert_ptr_equal(vps_choice_active(rs), &remote[0]);
	assert_int_equal(changes, 0);
}

static void the_first_is_used_again_when_it_was_well_for_a_minute(void **state)
{
	uint64_t well;

	(void)state;
	both_up();
	is_lost(&remote[0]);
	assert_ptr_equal(vps_choice_active(rs), &remote[1]); /* at once: there is nothing to doubt */
	pass(3000);
	is_up(&remote[0]);
	pass(59000);
	falls_silent(&remote[0]); /* it was not */
	pass(2000);
	well = virtual_ms();
	is_up(&remote[0]);
	pass(59900);
	assert_ptr_equal(vps_choice_active(rs), &remote[1]);
	pass(200);
	assert_ptr_equal(vps_choice_active(rs), &remote[0]);
	assert_int_equal(changed_ms - well, 60000);
}

static void the_first_has_three_seconds_at_the_start(void **state)
{
	uint64_t born = virtual_ms();

	(void)state;
	is_up(&remote[1]);
	pass(10000);
	assert_ptr_equal(vps_choice_active(rs), &remote[1]);
	assert_int_equal(changed_ms - born, 3000);
}

static void unless_it_has_failed(void **state)
{
	(void)state;
	remote[0].tried = true;
	is_up(&remote[1]);
	assert_ptr_equal(vps_choice_active(rs), &remote[1]);
}

static void all_gone_is_told_at_once_and_any_of_them_will_do(void **state)
{
	(void)state;
	both_up();
	is_lost(&remote[1]);
	assert_int_equal(changes, 0);
	is_lost(&remote[0]);
	assert_null(vps_choice_active(rs));
	assert_int_equal(news, AWAY);
	is_up(&remote[1]);
	assert_ptr_equal(vps_choice_active(rs), &remote[1]);
	assert_int_equal(news, SWITCHED);
}

static void the_one_from_before_is_the_same_again(void **state)
{
	(void)state;
	both_up();
	is_lost(&remote[1]);
	is_lost(&remote[0]);
	is_up(&remote[0]);
	assert_int_equal(news, RENEWED); /* what waits attached to it is of use */
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(after_two_and_a_half_seconds_of_silence_another_that_answers_is_used),
		T(one_that_does_not_answer_either_is_no_better),
		T(the_first_is_used_again_when_it_was_well_for_a_minute),
		T(the_first_has_three_seconds_at_the_start),
		T(unless_it_has_failed),
		T(all_gone_is_told_at_once_and_any_of_them_will_do),
		T(the_one_from_before_is_the_same_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
