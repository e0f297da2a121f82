// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// libxdp and libbpf, loaded when first needed: a host without them loses this
// backend and nothing else.
#pragma once

#include <string>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <xdp/xsk.h>

namespace srd {

// X(library, function)
#define SRD_XDP_FUNCTIONS(X)                                                                                 \
    X(xdp, xsk_umem__create)                                                                                 \
    X(xdp, xsk_umem__delete)                                                                                 \
    X(xdp, xsk_socket__create)                                                                               \
    X(xdp, xsk_socket__delete)                                                                               \
    X(xdp, xsk_socket__fd)                                                                                   \
    X(bpf, bpf_map_create)                                                                                   \
    X(bpf, bpf_map_update_elem)                                                                              \
    X(bpf, bpf_map_delete_elem)                                                                              \
    X(bpf, bpf_map_get_fd_by_id)                                                                             \
    X(bpf, bpf_prog_load)                                                                                    \
    X(bpf, bpf_prog_get_fd_by_id)                                                                            \
    X(bpf, bpf_obj_get_info_by_fd)                                                                           \
    X(bpf, bpf_link_create)                                                                                  \
    X(bpf, bpf_link_get_next_id)                                                                             \
    X(bpf, bpf_link_get_fd_by_id)                                                                            \
    X(bpf, bpf_xdp_query)                                                                                    \
    X(bpf, libbpf_set_print)

struct XdpLibrary {
// NOLINTNEXTLINE(bugprone-macro-parentheses): a declarator takes none
#define SRD_X(library, name) decltype(&::name) name = nullptr;
    SRD_XDP_FUNCTIONS(SRD_X)
#undef SRD_X
};

/// The libraries, or nullptr with a sentence. Any thread.
const XdpLibrary* load_xdp_library(std::string& error);

} // namespace srd
