// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// One side of a provider-neutral benchmark over libfabric: tagged ping-pong,
// message rate and bandwidth, as an ordinary application would write them.
// Nothing here knows a provider's name or takes another way because of it.
//
// Two of these are started by bench/compare, which gives each one end of a
// socketpair for addresses and turns. Rank 0 measures; results are JSON lines
// on standard output. Data is checked in a pass of its own, never in a timed
// loop. Streams follow the OSU convention: one send buffer and one receive
// buffer for all outstanding messages. A little over the usual length: the whole
// use of libfabric stands in one place, to be compared with any application's.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_tagged.h>

#include "control.hpp"
#include "options.hpp"

namespace bench {
namespace {

// A tag says what a message is; only the low bits differ within a kind, and
// data receives ignore those. The last message of a stream carries its length.
constexpr std::uint64_t tag_verify = std::uint64_t{1} << 40;
constexpr std::uint64_t tag_data = std::uint64_t{2} << 40;
constexpr std::uint64_t tag_last = std::uint64_t{1} << 36;
constexpr std::uint64_t tag_count_mask = tag_last - 1;
constexpr std::uint64_t tag_ignore = tag_last | tag_count_mask;

constexpr std::uint32_t api_version = FI_VERSION(FI_MAJOR_VERSION, FI_MINOR_VERSION);
constexpr std::size_t verify_messages = 16;
constexpr std::size_t guard_bytes = 64;
constexpr std::size_t cq_batch = 32;
constexpr std::size_t min_samples =
    200; ///< of a ping-pong, though one lost packet may cost a peer the whole time
constexpr std::size_t max_samples = std::size_t{1} << 21;

struct CloseFid {
    template <typename Object>
    void operator()(Object* object) const
    {
        fi_close(&object->fid);
    }
};
template <typename Object>
using Handle = std::unique_ptr<Object, CloseFid>;

struct FreeInfo {
    void operator()(fi_info* info) const { fi_freeinfo(info); }
};
using Info = std::unique_ptr<fi_info, FreeInfo>;

std::int64_t check(const char* call, std::int64_t result)
{
    if (result < 0) {
        throw Error(std::string(call) + ": " + fi_strerror(static_cast<int>(-result)) + " (" +
                    std::to_string(result) + ")");
    }
    return result;
}

Info find_info(const Options& options)
{
    const Info hints(fi_allocinfo());
    hints->caps = FI_MSG | FI_TAGGED;
    hints->mode = FI_CONTEXT | FI_CONTEXT2;
    hints->ep_attr->type = FI_EP_RDM;
    hints->domain_attr->threading = FI_THREAD_DOMAIN;
    hints->domain_attr->resource_mgmt = FI_RM_ENABLED;
    hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
    hints->tx_attr->msg_order = FI_ORDER_SAS;
    hints->rx_attr->msg_order = FI_ORDER_SAS;
    hints->fabric_attr->prov_name = strdup(options.provider.c_str());
    const bool bound = !options.address.empty();
    fi_info* found = nullptr;
    check("fi_getinfo", fi_getinfo(api_version, bound ? options.address.c_str() : nullptr, nullptr,
                                   bound ? FI_SOURCE : 0, hints.get(), &found));
    return Info(found);
}

/// An endpoint, the one peer it talks to, and what is outstanding between them.
class Link {
public:
    Link(const Options& options, const Control& control, std::size_t largest);

    void print_description() const;
    const Control& control() const { return control_; }
    std::size_t window() const { return window_; }
    std::size_t free_sends() const { return free_tx_.size(); }
    std::uint64_t received() const { return received_; }
    bool last_seen() const { return last_seen_; }
    std::uint64_t last_count() const { return last_count_; }

    /// Begins a test of messages of `size` bytes: counts from zero, `receives` posted.
    void begin(std::size_t size, std::size_t receives);
    /// Posts receives for those that completed, until as many are posted as begin() asked for.
    void refill();
    /// False: the provider said -FI_EAGAIN; poll() and try again.
    bool try_send(std::size_t size, std::uint64_t tag) { return try_send(tx_memory_.data(), size, tag); }
    void send(std::size_t size, std::uint64_t tag);
    void send_and_forget(std::size_t size, std::uint64_t tag);
    /// Reads completions once. True if there were any.
    bool poll();
    /// Polls until `done()`; throws when nothing at all completes for the timeout.
    template <typename Done>
    void wait(const char* what, Done&& done);
    void wait_sent()
    {
        wait("send completions", [&] { return free_tx_.size() == tx_contexts_.size(); });
    }
    /// Both ranks meet, progressing meanwhile, so neither starves the other of acknowledgements.
    void meet();
    void verify(std::size_t size, int rank);

private:
    void open(const Options& options);
    void exchange_addresses();
    void register_memory(std::vector<std::byte>& memory, Handle<fid_mr>& region, std::uint64_t key);
    void complete(const fi_cq_tagged_entry& entry);
    [[noreturn]] void throw_completion_error();
    bool try_send(const std::byte* buffer, std::size_t size, std::uint64_t tag);
    bool try_receive(std::byte* buffer, std::size_t length, std::uint64_t tag, std::uint64_t ignore);

    const Control& control_;
    std::int64_t timeout_ns_;
    std::int64_t load_ns_ = 0;    ///< of libfabric itself
    std::int64_t startup_ns_ = 0; ///< fi_getinfo to enabled endpoint, libfabric loaded
    std::size_t largest_;         ///< bytes of the largest message of the run
    Info info_;
    std::size_t inject_limit_ = 0; ///< bytes
    Handle<fid_fabric> fabric_;
    Handle<fid_domain> domain_;
    Handle<fid_cq> cq_;
    Handle<fid_av> av_;
    std::vector<std::byte> tx_memory_;
    std::vector<std::byte> rx_memory_;
    Handle<fid_mr> tx_region_;
    Handle<fid_mr> rx_region_;
    void* tx_desc_ = nullptr;
    void* rx_desc_ = nullptr;
    Handle<fid_ep> endpoint_; // closed first: it uses all of the above
    fi_addr_t peer_ = FI_ADDR_UNSPEC;

    std::size_t window_;
    std::vector<fi_context2> tx_contexts_;
    std::vector<fi_context2> rx_contexts_;
    std::vector<fi_context2*> free_tx_;
    std::vector<fi_context2*> free_rx_;
    std::size_t receives_posted_ = 0;
    std::size_t receives_wanted_ = 0;
    std::size_t expected_size_ = 0;
    std::uint64_t completions_ = 0;
    std::uint64_t received_ = 0;
    std::uint64_t last_count_ = 0;
    bool last_seen_ = false;
    bool verifying_ = false;
};

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
    if ((info_->domain_attr->mr_mode & FI_MR_LOCAL) != 0) {
        register_memory(tx_memory_, tx_region_, 1);
        register_memory(rx_memory_, rx_region_, 2);
        tx_desc_ = fi_mr_desc(tx_region_.get());
        rx_desc_ = fi_mr_desc(rx_region_.get());
    }
    exchange_addresses();
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

    fid_ep* endpoint = nullptr;
    check("fi_endpoint", fi_endpoint(domain, info_.get(), &endpoint, nullptr));
    endpoint_.reset(endpoint);
    check("fi_ep_bind (av)", fi_ep_bind(endpoint, &av->fid, 0));
    check("fi_ep_bind (cq)", fi_ep_bind(endpoint, &cq->fid, FI_TRANSMIT | FI_RECV));
    check("fi_enable", fi_enable(endpoint));
    startup_ns_ = now_ns() - start;
}

void Link::register_memory(std::vector<std::byte>& memory, Handle<fid_mr>& region, std::uint64_t key)
{
    fid_mr* mr = nullptr;
    check("fi_mr_reg",
          fi_mr_reg(domain_.get(), memory.data(), memory.size(), FI_SEND | FI_RECV, 0, key, 0, &mr, nullptr));
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

bool Link::try_send(const std::byte* buffer, std::size_t size, std::uint64_t tag)
{
    const ssize_t result = fi_tsend(endpoint_.get(), buffer, size, tx_desc_, peer_, tag, free_tx_.back());
    if (result == -FI_EAGAIN) {
        return false;
    }
    check("fi_tsend", result);
    free_tx_.pop_back();
    return true;
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

template <typename Done>
void Link::wait(const char* what, Done&& done)
{
    std::uint64_t seen = completions_;
    std::int64_t since = 0;
    std::int64_t checked = 0;
    for (std::uint32_t empty = 0; !done();) {
        // The clock and the other process are looked at rarely: they must not slow the loop.
        if (poll() || (++empty & 4095U) != 0) {
            continue;
        }
        const std::int64_t now = now_ns();
        if (since == 0 || completions_ != seen) {
            seen = completions_;
            since = now;
        }
        if (now - since > timeout_ns_) {
            throw Error(std::string("no progress while waiting for ") + what +
                        "; sends outstanding: " + std::to_string(tx_contexts_.size() - free_tx_.size()) +
                        ", receives posted: " + std::to_string(receives_posted_) + ", messages received: " +
                        std::to_string(received_) + (last_seen_ ? " of " + std::to_string(last_count_) : ""));
        }
        if (now - checked > 100'000'000) {
            checked = now;
            static_cast<void>(control_.readable());
        }
    }
}

void Link::meet()
{
    control_.write_number(0);
    wait("the other rank", [&] { return control_.readable(); });
    static_cast<void>(control_.read_number());
}

std::byte pattern(std::size_t message, std::size_t offset)
{
    return static_cast<std::byte>(message * 37 + offset * 11 + (offset >> 8) * 5 + 1);
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

/// Rank 0: round-trip times of messages of `size` bytes for `duration_ns` (longer for min_samples of them, up
/// to four times as long), after a tenth of it as warm-up.
void ping_pong(Link& link, std::size_t size, int rank, std::int64_t duration_ns)
{
    link.begin(size, 2);
    std::uint64_t turn = 0;
    std::vector<std::int64_t> samples;
    bool last = false;
    if (rank == 0) {
        samples.reserve(max_samples);
        const std::int64_t begin = now_ns();
        const std::int64_t record_from = begin + duration_ns / 10;
        const std::int64_t end = record_from + duration_ns;
        for (std::int64_t before = begin; !last;) {
            last = (before >= end && (samples.size() >= min_samples || before >= end + 3 * duration_ns)) ||
                   samples.size() == max_samples;
            link.send_and_forget(size, tag_data | (last ? tag_last : 0));
            link.refill();
            ++turn;
            link.wait("the answer", [&] { return link.received() == turn; });
            const std::int64_t after = now_ns();
            if (before >= record_from && !last) {
                samples.push_back(after - before);
            }
            before = after;
        }
    }
    while (rank == 1 && !last) {
        ++turn;
        link.wait("the question", [&] { return link.received() == turn; });
        last = link.last_seen();
        link.send_and_forget(size, tag_data);
        link.refill();
    }
    link.wait_sent();
    link.meet();
    if (rank == 0) {
        print_latency(size, samples);
    }
}

/// Keeps the window of sends posted for `duration_ns`, but never more messages on the way than the receiver
/// has receives posted: each of its one-byte answers tells that another window's worth is posted again.
/// Returns the nanoseconds until the receiver's final answer; sets `messages`.
std::int64_t send_stream(Link& link, std::size_t size, std::int64_t duration_ns, std::uint64_t& messages)
{
    const std::uint64_t window = link.window();
    const auto room = [&] { return messages < (link.received() + 2) * window; };
    link.begin(1, link.window());
    messages = 0;
    const std::int64_t begin = now_ns();
    while (now_ns() - begin < duration_ns) {
        while (room() && link.free_sends() != 0 && link.try_send(size, tag_data)) {
            ++messages;
        }
        link.poll();
        link.refill();
    }
    link.wait("room for the last message", room);
    ++messages;
    link.send(size, tag_data | tag_last | messages);
    link.refill();
    link.wait("the answer to the last message", [&] {
        link.refill();
        return link.received() == messages / window + 1;
    });
    return now_ns() - begin;
}

void receive_stream(Link& link, std::size_t size)
{
    link.begin(size, 2 * link.window());
    std::uint64_t answered = 0;
    while (!link.last_seen() || link.received() != link.last_count()) {
        const std::uint64_t before = link.received();
        link.wait("the stream", [&] { return link.received() != before; });
        link.refill();
        for (; link.received() - answered >= link.window(); answered += link.window()) {
            link.send(1, tag_data);
        }
    }
    link.send(1, tag_data);
}

/// One way from rank 0 to rank 1. Returns rank 0's elapsed nanoseconds and sets `messages`.
std::int64_t stream(Link& link, std::size_t size, int rank, std::int64_t duration_ns, std::uint64_t& messages)
{
    std::int64_t elapsed = 0;
    if (rank == 0) {
        elapsed = send_stream(link, size, duration_ns, messages);
    } else {
        receive_stream(link, size);
    }
    link.wait_sent();
    link.meet();
    link.refill();
    if (rank == 1) {
        link.control().write_number(link.received());
    } else if (link.control().read_number() != messages) {
        throw Error("the receiver did not get every message exactly once");
    }
    return elapsed;
}

void run(const Options& options)
{
    pin_to_cpu(options.cpu);
    const Control control(options.control_fd, options.timeout_ns());
    std::size_t largest = 1;
    for (const auto* sizes : {&options.latency, &options.rate, &options.bandwidth}) {
        for (const std::size_t size : *sizes) {
            largest = std::max(largest, size);
        }
    }
    Link link(options, control, largest);
    if (options.rank == 0) {
        link.print_description();
    }
    for (const auto* sizes : {&options.latency, &options.rate, &options.bandwidth}) {
        for (const std::size_t size : *sizes) {
            link.verify(size, options.rank);
        }
    }
    for (const std::size_t size : options.latency) {
        ping_pong(link, size, options.rank, options.point_ns());
    }
    const auto streams = [&](const char* test, const std::vector<std::size_t>& sizes) {
        for (const std::size_t size : sizes) {
            std::uint64_t messages = 0;
            stream(link, size, options.rank, options.point_ns() / 10, messages);
            const std::int64_t elapsed = stream(link, size, options.rank, options.point_ns(), messages);
            if (options.rank == 0) {
                print_stream(test, size, messages, elapsed);
            }
        }
    };
    streams("rate", options.rate);
    streams("bandwidth", options.bandwidth);
}

} // namespace
} // namespace bench

int main(int argc, char** argv)
{
    return bench::client_main(argc, argv, "compare_client", bench::run);
}
