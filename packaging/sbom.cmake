# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# srd.spdx.json: what the build consists of and uses, with the versions that it was configured with.
find_package(nlohmann_json QUIET)
find_package(CLI11 QUIET)
set(SRD_SBOM_PACKAGES "")
set(SRD_SBOM_RELATIONSHIPS "")

# srd_sbom_package(NAME VERSION LICENSE RELATIONSHIP): how srd stands to the package.
function(srd_sbom_package name version license relationship)
    if(NOT version)
        return() # left out of this build
    endif()
    set(separator "")
    if(SRD_SBOM_PACKAGES)
        set(separator ",\n")
    endif()
    set(SRD_SBOM_PACKAGES "${SRD_SBOM_PACKAGES}${separator}        { \"SPDXID\": \"SPDXRef-${name}\", \"name\": \"${name}\", \
\"versionInfo\": \"${version}\", \"downloadLocation\": \"NOASSERTION\", \"filesAnalyzed\": false, \
\"licenseConcluded\": \"NOASSERTION\", \"licenseDeclared\": \"${license}\", \"copyrightText\": \"NOASSERTION\" }" PARENT_SCOPE)
    set(SRD_SBOM_RELATIONSHIPS "${SRD_SBOM_RELATIONSHIPS}${separator}        { \"spdxElementId\": \"SPDXRef-srd\", \
\"relationshipType\": \"${relationship}\", \"relatedSpdxElement\": \"SPDXRef-${name}\" }" PARENT_SCOPE)
endfunction()

srd_sbom_package(libfabric "${libfabric_VERSION}" "BSD-2-Clause OR GPL-2.0-only" DYNAMIC_LINK)
srd_sbom_package(libmnl "${libmnl_VERSION}" "LGPL-2.1-or-later" DYNAMIC_LINK)
# Loaded when they are first used.
srd_sbom_package(libcrypto "${libcrypto_VERSION}" "Apache-2.0" DYNAMIC_LINK)
srd_sbom_package(libibverbs "${libibverbs_VERSION}" "GPL-2.0-only OR Linux-OpenIB" DYNAMIC_LINK)
srd_sbom_package(libxdp "${libxdp_libxdp_VERSION}" "GPL-2.0-only OR BSD-2-Clause" DYNAMIC_LINK)
srd_sbom_package(libbpf "${libxdp_libbpf_VERSION}" "LGPL-2.1-only OR BSD-2-Clause" DYNAMIC_LINK)
srd_sbom_package(hwloc "${hwloc_VERSION}" "BSD-3-Clause" DYNAMIC_LINK)
# Headers that are compiled into the command srd.
srd_sbom_package(nlohmann-json "${nlohmann_json_VERSION}" "MIT" STATIC_LINK)
srd_sbom_package(CLI11 "${CLI11_VERSION}" "BSD-3-Clause" STATIC_LINK)

string(TIMESTAMP SRD_SOURCE_DATE "%Y-%m-%dT%H:%M:%SZ" UTC)
configure_file(${CMAKE_CURRENT_LIST_DIR}/srd.spdx.json.in ${PROJECT_BINARY_DIR}/srd.spdx.json @ONLY)
