// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "bench/fabric_end.hpp"

#include <array>
#include <cstring>
#include <stdexcept>

namespace srd::tool {

namespace {

constexpr std::uint64_t tag = 7;

/// Opens an object.
template <typename Object, typename Open>
Object* opened(Open&& open, int& code)
{
    Object* object = nullptr;
    code = open(&object);
    return object;
}

} // namespace

void FabricEnd::check(ssize_t code, const char* what) const
{
    if (code < 0) {
        throw std::runtime_error(std::string(what) + ": " + library_.strerror(static_cast<int>(-code)));
    }
}

FabricEnd::FabricEnd(const std::string& provider, const SocketAddress& local)
{
    std::string error;
    if (!library_.load(error)) {
        throw std::runtime_error("libfabric cannot be used: " + error);
    }
    const std::unique_ptr<fi_info, decltype(&::fi_freeinfo)> hints(library_.dupinfo(nullptr),
                                                                   library_.freeinfo);
    hints->fabric_attr->prov_name = ::strdup(provider.c_str());
    hints->ep_attr->type = FI_EP_RDM;
    hints->caps = FI_TAGGED;
    hints->mode = FI_CONTEXT | FI_CONTEXT2;
    fi_info* found = nullptr;
    check(library_.getinfo(FI_VERSION(1, 9), local.host_text().c_str(), nullptr, FI_SOURCE, hints.get(),
                           &found),
          ("fi_getinfo(" + provider + ") for " + local.host_text()).c_str());
    info_ = {found, library_.freeinfo};
    int code = 0;
    fabric_.reset(opened<fid_fabric>(
        [&](auto** out) { return library_.fabric(info_->fabric_attr, out, nullptr); }, code));
    check(code, "fi_fabric");
    domain_.reset(opened<fid_domain>(
        [&](auto** out) { return ::fi_domain(fabric_.get(), info_.get(), out, nullptr); }, code));
    check(code, "fi_domain");
    fi_av_attr av_attr{};
    av_.reset(opened<fid_av>([&](auto** out) { return ::fi_av_open(domain_.get(), &av_attr, out, nullptr); },
                             code));
    check(code, "fi_av_open");
    fi_cq_attr cq_attr{};
    cq_attr.format = FI_CQ_FORMAT_CONTEXT;
    cq_attr.size = 1024;
    cq_.reset(opened<fid_cq>([&](auto** out) { return ::fi_cq_open(domain_.get(), &cq_attr, out, nullptr); },
                             code));
    check(code, "fi_cq_open");
    endpoint_.reset(opened<fid_ep>(
        [&](auto** out) { return ::fi_endpoint(domain_.get(), info_.get(), out, nullptr); }, code));
    check(code, "fi_endpoint");
    check(::fi_ep_bind(endpoint_.get(), &av_->fid, 0), "fi_ep_bind");
    check(::fi_ep_bind(endpoint_.get(), &cq_->fid, FI_TRANSMIT | FI_RECV), "fi_ep_bind");
    check(::fi_enable(endpoint_.get()), "fi_enable");
}

std::string FabricEnd::domain() const
{
    return std::string(info_->fabric_attr->prov_name) + ' ' + info_->domain_attr->name;
}

std::string FabricEnd::name() const
{
    std::array<unsigned char, 256> bytes{};
    std::size_t size = bytes.size();
    check(::fi_getname(&endpoint_->fid, bytes.data(), &size), "fi_getname");
    constexpr const char* digits = "0123456789abcdef";
    std::string text;
    for (std::size_t i = 0; i < size; ++i) {
        text += digits[bytes[i] / 16];
        text += digits[bytes[i] % 16];
    }
    return text;
}

void FabricEnd::connect(const std::string& peer_name)
{
    std::vector<unsigned char> bytes;
    for (std::size_t i = 0; i + 1 < peer_name.size(); i += 2) {
        bytes.push_back(static_cast<unsigned char>(std::stoi(peer_name.substr(i, 2), nullptr, 16)));
    }
    if (bytes.empty() || ::fi_av_insert(av_.get(), bytes.data(), 1, &peer_, 0, nullptr) != 1) {
        throw std::runtime_error("the peer's address is not understood");
    }
}

void FabricEnd::allocate(std::size_t size, std::size_t depth)
{
    size_ = std::max<std::size_t>(size, 1);
    send_memory_.assign(size_ * depth, std::byte{1});
    receive_memory_.assign(size_ * depth, std::byte{0});
    send_contexts_.assign(depth, {});
    receive_contexts_.assign(depth, {});
}

/// Posts as soon as there is room, which progress makes.
template <typename Post>
void FabricEnd::post(const char* what, Post&& call)
{
    for (;;) {
        const ssize_t code = call();
        if (code != -FI_EAGAIN) {
            check(code, what);
            return;
        }
        Done done;
        done.receives = std::move(early_.receives);
        done.sends = early_.sends;
        early_ = {};
        poll(done);
        early_ = std::move(done);
    }
}

void FabricEnd::post_receive(std::size_t index)
{
    post("fi_trecv", [&] {
        return ::fi_trecv(endpoint_.get(), &receive_memory_[index * size_], size_, nullptr, FI_ADDR_UNSPEC,
                          tag, 0, &receive_contexts_[index]);
    });
}

void FabricEnd::send(std::size_t index, std::size_t size)
{
    post("fi_tsend", [&] {
        return ::fi_tsend(endpoint_.get(), &send_memory_[index * size_], size, nullptr, peer_, tag,
                          &send_contexts_[index]);
    });
}

void FabricEnd::poll(Done& done)
{
    done.sends += early_.sends;
    done.receives.insert(done.receives.end(), early_.receives.begin(), early_.receives.end());
    early_ = {};
    std::array<fi_cq_entry, 32> entries{};
    const ssize_t count = ::fi_cq_read(cq_.get(), entries.data(), entries.size());
    if (count == -FI_EAVAIL) {
        fi_cq_err_entry fault{};
        check(::fi_cq_readerr(cq_.get(), &fault, 0), "fi_cq_readerr");
        std::array<char, 512> text{};
        ::fi_cq_strerror(cq_.get(), fault.prov_errno, fault.err_data, text.data(), text.size());
        throw std::runtime_error(std::string("a message failed: ") + library_.strerror(fault.err) + ", " +
                                 text.data());
    }
    if (count != -FI_EAGAIN) {
        check(count, "fi_cq_read");
    }
    for (ssize_t i = 0; i < count; ++i) {
        const auto* const context =
            static_cast<fi_context2*>(entries[static_cast<std::size_t>(i)].op_context);
        if (context >= receive_contexts_.data() &&
            context < receive_contexts_.data() + receive_contexts_.size()) {
            done.receives.push_back(static_cast<std::size_t>(context - receive_contexts_.data()));
        } else {
            ++done.sends;
        }
    }
}

} // namespace srd::tool
