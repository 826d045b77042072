# SPDX-License-Identifier: BSD-2-Clause
# common.sh: parameters and helpers of tproxy, redirect and nftables beside it. Not run by itself.
#
# Parameters, all from the environment:
#   PLAIT_LAN        devices whose TCP is taken: "br0 eth1". They need not exist yet: rules match by name
#   PLAIT_PORT       port of plait-local's LAN listener (7201)
#   PLAIT_VPS        addresses of the VPS, never taken: "11.7.0.2 2a11:7::2"
#   PLAIT_BYPASS     more prefixes that are never taken: "198.51.100.0/24 2001:db8::/32"
#   PLAIT_OWN        1 takes the connections of the gateway itself too (0)
#   PLAIT_MARK       fwmark of a taken packet (0x706c0001)
#   PLAIT_SELF_MARK  fwmark of plait's own sockets, never taken (0x706c0002)
#   PLAIT_MASK       the bits by which both are recognised; others may use the rest (0xffff000f)
#   PLAIT_TABLE      routing table that says "taken packets are for this machine" (25080)
#   PLAIT_LABEL      conntrack label of a taken connection (117)
#   PLAIT_PRIORITY   priority of the rule that leads there (24980), before those that choose a line by the source address:
#                    the gateway's own packets have one already
#
# A taken packet gets the whole mark, not only the masked bits: it ends in plait-local, so nobody else
# needs its bits, and those of a multi-WAN script would lead it out of the house before our rule is asked.
#
# A connection is taken with its SYN or not at all, and labelled in connection tracking; what was open before, either family,
# and what a LAN host was called by, stays as it is. A kernel without labels spares only what it masquerades.
#
# up      new connections are taken
# drain   no new ones, but those that were taken stay with plait-local
# down    nothing is taken, nothing is left
# state   prints a sum over what of this is in the kernel now: after `up` it stays the same until somebody else changes it
#
# Taken connections end on this machine: they pass INPUT, no longer FORWARD. A FORWARD rule that keeps one
# LAN device off the Internet does not see them; keep such a device out by PLAIT_LAN.

# shellcheck disable=SC2154 # `here` is set by who sources this
. "$here/words.sh"

PLAIT_LAN=${PLAIT_LAN-}
PLAIT_PORT=${PLAIT_PORT:-7201}
PLAIT_VPS=${PLAIT_VPS-${PLAIT_REMOTE-}} # the old word is still understood
PLAIT_BYPASS=${PLAIT_BYPASS-}
PLAIT_OWN=${PLAIT_OWN:-0}
PLAIT_MARK=${PLAIT_MARK:-0x706c0001}
PLAIT_SELF_MARK=${PLAIT_SELF_MARK:-0x706c0002}
PLAIT_MASK=${PLAIT_MASK:-0xffff000f}
PLAIT_TABLE=${PLAIT_TABLE:-25080}
PLAIT_LABEL=${PLAIT_LABEL:-117}
PLAIT_PRIORITY=${PLAIT_PRIORITY:-24980}

# Never taken: this network, private, shared, loopback, a cloud's own services, link-local, protocol assignments, documentation,
# 6to4 relays, benchmarks, multicast, reserved. The remote would refuse them all.
NEVER4="0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 168.63.129.16/32 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24
	192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24
	224.0.0.0/4 240.0.0.0/4"
# Likewise; 64:ff9b::/96 is a NAT64 near the gateway, which the VPS does not have.
NEVER6="::/96 ::ffff:0:0/96 ::ffff:0:0:0/96 64:ff9b::/96 64:ff9b:1::/48 100::/64 2001::/23 2001:db8::/32 3fff::/20
	5f00::/16 fc00::/7 fe80::/10 fec0::/10 ff00::/8"

# shellcheck disable=SC2086 # lists are split on purpose
check_parameters() {
	[ -n "$PLAIT_LAN" ] || [ "$PLAIT_OWN" = 1 ] || die "PLAIT_LAN names no device"
	check_devices $PLAIT_LAN
	check_prefixes $PLAIT_VPS $PLAIT_BYPASS
	check_numbers "$PLAIT_PORT" "$PLAIT_TABLE" "$PLAIT_LABEL" "$PLAIT_PRIORITY"
	for word in "$PLAIT_MARK" "$PLAIT_SELF_MARK" "$PLAIT_MASK"; do
		case $word in
		0x*[!0-9a-fA-F]* | 0x) die "'$word' is no mark" ;;
		0x*) ;;
		*) die "'$word' is no mark: write it as 0x..." ;;
		esac
	done
}

# never 4|6: $words are every destination that is left alone.
never() {
	# shellcheck disable=SC2086 # lists are split on purpose
	if [ "$1" = 4 ]; then
		of_family 4 $NEVER4 $PLAIT_VPS $PLAIT_BYPASS
	else
		of_family 6 $NEVER6 $PLAIT_VPS $PLAIT_BYPASS
	fi
}

# lan_prefixes 4|6: networks that lie directly behind the LAN devices now, public ones too.
lan_prefixes() {
	for dev in $PLAIT_LAN; do
		ip "-$1" -o route show dev "$dev" scope link 2>/dev/null
		[ "$1" = 4 ] || ip -6 -o route show dev "$dev" proto kernel 2>/dev/null
	done | while read -r prefix rest; do
		case $prefix in
		default | unreachable | multicast | anycast | local) ;;
		*) echo "$prefix" ;;
		esac
	done | sort -u
}

# IPv6 is on when the kernel has it and the loopback device may use it: taken packets are routed there.
has_ipv6() {
	[ -e /proc/net/if_inet6 ] && number_in /proc/sys/net/ipv6/conf/lo/disable_ipv6 && [ "$number" = 0 ]
}

# route_up 4|6: taken packets are for this machine, whatever their destination says.
route_up() {
	ip "-$1" route replace local default dev lo table "$PLAIT_TABLE"
	rule_up "$1" 2>/dev/null && return
	case $(ip "-$1" rule show priority "$PLAIT_PRIORITY") in
	*"fwmark $PLAIT_MARK/$PLAIT_MASK lookup $PLAIT_TABLE"*) ;; # it was there
	*) rule_up "$1" ;;
	esac
}

rule_up() {
	ip "-$1" rule add priority "$PLAIT_PRIORITY" fwmark "$PLAIT_MARK/$PLAIT_MASK" lookup "$PLAIT_TABLE"
}

# route_down: the rules first, so that no rule ever leads into an empty table.
route_down() {
	for family in 4 6; do
		while ip "-$family" rule del priority "$PLAIT_PRIORITY" lookup "$PLAIT_TABLE" 2>/dev/null; do :; done
		ip "-$family" route flush table "$PLAIT_TABLE" 2>/dev/null || :
	done
}

# not_bridged: TPROXY gives a packet to its listener where the firewall sees it. With br_netfilter (Docker and others load it) that is
# inside the bridge already, and on its way up the packet forgets. REDIRECT does not mind.
not_bridged() {
	calls=
	for table in iptables ip6tables; do
		number_in /proc/sys/net/bridge/bridge-nf-call-$table && calls=$calls$number
	done
	for dev in $PLAIT_LAN; do
		case $(ip -d link show dev "$dev" type bridge 2>/dev/null) in
		'') continue ;;
		*nf_call_iptables\ 1* | *nf_call_ip6tables\ 1*) calls=1 ;;
		esac
		case $calls in
		*1*) die "no TPROXY: $dev is a bridge, and net.bridge.bridge-nf-call-iptables is 1" ;;
		esac
	done
}

# families: the numbers of those that are on and whose tool works on table $1.
families() {
	echo 4
	if has_ipv6 && ip6tables -w -t "$1" -S >/dev/null 2>&1; then
		echo 6
	fi
}

# tool 4|6 ARGUMENTS...: iptables of that family; -w waits for others' changes.
tool() {
	case $1 in
	4) shift && iptables -w "$@" ;;
	6) shift && ip6tables -w "$@" ;;
	esac
}

# restore 4|6: iptables-restore of that family; leaves all chains alone that the input does not name.
restore() {
	case $1 in
	4) iptables-restore -w --noflush ;;
	6) ip6tables-restore -w --noflush ;;
	esac
}

# jump 4|6 TABLE CHAIN OURS: one jump, first in the chain.
jump() {
	tool "$1" -t "$2" -C "$3" -p tcp -j "$4" 2>/dev/null || tool "$1" -t "$2" -I "$3" 1 -p tcp -j "$4"
}

# chain_down TABLE CHAIN OURS: for both families, whether it is there or not.
chain_down() {
	for family in 4 6; do
		while tool "$family" -t "$1" -D "$2" -p tcp -j "$3" 2>/dev/null; do :; done
		tool "$family" -t "$1" -F "$3" 2>/dev/null || continue
		tool "$family" -t "$1" -X "$3" 2>/dev/null || :
	done
}

# spare 4|6 CHAIN: the rules of CHAIN that leave a packet alone by its destination.
spare() {
	echo "-A $2 -m addrtype --dst-type LOCAL -j RETURN"
	never "$1"
	for prefix in $words $(lan_prefixes "$1"); do
		echo "-A $2 -d $prefix -j RETURN"
	done
}

# spare_own CHAIN: the rules of CHAIN that leave the gateway's own packets alone by their source. Names are
# looked up directly (port 53): finding the VPS must not need the VPS.
spare_own() {
	echo "-A $1 -m mark --mark $PLAIT_SELF_MARK/$PLAIT_MASK -j RETURN"
	echo "-A $1 -m conntrack --ctdir REPLY -j RETURN"
	echo "-A $1 -p tcp --dport 53 -j RETURN"
	for dev in $PLAIT_LAN; do
		echo "-A $1 -o $dev -j RETURN"
	done
}

# route_state: what route_up put in.
route_state() {
	for family in 4 6; do
		ip "-$family" rule show priority "$PLAIT_PRIORITY" 2>/dev/null
		ip "-$family" route show table "$PLAIT_TABLE" 2>/dev/null
	done
}

# chain_state TABLE CHAIN OURS: for both families, our chain and the jump to it.
chain_state() {
	for family in 4 6; do
		tool "$family" -t "$1" -S "$3" 2>/dev/null
		tool "$family" -t "$1" -C "$2" -p tcp -j "$3" 2>/dev/null && echo "jump $family $1 $2"
	done
	:
}

# sibling NAME SIGN...: takes out what a sibling script left in, when SIGN finds it.
sibling() {
	name=$1
	shift
	if "$@" >/dev/null 2>&1; then
		"$here/$name" down
	fi
}

# main up|drain|down|state: the first two take everything out again when a step fails.
main() {
	case ${1-} in
	up | drain)
		check_parameters
		trap '[ $? = 0 ] || down' EXIT
		set -e
		"$1"
		;;
	down) down ;;
	state) state | cksum ;;
	*)
		echo "usage: $0 up|drain|down|state    (parameters: see common.sh)" >&2
		exit 2
		;;
	esac
}
