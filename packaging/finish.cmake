# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# Run by cpack on the tree that becomes a package: what Debian's policy asks for beyond what is installed.
set(tree ${CPACK_TEMPORARY_INSTALL_DIRECTORY}/usr)
set(documents ${tree}/share/doc/srd)
# What install(CODE) installs is not CPACK_STRIP_FILES's.
file(GLOB_RECURSE provider ${tree}/libsrd-fi.so)
execute_process(COMMAND strip --strip-unneeded ${provider} COMMAND_ERROR_IS_FATAL ANY)
file(GLOB manuals ${tree}/share/man/man*/*.[1-8])
if(CPACK_GENERATOR STREQUAL DEB)
    file(COPY ${CMAKE_CURRENT_LIST_DIR}/deb/copyright DESTINATION ${documents})
    string(TIMESTAMP date "%a, %d %b %Y %H:%M:%S +0000" UTC) # SOURCE_DATE_EPOCH, where it is set
    file(WRITE ${documents}/changelog "${CPACK_PACKAGE_NAME} (${CPACK_PACKAGE_VERSION}) unstable; urgency=medium

  * srd ${CPACK_PACKAGE_VERSION}. CHANGELOG.md beside this file lists the changes.

 -- ${CPACK_PACKAGE_CONTACT}  ${date}
")
    list(APPEND manuals ${documents}/changelog)
endif()
foreach(file IN LISTS manuals)
    execute_process(COMMAND gzip -9nf ${file} COMMAND_ERROR_IS_FATAL ANY)
endforeach()
# Whatever the umask of whoever packages.
execute_process(COMMAND chmod -R u=rwX,go=rX ${CPACK_TEMPORARY_INSTALL_DIRECTORY} COMMAND_ERROR_IS_FATAL ANY)
