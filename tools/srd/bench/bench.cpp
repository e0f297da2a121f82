// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "bench/bench.hpp"

#include <algorithm>
#include <cstring>
#include <iomanip>
#include <ostream>
#include <stdexcept>

#include <sys/socket.h>

#include "bench/fabric_end.hpp"
#include "net/socket.hpp"

namespace srd::tool {

namespace {

constexpr milliseconds bench_patience{30000};
constexpr std::size_t largest_size = 64U << 20;
constexpr std::size_t most_messages = 1000000;
constexpr std::size_t most_memory = 128U << 20; // for each direction

/// What both ends do for one row.
struct RowPlan {
    std::size_t size = 0;
    std::size_t pings = 0;
    std::size_t messages = 0;
    std::size_t depth = 0; ///< messages under way

    nlohmann::json json() const
    {
        return {{"size", size}, {"pings", pings}, {"messages", messages}, {"depth", depth}};
    }
    static RowPlan of_json(const nlohmann::json& json)
    {
        const auto number = [&](const char* name, std::size_t most) {
            return std::min(json.value(name, std::size_t{0}), most);
        };
        return RowPlan{number("size", largest_size), number("pings", most_messages),
                       number("messages", most_messages), number("depth", 256)}
            .bounded();
    }
    static RowPlan of_size(std::size_t size)
    {
        return RowPlan{size, size <= 65536 ? std::size_t{2000} : std::size_t{200},
                       std::clamp<std::size_t>((256U << 20) / std::max<std::size_t>(size, 1), 50, 50000), 64}
            .bounded();
    }

private:
    /// In memory, whoever asks.
    RowPlan bounded() const
    {
        RowPlan plan = *this;
        plan.depth =
            std::clamp<std::size_t>(most_memory / std::max<std::size_t>(size, 1), 1, depth == 0 ? 1 : depth);
        return plan;
    }
};

/// Polls until `finished`, with a bound.
template <typename Finished>
void poll_until(FabricEnd& end, FabricEnd::Done& done, Finished&& finished)
{
    const Clock::time_point last = Clock::now() + bench_patience;
    for (std::uint32_t passes = 1; !finished(); ++passes) {
        end.poll(done);
        if (passes % 65536 == 0 && Clock::now() > last) {
            throw std::runtime_error("no message came for " + std::to_string(bench_patience.count() / 1000) +
                                     " s");
        }
    }
}

/// Waits for a message and has its buffer take another one.
void take_message(FabricEnd& end, FabricEnd::Done& done)
{
    poll_until(end, done, [&] { return !done.receives.empty(); });
    end.post_receive(done.receives.back());
    done.receives.pop_back();
}

void finish_send(FabricEnd& end, FabricEnd::Done& done)
{
    poll_until(end, done, [&] { return done.sends != 0; });
    --done.sends;
}

/// One message out and one in.
void exchange(FabricEnd& end, FabricEnd::Done& done, std::size_t size, bool first)
{
    if (first) {
        end.send(0, size);
    }
    take_message(end, done);
    if (!first) {
        end.send(0, size);
    }
    finish_send(end, done);
}

void stream(FabricEnd& end, FabricEnd::Done& done, const RowPlan& plan)
{
    std::size_t sent = 0;
    for (std::size_t finished = 0; finished < plan.messages; ++finished) {
        while (sent < plan.messages && sent - finished < plan.depth) {
            end.send(sent % plan.depth, plan.size);
            ++sent;
        }
        finish_send(end, done);
    }
    take_message(end, done); // all has arrived
}

void absorb(FabricEnd& end, FabricEnd::Done& done, const RowPlan& plan)
{
    for (std::size_t i = 0; i < plan.messages; ++i) {
        take_message(end, done);
    }
    end.send(0, 1);
    finish_send(end, done);
}

BenchRow measure_row(FabricEnd& end, const RowPlan& plan)
{
    BenchRow row;
    row.size = plan.size;
    FabricEnd::Done done;
    for (std::size_t i = 0; i < plan.pings; ++i) {
        const Clock::time_point start = Clock::now();
        exchange(end, done, plan.size, true);
        if (i >= plan.pings / 10) { // the first ones find everything cold
            row.half_round_trips_us.push_back(
                std::chrono::duration<double, std::micro>(Clock::now() - start).count() / 2);
        }
    }
    std::sort(row.half_round_trips_us.begin(), row.half_round_trips_us.end());
    const Clock::time_point start = Clock::now();
    stream(end, done, plan);
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    row.messages_per_second = static_cast<double>(plan.messages) / seconds;
    row.bytes_per_second = row.messages_per_second * static_cast<double>(plan.size);
    return row;
}

nlohmann::json answer_of(std::optional<nlohmann::json> answer)
{
    if (!answer) {
        throw std::runtime_error("the other end says nothing more");
    }
    if (answer->contains("error")) {
        throw std::runtime_error("the other end: " + answer->value("error", ""));
    }
    return std::move(*answer);
}

/// One row, on an endpoint of its own.
void serve_row(LineChannel& channel, const nlohmann::json& request, const SocketAddress& local)
{
    const RowPlan plan = RowPlan::of_json(request);
    FabricEnd end(request.value("provider", "srd"), local);
    end.connect(request.value("name", ""));
    end.allocate(plan.size, plan.depth);
    for (std::size_t i = 0; i < plan.depth; ++i) {
        end.post_receive(i);
    }
    channel.send({{"name", end.name()}, {"version", SRD_VERSION}});
    FabricEnd::Done done;
    for (std::size_t i = 0; i < plan.pings; ++i) {
        exchange(end, done, plan.size, false);
    }
    absorb(end, done, plan);
}

void serve_client(FileDescriptor socket)
{
    const SocketAddress local = local_address(socket.get());
    LineChannel channel(std::move(socket));
    while (const auto request = channel.receive(bench_patience)) {
        try {
            serve_row(channel, *request, local);
        } catch (const std::exception& error) {
            channel.send({{"error", error.what()}});
            return;
        }
    }
}

double at(const std::vector<double>& sorted, double share)
{
    return sorted.empty() ? 0
                          : sorted[static_cast<std::size_t>(static_cast<double>(sorted.size() - 1) * share)];
}

} // namespace

void serve_bench(std::uint16_t port, std::size_t clients, const std::function<void(const std::string&)>& tell)
{
    int error = 0;
    std::vector<FileDescriptor> listeners;
    for (const int family : {AF_INET, AF_INET6}) {
        FileDescriptor listener = listen_tcp(wildcard_address(family, port), error);
        if (listener.valid()) {
            listeners.push_back(std::move(listener));
        }
    }
    if (listeners.empty()) {
        throw std::runtime_error("cannot listen at port " + std::to_string(port) + ": " +
                                 std::strerror(error));
    }
    std::string hint =
        "waiting at TCP port " + std::to_string(port) + "; on the other host: srd bench THIS_HOST";
    if (port != bench_port) {
        hint.append(":").append(std::to_string(port));
    }
    tell(hint);
    for (std::size_t served = 0; clients == 0 || served < clients;) {
        std::vector<int> fds;
        fds.reserve(listeners.size());
        for (const FileDescriptor& listener : listeners) {
            fds.push_back(listener.get());
        }
        wait_readable(fds, milliseconds(1000));
        for (const int fd : fds) {
            FileDescriptor socket(::accept4(fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
            if (socket.valid()) {
                tell("measuring with " + peer_address(socket.get()).host_text());
                serve_client(std::move(socket));
                ++served;
            }
        }
    }
}

BenchResult run_bench(const std::string& host, const std::string& provider,
                      const std::vector<std::size_t>& sizes)
{
    std::string error;
    const auto target = resolve_host(host, bench_port, error);
    if (!target) {
        throw std::runtime_error(host + ": " + error);
    }
    TcpAttempt attempt = connect_tcp(*target, {}, milliseconds(4000));
    if (!attempt.socket.valid()) {
        throw std::runtime_error("cannot reach " + target->text() + " (" +
                                 std::strerror(attempt.rejection.error) +
                                 "); run srd bench there, or see what srd doctor says");
    }
    const SocketAddress local = local_address(attempt.socket.get());
    LineChannel channel(std::move(attempt.socket));
    BenchResult result;
    for (const std::size_t size : sizes) {
        const RowPlan plan = RowPlan::of_size(size);
        FabricEnd end(provider, local);
        end.allocate(size, plan.depth);
        end.post_receive(0);
        nlohmann::json request = plan.json();
        request["provider"] = provider;
        request["name"] = end.name();
        const nlohmann::json answer = answer_of(channel.ask(request, bench_patience));
        end.connect(answer.value("name", ""));
        result.domain = end.domain();
        result.peer_version = answer.value("version", "");
        result.rows.push_back(measure_row(end, plan));
    }
    return result;
}

void BenchResult::print(std::ostream& out) const
{
    out << domain << "\n\n"
        << "   bytes      median us     99 % us   99.9 % us        MB/s    messages/s   (half a round trip; "
           "a stream)\n";
    for (const BenchRow& row : rows) {
        const std::vector<double>& times = row.half_round_trips_us;
        out << std::fixed << std::setw(8) << row.size << std::setprecision(2) << std::setw(15)
            << at(times, 0.5) << std::setw(12) << at(times, 0.99) << std::setw(12) << at(times, 0.999)
            << std::setprecision(1) << std::setw(12) << row.bytes_per_second / 1e6 << std::setprecision(0)
            << std::setw(14) << row.messages_per_second << '\n';
    }
}

nlohmann::json BenchResult::json() const
{
    nlohmann::json list = nlohmann::json::array();
    for (const BenchRow& row : rows) {
        list.push_back({{"size", row.size},
                        {"median_us", at(row.half_round_trips_us, 0.5)},
                        {"p99_us", at(row.half_round_trips_us, 0.99)},
                        {"p999_us", at(row.half_round_trips_us, 0.999)},
                        {"bytes_per_second", row.bytes_per_second},
                        {"messages_per_second", row.messages_per_second}});
    }
    return {{"domain", domain}, {"version", SRD_VERSION}, {"peer_version", peer_version}, {"rows", list}};
}

} // namespace srd::tool
