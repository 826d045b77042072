#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# inside.sh: the first and only process of the emulated machine. A home with two lines, a VPS and a server, each a
# namespace; a file is fetched through plait over both lines.
#
#   lan 192.168.77.2 -- gw == two lines of 10 Mbit/s, 11.7.1/24 and 11.7.2/24 == vps 11.7.0.1 -- srv 11.9.0.2
/bin/busybox --install -s /bin
export PATH=/usr/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /run/plait /run/netns /root /dev/net
mount -t tmpfs tmp /tmp
say() { echo "kernel: $*"; }
passed=0 failed=0
ok() {
	name=$1
	shift
	if "$@" >/tmp/out 2>&1; then
		passed=$((passed + 1))
		say "ok   $name"
	else
		failed=$((failed + 1))
		say "FAIL $name: $(tail -n 3 /tmp/out | tr '\n' ' ')"
	fi
}
finish() {
	say "$passed passed, $failed failed"
	sync
	poweroff -f
}
on() {
	ns=$1
	shift
	ip netns exec "$ns" "$@"
}

say "Linux $(uname -r)"
for module in $(cat /modules); do
	why=$(modprobe "$module" 2>&1) || say "lacks module $module: $why"
done
for knob in mptcp/blackhole_timeout mptcp/syn_retrans_before_tcp_fallback mptcp/close_timeout mptcp/scheduler \
	mptcp/stale_loss_cnt mptcp/pm_type; do
	[ -e "/proc/sys/net/$knob" ] || say "lacks net/$knob"
done

wire() { # NS-A DEV-A ADDR-A NS-B DEV-B ADDR-B
	ip link add "$2" netns "$1" type veth peer name "$5" netns "$4"
	on "$1" ip addr add "$3" dev "$2"
	on "$4" ip addr add "$6" dev "$5"
	on "$1" ip link set "$2" up
	on "$4" ip link set "$5" up
}
wire6() { # NS-A DEV-A ADDR-A NS-B DEV-B ADDR-B
	on "$1" ip addr add "$3" dev "$2" nodad
	on "$4" ip addr add "$6" dev "$5" nodad
}
topology() {
	for ns in lan gw vps srv; do
		ip netns add $ns && on $ns ip link set lo up || return 1
		on $ns sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding'
	done
	wire lan eth0 192.168.77.2/24 gw br0 192.168.77.1/24
	wire6 lan eth0 2a77::2/64 gw br0 2a77::1/64
	wire gw wan1 11.7.1.1/24 vps isp1 11.7.1.2/24
	wire gw wan2 11.7.2.1/24 vps isp2 11.7.2.2/24
	wire vps net0 11.9.0.1/24 srv eth0 11.9.0.2/24
	wire6 vps net0 2a11:9::1/64 srv eth0 2a11:9::2/64
	on vps ip addr add 11.7.0.1/32 dev lo
	on lan ip route add default via 192.168.77.1
	on lan ip -6 route add default via 2a77::1
	on gw ip route add default via 11.7.1.2 dev wan1 metric 100
	on gw ip route add default via 11.7.2.2 dev wan2 metric 200
	on vps ip route add 192.168.77.0/24 via 11.7.1.1
	on srv ip route add default via 11.9.0.1
	for i in 1 2; do
		on gw tc qdisc add dev wan$i root netem rate 10mbit delay 10ms limit 200
		on vps tc qdisc add dev isp$i root netem rate 10mbit delay 10ms limit 200
	done
}
ok "namespaces, lines and their rates" topology
ok "TCP without plait" on lan ping -c 1 -W 2 11.9.0.2

bbr() { grep -qw bbr /proc/sys/net/ipv4/tcp_available_congestion_control; }
ok "bbr is there" bbr
export PLAIT_LAN=br0 PLAIT_VPS=11.7.0.1 PLAIT_OWN=1
for script in nftables tproxy redirect; do
	ok "$script up" on gw /scripts/$script up
	ok "$script down" on gw /scripts/$script down
done

if ! [ -x /usr/sbin/plait-local ] || ! [ -x /usr/sbin/plait-remote ]; then
	say "FAIL the programs are not built"
	failed=$((failed + 1))
	finish
fi

umask 077
ulimit -n 65536
genkeys() { plait-local genkey /etc/plait/local.key && plait-remote genkey /etc/plait/remote.key; }
ok "keys" genkeys
cat >/etc/plait/local.conf <<EOF
[vps]
host = 11.7.0.1
key = $(plait-remote pubkey /etc/plait/remote.key)
[lan]
device = br0
rules_dir = /scripts
[link one]
device = wan1
[link two]
device = wan2
EOF
cat >/etc/plait/remote.conf <<EOF
[listen]
[tunnel]
rules_dir = /scripts
[user home]
key = $(plait-local pubkey /etc/plait/local.key)
EOF
ok "the gateway's file is good" plait-local check -c /etc/plait/local.conf
ok "the VPS's file is good" plait-remote check -c /etc/plait/remote.conf

dd if=/dev/urandom of=/www/file bs=64k count=64 2>/dev/null
on srv httpd -p '[::]:80' -h /www
on vps plait-remote run -c /etc/plait/remote.conf 2>/tmp/remote.log &
on gw plait-local run -c /etc/plait/local.conf 2>/tmp/local.log &

status() { on gw plait-local status --json -c /etc/plait/local.conf; }
ready() {
	for _ in $(seq 100); do
		status >/tmp/status 2>&1 && grep -q '"connected": *true' /tmp/status && return 0
		usleep 100000
	done
	cat /tmp/status /tmp/local.log
	return 1
}
rx() { on gw cat /sys/class/net/$1/statistics/rx_bytes; }
fetch() {
	on lan timeout 60 wget -q -O "/tmp/got" "http://$1/file" && cmp /tmp/got /www/file
}
counted() { status | grep -q '"relays_opened": *[1-9]'; }
both() {
	echo "$((one_after - one)) and $((two_after - two)) bytes"
	[ $((one_after - one)) -gt 500000 ] && [ $((two_after - two)) -gt 500000 ]
}
ok "both programs are up" ready
sleep 2
one=$(rx wan1) two=$(rx wan2)
ok "4 MB over plait, IPv4" fetch 11.9.0.2
one_after=$(rx wan1) two_after=$(rx wan2)
ok "both lines carried it" both
ok "4 MB over plait, IPv6" fetch '[2a11:9::2]'
ok "it really went through plait" counted

# --- the tunnel, and a line that dies in silence ---

within() {
	n=$1
	shift
	for _ in $(seq "$((n * 5))"); do
		"$@" >/dev/null 2>&1 && return 0
		usleep 200000
	done
	"$@"
}
tunnelled() { status | grep -q '"carrier": *"udp"' && status | grep -q '"rules": *"tunnel'; }
state() { status | grep -o '"standing": *"[a-z]*"' | tr '\n' ' ' | grep "$1"; }
hole() {
	on gw tc qdisc change dev wan1 root netem rate 10mbit delay 10ms limit 200 loss $1
	on vps tc qdisc change dev isp1 root netem rate 10mbit delay 10ms limit 200 loss $1
}
ok "the tunnel is up" within 10 tunnelled
ok "ping over it, IPv4" on lan ping -c 5 -W 2 11.9.0.2
ok "ping over it, IPv6" on lan ping -c 5 -W 2 2a11:9::2
on lan sh -c 'ping -c 20 -i 0.5 -W 2 11.9.0.2 >/tmp/pings' &
pinging=$!
fetch 11.9.0.2 &
fetching=$!
usleep 700000
hole 100%
ok "a download goes on when a line dies in silence" wait $fetching
ok "its death is known" within 10 state '"out".*"in"'
ok "the next one, over the other line" fetch 11.9.0.2
hole 0%
ok "it is used again" within 20 state '"in".*"in"'
wait $pinging
few_lost() { tail -2 /tmp/pings && [ "$(grep -c 'bytes from' /tmp/pings)" -ge 19 ]; }
ok "pings meanwhile" few_lost
on gw plait-local status -c /etc/plait/local.conf 2>&1 | head -60 | sed 's/^/kernel:   /'

[ "$failed" = 0 ] || { tail -n 5 /tmp/local.log /tmp/remote.log | sed 's/^/kernel:   /'; }
finish
