// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What every test through libfabric needs: the provider of this build and no
// other, and objects that close themselves.
#pragma once

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>
#include <rdma/fi_errno.h>

#include <srd/file_descriptor.hpp>

#include "support/catch.hpp"

namespace fabric_test {

/// Before libfabric looks: at static initialization.
inline const bool environment_is_set = [] {
    setenv("FI_PROVIDER_PATH", SRD_PROVIDER_DIR, 1);
    setenv("FI_PROVIDER", "srd", 1);
    return true;
}();

using InfoPtr = std::unique_ptr<fi_info, decltype(&fi_freeinfo)>;

inline InfoPtr make_hints(std::uint64_t caps = FI_MSG | FI_TAGGED)
{
    InfoPtr hints(fi_allocinfo(), &fi_freeinfo);
    hints->caps = caps;
    hints->ep_attr->type = FI_EP_RDM;
    return hints;
}

/// fi_getinfo(); the result is null unless `code` is 0.
inline InfoPtr get_info(int& code, const fi_info* hints, const char* node = nullptr,
                        const char* service = nullptr, std::uint64_t flags = 0,
                        std::uint32_t version = FI_VERSION(1, 17))
{
    fi_info* info = nullptr;
    code = fi_getinfo(version, node, service, flags, hints, &info);
    return InfoPtr(info, &fi_freeinfo);
}

/// An open libfabric object; closing it must succeed.
template <typename Object>
class Handle {
public:
    Handle() = default;
    Handle(Handle&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
    Handle& operator=(Handle&& other) noexcept
    {
        std::swap(object_, other.object_);
        return *this;
    }
    ~Handle()
    {
        if (object_ != nullptr) {
            CHECK(close() == 0);
        }
    }
    int close()
    {
        const int code = fi_close(&object_->fid);
        if (code == 0) {
            object_ = nullptr;
        }
        return code;
    }
    Object** out() { return &object_; }
    Object* get() const { return object_; }
    Object* operator->() const { return object_; }

private:
    Object* object_ = nullptr;
};

/// A domain on the first interface that `node` leads to.
struct OpenDomain {
    explicit OpenDomain(const char* node = "127.0.0.1", InfoPtr hints = make_hints(),
                        std::uint32_t version = FI_VERSION(1, 17), const char* service = nullptr)
    {
        int code = 0;
        info = get_info(code, hints.get(), node, service, FI_SOURCE, version);
        REQUIRE(code == 0);
        REQUIRE(std::string(info->fabric_attr->prov_name) == "srd");
        REQUIRE(fi_fabric(info->fabric_attr, fabric.out(), this) == 0);
        REQUIRE(fi_domain(fabric.get(), info.get(), domain.out(), this) == 0);
    }
    OpenDomain(const OpenDomain&) = delete;
    OpenDomain& operator=(const OpenDomain&) = delete;

    InfoPtr info{nullptr, &fi_freeinfo};
    Handle<fid_fabric> fabric;
    Handle<fid_domain> domain;
};

inline Handle<fid_cntr> open_counter(const OpenDomain& domain, fi_wait_obj wait_obj = FI_WAIT_UNSPEC)
{
    fi_cntr_attr attr{};
    attr.wait_obj = wait_obj;
    Handle<fid_cntr> counter;
    REQUIRE(fi_cntr_open(domain.domain.get(), &attr, counter.out(), nullptr) == 0);
    return counter;
}

/// Runs this program's hidden test `name` with `variable` (NAME=value) in its environment and warnings
/// on; returns what it printed.
inline std::string run_child(const std::string& name, const std::string& variable = "")
{
    std::array<char, 4096> path{};
    REQUIRE(readlink("/proc/self/exe", path.data(), path.size() - 1) > 0);
    const std::string command = "FI_LOG_LEVEL=warn " + variable + " " + path.data() + " '" + name + "' 2>&1";
    FILE* pipe = popen(command.c_str(), "r");
    REQUIRE(pipe != nullptr);
    std::string output;
    std::array<char, 4096> piece{};
    while (std::fgets(piece.data(), piece.size(), pipe) != nullptr) {
        output += piece.data();
    }
    const int status = pclose(pipe);
    INFO(output);
    REQUIRE(status == 0);
    return output;
}

inline sockaddr_in make_ipv4(const char* host, std::uint16_t port)
{
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    REQUIRE(inet_pton(AF_INET, host, &address.sin_addr) == 1);
    return address;
}

/// A port of 127.0.0.1 that is free for TCP and UDP, and stays so: it is none of those that the kernel gives
/// to whoever asks for just any, as the tests that run beside this one do.
inline std::uint16_t free_port()
{
    static std::uint32_t next = static_cast<std::uint32_t>(::getpid()) * 16;
    for (;;) {
        const auto port = static_cast<std::uint16_t>(10000 + next++ % 20000);
        const sockaddr_in address = make_ipv4("127.0.0.1", port);
        const auto is_free = [&](int type) {
            const srd::FileDescriptor socket(::socket(AF_INET, type, 0));
            return bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
        };
        if (is_free(SOCK_STREAM) && is_free(SOCK_DGRAM)) {
            return port;
        }
    }
}

inline sockaddr_in6 make_ipv6(const char* host, std::uint16_t port)
{
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(port);
    REQUIRE(inet_pton(AF_INET6, host, &address.sin6_addr) == 1);
    return address;
}

/// Memory that the provider may be writing, from a thread of its own, as a program that polls it has to read
/// it: no race that ThreadSanitizer should report.
template <typename T>
__attribute__((noinline, no_sanitize("thread"))) T polled(const T& word)
{
    return *static_cast<const volatile T*>(&word);
}

inline bool is_loopback(const fi_info& info)
{
    return std::string(info.domain_attr->name) == "lo";
}

} // namespace fabric_test
