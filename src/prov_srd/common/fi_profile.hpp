// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What <rdma/fi_profile.h> declares, which libfabric has since 1.20: a binary that is built with an older
// header serves newer libraries as well, and the header is no C++ (it uses a macro container_of that
// applications have to bring).
#pragma once

#include <cstddef>
#include <cstdint>

#include <sys/types.h>

#include <rdma/fabric.h>
#include <rdma/fi_domain.h>

inline constexpr std::size_t profile_class = 30; ///< FI_CLASS_PROFILE

enum fi_profile_type { fi_primitive_type, fi_defined_type };

struct fi_profile_desc {
    std::uint32_t id;
    enum fi_profile_type datatype_sel;
    union {
        enum fi_datatype primitive;
        enum fi_type defined;
    } datatype;
    std::uint64_t flags;
    std::size_t size;
    const char* name;
    const char* desc;
};

struct fid_profile;

struct fi_profile_ops {
    std::size_t size;
    void (*reset)(fid_profile* profile, std::uint64_t flags);
    ssize_t (*query_vars)(fid_profile* profile, fi_profile_desc* list, std::size_t* count);
    ssize_t (*query_events)(fid_profile* profile, fi_profile_desc* list, std::size_t* count);
    ssize_t (*read_var)(fid_profile* profile, std::uint32_t id, void* data, std::size_t* size);
    int (*reg_callback)(fid_profile* profile, std::uint32_t event,
                        int (*callback)(fid_profile* profile, fi_profile_desc* event, void* data,
                                        std::size_t size, void* context),
                        void* context);
    void (*start_reads)(fid_profile* profile, std::uint64_t flags);
    void (*end_reads)(fid_profile* profile, std::uint64_t flags);
};

struct fid_profile {
    struct fid fid;
    fi_profile_ops* ops;
};

static_assert(offsetof(fid_profile, ops) == sizeof(fid) && sizeof(fi_profile_ops) == 8 * sizeof(void*) &&
              sizeof(fi_profile_desc) == 48);
