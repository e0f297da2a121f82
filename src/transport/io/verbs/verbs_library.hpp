// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// libibverbs, loaded when first needed: a host without it loses this backend
// and nothing else. Posting and polling need no symbols; they go through the device's own table.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <infiniband/verbs.h>

namespace srd {

// X(function without ibv_)
#define SRD_VERBS_FUNCTIONS(X)                                                                               \
    X(get_device_list)                                                                                       \
    X(free_device_list)                                                                                      \
    X(get_device_name)                                                                                       \
    X(open_device)                                                                                           \
    X(close_device)                                                                                          \
    X(query_device)                                                                                          \
    X(query_port)                                                                                            \
    X(alloc_pd)                                                                                              \
    X(dealloc_pd)                                                                                            \
    X(reg_mr)                                                                                                \
    X(dereg_mr)                                                                                              \
    X(create_comp_channel)                                                                                   \
    X(destroy_comp_channel)                                                                                  \
    X(create_cq)                                                                                             \
    X(destroy_cq)                                                                                            \
    X(get_cq_event)                                                                                          \
    X(ack_cq_events)                                                                                         \
    X(create_qp)                                                                                             \
    X(modify_qp)                                                                                             \
    X(destroy_qp)                                                                                            \
    X(create_ah)                                                                                             \
    X(destroy_ah)                                                                                            \
    X(get_async_event)                                                                                       \
    X(ack_async_event)                                                                                       \
    X(event_type_str)                                                                                        \
    X(wc_status_str)

struct VerbsLibrary {
// NOLINTNEXTLINE(bugprone-macro-parentheses): a declarator takes none
#define SRD_X(name) decltype(&::ibv_##name) name = nullptr;
    SRD_VERBS_FUNCTIONS(SRD_X)
#undef SRD_X
    decltype(&::_ibv_query_gid_table) query_gid_table = nullptr;
};

/// The library, or nullptr with a sentence. Any thread.
const VerbsLibrary* load_verbs_library(std::string& error);

/// The library, which has been loaded before.
const VerbsLibrary& verbs() noexcept;

/// Ends an object of the library.
template <auto function>
struct VerbsDelete {
    template <typename Object>
    void operator()(Object* object) const noexcept
    {
        (verbs().*function)(object);
    }
};

using VerbsPd = std::unique_ptr<ibv_pd, VerbsDelete<&VerbsLibrary::dealloc_pd>>;
using VerbsMr = std::unique_ptr<ibv_mr, VerbsDelete<&VerbsLibrary::dereg_mr>>;
using VerbsCq = std::unique_ptr<ibv_cq, VerbsDelete<&VerbsLibrary::destroy_cq>>;
using VerbsQp = std::unique_ptr<ibv_qp, VerbsDelete<&VerbsLibrary::destroy_qp>>;
using VerbsAh = std::unique_ptr<ibv_ah, VerbsDelete<&VerbsLibrary::destroy_ah>>;

} // namespace srd
