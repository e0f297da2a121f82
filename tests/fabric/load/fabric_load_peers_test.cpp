// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// One endpoint and a thousand peers, spread over processes that each have a hundred of them, because
// descriptors are limited by process.
#include <sys/mman.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>

#include "fabric/load_support.hpp"
#include "support/child.hpp"

using namespace fabric_test;

namespace {

constexpr std::size_t process_count = 10;
constexpr std::size_t peers_per_process = sanitized ? 10 : 100;
constexpr std::size_t peer_count = process_count * peers_per_process;
constexpr std::size_t block_size = 20000; ///< bytes: more than goes without asking
constexpr std::uint64_t tag_word = 1ULL << 32;
constexpr std::uint64_t tag_block = 2ULL << 32;

/// What the processes share: addresses, and how far everybody has come.
struct Board {
    std::atomic<bool> server_known;
    std::atomic<bool> over;
    std::array<std::atomic<bool>, process_count> ready;
    sockaddr_in server;
    std::array<sockaddr_in, peer_count> peers;
};

std::uint8_t letter(std::size_t peer, bool from_server)
{
    return static_cast<std::uint8_t>(peer * 3 + (from_server ? 101 : 1));
}

/// In the processes of the peers: no assertions of Catch, which belong to the parent.
void must(bool condition, const char* what)
{
    if (!condition) {
        std::fprintf(stderr, "a peer's process: %s\n", what);
        _exit(1);
    }
}

/// The objects of one of the peers' processes: a hundred endpoints on one vector and one queue.
struct PeerProcess {
    PeerProcess(Board& board, std::size_t first)
    {
        fi_av_attr av_attr{};
        fi_cq_attr cq_attr{};
        cq_attr.wait_obj = FI_WAIT_UNSPEC; // ten processes that spin would keep each other from running
        must(fi_av_open(domain.domain.get(), &av_attr, av.out(), nullptr) == 0, "fi_av_open");
        must(fi_cq_open(domain.domain.get(), &cq_attr, cq.out(), nullptr) == 0, "fi_cq_open");
        for (std::size_t i = 0; i < peers_per_process; ++i) {
            std::size_t size = sizeof(sockaddr_in);
            Handle<fid_ep>& ep = endpoints[i];
            must(fi_endpoint(domain.domain.get(), domain.info.get(), ep.out(), nullptr) == 0 &&
                     fi_ep_bind(ep.get(), &av->fid, 0) == 0 &&
                     fi_ep_bind(ep.get(), &cq->fid, FI_TRANSMIT | FI_RECV) == 0 && fi_enable(ep.get()) == 0 &&
                     fi_getname(&ep->fid, &board.peers[first + i], &size) == 0,
                 "an endpoint");
        }
    }

    /// True if an operation has completed; ends the process if it failed.
    bool wait() const
    {
        fi_cq_entry entry{};
        const ssize_t got = fi_cq_sread(cq.get(), &entry, 1, nullptr, 10);
        if (got == -FI_EAVAIL) {
            fi_cq_err_entry error{};
            fi_cq_readerr(cq.get(), &error, 0);
            must(false, fi_cq_strerror(cq.get(), error.prov_errno, error.err_data, nullptr, 0));
        }
        must(got == 1 || got == -FI_EAGAIN, "fi_cq_read");
        return got == 1;
    }

    OpenDomain domain{"127.0.0.1", hints_for(Options{})};
    Handle<fid_av> av;
    Handle<fid_cq> cq;
    std::vector<Handle<fid_ep>> endpoints = std::vector<Handle<fid_ep>>(peers_per_process);
};

/// Each endpoint sends a word and a block, and gets a block back.
void run_peers(Board& board, std::size_t process)
{
    const std::size_t first = process * peers_per_process;
    PeerProcess own(board, first);
    board.ready[process].store(true);
    const Patience patience;
    while (!board.server_known.load()) {
        must(!patience.over(), "no server");
        usleep(1000);
    }
    fi_addr_t server = FI_ADDR_NOTAVAIL;
    must(fi_av_insert(own.av.get(), &board.server, 1, &server, 0, nullptr) == 1, "fi_av_insert");
    std::vector<std::vector<std::uint8_t>> in(peers_per_process, std::vector<std::uint8_t>(block_size));
    std::vector<std::vector<std::uint8_t>> out;
    for (std::size_t i = 0; i < peers_per_process; ++i) {
        out.emplace_back(block_size, letter(first + i, false));
        fid_ep* const ep = own.endpoints[i].get();
        const std::uint64_t number = first + i;
        must(fi_trecv(ep, in[i].data(), block_size, nullptr, FI_ADDR_UNSPEC, tag_block, 0, nullptr) == 0 &&
                 fi_tinject(ep, &number, 8, server, tag_word | number) == 0 &&
                 fi_tsend(ep, out[i].data(), block_size, nullptr, server, tag_block | number, nullptr) == 0,
             "a first operation");
    }
    std::size_t completed = 0;
    while (completed < 2 * peers_per_process) {
        completed += own.wait() ? 1 : 0;
        must(!patience.over(), "not everything completed");
    }
    for (std::size_t i = 0; i < peers_per_process; ++i) {
        must(std::all_of(in[i].begin(), in[i].end(),
                         [&](std::uint8_t byte) { return byte == letter(first + i, true); }),
             "wrong data");
    }
    while (!board.over.load()) { // until everybody has everything
        (void)own.wait();
        must(!patience.over(), "no end");
    }
}

/// The endpoint that everybody talks with.
class Server {
public:
    explicit Server(Board& board) : board_(board)
    {
        while (
            !std::all_of(board.ready.begin(), board.ready.end(), [](auto& ready) { return ready.load(); })) {
            REQUIRE_FALSE(patience_.over());
            usleep(1000);
        }
        REQUIRE(fi_av_insert(end_.av.get(), board.peers.data(), peer_count, to_.data(), 0, nullptr) ==
                peer_count);
    }

    /// All words and half of the blocks; the other half comes unexpected.
    void post_first()
    {
        for (std::size_t i = 0; i < peer_count; ++i) {
            REQUIRE(fi_trecv(end_.ep.get(), &words_[i], 8, nullptr, FI_ADDR_UNSPEC, tag_word | i, 0,
                             nullptr) == 0);
            if (i % 2 == 0) {
                post_block(i);
            }
        }
    }
    void open_the_door()
    {
        const auto name = end_.name();
        std::memcpy(&board_.server, name.data(), sizeof(board_.server));
        board_.server_known.store(true);
    }
    void answer()
    {
        for (std::size_t i = 0; i < peer_count; ++i) {
            out_.emplace_back(block_size, letter(i, true));
            ssize_t result = 0;
            while ((result = fi_tsend(end_.ep.get(), out_[i].data(), block_size, nullptr, to_[i], tag_block,
                                      nullptr)) == -FI_EAGAIN) {
                poll();
            }
            REQUIRE(result == 0);
            poll();
        }
        for (std::size_t i = 1; i < peer_count; i += 2) {
            post_block(i);
        }
        while (completed_ < 3 * peer_count) {
            poll();
        }
    }
    void check() const
    {
        for (std::size_t i = 0; i < peer_count; ++i) {
            REQUIRE(words_[i] == i);
            REQUIRE(std::all_of(in_[i].begin(), in_[i].end(),
                                [&](std::uint8_t byte) { return byte == letter(i, false); }));
        }
    }
    void poll()
    {
        end_.poll();
        while (!end_.ready.empty()) {
            const Entry& entry = end_.ready.front();
            INFO(fi_cq_strerror(end_.cq.get(), entry.error.prov_errno, entry.error.err_data, nullptr, 0));
            REQUIRE_FALSE(entry.failed);
            end_.ready.pop_front();
            ++completed_;
        }
        REQUIRE_FALSE(patience_.over());
    }

private:
    void post_block(std::size_t i)
    {
        REQUIRE(fi_trecv(end_.ep.get(), in_[i].data(), block_size, nullptr, to_[i], tag_block | i, 0,
                         nullptr) == 0);
    }

    Board& board_;
    OpenDomain domain_{"127.0.0.1", hints_for(Options{})};
    const Patience patience_;
    std::vector<fi_addr_t> to_ = std::vector<fi_addr_t>(peer_count);
    std::vector<std::uint64_t> words_ = std::vector<std::uint64_t>(peer_count, ~std::uint64_t{0});
    std::vector<std::vector<std::uint8_t>> in_{peer_count, std::vector<std::uint8_t>(block_size)};
    std::vector<std::vector<std::uint8_t>> out_;
    std::size_t completed_ = 0;
    TestEndpoint end_{domain_, Options{}}; ///< goes before the buffers that it writes into
};

} // namespace

TEST_CASE("peers: one endpoint talks with a thousand others at one time")
{
    const srd::test::Shared<Board> board;
    std::vector<std::unique_ptr<srd::test::Child>> children;
    for (std::size_t process = 0; process < process_count; ++process) {
        children.push_back(std::make_unique<srd::test::Child>([&] {
            run_peers(*board, process);
            return 0;
        }));
    }
    Server server(*board);
    const std::uint64_t before = resident_bytes();
    server.post_first();
    server.open_the_door();
    server.answer();
    server.check();
    if (!sanitized) {
        const std::uint64_t payload = peer_count * block_size; // what is sent, made since
        INFO("per peer: " << (resident_bytes() - before - payload) / peer_count << " bytes");
        // Through shared memory also the pages of each peer's object that are looked at, which both count.
        CHECK(resident_bytes() - before < payload + peer_count * (16384 + 16384));
    }
    board->over.store(true);
    for (const auto& child : children) {
        std::optional<int> status;
        while (!(status = child->poll())) {
            server.poll(); // they close, and want their last acknowledgements
        }
        CHECK(*status == 0);
    }
}
