# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=bash
#
# What the scripts in this folder share: messages, Debian packages, an
# unprivileged user to run things as, and the proof that srd carried the bytes.
# Sourced, never run. Expects `set -u`; every function returns a status.

SRD_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# ctest's SKIP_RETURN_CODE in this project.
readonly SRD_SKIP=77

if [ -t 1 ]; then
    SRD_BOLD=$(printf '\033[1m') SRD_RED=$(printf '\033[31m') SRD_GREEN=$(printf '\033[32m')
    SRD_YELLOW=$(printf '\033[33m') SRD_PLAIN=$(printf '\033[0m')
else
    SRD_BOLD='' SRD_RED='' SRD_GREEN='' SRD_YELLOW='' SRD_PLAIN=''
fi

say() { printf '%s==>%s %s\n' "$SRD_BOLD" "$SRD_PLAIN" "$*"; }
note() { printf '    %s\n' "$*"; }
warn() { printf '%swarning:%s %s\n' "$SRD_YELLOW" "$SRD_PLAIN" "$*" >&2; }
die() {
    printf '%serror:%s %s\n' "$SRD_RED" "$SRD_PLAIN" "$*" >&2
    exit 1
}

# A test that cannot run here ends with this: the reason on a line of its own
# that tools/test collects, and the exit status that ctest counts as skipped.
skip() {
    printf 'SKIPPED: %s\n' "$*"
    exit "$SRD_SKIP"
}

have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" -eq 0 ]; }
# Creating a namespace needs more than uid 0: containers often take the right away.
can_unshare() { is_root && unshare --mount --net true 2>/dev/null; }

# --- Debian packages --------------------------------------------------------

# Prefix that gives a command root's rights: empty for root, sudo if it exists.
root_prefix() {
    if is_root; then
        :
    elif have sudo; then
        echo sudo
    else
        return 1
    fi
}

packages_missing() {
    local name
    for name in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || echo "$name"
    done
}

# Installs what is missing of the given packages. $1 is the log's file name.
packages_install() {
    local log=$1 prefix missing
    shift
    have dpkg-query || die "this is not a Debian system (no dpkg); install by hand: $*"
    missing=$(packages_missing "$@" | tr '\n' ' ')
    if [ -z "$missing" ]; then
        note "all ${#} packages are there already"
        return 0
    fi
    prefix=$(root_prefix) || die "these packages are missing and there is neither root nor sudo to
       install them. Ask an administrator for:
           apt-get install --no-install-recommends $missing"
    note "installing: $missing"
    # A local cache of package lists may be empty or old on a fresh machine.
    if ! { $prefix apt-get -qq update && apt_install "$prefix" "$missing"; } >"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        die "apt-get failed (whole log: $log)"
    fi
}

apt_install() {
    # shellcheck disable=SC2086 # both are lists of words
    $1 env DEBIAN_FRONTEND=noninteractive apt-get -y -qq -o Dpkg::Use-Pty=0 \
        install --no-install-recommends $2
}

# The Debian archive this machine installs from, as debootstrap wants it.
debian_mirror() {
    local mirror
    mirror=$(apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        awk '$1 == "Debian" { print $2; exit }')
    if [ -z "$mirror" ]; then
        mirror=$(sed -n -E 's/^URIs:[[:space:]]*([^[:space:]]+).*/\1/p; s/^deb[[:space:]]+(\[[^]]*\][[:space:]]+)?([^[:space:]]+).*/\2/p' \
            /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | grep -v security | head -n 1)
    fi
    [ -n "$mirror" ] && echo "${mirror%/}"
}

# --- running unprivileged ---------------------------------------------------

# Runs a command as the user $SRD_RUN_AS (only root may; others run it as they are).
as_user() {
    if is_root && [ "${SRD_RUN_AS:-root}" != root ]; then
        local uid gid
        uid=$(id -u "$SRD_RUN_AS") gid=$(id -g "$SRD_RUN_AS") || return 1
        setpriv --reuid "$uid" --regid "$gid" --clear-groups --no-new-privs --bounding-set=-all \
            --inh-caps=-all env HOME="${SRD_RUN_HOME:-/tmp}" USER="$SRD_RUN_AS" LOGNAME="$SRD_RUN_AS" "$@"
    else
        "$@"
    fi
}

# --- the proof --------------------------------------------------------------

# Sum of a counter (mawk's %d ends at 2^31, so %.0f) over the JSON files srd wrote at endpoint close.
#   counter_sum tx_message_bytes DIR
counter_sum() {
    cat "$2"/srd.*.json 2>/dev/null |
        grep -oE "\"$1\"[[:space:]]*:[[:space:]]*[0-9]+" | awk -F: '{ sum += $2 } END { printf "%.0f\n", sum }'
}

# Which way packets and messages without a packet went, by the counters in folder $1. Fails unless most of them took
# shared memory with FI_SRD_SHM=1, and none with FI_SRD_SHM=0; without the variable both are right.
way_taken() {
    local packets messages by_memory
    messages=$(counter_sum io_shm_messages "$1")
    packets=$(($(counter_sum tx_packets "$1") + messages))
    by_memory=$(($(counter_sum io_shm_packets "$1") + messages))
    case ${FI_SRD_SHM:-} in
    1) [ "$by_memory" -gt $((packets / 2)) ] ;;
    0) [ "$by_memory" -eq 0 ] ;;
    esac || {
        echo "NOT PROVEN: FI_SRD_SHM=$FI_SRD_SHM, but $by_memory of $packets packets and messages went through shared memory" >&2
        return 1
    }
    echo "proof: $by_memory of $packets packets and messages went through shared memory"
}

# Fails unless srd sent at least $2 payload bytes, by the counters in folder $1.
carried_at_least() {
    local endpoints bytes packets
    endpoints=$(cat "$1"/srd.*.json 2>/dev/null | grep -c '"provider":"srd"')
    bytes=$(counter_sum tx_message_bytes "$1")
    packets=$(counter_sum tx_packets "$1")
    if [ "$endpoints" -eq 0 ]; then
        echo "NOT PROVEN: no endpoint of srd wrote its counters into $1" >&2
        return 1
    fi
    if [ "$bytes" -lt "$2" ]; then
        echo "NOT PROVEN: srd's counters show $bytes payload bytes, the program sent $2" >&2
        return 1
    fi
    echo "proof: srd's own counters of $endpoints endpoints: $bytes payload bytes (the program sent $2) in $packets packets"
    way_taken "$1"
}

# Fails unless srd sent at least $2 bytes, by the counters in folder $1, and
# writes, reads and atomics among them. (Small puts to neighbouring places MPI may join.)
accessed_at_least() {
    local bytes name count
    bytes=$(counter_sum tx_bytes "$1")
    if [ "$bytes" -lt "$2" ]; then
        echo "NOT PROVEN: srd's counters show $bytes bytes, the program's accesses are $2" >&2
        return 1
    fi
    echo "proof: srd's own counters: $bytes bytes (the program's accesses are $2)"
    for name in writes reads atomics; do
        count=$(counter_sum "tx_$name" "$1")
        if [ "$count" -eq 0 ]; then
            echo "NOT PROVEN: srd carried no $name" >&2
            return 1
        fi
        echo "proof: $count $name, $(counter_sum "rx_$name" "$1") seen at their targets"
    done
    way_taken "$1"
}

human_bytes() {
    awk -v n="$1" 'BEGIN { split("B KiB MiB GiB TiB", u, " "); i = 1; while (n >= 1024 && i < 5) { n /= 1024; i++ }
        printf (i == 1 ? "%d %s\n" : "%.1f %s\n"), n, u[i] }'
}

# --- Open MPI over srd ------------------------------------------------------

# Sets what a program needs to run over srd. $1: the folder of libsrd-fi.so,
# $2: the folder for the counters of every endpoint.
# SRD_TEST_PROVIDER=net (tcp, ...) runs the same over a provider of libfabric's
# own, to tell whose fault a failure is; there is nothing to prove then.
srd_environment() {
    export FI_PROVIDER=${SRD_TEST_PROVIDER:-srd} FI_PROVIDER_PATH=$1 FI_SRD_STATS=$2/srd.%p.json
    # Open MPI 4 and 5 by their environment, because their options differ.
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    export OMPI_MCA_rmaps_base_oversubscribe=1 PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe
    export OMPI_MCA_mpi_yield_when_idle=1 PMIX_MCA_gds=hash
    # Debian switches OFI off; without pml=cm a failure to start would silently run over TCP instead.
    export OMPI_MCA_pml=cm OMPI_MCA_mtl=ofi
}

# MPI's windows by libfabric's RMA and atomics (btl/ofi under osc/rdma) instead of by messages.
# Open MPI 5 starts its BTLs only where pml/ob1 may be chosen too; cm wins, and if not, the counters tell.
onesided_environment() {
    unset OMPI_MCA_pml
    export OMPI_MCA_btl=ofi,self OMPI_MCA_osc=rdma OMPI_MCA_osc_rdma_btls=ofi
}

# Messages by pml/ob1 and btl/ofi instead of mtl/ofi, as ULFM demands: with it Open MPI 5 runs no other PML.
# After a rank has died, the fence in its MPI_Finalize may never end (over btl/tcp and btl/sm neither): it is left out.
btl_environment() {
    export OMPI_MCA_pml=ob1 OMPI_MCA_btl=ofi,self OMPI_MCA_btl_ofi_mode=1 OMPI_MCA_async_mpi_finalize=1
    unset OMPI_MCA_mtl
}

# mpirun_here RANKS COMMAND...: on this host. More ranks than cores must share them.
mpirun_here() {
    local ranks=$1
    shift
    mpirun --bind-to none -n "$ranks" "$@"
}

# What an MPI test program of ours printed about its own bytes.
bytes_reported() {
    sed -n 's/^payload bytes sent by all ranks: //p' "$1" | tail -n 1
}

# prove FOLDER BYTES: as carried_at_least, except where another provider was asked for.
prove() {
    if [ "${SRD_TEST_PROVIDER:-srd}" != srd ]; then
        echo "no proof: ran over $SRD_TEST_PROVIDER as told by SRD_TEST_PROVIDER"
        return 0
    fi
    carried_at_least "$@"
}

# prove_onesided FOLDER BYTES: the same for accesses to other ranks' memory.
prove_onesided() {
    if [ "${SRD_TEST_PROVIDER:-srd}" != srd ]; then
        prove "$@"
    else
        accessed_at_least "$@"
    fi
}

# Waits until somebody listens on a TCP port of this namespace, at most 10 s.
wait_for_listener() {
    local hex tries
    hex=$(printf '%04X' "$1")
    for tries in $(seq 100); do
        awk -v port=":$hex" '$4 == "0A" && $2 ~ port "$" { found = 1 } END { exit !found }' \
            /proc/net/tcp /proc/net/tcp6 2>/dev/null && return 0
        sleep 0.1
    done
    return 1
}
