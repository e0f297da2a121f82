// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/udp/liveness_responder.hpp"

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <srd/address.hpp>
#include <srd/service_thread.hpp>

namespace srd {

namespace {

constexpr int look_time = 100; // ms
/// Questions of all hosts, and of one, that wait for an answer at a time. Each is a descriptor of the
/// application's.
constexpr std::size_t max_asked = 256;
constexpr std::ptrdiff_t batch_of_host = 64;
/// Connections of one endpoint that are looked at before others have their turn: as many as the kernel
/// queues.
constexpr int looks = 1024;

FileDescriptor checked(int fd)
{
    if (fd < 0) {
        throw std::system_error(errno, std::generic_category());
    }
    return FileDescriptor(fd);
}

void watch(const FileDescriptor& epoll, int fd)
{
    epoll_event interest{};
    interest.events = EPOLLIN;
    if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &interest) != 0) {
        throw std::system_error(errno, std::generic_category());
    }
}

} // namespace

class LivenessResponder::Thread {
public:
    Thread() : epoll_(checked(::epoll_create1(EPOLL_CLOEXEC)))
    {
        spare_ = checked(::fcntl(thread_.fd(), F_DUPFD_CLOEXEC, 0));
        watch(epoll_, thread_.fd());
        asked_.reserve(max_asked);
        thread_.start("srd-liveness", [this] { run(); });
    }

    void add(LivenessResponder& endpoint)
    {
        const std::lock_guard guard(mutex_);
        endpoints_.push_back(&endpoint);
        try {
            watch(epoll_, endpoint.listener_.get());
        } catch (...) {
            endpoints_.pop_back();
            throw;
        }
    }
    void remove(const LivenessResponder& endpoint) noexcept
    {
        const std::lock_guard guard(mutex_);
        std::erase(endpoints_, &endpoint);
        std::erase_if(asked_, [&](const Question& question) { return question.endpoint == &endpoint; });
        ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, endpoint.listener_.get(), nullptr);
    }

private:
    struct Question {
        FileDescriptor connection;
        SocketAddress asker;
        const LivenessResponder* endpoint;
        std::uint32_t drains; ///< of the endpoint, when it was asked
    };

    void run()
    {
        for (;;) {
            epoll_event event{};
            ::epoll_wait(epoll_.get(), &event, 1, -1);
            {
                const std::lock_guard guard(mutex_);
                std::for_each(endpoints_.begin(), endpoints_.end(), [&](const auto* one) { accept(*one); });
            }
            pollfd end{thread_.fd(), POLLIN, 0};
            if (::poll(&end, 1, look_time) > 0) { // also after strangers who ask nothing
                return;
            }
            const std::lock_guard guard(mutex_);
            answer();
            if (!spare_.valid()) {
                spare_ = FileDescriptor(::fcntl(thread_.fd(), F_DUPFD_CLOEXEC, 0));
            }
        }
    }
    void accept(const LivenessResponder& endpoint)
    {
        for (int i = 0; i < looks && asked_.size() < max_asked; ++i) {
            sockaddr_storage storage{};
            FileDescriptor connection = accept_one(endpoint, storage);
            if (!connection.valid()) {
                return;
            }
            SocketAddress asker;
            std::array<char, liveness_request.size()> request{};
            if (SocketAddress::parse(&storage, sizeof(storage), asker) && !is_greedy(asker) &&
                ::recv(connection.get(), request.data(), request.size(), 0) ==
                    static_cast<ssize_t>(request.size()) &&
                request == liveness_request) {
                asked_.push_back({std::move(connection), asker, &endpoint,
                                  endpoint.drains_.load(std::memory_order_relaxed)});
            } else {
                const linger reset{1, 0}; // and nothing stays of it
                (void)::setsockopt(connection.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
            }
        }
    }
    /// The next connection, if there is one, without the listener's filter.
    FileDescriptor accept_one(const LivenessResponder& endpoint, sockaddr_storage& asker)
    {
        const auto attempt = [&] {
            socklen_t size = sizeof(asker);
            return FileDescriptor(::accept4(endpoint.listener_.get(), reinterpret_cast<sockaddr*>(&asker),
                                            &size, SOCK_NONBLOCK | SOCK_CLOEXEC));
        };
        FileDescriptor connection = attempt();
        if (!connection.valid() && (errno == EMFILE || errno == ENFILE) && spare_.valid()) {
            spare_ = FileDescriptor();
            connection = attempt();
        }
        if (connection.valid()) {
            const int unused = 0;
            (void)::setsockopt(connection.get(), SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof(unused));
        }
        return connection;
    }
    /// That host has so many questions open that others would have to wait.
    bool is_greedy(const SocketAddress& asker) const noexcept
    {
        return std::count_if(asked_.begin(), asked_.end(), [&](const Question& question) {
                   return question.asker.same_host(asker);
               }) >= batch_of_host;
    }
    void answer() noexcept
    {
        for (const Question& question : asked_) {
            const bool reads = question.endpoint->drains_.load(std::memory_order_relaxed) != question.drains;
            const LivenessReply reply = reads ? LivenessReply::reads : LivenessReply::busy;
            // If it does not go, the peer has gone.
            (void)::send(question.connection.get(), &reply, sizeof(reply), MSG_NOSIGNAL | MSG_DONTWAIT);
        }
        asked_.clear();
    }

    FileDescriptor epoll_;
    FileDescriptor spare_; ///< to be given up for a connection when the process has no descriptor left
    std::mutex mutex_;     ///< guards what follows
    std::vector<const LivenessResponder*> endpoints_;
    std::vector<Question> asked_;
    ServiceThread thread_; ///< woken when it is to end
};

namespace {

struct Responders {
    std::mutex mutex;
    std::weak_ptr<void> thread; ///< a LivenessResponder::Thread
};

// Never destroyed: endpoints may be closed by atexit handlers of the application.
std::atomic<Responders*> responders{new Responders};

} // namespace

LivenessResponder::LivenessResponder(FileDescriptor listener) : listener_(std::move(listener))
{
    Responders& known = *responders.load();
    {
        const std::lock_guard guard(known.mutex);
        thread_ = std::static_pointer_cast<Thread>(known.thread.lock());
        if (thread_ == nullptr) {
            thread_ = std::make_shared<Thread>();
            known.thread = thread_;
        }
    }
    thread_->add(*this);
}

LivenessResponder::~LivenessResponder()
{
    thread_->remove(*this);
}

void LivenessResponder::forget_thread() noexcept
{
    responders.store(
        new Responders); // NOLINT(bugprone-unhandled-exception-at-new): as UdpSenders::forget_all
}

} // namespace srd
