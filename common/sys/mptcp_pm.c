/* SPDX-License-Identifier: BSD-2-Clause */
/* mptcp_pm: generic netlink, family "mptcp_pm" (linux/mptcp_pm.h). */
#include "mptcp_pm.h"

#include <errno.h>
#include <linux/genetlink.h>
#include <linux/mptcp.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "netlink.h"

#define DUMP_MAX 64 /* more than the kernel's 8: implicit ones come on top */

struct mptcp_pm {
	struct netlink *nl;
	uint16_t family;
};

static struct nlmsghdr *request(char *buf, uint16_t family, uint8_t cmd, uint8_t version)
{
	struct nlmsghdr *msg = mnl_nlmsg_put_header(buf);
	struct genlmsghdr *g;

	msg->nlmsg_type = family;
	g = mnl_nlmsg_put_extra_header(msg, sizeof(*g));
	g->cmd = cmd;
	g->version = version;
	return msg;
}

static int family_answer(const struct nlmsghdr *msg, void *arg)
{
	const struct nlattr *tb[CTRL_ATTR_FAMILY_ID + 1];

	if (netlink_attrs(msg, sizeof(struct genlmsghdr), tb, CTRL_ATTR_FAMILY_ID) == 0)
		*(uint16_t *)arg = netlink_u16(tb[CTRL_ATTR_FAMILY_ID], 0);
	return MNL_CB_OK;
}

/* The family's number; 0 and errno when there is none. */
static uint16_t family_resolve(struct netlink *nl)
{
	char buf[256];
	struct nlmsghdr *msg = request(buf, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 1);
	uint16_t family = 0;
	int err;

	mnl_attr_put_strz(msg, CTRL_ATTR_FAMILY_NAME, MPTCP_PM_NAME);
	err = netlink_call(nl, msg, family_answer, &family);
	if (!family)
		errno = !err || err == -ENOENT ? ENOTSUP : -err;
	return family;
}

struct mptcp_pm *mptcp_pm_open(void)
{
	struct mptcp_pm *pm = calloc(1, sizeof(*pm));

	if (!pm)
		return NULL;
	pm->nl = netlink_open(NETLINK_GENERIC);
	if (pm->nl)
		pm->family = family_resolve(pm->nl);
	if (pm->family)
		return pm;
	mptcp_pm_close(pm);
	return NULL;
}

void mptcp_pm_close(struct mptcp_pm *pm)
{
	int keep = errno;

	if (pm)
		netlink_close(pm->nl);
	free(pm);
	errno = keep;
}

const char *mptcp_pm_error(const struct mptcp_pm *pm)
{
	return netlink_error(pm->nl);
}

static struct nlmsghdr *pm_request(const struct mptcp_pm *pm, char *buf, uint8_t cmd)
{
	return request(buf, pm->family, cmd, MPTCP_PM_VER);
}

int mptcp_pm_add(struct mptcp_pm *pm, const struct mptcp_endpoint *e)
{
	char buf[256];
	struct nlmsghdr *msg = pm_request(pm, buf, MPTCP_PM_CMD_ADD_ADDR);
	struct nlattr *nest = mnl_attr_nest_start(msg, MPTCP_PM_ATTR_ADDR);
	bool v4 = addr_is_v4(&e->addr);
	size_t len;
	const uint8_t *ip = addr_bytes(&e->addr, &len);

	mnl_attr_put_u16(msg, MPTCP_PM_ADDR_ATTR_FAMILY, (uint16_t)addr_family(&e->addr));
	mnl_attr_put_u8(msg, MPTCP_PM_ADDR_ATTR_ID, e->id);
	mnl_attr_put(msg, v4 ? MPTCP_PM_ADDR_ATTR_ADDR4 : MPTCP_PM_ADDR_ATTR_ADDR6, len, ip);
	if (e->addr.port) /* in host order, unlike everything else */
		mnl_attr_put_u16(msg, MPTCP_PM_ADDR_ATTR_PORT, e->addr.port);
	mnl_attr_put_u32(msg, MPTCP_PM_ADDR_ATTR_FLAGS, e->flags);
	if (e->index)
		mnl_attr_put_u32(msg, MPTCP_PM_ADDR_ATTR_IF_IDX, (uint32_t)e->index);
	mnl_attr_nest_end(msg, nest);
	return netlink_call(pm->nl, msg, NULL, NULL);
}

int mptcp_pm_del(struct mptcp_pm *pm, uint8_t id)
{
	char buf[256];
	struct nlmsghdr *msg = pm_request(pm, buf, MPTCP_PM_CMD_DEL_ADDR);
	struct nlattr *nest = mnl_attr_nest_start(msg, MPTCP_PM_ATTR_ADDR);

	mnl_attr_put_u8(msg, MPTCP_PM_ADDR_ATTR_ID, id);
	mnl_attr_nest_end(msg, nest);
	return netlink_call(pm->nl, msg, NULL, NULL);
}

int mptcp_pm_set_flags(struct mptcp_pm *pm, uint8_t id, uint32_t flags)
{
	char buf[256];
	struct nlmsghdr *msg = pm_request(pm, buf, MPTCP_PM_CMD_SET_FLAGS);
	struct nlattr *nest = mnl_attr_nest_start(msg, MPTCP_PM_ATTR_ADDR);

	mnl_attr_put_u8(msg, MPTCP_PM_ADDR_ATTR_ID, id);
	mnl_attr_put_u32(msg, MPTCP_PM_ADDR_ATTR_FLAGS, flags & (MPTCP_PM_BACKUP | MPTCP_PM_FULLMESH));
	mnl_attr_nest_end(msg, nest);
	return netlink_call(pm->nl, msg, NULL, NULL);
}

static int endpoint_parse(struct mptcp_endpoint *e, const struct nlmsghdr *msg)
{
	const struct nlattr *top[MPTCP_PM_ATTR_ADDR + 1], *tb[MPTCP_PM_ADDR_ATTR_IF_IDX + 1], *ip;

	if (netlink_attrs(msg, sizeof(struct genlmsghdr), top, MPTCP_PM_ATTR_ADDR) < 0 || !top[MPTCP_PM_ATTR_ADDR] ||
	    netlink_nested(top[MPTCP_PM_ATTR_ADDR], tb, MPTCP_PM_ADDR_ATTR_IF_IDX) < 0)
		return -1;
	ip = tb[MPTCP_PM_ADDR_ATTR_ADDR4] ? tb[MPTCP_PM_ADDR_ATTR_ADDR4] : tb[MPTCP_PM_ADDR_ATTR_ADDR6];
	memset(e, 0, sizeof(*e));
	if (!ip || addr_from_bytes(&e->addr, mnl_attr_get_payload(ip), mnl_attr_get_payload_len(ip),
				   netlink_u16(tb[MPTCP_PM_ADDR_ATTR_PORT], 0)) < 0)
		return -1;
	e->id = netlink_u8(tb[MPTCP_PM_ADDR_ATTR_ID], 0);
	e->flags = netlink_u32(tb[MPTCP_PM_ADDR_ATTR_FLAGS], 0);
	e->index = (int)netlink_u32(tb[MPTCP_PM_ADDR_ATTR_IF_IDX], 0);
	return 0;
}

struct endpoints {
	struct mptcp_endpoint *out;
	size_t n, max;
};

static int endpoint_answer(const struct nlmsghdr *msg, void *arg)
{
	struct endpoints *list = arg;

	if (list->n < list->max && endpoint_parse(&list->out[list->n], msg) == 0)
		list->n++;
	return MNL_CB_OK;
}

int mptcp_pm_dump(struct mptcp_pm *pm, struct mptcp_endpoint *out, size_t max)
{
	char buf[256];
	struct nlmsghdr *msg = pm_request(pm, buf, MPTCP_PM_CMD_GET_ADDR);
	struct endpoints list = {out, 0, max};
	int err;

	msg->nlmsg_flags = NLM_F_DUMP;
	err = netlink_call(pm->nl, msg, endpoint_answer, &list);
	return err ? err : (int)list.n;
}

static int limits_answer(const struct nlmsghdr *msg, void *arg)
{
	const struct nlattr *tb[MPTCP_PM_ATTR_SUBFLOWS + 1];
	struct mptcp_limits *l = arg;

	if (netlink_attrs(msg, sizeof(struct genlmsghdr), tb, MPTCP_PM_ATTR_SUBFLOWS) == 0) {
		l->subflows = netlink_u32(tb[MPTCP_PM_ATTR_SUBFLOWS], 0);
		l->add_addr_accepted = netlink_u32(tb[MPTCP_PM_ATTR_RCV_ADD_ADDRS], 0);
	}
	return MNL_CB_OK;
}

int mptcp_pm_get_limits(struct mptcp_pm *pm, struct mptcp_limits *l)
{
	char buf[256];

	memset(l, 0, sizeof(*l));
	return netlink_call(pm->nl, pm_request(pm, buf, MPTCP_PM_CMD_GET_LIMITS), limits_answer, l);
}

int mptcp_pm_set_limits(struct mptcp_pm *pm, const struct mptcp_limits *l)
{
	char buf[256];
	struct nlmsghdr *msg = pm_request(pm, buf, MPTCP_PM_CMD_SET_LIMITS);

	mnl_attr_put_u32(msg, MPTCP_PM_ATTR_RCV_ADD_ADDRS, l->add_addr_accepted);
	mnl_attr_put_u32(msg, MPTCP_PM_ATTR_SUBFLOWS, l->subflows);
	return netlink_call(pm->nl, msg, NULL, NULL);
}

/* The same but for what can be changed in place: whether it is a backup. */
static bool same_endpoint(const struct mptcp_endpoint *a, const struct mptcp_endpoint *b)
{
	return a->id == b->id && !((a->flags ^ b->flags) & ~(uint32_t)MPTCP_PM_BACKUP) && a->index == b->index &&
	       addr_equal(&a->addr, &b->addr);
}

static const struct mptcp_endpoint *find_same(const struct mptcp_endpoint *list, size_t n, const struct mptcp_endpoint *e)
{
	for (size_t i = 0; i < n; i++)
		if (same_endpoint(&list[i], e))
			return &list[i];
	return NULL;
}

/* 1 when the kernel refused. */
static int sync_del(struct mptcp_pm *pm, uint8_t id)
{
	int err = mptcp_pm_del(pm, id);

	if (!err || err == -ENOENT || err == -EINVAL) /* EINVAL, "address not found": gone by itself */
		return 0;
	log_warn("MPTCP endpoint %u: cannot delete it: %s", id, mptcp_pm_error(pm));
	return 1;
}

/* Adds one that is missing. `have` is what the kernel holds beside it: the same address under
 * another id is either somebody's, and left, or the kernel's own note of an address it met, and in
 * the way. */
static int sync_add(struct mptcp_pm *pm, struct mptcp_endpoint *e, const struct mptcp_endpoint *have, size_t n)
{
	char text[ADDR_STRLEN];
	int err;

	for (size_t i = 0; i < n; i++) {
		if (!addr_equal(&have[i].addr, &e->addr) || have[i].id == e->id)
			continue;
		if (have[i].flags & MPTCP_PM_IMPLICIT) {
			mptcp_pm_del(pm, have[i].id);
			continue;
		}
		e->foreign = true;
		e->id = have[i].id;
		return 0;
	}
	err = mptcp_pm_add(pm, e);
	if (err)
		log_warn("MPTCP endpoint %u for %s: %s", e->id, addr_print_ip(&e->addr, text), mptcp_pm_error(pm));
	return err ? 1 : 0;
}

/* One that is there: 1 when the kernel refused to make it, or no longer make it, a backup. */
static int sync_flags(struct mptcp_pm *pm, const struct mptcp_endpoint *e, const struct mptcp_endpoint *have)
{
	int err;

	if (!((e->flags ^ have->flags) & MPTCP_PM_BACKUP))
		return 0;
	err = mptcp_pm_set_flags(pm, e->id, e->flags);
	if (err)
		log_warn("MPTCP endpoint %u: cannot change it: %s", e->id, mptcp_pm_error(pm));
	return err ? 1 : 0;
}

int mptcp_pm_sync(struct mptcp_pm *pm, struct mptcp_endpoint *want, size_t n, uint8_t first, uint8_t last)
{
	struct mptcp_endpoint have[DUMP_MAX];
	int count = mptcp_pm_dump(pm, have, DUMP_MAX), refused = 0;
	size_t left = 0;

	if (count < 0)
		return count;
	for (int i = 0; i < count; i++) {
		if (have[i].id >= first && have[i].id <= last && !find_same(want, n, &have[i]))
			refused += sync_del(pm, have[i].id);
		else
			have[left++] = have[i];
	}
	for (size_t i = 0; i < n; i++) {
		const struct mptcp_endpoint *there = find_same(have, left, &want[i]);

		want[i].foreign = false;
		refused += there ? sync_flags(pm, &want[i], there) : sync_add(pm, &want[i], have, left);
	}
	return refused;
}
