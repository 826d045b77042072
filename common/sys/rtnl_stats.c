/* SPDX-License-Identifier: BSD-2-Clause */
/* rtnl_stats: RTM_GETLINK of one device, and the 64-bit counters in its answer. */
#include "rtnl_stats.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <string.h>

static int stats_take(const struct nlmsghdr *msg, void *data)
{
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(msg);
	const struct nlattr *tb[IFLA_STATS64 + 1];
	struct rtnl_stats *out = data;
	struct rtnl_link_stats64 all;
	/* older kernels tell fewer figures, newer ones more: the first four are bytes and packets
	 * of all */
	const size_t least = offsetof(struct rtnl_link_stats64, rx_errors);

	if (msg->nlmsg_type != RTM_NEWLINK || netlink_attrs(msg, sizeof(*ifi), tb, IFLA_STATS64) < 0)
		return MNL_CB_OK;
	if (!tb[IFLA_STATS64] || mnl_attr_get_payload_len(tb[IFLA_STATS64]) < least)
		return MNL_CB_OK;
	memcpy(&all, mnl_attr_get_payload(tb[IFLA_STATS64]), least);
	out->index = ifi->ifi_index;
	out->rx = all.rx_bytes;
	out->tx = all.tx_bytes;
	return MNL_CB_OK;
}

int rtnl_stats(struct netlink *nl, const char *device, struct rtnl_stats *out)
{
	char buf[MNL_NLMSG_HDRLEN + 128];
	struct nlmsghdr *req = mnl_nlmsg_put_header(buf);
	int err;

	req->nlmsg_type = RTM_GETLINK;
	mnl_nlmsg_put_extra_header(req, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(req, IFLA_IFNAME, device);
	out->index = 0;
	err = netlink_call(nl, req, stats_take, out);
	return err ? err : out->index ? 0 : -ENODATA;
}
