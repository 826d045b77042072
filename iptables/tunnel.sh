# SPDX-License-Identifier: BSD-2-Clause
# tunnel.sh: parameters and helpers of tunnel-nftables and tunnel-iptables beside it. Not run by itself.
#
# Parameters, all from the environment:
#   PLAIT_TUN         the tunnel's device (plait0)
#   PLAIT_LAN         devices of the LAN, on the gateway: "br0 eth1"
#   PLAIT_MASQUERADE  "out": what leaves by the device gets its address (the gateway). Prefixes, "10.78.0.0/16 fd78::/64":
#                     what comes from these and leaves by another device gets that one's (the VPS). "": nothing
#   PLAIT_QUIC        1 refuses the LAN's QUIC (UDP port 443) at once, so that programs take TCP (0)
#   PLAIT_QUIC_ALLOW  prefixes for which it is not refused
#   PLAIT_CLOSED      all: lets nothing that comes out of the tunnel into this machine, nor back into the tunnel (the VPS); new:
#                     lets nothing begin from there (the gateway); "": open
#   PLAIT_OPEN        addresses of this machine that are open all the same
#   PLAIT_PRIORITY    first and last priority of plait's own rules (protocol 250) and
#   PLAIT_TABLE       first and last number of its routing tables that `down` takes out, should plait have been killed: "25200 25209"
#   PLAIT_HELD        kernel settings that plait changed, put back by `down`: "net/ipv4/ip_forward=1:0" (now 1, was 0)

# shellcheck disable=SC2154 # `here` is set by who sources this
. "$here/words.sh"

PLAIT_TUN=${PLAIT_TUN:-plait0}
PLAIT_LAN=${PLAIT_LAN-}
PLAIT_MASQUERADE=${PLAIT_MASQUERADE-}
PLAIT_QUIC=${PLAIT_QUIC:-0}
PLAIT_QUIC_ALLOW=${PLAIT_QUIC_ALLOW-}
PLAIT_CLOSED=${PLAIT_CLOSED-}
PLAIT_OPEN=${PLAIT_OPEN-}
PLAIT_TABLE=${PLAIT_TABLE-}
PLAIT_PRIORITY=${PLAIT_PRIORITY-}
PLAIT_HELD=${PLAIT_HELD-}

# shellcheck disable=SC2086 # lists are split on purpose
check_parameters() {
	check_devices $PLAIT_TUN $PLAIT_LAN
	[ "$PLAIT_MASQUERADE" = out ] || check_prefixes $PLAIT_MASQUERADE
	check_prefixes $PLAIT_QUIC_ALLOW $PLAIT_OPEN
	check_numbers $PLAIT_TABLE $PLAIT_PRIORITY
}

has_ipv6() {
	[ -e /proc/net/if_inet6 ]
}

# within NUMBER FIRST LAST
within() {
	[ "$1" -ge "$2" ] && [ "$1" -le "$3" ]
}

# routes_down: rules first, so that none ever leads into an empty table.
# shellcheck disable=SC2086 # two numbers each
routes_down() {
	[ -n "$PLAIT_PRIORITY" ] && [ -n "$PLAIT_TABLE" ] || return 0
	for family in 4 6; do
		ip "-$family" rule show 2>/dev/null | sed -n 's/^\([0-9]*\):.* proto 250.*/\1/p' | while read -r priority; do
			within "$priority" $PLAIT_PRIORITY && ip "-$family" rule del priority "$priority" 2>/dev/null
		done
		ip "-$family" route show table all proto 250 2>/dev/null | sed -n 's/.* table \([0-9]*\).*/\1/p' | sort -u | while read -r table; do
			within "$table" $PLAIT_TABLE && ip "-$family" route flush table "$table" 2>/dev/null
		done
	done
	return 0
}

# settings_down: what nobody else has changed since.
settings_down() {
	for word in $PLAIT_HELD; do
		path=/proc/sys/${word%%=*}
		values=${word#*=}
		if number_in "$path" && [ "$number" = "${values%%:*}" ]; then
			echo "${values#*:}" >"$path" || :
		fi
	done
}

# main up|down|state: `up` takes everything out again when a step fails.
main() {
	case ${1-} in
	up)
		check_parameters
		trap '[ $? = 0 ] || down' EXIT
		set -e
		up
		;;
	down)
		down
		routes_down
		settings_down
		;;
	state) state | cksum ;;
	*)
		echo "usage: $0 up|down|state    (parameters: see tunnel.sh)" >&2
		exit 2
		;;
	esac
}
