// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// More of everything than an application should ask for: unexpected messages without end, ten thousand
// operations at a time, 64 endpoints in a process.
#include <algorithm>
#include <memory>
#include <numeric>

#include "fabric/load_support.hpp"

using namespace fabric_test;

namespace {

constexpr std::uint64_t unexpected_bytes = 4U << 20;

/// Before the provider reads it.
const bool bound_is_set = [] { return setenv("FI_SRD_UNEXPECTED_BYTES", "4194304", 1) == 0; }();

/// Message number n of every sender is this from word n on: n, n + 1, n + 2, ...
std::vector<std::uint64_t> counting(std::uint64_t words)
{
    std::vector<std::uint64_t> numbers(words);
    std::iota(numbers.begin(), numbers.end(), std::uint64_t{0});
    return numbers;
}

/// Several senders and a receiver that is in no hurry, in one domain and one thread.
struct Flood {
    Flood(std::size_t count, std::size_t words_per_message, std::uint64_t messages_per_sender)
        : domain("127.0.0.1", hints_for(Options{})), receiver(domain, Options{}), words(words_per_message),
          messages(messages_per_sender), numbers(counting(messages + words)), accepted(count, 0),
          next(count, 0), in(words)
    {
        for (std::size_t i = 0; i < count; ++i) {
            senders.push_back(std::make_unique<TestEndpoint>(domain, Options{}));
            to.push_back(senders[i]->insert(receiver));
        }
    }

    std::uint64_t total() const { return messages * senders.size(); }
    std::uint64_t sent() const { return std::accumulate(accepted.begin(), accepted.end(), std::uint64_t{0}); }

    /// Every sender sends until it is told to wait; the tag is the sender's number.
    void send()
    {
        for (std::size_t i = 0; i < senders.size(); ++i) {
            TestEndpoint& sender = *senders[i];
            while (accepted[i] < messages && fi_tsend(sender.ep.get(), &numbers[accepted[i]], words * 8,
                                                      nullptr, to[i], i, nullptr) == 0) {
                ++accepted[i];
            }
            sender.poll();
            while (!sender.ready.empty()) {
                REQUIRE_FALSE(sender.ready.front().failed);
                sender.ready.pop_front();
                ++completed;
            }
        }
    }

    /// Takes the next message of sender `i`, and demands that it is the next one.
    void take(std::size_t i)
    {
        std::fill(in.begin(), in.end(), ~std::uint64_t{0});
        REQUIRE(fi_trecv(receiver.ep.get(), in.data(), words * 8, nullptr, FI_ADDR_UNSPEC, i, 0, this) == 0);
        while (receiver.ready.empty()) {
            receiver.poll();
            send();
            REQUIRE_FALSE(patience.over());
        }
        REQUIRE_FALSE(receiver.ready.front().failed);
        receiver.ready.pop_front();
        REQUIRE(std::equal(in.begin(), in.end(), numbers.begin() + static_cast<std::ptrdiff_t>(next[i])));
        ++next[i];
    }

    OpenDomain domain;
    TestEndpoint receiver;
    std::vector<std::unique_ptr<TestEndpoint>> senders;
    std::vector<fi_addr_t> to;
    const std::size_t words; ///< of a message
    const std::uint64_t messages;
    const std::vector<std::uint64_t> numbers;
    std::vector<std::uint64_t> accepted; ///< by sender
    std::vector<std::uint64_t> next;     ///< that the receiver expects, by sender
    std::uint64_t completed = 0;
    std::vector<std::uint64_t> in;
    const Patience patience;
};

/// Floods a receiver that takes nothing for a while, then everything.
void flood(std::size_t senders, std::size_t words, std::uint64_t messages)
{
    Flood flood(senders, words, messages);
    const std::uint64_t before = resident_bytes();
    // Until nothing more goes for a while.
    std::uint64_t last = ~std::uint64_t{0};
    auto since = std::chrono::steady_clock::now();
    while (std::chrono::steady_clock::now() - since < std::chrono::milliseconds(200)) {
        if (flood.sent() + flood.completed != last) {
            last = flood.sent() + flood.completed;
            since = std::chrono::steady_clock::now();
        }
        flood.send();
        flood.receiver.poll();
        REQUIRE_FALSE(flood.patience.over());
    }
    INFO(senders << " senders, messages of " << words * 8 << " bytes: " << flood.sent() << " sent, "
                 << flood.completed << " held by the receiver");
    CHECK(flood.receiver.ready.empty());
    CHECK(flood.completed < flood.total()); // or there was no flood
    CHECK(flood.completed * words * 8 <= unexpected_bytes);
    if (!sanitized) {
        // Held payload; beside it the records of messages and packets at both ends.
        CHECK(resident_bytes() - before < unexpected_bytes + (48U << 20));
    }
    for (std::uint64_t n = 0; n < messages; ++n) {
        for (std::size_t i = 0; i < senders; ++i) {
            flood.take(i);
        }
    }
    while (flood.completed < flood.total()) {
        flood.send();
        flood.receiver.poll();
        REQUIRE_FALSE(flood.patience.over());
    }
    CHECK(flood.receiver.ready.empty());
}

/// Endpoints in one domain, each of which talks with all, itself included.
struct Crowd {
    Crowd(std::size_t size, const Options& options)
        : count(size), domain("127.0.0.1", hints_for(options)), blocks(count * count), to(count),
          data(pattern(big + count * count)), words(count * count), words_in(count * count, ~std::uint64_t{0})
    {
        std::iota(words.begin(), words.end(), std::uint64_t{0});
        for (auto& block : blocks) {
            block.resize(big);
        }
    }

    void add(const Options& options) { all.push_back(std::make_unique<TestEndpoint>(domain, options)); }

    void introduce()
    {
        for (std::size_t i = 0; i < count; ++i) {
            for (std::size_t j = 0; j < count; ++j) {
                to[i].push_back(all[i]->insert(*all[j]));
            }
        }
    }

    void poll()
    {
        for (auto& endpoint : all) {
            endpoint->poll();
            while (!endpoint->ready.empty()) {
                const fi_cq_err_entry& error = endpoint->ready.front().error;
                INFO(fi_cq_strerror(endpoint->cq.get(), error.prov_errno, error.err_data, nullptr, 0));
                REQUIRE_FALSE(endpoint->ready.front().failed);
                endpoint->ready.pop_front();
                ++completed;
            }
        }
        REQUIRE_FALSE(patience.over());
    }

    template <typename Call>
    void retry(Call&& call)
    {
        ssize_t result = 0;
        while ((result = call()) == -FI_EAGAIN) {
            poll();
        }
        REQUIRE(result == 0);
    }

    /// From i to j: a word and a block, both named by their tag.
    void exchange(std::size_t i, std::size_t j)
    {
        const std::size_t at = i * count + j;
        fid_ep* const from = all[i]->ep.get();
        fid_ep* const target = all[j]->ep.get();
        retry(
            [&] { return fi_trecv(target, &words_in[at], 8, nullptr, FI_ADDR_UNSPEC, 2 * at, 0, nullptr); });
        retry([&] {
            return fi_trecv(target, blocks[at].data(), big, nullptr, to[j][i], 2 * at + 1, 0, nullptr);
        });
        retry([&] { return fi_tsend(from, &words[at], 8, nullptr, to[i][j], 2 * at, nullptr); });
        retry([&] { return fi_tsend(from, &data[at], big, nullptr, to[i][j], 2 * at + 1, nullptr); });
    }

    static constexpr std::size_t big = 20000;
    const std::size_t count;
    OpenDomain domain;
    std::vector<std::vector<std::uint8_t>> blocks;
    std::vector<std::unique_ptr<TestEndpoint>> all;
    std::vector<std::vector<fi_addr_t>> to;
    const std::vector<std::uint8_t> data;
    std::vector<std::uint64_t> words;
    std::vector<std::uint64_t> words_in;
    std::uint64_t completed = 0;
    const Patience patience;
};

} // namespace

TEST_CASE("load: a flood of unexpected messages is held off, and nothing is lost or out of order")
{
    REQUIRE(bound_is_set);
    SECTION("small ones from one sender")
    {
        flood(1, 1, scaled(400000));
    }
    SECTION("of one packet")
    {
        flood(1, 500, scaled(20000));
    }
    SECTION("as long as goes without asking, from three senders")
    {
        flood(3, 2048, scaled(12000));
    }
}

TEST_CASE("load: ten thousand receives, and as many sends that wait for them, at one time")
{
    constexpr std::uint64_t count = 10000;
    constexpr std::size_t words = 2500; // more than goes without asking
    Pair pair;
    const std::vector<std::uint64_t> numbers = counting(count + words);
    for (std::uint64_t i = 0; i < count; ++i) {
        REQUIRE(pair.retry([&] {
            return fi_tsend(pair.a.ep.get(), &numbers[i], words * 8, nullptr, pair.b_at_a, i,
                            const_cast<std::uint64_t*>(&numbers[i]));
        }) == 0);
    }
    CHECK(pair.a.ready.empty()); // all of them are outstanding
    // Received from the last to the first; every buffer overlaps the next, the first eight bytes are its own.
    std::vector<std::vector<std::uint64_t>> in(count);
    for (std::uint64_t i = count; i-- > 0;) {
        in[i].resize(words);
        REQUIRE(pair.retry([&] {
            return fi_trecv(pair.b.ep.get(), in[i].data(), words * 8, nullptr, FI_ADDR_UNSPEC, i, 0, &in[i]);
        }) == 0);
    }
    pair.until([&] { return pair.a.ready.size() == count && pair.b.ready.size() == count; });
    for (std::uint64_t i = 0; i < count; ++i) {
        REQUIRE_FALSE((pair.a.ready[i].failed || pair.b.ready[i].failed));
        REQUIRE(std::equal(in[i].begin(), in[i].end(), numbers.begin() + static_cast<std::ptrdiff_t>(i)));
    }
}

TEST_CASE("load: 64 endpoints in a process, each with all others")
{
    constexpr std::size_t count = sanitized ? 16 : 64;
    Options options;
    options.progress = GENERATE(FI_PROGRESS_MANUAL, FI_PROGRESS_AUTO);
    Crowd crowd(count, options);
    crowd.add(options);
    const Resources one = Resources::now();
    while (crowd.all.size() < count) {
        crowd.add(options);
    }
    const Resources opened = Resources::now();
    INFO("an idle endpoint: " << (opened.resident - one.resident) / (count - 1) << " bytes resident, "
                              << (opened.descriptors - one.descriptors) / (count - 1) << " descriptors");
    CHECK(opened.threads == one.threads);
    CHECK((opened.descriptors - one.descriptors) / (count - 1) <= 6);
    if (!sanitized) {
        CHECK((opened.resident - one.resident) / (count - 1) < (1U << 20));
    }

    crowd.introduce();
    for (std::size_t i = 0; i < count; ++i) {
        for (std::size_t j = 0; j < count; ++j) {
            crowd.exchange(i, j);
        }
        crowd.poll();
    }
    while (crowd.completed < 4 * count * count) {
        crowd.poll();
    }
    CHECK(crowd.words_in == crowd.words);
    for (std::size_t at = 0; at < count * count; ++at) {
        REQUIRE(std::equal(crowd.blocks[at].begin(), crowd.blocks[at].end(),
                           crowd.data.begin() + static_cast<std::ptrdiff_t>(at)));
    }
}
