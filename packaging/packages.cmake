# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# What "cpack -G DEB" and "cpack -G RPM" make of an installation under /usr; tools/package calls them.
set(SRD_MAINTAINER "The srd authors <authors@srd.invalid>" CACHE STRING "Whom packages name as their maintainer")

set(CPACK_PACKAGE_NAME srd)
set(CPACK_PACKAGE_VENDOR "The srd authors")
set(CPACK_PACKAGE_CONTACT "${SRD_MAINTAINER}")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Scalable reliable datagrams for libfabric")
set(CPACK_PACKAGE_DESCRIPTION "A libfabric provider that gives reliable datagram endpoints on ordinary\n\
networks the properties that Amazon's SRD gives EFA: connectionless, sprayed\n\
over many paths, acknowledged packet by packet, congestion-controlled by delay.\n\
For Open MPI, MPICH and other users of libfabric. With it come the command srd,\n\
which examines hosts and networks and watches jobs, and a Wireshark dissector.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_RESOURCE_FILE_LICENSE ${PROJECT_SOURCE_DIR}/LICENSE)
set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_CURRENT_LIST_DIR}/finish.cmake)
set(CPACK_PACKAGE_DIRECTORY ${PROJECT_BINARY_DIR}/packages)

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# Loaded when they are first used, so no dependencies of the library: the names of Debian 12, which 13 provides, too.
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "libfabric-bin, libssl3")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "openmpi-bin, libhwloc15, libibverbs1, libxdp1, libbpf1, tshark | wireshark")

set(CPACK_RPM_FILE_NAME RPM-DEFAULT)
set(CPACK_RPM_PACKAGE_DESCRIPTION "${CPACK_PACKAGE_DESCRIPTION}")
set(CPACK_RPM_SPEC_MORE_DEFINE "%define packager ${SRD_MAINTAINER}")
set(CPACK_RPM_PACKAGE_LICENSE "BSD-2-Clause OR GPL-2.0-only")
set(CPACK_RPM_PACKAGE_GROUP "System Environment/Libraries")
# Folders that belong to others.
set(CPACK_RPM_EXCLUDE_FROM_AUTO_FILELIST_ADDITION /usr/share/man /usr/share/man/man1 /usr/share/man/man7
    /usr/${CMAKE_INSTALL_LIBDIR}/libfabric /usr/${CMAKE_INSTALL_LIBDIR}/wireshark
    /usr/${CMAKE_INSTALL_LIBDIR}/wireshark/plugins)
include(CPack)
