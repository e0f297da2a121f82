// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/xdp/xdp_io.hpp"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <thread>
#include <vector>

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <srd/check.hpp>
#include <srd/file_descriptor.hpp>

#include "io/xdp/xdp_queue.hpp"

namespace srd {

namespace {

/// Receive queues of an interface.
std::uint32_t count_queues(const std::string& interface)
{
    const FileDescriptor fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ethtool_channels channels{};
    channels.cmd = ETHTOOL_GCHANNELS;
    ifreq request{};
    std::strncpy(request.ifr_name, interface.c_str(), IFNAMSIZ - 1);
    request.ifr_data = reinterpret_cast<char*>(&channels);
    if (!fd.valid() || ::ioctl(fd.get(), SIOCETHTOOL, &request) != 0) {
        return 1; // a driver that cannot say has one
    }
    return std::clamp(channels.combined_count + channels.rx_count, 1U, XdpProgram::max_queues);
}

/// The queues of one endpoint. It receives by all of them and sends by the first.
class XdpRing final : public FrameRing {
public:
    XdpRing(std::shared_ptr<XdpProgram> program, std::vector<std::unique_ptr<XdpQueue>> queues,
            std::uint32_t max_frame, std::uint32_t rx_frames)
        : program_(std::move(program)), queues_(std::move(queues)), max_frame_(max_frame),
          rx_frames_(rx_frames)
    {
        for (const auto& queue : queues_) {
            fds_.push_back(queue->fd());
        }
    }
    ~XdpRing() override
    {
        for (const auto& queue : queues_) {
            program_->remove(queue->queue());
        }
    }

    std::uint32_t max_frame() const noexcept override { return max_frame_; }
    std::uint32_t rx_capacity() const noexcept override { return rx_frames_ * max_frame_; }
    std::size_t rx_burst(std::span<RxFrame> frames, Time now) override
    {
        std::size_t count = 0;
        for (std::size_t i = 0; i < queues_.size() && count < frames.size(); ++i) {
            next_ = next_ + 1 < queues_.size() ? next_ + 1 : 0; // no queue waits for the others to run dry
            count += queues_[next_]->rx_burst(frames.subspan(count), now);
        }
        return count;
    }
    void rx_release() noexcept override
    {
        for (const auto& queue : queues_) {
            queue->rx_release();
        }
    }
    bool rx_waiting() const noexcept override
    {
        return std::ranges::any_of(queues_, [](const auto& queue) { return queue->rx_waiting(); });
    }
    std::byte* tx_room() override { return queues_.front()->tx_room(); }
    void tx_push(std::uint32_t length) override { queues_.front()->tx_push(length); }
    void tx_flush() override { queues_.front()->tx_flush(); }
    std::span<const int> wait_fds() const noexcept override { return fds_; }
    std::uint64_t take_drops() noexcept override
    {
        std::uint64_t total = 0;
        for (const auto& queue : queues_) {
            total += queue->drops();
        }
        return total - std::exchange(drops_seen_, total);
    }

private:
    const std::shared_ptr<XdpProgram> program_; // outlives the sockets
    const std::vector<std::unique_ptr<XdpQueue>> queues_;
    std::vector<int> fds_;
    std::uint32_t max_frame_;
    std::uint32_t rx_frames_;
    std::size_t next_ = 0;
    std::uint64_t drops_seen_ = 0;
};

/// A sentence for errno `code` of opening a queue.
std::string explain(int code, const std::string& interface)
{
    switch (code) {
    case EBUSY:
        return "all receive queues of " + interface +
               " that may be used are taken by other AF_XDP sockets; share them out, give the device more "
               "(ethtool -L " +
               interface + " combined N), or use the packet backend";
    case ENOBUFS:
    case ENOMEM:
        return "the limit of locked memory is too low for the rings on " + interface +
               "; raise it (ulimit -l) or grant CAP_IPC_LOCK";
    case EAFNOSUPPORT:
        return "this kernel has no AF_XDP sockets (CONFIG_XDP_SOCKETS)";
    default:
        return "cannot open an AF_XDP socket on " + interface + ": " + std::strerror(code);
    }
}

constexpr std::uint32_t min_frames = 64; // a burst

/// So many frames to receive, and for frames to send a quarter.
void size_rings(XdpQueue::Settings& settings, std::uint32_t rx_frames) noexcept
{
    settings.rx_frames = rx_frames;
    settings.tx_frames = std::max(rx_frames / 4, min_frames);
}

/// Opens one queue, with smaller rings where the limit of locked memory asks for it.
int open_queue(const XdpLibrary& library, XdpQueue::Settings& settings, std::unique_ptr<XdpQueue>& queue)
{
    constexpr int attempts = 4; // the kernel counts a closed socket's memory a little longer
    for (int attempt = 1;; ++attempt) {
        queue = std::make_unique<XdpQueue>(library, settings);
        const int code = queue->open();
        if (code != ENOBUFS || (attempt == attempts && settings.rx_frames == min_frames)) {
            return code;
        }
        queue.reset();
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        if (attempt == attempts) {
            attempt = 0;
            size_rings(settings, settings.rx_frames / 2);
        }
    }
}

/// Takes the free ones of the wanted queues; `settings` becomes that of the last one. Returns 0 if there is
/// at least one.
int open_queues(const XdpLibrary& library, const XdpConfig& config, XdpQueue::Settings& settings,
                std::vector<std::unique_ptr<XdpQueue>>& queues)
{
    constexpr int attempts = 40; // the kernel lets go of a closed socket's queue a little later
    const std::uint32_t end = count_queues(config.interface);
    const std::uint32_t wanted = config.queue_count == 0 ? XdpProgram::max_queues : config.queue_count;
    for (int attempt = 0;; ++attempt) {
        int code = EINVAL;
        for (std::uint32_t index = config.first_queue; index < end && queues.size() < wanted; ++index) {
            settings.queue = index;
            std::unique_ptr<XdpQueue> queue;
            code = open_queue(library, settings, queue);
            if (code == 0) {
                queues.push_back(std::move(queue));
            } else if (code != EBUSY) {
                break;
            }
        }
        if (!queues.empty()) {
            return 0;
        }
        if (code != EBUSY || attempt == attempts) {
            return code;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(25));
    }
}

} // namespace

int make_xdp_ring(const XdpConfig& config, const RingPlan& plan, std::unique_ptr<FrameRing>& ring,
                  std::string& description, std::string& error)
{
    const XdpLibrary* const library = load_xdp_library(error);
    if (library == nullptr) {
        return ENOSYS;
    }
    std::shared_ptr<XdpProgram> program;
    int code = XdpProgram::attach(*library, plan.index, plan.interface, config.mode, program, error);
    const std::string missing = missing_capabilities(xdp_capabilities());
    if (code != 0) {
        error += code == EPERM && !missing.empty() ? ": " + missing : "";
        return code;
    }
    XdpQueue::Settings settings;
    settings.interface = plan.interface;
    settings.chunk = plan.max_frame <= XdpQueue::frame_limit(2048) ? 2048 : 4096;
    const std::uint32_t wanted =
        std::bit_floor(std::clamp(plan.ring_bytes / settings.chunk, min_frames, 32768U));
    size_rings(settings, wanted);
    settings.native = program->native();
    std::vector<std::unique_ptr<XdpQueue>> queues;
    code = open_queues(*library, config, settings, queues);
    if (code != 0) {
        error = explain(code, plan.interface) + (code == EPERM && !missing.empty() ? ": " + missing : "");
        return code;
    }
    if (settings.rx_frames < wanted) {
        config.warning("the limit of locked memory leaves room for " + std::to_string(settings.rx_frames) +
                       " of the wanted " + std::to_string(wanted) + " frames to receive on " +
                       plan.interface + "; raise it (ulimit -l) or grant CAP_IPC_LOCK");
    }
    const std::uint32_t max_frame = std::min(plan.max_frame, XdpQueue::frame_limit(settings.chunk));
    for (const auto& queue : queues) {
        code = program->add(queue->queue(), plan.local, max_frame, queue->fd());
        if (code != 0) {
            error = "cannot hand queue " + std::to_string(queue->queue()) + " of " + plan.interface +
                    " to its socket: " + std::strerror(code);
            return code;
        }
    }
    description = std::string(program->native() ? "native" : "generic") + " XDP on " + plan.interface + ", " +
                  std::to_string(queues.size()) + " queues, " +
                  (queues.front()->zero_copy() ? "zero-copy" : "copy mode");
    const auto rx_frames = static_cast<std::uint32_t>(queues.size()) * settings.rx_frames;
    ring = std::make_unique<XdpRing>(std::move(program), std::move(queues), max_frame, rx_frames);
    return 0;
}

int make_xdp_io(const XdpConfig& config, Counters& counters, std::unique_ptr<PacketIo>& io,
                std::string& error)
{
    const auto make = [&](const RingPlan& plan, std::unique_ptr<FrameRing>& ring, std::string& reason) {
        std::string description;
        const int code = make_xdp_ring(config, plan, ring, description, reason);
        if (code == 0) {
            config.information(description);
        }
        return code;
    };
    return make_raw_io(config, false, make, counters, io, error);
}

} // namespace srd
