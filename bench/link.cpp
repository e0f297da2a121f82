// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "link.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace bench {
namespace {

constexpr std::uint32_t api_version = FI_VERSION(FI_MAJOR_VERSION, FI_MINOR_VERSION);
constexpr std::size_t cq_batch = 32;

/// What the provider has for these capabilities; null if it has nothing.
Info find_info(const Options& options, std::uint64_t caps)
{
    const Info hints(fi_allocinfo());
    hints->caps = caps;
    hints->mode = FI_CONTEXT | FI_CONTEXT2;
    hints->ep_attr->type = FI_EP_RDM;
    hints->domain_attr->threading = FI_THREAD_DOMAIN;
    hints->domain_attr->resource_mgmt = FI_RM_ENABLED;
    hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
    hints->tx_attr->msg_order = FI_ORDER_SAS;
    hints->rx_attr->msg_order = FI_ORDER_SAS;
    hints->fabric_attr->prov_name = strdup(options.provider.c_str());
    hints->domain_attr->name = options.domain.empty() ? nullptr : strdup(options.domain.c_str());
    const bool bound = !options.address.empty();
    fi_info* found = nullptr;
    const int error = fi_getinfo(api_version, bound ? options.address.c_str() : nullptr, nullptr,
                                 bound ? FI_SOURCE : 0, hints.get(), &found);
    if (error != -FI_ENODATA) {
        check("fi_getinfo", error);
    }
    return Info(found);
}

/// With as much of what the tests need as the provider has: atomics are not everywhere.
Info find_info(const Options& options)
{
    const std::uint64_t messages = FI_MSG | FI_TAGGED;
    if (!options.wants_remote_memory()) {
        Info info = find_info(options, messages);
        check("fi_getinfo", info == nullptr ? -FI_ENODATA : 0);
        return info;
    }
    for (const std::uint64_t remote : {FI_RMA | FI_ATOMIC, FI_RMA}) {
        if (Info info = find_info(options, messages | remote)) {
            return info;
        }
    }
    check("fi_getinfo (FI_RMA)", -FI_ENODATA);
    return nullptr;
}

} // namespace

std::int64_t check(const char* call, std::int64_t result)
{
    if (result < 0) {
        throw Error(std::string(call) + ": " + fi_strerror(static_cast<int>(-result)) + " (" +
                    std::to_string(result) + ")");
    }
    return result;
}

Link::Link(const Options& options, const Control& control, std::size_t largest)
    : control_(control), timeout_ns_(options.timeout_ns()), largest_(largest),
      tx_memory_((largest + guard_bytes) * verify_messages), rx_memory_(tx_memory_.size()),
      window_(options.window)
{
    open(options);
    inject_limit_ = info_->tx_attr->inject_size;
    window_ = std::max<std::size_t>(1, std::min({window_, info_->tx_attr->size, info_->rx_attr->size / 2}));
    tx_contexts_.resize(window_);
    rx_contexts_.resize(std::max(2 * window_, verify_messages));
    for (fi_context2& context : tx_contexts_) {
        free_tx_.push_back(&context);
    }
    for (fi_context2& context : rx_contexts_) {
        free_rx_.push_back(&context);
    }
    const bool remote = options.wants_remote_memory();
    if (remote || (info_->domain_attr->mr_mode & FI_MR_LOCAL) != 0) {
        const std::uint64_t own = FI_SEND | FI_RECV;
        register_memory(tx_memory_, tx_region_, 1, remote ? own | FI_READ | FI_WRITE : own);
        register_memory(rx_memory_, rx_region_, 2, remote ? own | FI_REMOTE_READ | FI_REMOTE_WRITE : own);
        tx_desc_ = fi_mr_desc(tx_region_.get());
        rx_desc_ = fi_mr_desc(rx_region_.get());
    }
    exchange_addresses();
    if (remote) {
        exchange_keys();
    }
}

void Link::open(const Options& options)
{
    // libfabric loads every provider at the first call, which takes it longer than all of the rest.
    const std::int64_t load = now_ns();
    fi_info* names = nullptr;
    check("fi_getinfo (names)",
          fi_getinfo(api_version, nullptr, nullptr, FI_PROV_ATTR_ONLY, nullptr, &names));
    fi_freeinfo(names);
    const std::int64_t start = now_ns();
    load_ns_ = start - load;
    info_ = find_info(options);

    fid_fabric* fabric = nullptr;
    check("fi_fabric", fi_fabric(info_->fabric_attr, &fabric, nullptr));
    fabric_.reset(fabric);
    fid_domain* domain = nullptr;
    check("fi_domain", fi_domain(fabric, info_.get(), &domain, nullptr));
    domain_.reset(domain);

    fi_cq_attr cq_attr{};
    cq_attr.format = FI_CQ_FORMAT_TAGGED;
    cq_attr.wait_obj = FI_WAIT_NONE;
    cq_attr.size = 16 * window_;
    fid_cq* cq = nullptr;
    check("fi_cq_open", fi_cq_open(domain, &cq_attr, &cq, nullptr));
    cq_.reset(cq);

    fi_av_attr av_attr{};
    const fi_av_type offered = info_->domain_attr->av_type;
    av_attr.type = offered == FI_AV_UNSPEC ? FI_AV_MAP : offered;
    fid_av* av = nullptr;
    check("fi_av_open", fi_av_open(domain, &av_attr, &av, nullptr));
    av_.reset(av);
    open_endpoint();
    startup_ns_ = now_ns() - start;
}

void Link::open_endpoint()
{
    fid_ep* endpoint = nullptr;
    check("fi_endpoint", fi_endpoint(domain_.get(), info_.get(), &endpoint, nullptr));
    endpoint_.reset(endpoint);
    check("fi_ep_bind (av)", fi_ep_bind(endpoint, &av_->fid, 0));
    check("fi_ep_bind (cq)", fi_ep_bind(endpoint, &cq_->fid, FI_TRANSMIT | FI_RECV));
    check("fi_enable", fi_enable(endpoint));
}

void Link::register_memory(std::vector<std::byte>& memory, Handle<fid_mr>& region, std::uint64_t key,
                           std::uint64_t access)
{
    fid_mr* mr = nullptr;
    check("fi_mr_reg",
          fi_mr_reg(domain_.get(), memory.data(), memory.size(), access, 0, key, 0, &mr, nullptr));
    region.reset(mr);
}

void Link::exchange_addresses()
{
    std::vector<std::byte> mine(512);
    std::size_t length = mine.size();
    check("fi_getname", fi_getname(&endpoint_->fid, mine.data(), &length));
    mine.resize(length);
    control_.write_number(length);
    control_.write(mine);
    std::vector<std::byte> theirs(control_.read_number());
    control_.read(theirs);
    if (check("fi_av_insert", fi_av_insert(av_.get(), theirs.data(), 1, &peer_, 0, nullptr)) != 1) {
        throw Error("fi_av_insert: the peer's address was not accepted");
    }
}

void Link::exchange_keys()
{
    const bool virtual_addresses = (info_->domain_attr->mr_mode & FI_MR_VIRT_ADDR) != 0;
    control_.write_number(fi_mr_key(rx_region_.get()));
    control_.write_number(virtual_addresses ? reinterpret_cast<std::uintptr_t>(rx_memory_.data()) : 0);
    remote_key_ = control_.read_number();
    remote_base_ = control_.read_number();
}

void Link::print_description() const
{
    std::printf("{\"info\": {\"provider\": \"%s\", \"fabric\": \"%s\", \"domain\": \"%s\", \"mr_mode\": %d, "
                "\"window\": %zu, \"load_ms\": %.3f, \"startup_ms\": %.3f}}\n",
                info_->fabric_attr->prov_name, info_->fabric_attr->name, info_->domain_attr->name,
                info_->domain_attr->mr_mode, window_, static_cast<double>(load_ns_) * 1e-6,
                static_cast<double>(startup_ns_) * 1e-6);
    std::fflush(stdout);
}

void Link::begin(std::size_t size, std::size_t receives)
{
    expected_size_ = size;
    received_ = 0;
    last_seen_ = false;
    last_count_ = 0;
    receives_wanted_ = std::max(receives_wanted_, std::min(receives, rx_contexts_.size()));
    refill();
    meet();
}

bool Link::try_receive(std::byte* buffer, std::size_t length, std::uint64_t tag, std::uint64_t ignore)
{
    const ssize_t result =
        fi_trecv(endpoint_.get(), buffer, length, rx_desc_, peer_, tag, ignore, free_rx_.back());
    if (result == -FI_EAGAIN) {
        return false;
    }
    check("fi_trecv", result);
    free_rx_.pop_back();
    ++receives_posted_;
    return true;
}

void Link::refill()
{
    while (receives_posted_ < receives_wanted_ &&
           try_receive(rx_memory_.data(), largest_, tag_data, tag_ignore)) {
    }
}

bool Link::begun(const char* call, ssize_t result)
{
    if (result == -FI_EAGAIN) {
        return false;
    }
    check(call, result);
    free_tx_.pop_back();
    return true;
}

bool Link::try_send(const std::byte* buffer, std::size_t size, std::uint64_t tag)
{
    return begun("fi_tsend", fi_tsend(endpoint_.get(), buffer, size, tx_desc_, peer_, tag, free_tx_.back()));
}

void Link::send(std::size_t size, std::uint64_t tag)
{
    wait("room to send", [&] { return !free_tx_.empty() && try_send(size, tag); });
}

/// A message whose completion nobody waits for: injected where the provider can, as MPI and fabtests do.
void Link::send_and_forget(std::size_t size, std::uint64_t tag)
{
    if (size > inject_limit_) {
        send(size, tag);
        return;
    }
    wait("room to inject", [&] {
        const ssize_t result = fi_tinject(endpoint_.get(), tx_memory_.data(), size, peer_, tag);
        if (result != -FI_EAGAIN) {
            check("fi_tinject", result);
        }
        return result == 0;
    });
}

void Link::throw_completion_error()
{
    fi_cq_err_entry entry{};
    char text[256] = "";
    check("fi_cq_readerr", fi_cq_readerr(cq_.get(), &entry, 0));
    const char* detail = fi_cq_strerror(cq_.get(), entry.prov_errno, entry.err_data, text, sizeof(text));
    throw Error(std::string("completion error: ") + fi_strerror(entry.err) + ": " +
                (detail != nullptr ? detail : "no detail"));
}

void Link::complete(const fi_cq_tagged_entry& entry)
{
    auto* const context = static_cast<fi_context2*>(entry.op_context);
    if (context >= tx_contexts_.data() && context < tx_contexts_.data() + tx_contexts_.size()) {
        free_tx_.push_back(context);
        return;
    }
    free_rx_.push_back(context);
    --receives_posted_;
    ++received_;
    if (entry.len != expected_size_ && !verifying_) {
        throw Error("a message of " + std::to_string(entry.len) + " bytes arrived where " +
                    std::to_string(expected_size_) + " were sent");
    }
    if (!verifying_ && (entry.tag & tag_last) != 0) {
        last_seen_ = true;
        last_count_ = entry.tag & tag_count_mask;
    }
}

bool Link::poll()
{
    fi_cq_tagged_entry entries[cq_batch];
    const ssize_t count = fi_cq_read(cq_.get(), entries, cq_batch);
    if (count == -FI_EAGAIN || count == 0) {
        return false;
    }
    if (count == -FI_EAVAIL) {
        throw_completion_error();
    }
    check("fi_cq_read", count);
    for (ssize_t i = 0; i < count; ++i) {
        complete(entries[i]);
    }
    completions_ += static_cast<std::uint64_t>(count);
    return true;
}

bool Link::try_write(Range range)
{
    iovec local{tx_memory_.data() + range.at, range.size};
    const fi_rma_iov remote{remote_base_ + range.at, range.size, remote_key_};
    fi_msg_rma message{};
    message.msg_iov = &local;
    message.desc = &tx_desc_;
    message.iov_count = 1;
    message.addr = peer_;
    message.rma_iov = &remote;
    message.rma_iov_count = 1;
    message.context = free_tx_.back();
    // Only then do the completions of all providers mean the same.
    return begun("fi_writemsg", fi_writemsg(endpoint_.get(), &message, FI_DELIVERY_COMPLETE | FI_COMPLETION));
}

void Link::write_and_forget(Range range)
{
    if (range.size > inject_limit_) {
        wait("room to write", [&] { return !free_tx_.empty() && try_write(range); });
        wait_sent();
        return;
    }
    wait("room to inject a write", [&] {
        const ssize_t result = fi_inject_write(endpoint_.get(), tx_memory_.data() + range.at, range.size,
                                               peer_, remote_base_ + range.at, remote_key_);
        if (result != -FI_EAGAIN) {
            check("fi_inject_write", result);
        }
        return result == 0;
    });
}

bool Link::can_fetch_add() const
{
    std::size_t count = 0;
    return (info_->caps & FI_ATOMIC) != 0 &&
           fi_fetch_atomicvalid(endpoint_.get(), FI_UINT64, FI_SUM, &count) == 0 && count != 0;
}

bool Link::try_read(Range range)
{
    return begun("fi_read", fi_read(endpoint_.get(), tx_memory_.data() + range.at, range.size, tx_desc_,
                                    peer_, remote_base_ + range.at, remote_key_, free_tx_.back()));
}

bool Link::try_fetch_add()
{
    return begun("fi_fetch_atomic",
                 fi_fetch_atomic(endpoint_.get(), tx_memory_.data(), 1, tx_desc_,
                                 tx_memory_.data() + result_offset, tx_desc_, peer_, remote_base_,
                                 remote_key_, FI_UINT64, FI_SUM, free_tx_.back()));
}

void Link::serve()
{
    // The socket is looked at rarely: the other rank waits for our passes.
    do {
        for (int i = 0; i < 256; ++i) {
            poll();
        }
    } while (!control_.readable());
    meet();
}

void Link::look_around(const char* what, Watch& watch) const
{
    const std::int64_t now = now_ns();
    if (watch.since == 0 || completions_ != watch.completions) {
        watch.completions = completions_;
        watch.since = now;
    }
    if (now - watch.since > timeout_ns_) {
        throw Error(std::string("no progress while waiting for ") + what +
                    "; operations outstanding: " + std::to_string(tx_contexts_.size() - free_tx_.size()) +
                    ", receives posted: " + std::to_string(receives_posted_) + ", messages received: " +
                    std::to_string(received_) + (last_seen_ ? " of " + std::to_string(last_count_) : ""));
    }
    if (now - watch.checked > 100'000'000) {
        watch.checked = now;
        static_cast<void>(control_.readable());
    }
}

void Link::meet()
{
    control_.write_number(0);
    wait("the other rank", [&] { return control_.readable(); });
    static_cast<void>(control_.read_number());
}

/// Rank 0 sends distinct messages into distinct buffers; rank 1 compares every byte and the guards behind.
void Link::verify(std::size_t size, int rank)
{
    const std::size_t stride = size + guard_bytes;
    verifying_ = true;
    received_ = 0;
    if (rank == 1) {
        std::fill(rx_memory_.begin(),
                  rx_memory_.begin() + static_cast<std::ptrdiff_t>(stride * verify_messages),
                  std::byte{0xA5});
        for (std::size_t i = 0; i < verify_messages; ++i) {
            wait("room to receive",
                 [&] { return try_receive(&rx_memory_[i * stride], size, tag_verify | i, 0); });
        }
    }
    meet();
    for (std::size_t i = 0; rank == 0 && i < verify_messages; ++i) {
        for (std::size_t offset = 0; offset < size; ++offset) {
            tx_memory_[i * stride + offset] = pattern(i, offset);
        }
        wait("room to send",
             [&] { return !free_tx_.empty() && try_send(&tx_memory_[i * stride], size, tag_verify | i); });
    }
    if (rank == 1) {
        wait("the messages to verify", [&] { return received_ == verify_messages; });
        for (std::size_t i = 0; i < verify_messages; ++i) {
            for (std::size_t offset = 0; offset < stride; ++offset) {
                const std::byte expected = offset < size ? pattern(i, offset) : std::byte{0xA5};
                if (rx_memory_[i * stride + offset] != expected) {
                    throw Error("wrong data: message " + std::to_string(i) + " of " + std::to_string(size) +
                                " bytes, offset " + std::to_string(offset));
                }
            }
        }
    }
    wait_sent();
    meet();
    verifying_ = false;
}

} // namespace bench
