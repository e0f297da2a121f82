# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=bash
#
# Networks out of namespaces, for the scripts in this folder: sourced after
# tools/lib.sh. Every namespace carries the prefix of this process, and all of
# them go when the script ends, however it ends.

net_prefix=srd$$
net_folder=

net_begin() {
    is_root || skip "needs root for network namespaces"
    local tool
    for tool in ip nft ethtool mpirun; do
        have $tool || skip "$tool is not installed"
    done
    ip netns add "$net_prefix-probe" 2>/dev/null || skip "this machine does not allow network namespaces"
    ip netns del "$net_prefix-probe"
    net_folder=$(mktemp -d /tmp/srd-net.XXXXXX)
    # All namespaces are one host, whose processes would share memory; here the network is what matters.
    export FI_SRD_SHM=0
    trap net_end EXIT
    trap 'exit 1' INT TERM
}

net_end() {
    local name pids
    for name in $(ip netns list 2>/dev/null | awk '{ print $1 }' | grep "^$net_prefix-"); do
        pids=$(ip netns pids "$name" 2>/dev/null)
        # shellcheck disable=SC2086 # a list of process ids, all inside our own namespace
        [ -n "$pids" ] && kill -KILL $pids 2>/dev/null
        ip netns del "$name"
        rm -rf "/etc/netns/$name"
    done
    rmdir /etc/netns 2>/dev/null
    [ -n "$net_folder" ] && rm -rf "$net_folder"
}

# in_ns NAME COMMAND...
in_ns() {
    local name=$1
    shift
    ip netns exec "$net_prefix-$name" "$@"
}

# net_node NAME: a namespace that forwards, and takes routes over several next
# hops by ports as well as by addresses, as data centre switches do.
net_node() {
    ip netns add "$net_prefix-$1" || return 1
    in_ns "$1" sysctl -qw net.ipv4.ip_forward=1 net.ipv4.fib_multipath_hash_policy=1 \
        net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
    ip -n "$net_prefix-$1" link set lo up
}

# net_link A a-ADDRESS B b-ADDRESS: a veth between two nodes; in node A it is called to-B.
# Segmentation happens on the link: a lost packet is one datagram, not a burst of them.
net_link() {
    local a=$1 b=$3
    local queues="numrxqueues ${net_queues:-1} numtxqueues ${net_queues:-1}"
    # shellcheck disable=SC2086 # a list of words
    ip -n "$net_prefix-$a" link add "to-$b" mtu "${net_mtu:-1500}" $queues type veth \
        peer name "to-$a" mtu "${net_mtu:-1500}" $queues netns "$net_prefix-$b" || return 1
    ip -n "$net_prefix-$a" addr add "$2" dev "to-$b"
    ip -n "$net_prefix-$b" addr add "$4" dev "to-$a"
    in_ns "$a" ethtool -K "to-$b" tx-udp-segmentation off >/dev/null
    in_ns "$b" ethtool -K "to-$a" tx-udp-segmentation off >/dev/null
    ip -n "$net_prefix-$a" link set "to-$b" up
    ip -n "$net_prefix-$b" link set "to-$a" up
}

# net_loss NODE PERCENT: drops UDP datagrams at random where the node takes them in.
net_loss() {
    in_ns "$1" nft "table ip loss { chain c { type filter hook prerouting priority -300;
        meta l4proto udp numgen random mod 1000 < $(($2 * 10)) counter drop; }; }"
}

net_lost() {
    in_ns "$1" nft list table ip loss 2>/dev/null | sed -n 's/.*counter packets \([0-9]*\).*/\1/p'
}

# Packets that left by an interface: net_sent NODE INTERFACE
net_sent() {
    ip -n "$net_prefix-$1" -s -j link show dev "$2" | grep -oE '"tx":\{[^}]*' | grep -oE '"packets":[0-9]+' |
        cut -d: -f2
}

# net_count_udp NODE: counts the UDP datagrams that the node's kernel sends to others.
net_count_udp() {
    in_ns "$1" nft "table ip count { chain c { type filter hook output priority 0;
        oifname != \"lo\" meta l4proto udp counter; }; }"
}

net_counted_udp() {
    in_ns "$1" nft list table ip count | sed -n 's/.*counter packets \([0-9]*\).*/\1/p'
}

# Two leaves, four spines, two hosts on each leaf: four equal-cost paths
# between hosts on different leaves. Host N is 10.97.N.1. TCP (mpirun's own
# control connections) is kept on spine 0, so that what happens to the other
# spines happens to srd alone.
net_leaf_spine() {
    local leaf spine host
    for leaf in 0 1; do
        net_node "leaf$leaf" || return 1
    done
    for host in 0 1 2 3; do
        leaf=leaf$((host / 2))
        net_node "h$host" && net_link "h$host" "10.97.$host.1/24" $leaf "10.97.$host.254/24" || return 1
        ip -n "$net_prefix-h$host" route add default via "10.97.$host.254"
    done
    for spine in 0 1 2 3; do
        net_node "spine$spine" || return 1
        for leaf in 0 1; do
            net_link "leaf$leaf" "10.98.$leaf$spine.1/24" "spine$spine" "10.98.$leaf$spine.2/24" || return 1
            for host in $((leaf * 2)) $((leaf * 2 + 1)); do
                ip -n "$net_prefix-spine$spine" route add "10.97.$host.0/24" via "10.98.$leaf$spine.1"
            done
        done
    done
    for leaf in 0 1; do
        for host in $((2 - leaf * 2)) $((3 - leaf * 2)); do
            ip -n "$net_prefix-leaf$leaf" route add "10.97.$host.0/24" \
                nexthop via "10.98.${leaf}0.2" nexthop via "10.98.${leaf}1.2" \
                nexthop via "10.98.${leaf}2.2" nexthop via "10.98.${leaf}3.2"
            ip -n "$net_prefix-leaf$leaf" route add "10.97.$host.0/24" via "10.98.${leaf}0.2" table 97
        done
        ip -n "$net_prefix-leaf$leaf" rule add ipproto tcp lookup 97
    done
}

# Hosts on one bridge, as in one rack: net_rack COUNT
net_rack() {
    local host
    net_node rack || return 1
    ip -n "$net_prefix-rack" link add name bridge0 type bridge
    ip -n "$net_prefix-rack" link set bridge0 up
    for host in $(seq 0 $(($1 - 1))); do
        net_node "h$host" && net_link "h$host" "10.97.0.$((host + 1))/24" rack 0.0.0.0/32 || return 1
        ip -n "$net_prefix-rack" link set "to-h$host" master bridge0
    done
}

# Host names and Open MPI's launch agent: net_hosts ADDRESS... (of h0, h1, ...)
net_hosts() {
    local address number=0 name
    for address in "$@"; do
        echo "$address $net_prefix-h$number" >>"$net_folder/hosts"
        echo "$net_prefix-h$number slots=${net_slots:-1}" >>"$net_folder/hostfile"
        number=$((number + 1))
    done
    echo "127.0.0.1 localhost" >>"$net_folder/hosts"
    for name in $(cut -d' ' -f2 "$net_folder/hosts" | grep "^$net_prefix"); do
        mkdir -p "/etc/netns/$name"
        cp "$net_folder/hosts" "/etc/netns/$name/hosts" # "ip netns exec" shows it as /etc/hosts
    done
}

# net_mpirun RANKS PROGRAM...: from h0, over all hosts. Each host has a name of
# its own (a UTS namespace), or Open MPI would take them for one machine.
net_mpirun() {
    local ranks=$1 variable forward=()
    shift
    for variable in FI_PROVIDER FI_PROVIDER_PATH FI_SRD_BACKEND FI_SRD_INTERFACE FI_SRD_SHM FI_SRD_XDP_QUEUES FI_SRD_STATS \
        FI_LOG_LEVEL PMIX_MCA_gds; do
        [ -n "${!variable:-}" ] && forward+=(-x "$variable")
    done
    "$(dirname "${BASH_SOURCE[0]}")/enter_host" "$net_prefix-h0" -- timeout -k 10 "${SRD_TEST_SECONDS:-300}" \
        mpirun --bind-to none --map-by node -n "$ranks" --hostfile "$net_folder/hostfile" "${forward[@]}" \
        --mca plm_rsh_agent "$(realpath "$(dirname "${BASH_SOURCE[0]}")/enter_host")" \
        --mca oob_tcp_if_include 10.97.0.0/16 --mca orte_tmpdir_base "${net_job_folder:-$net_folder}" "$@" </dev/null
}
