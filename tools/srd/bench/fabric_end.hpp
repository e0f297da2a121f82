// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// One libfabric endpoint for measurements: tagged messages to one peer.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_tagged.h>

#include <srd/address.hpp>

#include "fabric_library.hpp"

namespace srd::tool {

/// All members throw std::runtime_error with a sentence.
class FabricEnd {
public:
    /// An endpoint of `provider` at `local`, which names the interface; port 0.
    FabricEnd(const std::string& provider, const SocketAddress& local);
    FabricEnd(const FabricEnd&) = delete;
    FabricEnd& operator=(const FabricEnd&) = delete;

    std::string domain() const;
    /// Its address in hexadecimal digits, for the peer's connect().
    std::string name() const;
    void connect(const std::string& peer_name);

    /// `depth` buffers of `size` bytes for each direction, numbered from 0.
    void allocate(std::size_t size, std::size_t depth);
    void post_receive(std::size_t index);
    void send(std::size_t index, std::size_t size);

    struct Done {
        std::size_t sends = 0;
        std::vector<std::size_t> receives; ///< which buffers
    };
    /// What has completed, since the last call.
    void poll(Done& done);

private:
    template <typename Object>
    struct Closer {
        void operator()(Object* object) const { ::fi_close(&object->fid); }
    };
    template <typename Object>
    using Handle = std::unique_ptr<Object, Closer<Object>>;

    void check(ssize_t code, const char* what) const;
    template <typename Post>
    void post(const char* what, Post&& call);

    Libfabric library_;
    std::unique_ptr<fi_info, decltype(&::fi_freeinfo)> info_{nullptr, nullptr};
    Handle<fid_fabric> fabric_;
    Handle<fid_domain> domain_;
    Handle<fid_av> av_;
    Handle<fid_cq> cq_;
    Handle<fid_ep> endpoint_;
    fi_addr_t peer_ = FI_ADDR_UNSPEC;
    std::size_t size_ = 0;
    std::vector<std::byte> send_memory_, receive_memory_;
    std::vector<fi_context2> send_contexts_, receive_contexts_;
    Done early_; ///< what completed while something was posted
};

} // namespace srd::tool
