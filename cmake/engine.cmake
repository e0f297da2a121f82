# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# For programs that embed the transport engine: static libraries, headers, a CMake package (srd::engine) and a
# pkg-config file (srd-engine). No part of the ordinary installation:
#   cmake --install build --component engine [--prefix P]
set(headers ${CMAKE_INSTALL_INCLUDEDIR}/srd-engine)
set(package ${CMAKE_INSTALL_LIBDIR}/cmake/srd-engine)
install(TARGETS srd_engine srd_seal srd_base ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
    COMPONENT engine EXCLUDE_FROM_ALL)
install(DIRECTORY include/srd DESTINATION ${headers} COMPONENT engine EXCLUDE_FROM_ALL)
install(DIRECTORY src/transport/ DESTINATION ${headers} COMPONENT engine EXCLUDE_FROM_ALL
    FILES_MATCHING PATTERN "*.hpp")
set(SRD_ENGINE_DEFINITIONS "")
if(libcrypto_FOUND)
    set(SRD_ENGINE_DEFINITIONS SRD_HAVE_OPENSSL=1)
endif()
include(CMakePackageConfigHelpers)
configure_package_config_file(cmake/srd-engine-config.cmake.in ${PROJECT_BINARY_DIR}/srd-engine-config.cmake
    INSTALL_DESTINATION ${package} PATH_VARS CMAKE_INSTALL_LIBDIR headers)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/srd-engine-config-version.cmake COMPATIBILITY SameMinorVersion)
# Relocatable: "cmake --install --prefix" may name another one than was configured.
file(RELATIVE_PATH SRD_ENGINE_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(cmake/srd-engine.pc.in ${PROJECT_BINARY_DIR}/srd-engine.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/srd-engine-config.cmake ${PROJECT_BINARY_DIR}/srd-engine-config-version.cmake
    DESTINATION ${package} COMPONENT engine EXCLUDE_FROM_ALL)
install(FILES ${PROJECT_BINARY_DIR}/srd-engine.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig
    COMPONENT engine EXCLUDE_FROM_ALL)
