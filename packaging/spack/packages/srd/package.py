# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""spack repo add packaging/spack; then, in a clone of the sources: spack dev-build srd@1.0.0"""

from spack.package import *


class Srd(CMakePackage):
    """Scalable reliable datagrams for libfabric: a provider for ordinary networks with the properties
    that Amazon's SRD gives EFA, and the command srd, which examines hosts and networks."""

    license("BSD-2-Clause OR GPL-2.0-only", checked_by="srd")

    version("1.0.0")

    variant("command", default=True, description="Build the command srd")
    variant("verbs", default=True, description="Build the backend for RDMA devices")
    variant("openssl", default=True, description="Seal traffic with job keys")
    variant("hwloc", default=True, description="Keep the progress thread near the network interface")

    depends_on("c", type="build")
    depends_on("cxx", type="build")
    depends_on("cmake@3.25:", type="build")
    depends_on("pkgconfig", type="build")
    depends_on("libfabric@1.17:")
    depends_on("libmnl")
    depends_on("nlohmann-json", type="build", when="+command")
    depends_on("cli11", type="build", when="+command")
    depends_on("rdma-core", when="+verbs")
    depends_on("openssl@3:", when="+openssl")
    depends_on("hwloc@2:", when="+hwloc")

    requires("platform=linux", msg="srd is for Linux")
    conflicts("%gcc@:11", msg="C++20")
    conflicts("%clang@:13", msg="C++20")

    def cmake_args(self):
        return [
            self.define("SRD_BUILD_TESTS", False),
            self.define("SRD_BUILD_BENCH", False),
            self.define("SRD_PROVIDER_DIR", join_path(self.prefix.lib, "libfabric")),
        ]

    def setup_run_environment(self, env):
        env.prepend_path("FI_PROVIDER_PATH", join_path(self.prefix.lib, "libfabric"))
