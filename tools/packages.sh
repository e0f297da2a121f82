# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=bash
# shellcheck disable=SC2034 # used by the scripts that source this
#
# The Debian 12 packages that the project needs; the one place where they are listed.

# To configure the project and build the provider.
packages_build=(g++ cmake ninja-build pkg-config libfabric-dev libhwloc-dev libxdp-dev libbpf-dev libibverbs-dev
    libmnl-dev libssl-dev catch2 libcli11-dev nlohmann-json3-dev)
# To use it from the command line and under Open MPI.
packages_run=(libfabric-bin openmpi-bin libopenmpi-dev openssh-client)
# To play two hosts on a network that loses packets.
packages_demo=(iproute2 nftables ethtool)
# To build and run the tests.
packages_test=(clang-14 lld-14 clang-tidy-14 clang-format-14 libclang-rt-14-dev
    iproute2 nftables ethtool procps debootstrap debian-archive-keyring util-linux
    qemu-system-x86 busybox-static kmod cpio ibverbs-providers ibverbs-utils perftest rdmacm-utils
    hpcc netpipe-openmpi python3 python3-mpi4py man-db spin tshark lintian rpm rpmlint
    slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge)
