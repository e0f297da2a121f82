# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=bash
#
# Two software RDMA devices (rdma_rxe) in the guest, rxv0 at 10.1.0.1 and fd01::1, rxv1 at 10.1.0.2 and
# fd01::2, whose packets
# really cross a veth pair although both ends lie in one namespace: rxe and network namespaces do not go
# together, so routes by outgoing interface take precedence over the local ones. Sourced, in the guest.

# rxe_up [MTU]: of the veth; the devices' own is the next of 1024, 2048, 4096 below.
rxe_up() {
    local i mtu=${1:-4200}
    modprobe -a rdma_rxe rdma_ucm ib_umad veth sch_netem || return
    ip link add v0 type veth peer name v1
    for i in 0 1; do
        sysctl -qw net.ipv4.conf.v$i.accept_local=1 net.ipv4.conf.v$i.rp_filter=0 net.ipv6.conf.v$i.accept_dad=0
        ip link set v$i mtu "$mtu" up
    done
    sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_local=1
    ip addr add 10.1.0.1/24 dev v0 && ip addr add 10.1.0.2/24 dev v1
    ip addr add fd01::1/64 dev v0 && ip addr add fd01::2/64 dev v1
    ip rule add pref 10 oif v0 lookup 100 && ip rule add pref 11 oif v1 lookup 101
    ip rule add pref 100 lookup local && ip rule del pref 0
    ip -6 rule add pref 10 oif v0 lookup 100 && ip -6 rule add pref 11 oif v1 lookup 101
    ip -6 rule add pref 100 lookup local && ip -6 rule del pref 0
    rxe_routes
    rdma link add rxv0 type rxe netdev v0 && rdma link add rxv1 type rxe netdev v1
}

# Again after a link was down: the kernel forgets them.
rxe_routes() {
    ip route replace 10.1.0.2 dev v0 src 10.1.0.1 table 100
    ip route replace 10.1.0.1 dev v1 src 10.1.0.2 table 101
    ip -6 route replace fd01::2 dev v0 src fd01::1 table 100
    ip -6 route replace fd01::1 dev v1 src fd01::2 table 101
    ip neigh replace fd01::2 lladdr "$(cat /sys/class/net/v1/address)" dev v0 nud permanent
    ip neigh replace fd01::1 lladdr "$(cat /sys/class/net/v0/address)" dev v1 nud permanent
    ip neigh replace 10.1.0.2 lladdr "$(cat /sys/class/net/v1/address)" dev v0 nud permanent
    ip neigh replace 10.1.0.1 lladdr "$(cat /sys/class/net/v0/address)" dev v1 nud permanent
}

# netem FAULTS...: both directions from now on; nothing: none.
rxe_netem() {
    local i
    for i in 0 1; do
        tc qdisc del dev v$i root 2>/dev/null
        [ $# -eq 0 ] || tc qdisc add dev v$i root netem "$@" || return
    done
}

# Packets that v0 has sent.
rxe_crossed() { cat /sys/class/net/v0/statistics/tx_packets; }
