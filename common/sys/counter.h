/* SPDX-License-Identifier: BSD-2-Clause */
/* counter: everything plait counts, one list. A line here is a counter, its name in
 * `status --json`, and its one-line explanation in `status`. */
#ifndef PLAIT_COUNTER_H
#define PLAIT_COUNTER_H

#include <stdint.h>

#define COUNTERS(X)                                                                                \
	X(relays_opened, "connections relayed since the start")                                    \
	X(relays_clean, "ended with both ends of file relayed")                                    \
	X(relays_reset, "ended by a reset from either end")                                        \
	X(relays_failed, "ended by us: cut, forged, stalled or out of memory")                     \
	X(bytes_up, "payload bytes towards the destinations")                                      \
	X(bytes_down, "payload bytes towards the LAN")                                             \
	X(dials_failed, "destinations that could not be reached")                                  \
	X(refused_policy, "opens refused by policy")                                               \
	X(refused_limit, "opens refused by a cap")                                                 \
	X(opens_waited, "opens that waited for their device's turn")                               \
	X(opens_warm, "opens that found a warm connection")                                        \
	X(opens_cold, "opens that had to make one")                                                \
	X(opens_clear, "opens granted without our own encryption: TLS inside")                     \
	X(opens_resent, "opens sent again because provably nobody served them")                    \
	X(opens_resumed, "requests that another connection took up")                               \
	X(attach_forged, "attaches that did not authenticate")                                     \
	X(attach_replayed, "attaches seen before")                                                 \
	X(attach_unknown, "attaches to a session we do not know")                                  \
	X(knocks_replayed, "knocks heard before")                                                  \
	X(quiet, "strangers met with silence")                                                     \
	X(quiet_overflow, "strangers reset early: too many")                                       \
	X(records_forged, "records that did not open")                                             \
	X(streams_cut, "sealed streams that ended without FIN")                                    \
	X(fallbacks, "WAN connections that fell back to plain TCP")                                \
	X(accept_pauses, "times a listener rested: out of descriptors")                            \
	X(rules_lost, "times another program changed or took out our rules")                       \
	X(intercept_loops, "connections to ourselves or to the VPS, refused")                      \
	X(sessions, "sessions agreed")                                                             \
	X(udp_malformed, "datagrams that are not ours, or make no sense")                          \
	X(udp_unknown, "datagrams to an index that nobody has")                                    \
	X(udp_forged, "datagrams that did not authenticate")                                       \
	X(udp_copies, "datagrams that had come before: copies and replays")                        \
	X(udp_old, "datagrams too old to tell whether they had come before")                       \
	X(udp_moved, "times a path was met at a new address")                                      \
	X(nat_malformed, "packets out of the tunnel that make no sense, or hide where they go")    \
	X(nat_source, "packets out of the tunnel with a source that is not their user's")          \
	X(nat_policy, "packets out of the tunnel that policy refused")                             \
	X(nat_nobody, "packets to an inner address without a user, or away")                       \
	X(tun_refused, "inner packets that the kernel would not take")                             \
	X(tun_malformed, "inner packets from the kernel that make no sense")                       \
	X(udp_refused, "datagrams that the kernel would not take")                                 \
	X(tunnel_no_path, "inner packets dropped: no path, or no keys yet")                        \
	X(tunnel_full, "inner packets dropped: no memory left for them")                           \
	X(tunnel_malformed, "inner packets that are none")                                         \
	X(tunnel_oversize, "inner packets too long even for two pieces")                           \
	X(tunnel_ecn_dropped, "marked as congested, to somebody who does not know that mark")      \
	X(log_lost, "log lines lost: their reader did not keep up")

struct counters {
#define X(name, text) uint64_t name;
	COUNTERS(X)
#undef X
};

extern struct counters counters;

/* Walks the list: i from 0 until it returns NULL. */
const char *counter_get(unsigned i, uint64_t *value, const char **text);

#endif
