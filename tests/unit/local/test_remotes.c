/* remotes: which of several VPSs is used, to the millisecond. The remotes themselves are the test's: each says what it is told to say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "virtual_time.h"

#include "remotes.h"

struct remote {
	const char *host;
	struct remote_ops ops;
	void *arg;
	uint64_t silent_since, well, heard; /* 0: not */
	bool tried;
	uint64_t asked; /* when first */
};

static struct remote remote[2];
static size_t n_remotes;
static struct remotes *rs;
static struct event_base *base;
static struct config config;
static enum remotes_news news;
static unsigned changes;
static uint64_t changed_ms;

struct remote *remote_new(const struct remote_house *house, const struct config_remote *c, const char *host, uint16_t port,
			  const struct remote_ops *ops, void *arg)
{
	(void)house, (void)c, (void)port;
	remote[n_remotes] = (struct remote){ .host = host, .ops = *ops, .arg = arg };
	return &remote[n_remotes++];
}

void remote_free(struct remote *r)
{
	(void)r;
}

const char *remote_host(const struct remote *r)
{
	return r->host;
}

uint16_t remote_port(const struct remote *r)
{
	(void)r;
	return 7200;
}

unsigned remote_silent_ms(const struct remote *r)
{
	return r->silent_since ? (unsigned)(virtual_ms() - r->silent_since) : 0;
}

uint64_t remote_well_ms(const struct remote *r)
{
	return r->well;
}

bool remote_heard_since(const struct remote *r, uint64_t ms)
{
	return r->heard && r->heard >= ms;
}

bool remote_tried(const struct remote *r)
{
	return r->tried;
}

void remote_suspect(struct remote *r)
{
	if (!r->asked)
		r->asked = virtual_ms();
}

void remote_retire(struct remote *r, bool retired)
{
	(void)r, (void)retired;
}

/* What the choice has nothing to do with. */
struct session *remote_session(const struct remote *r)
{
	(void)r;
	return NULL;
}

const struct wire_welcome *remote_welcome(const struct remote *r)
{
	(void)r;
	return NULL;
}

size_t remote_targets(const struct remote *r, struct addr *out, size_t max)
{
	(void)r, (void)out, (void)max;
	return 0;
}

bool remote_is_target(const struct remote *r, const struct addr *a)
{
	(void)r, (void)a;
	return false;
}

void remote_links_changed(struct remote *r)
{
	(void)r;
}

void remote_wanted(struct remote *r)
{
	(void)r;
}

bool remote_offer(struct remote *r, const uint8_t *packet, size_t len)
{
	(void)r, (void)packet, (void)len;
	return false;
}

void remote_carrier(struct remote *r, enum wire_carrier carrier, const char *congestion)
{
	(void)r, (void)carrier, (void)congestion;
}

json_t *remote_status(const struct remote *r)
{
	(void)r;
	return json_object();
}

static void told(void *arg, enum remotes_news what)
{
	(void)arg;
	news = what;
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
	static const struct remotes_ops ops = { .session = told };
	static const struct sock_wan opt;

	(void)state;
	virtual_grace_ms = 0;
	config = (struct config){ .n_remotes = 2 };
	strcpy(config.remotes[0].host, "first");
	strcpy(config.remotes[1].host, "second");
	n_remotes = changes = 0;
	base = event_base_new();
	rs = remotes_new(base, &config, NULL, NULL, NULL, &opt, &ops, NULL);
	return rs ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	remotes_free(rs);
	event_base_free(base);
	return 0;
}

static void is_up(struct remote *r)
{
	r->well = r->heard = virtual_ms();
	r->silent_since = 0;
	r->ops.session(r->arg, r, true, false);
}

static void is_lost(struct remote *r)
{
	r->well = 0;
	r->silent_since = virtual_ms();
	r->ops.session(r->arg, r, false, false);
}

/* Both are well, the first one is used, and the others of a tick begin now. */
static void both_up(void)
{
	is_up(&remote[0]);
	is_up(&remote[1]);
	assert_ptr_equal(remotes_active(rs), &remote[0]);
	pass(5000);
	changes = 0;
}

static void falls_silent(struct remote *r)
{
	r->silent_since = virtual_ms();
	r->well = 0;
}

static void after_two_and_a_half_seconds_of_silence_another_that_answers_is_used(void **state)
{
	uint64_t silent;

	(void)state;
	both_up();
	falls_silent(&remote[0]);
	silent = virtual_ms();
	pass(1100);
	assert_int_equal(remote[1].asked - silent, 1000); /* or a line that died would look like a remote that did */
	remote[1].heard = virtual_ms();
	pass(9000);
	assert_ptr_equal(remotes_active(rs), &remote[1]);
	assert_int_equal(changed_ms - silent, 2500);
	assert_int_equal(news, REMOTES_SWITCHED);
	assert_int_equal(changes, 1);
}

static void one_that_does_not_answer_either_is_no_better(void **state)
{
	(void)state;
	both_up();
	falls_silent(&remote[0]);
	pass(60000);
	assert_ptr_equal(remotes_active(rs), &remote[0]);
	assert_int_equal(changes, 0);
}

static void the_first_is_used_again_when_it_was_well_for_a_minute(void **state)
{
	uint64_t well;

	(void)state;
	both_up();
	is_lost(&remote[0]);
	assert_ptr_equal(remotes_active(rs), &remote[1]); /* at once: there is nothing to doubt */
	pass(3000);
	is_up(&remote[0]);
	pass(59000);
	falls_silent(&remote[0]); /* it was not */
	pass(2000);
	well = virtual_ms();
	is_up(&remote[0]);
	pass(59900);
	assert_ptr_equal(remotes_active(rs), &remote[1]);
	pass(200);
	assert_ptr_equal(remotes_active(rs), &remote[0]);
	assert_int_equal(changed_ms - well, 60000);
}

static void the_first_has_three_seconds_at_the_start(void **state)
{
	uint64_t born = virtual_ms();

	(void)state;
	is_up(&remote[1]);
	pass(10000);
	assert_ptr_equal(remotes_active(rs), &remote[1]);
	assert_int_equal(changed_ms - born, 3000);
}

static void unless_it_has_failed(void **state)
{
	(void)state;
	remote[0].tried = true;
	is_up(&remote[1]);
	assert_ptr_equal(remotes_active(rs), &remote[1]);
}

static void all_gone_is_told_at_once_and_any_of_them_will_do(void **state)
{
	(void)state;
	both_up();
	is_lost(&remote[1]);
	assert_int_equal(changes, 0);
	is_lost(&remote[0]);
	assert_null(remotes_active(rs));
	assert_int_equal(news, REMOTES_AWAY);
	is_up(&remote[1]);
	assert_ptr_equal(remotes_active(rs), &remote[1]);
	assert_int_equal(news, REMOTES_SWITCHED);
}

static void the_one_from_before_is_the_same_again(void **state)
{
	(void)state;
	both_up();
	is_lost(&remote[1]);
	is_lost(&remote[0]);
	is_up(&remote[0]);
	assert_int_equal(news, REMOTES_RENEWED); /* what waits attached to it is of use */
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
