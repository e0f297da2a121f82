// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What sealing costs: nanoseconds per packet and GB/s for each cipher, per introduction, and
// bytes of memory per connection. One thread; nothing else is measured. `seal_bench [milliseconds per row]`.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include <malloc.h>

#include "seal/crypto/crypto_library.hpp"
#include "seal/hello_auth.hpp"
#include "seal/sealed_session.hpp"

namespace srd::bench {
namespace {

constexpr std::size_t batch = 256; ///< packets between two looks at the clock
double row_ns = 200e6;

/// Nanoseconds this thread has run: what else runs on the machine does not count.
double thread_ns()
{
    timespec spent{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
    return static_cast<double>(spent.tv_sec) * 1e9 + static_cast<double>(spent.tv_nsec);
}

void require(bool ok, const char* what)
{
    if (!ok) {
        std::fprintf(stderr, "seal_bench: %s\n", what);
        std::exit(1);
    }
}

/// The median of the batches' means, per call of `act(i)`, i < batch. `prepare` is not counted.
template <typename Prepare, typename Act>
double median_ns(Prepare&& prepare, Act&& act)
{
    std::vector<double> means;
    for (double spent = 0; spent < row_ns;) {
        prepare();
        const double started = thread_ns();
        for (std::size_t i = 0; i < batch; ++i) {
            act(i);
        }
        const double took = thread_ns() - started;
        means.push_back(took / batch);
        spent += took;
    }
    const auto middle = means.begin() + static_cast<std::ptrdiff_t>(means.size() / 2);
    std::nth_element(means.begin(), middle, means.end());
    return *middle;
}

KeyRing make_ring()
{
    std::string error;
    std::vector<std::byte> secret(32);
    for (std::size_t i = 0; i < secret.size(); ++i) {
        secret[i] = static_cast<std::byte>(i * 7);
    }
    const auto secrets = JobSecrets::parse(secret, error);
    require(secrets.has_value(), error.c_str());
    auto ring = KeyRing::make(*secrets, error);
    require(ring.has_value(), error.c_str());
    return std::move(*ring);
}

struct Ends {
    Ends(const KeyRing& ring, HmacSha256& hmac, Cipher cipher)
    {
        static constexpr std::array<std::byte, 16> address{};
        const SealedSide one{ring.sending(), 1, 2, address};
        const SealedSide two{ring.sending(), 3, 4, address};
        a = SealedSession::make(hmac, {1, cipher, {}}, one, two);
        b = SealedSession::make(hmac, {1, cipher, {}}, two, one);
        require(a && b, "no memory");
    }

    std::unique_ptr<SealedSession> a, b;
};

/// `pieces`: how many the packet's memory is cut into, the first of 64 bytes.
void packet_row(const KeyRing& ring, HmacSha256& hmac, Cipher cipher, std::size_t size, std::size_t pieces)
{
    Ends ends(ring, hmac, cipher);
    std::vector<std::byte> packet(size);
    std::vector<iovec> iov{{packet.data(), size}};
    if (pieces == 2) {
        iov = {{packet.data(), 64}, {packet.data() + 64, size - 64}};
    }
    const std::size_t stride = size + SealedSession::overhead;
    std::vector<std::byte> sealed(stride * batch);
    const double seal_ns = median_ns(
        [] {}, [&](std::size_t i) { require(ends.a->seal(iov, &sealed[i * stride]) == stride, "seal"); });
    const auto prepare = [&] {
        for (std::size_t i = 0; i < batch; ++i) {
            require(ends.a->seal(iov, &sealed[i * stride]) == stride, "seal");
        }
    };
    Ends fresh(ring, hmac, cipher); // its receiver has seen none of those
    ends = std::move(fresh);
    const double open_ns = median_ns(prepare, [&](std::size_t i) {
        require(ends.b->open(std::span(&sealed[i * stride], stride)) == OpenResult::opened, "open");
    });
    std::printf("%-18s %7zu %7zu %9.0f %9.0f %9.2f %9.2f\n",
                cipher == Cipher::aes_128_gcm ? "AES-128-GCM" : "ChaCha20-Poly1305", size, iov.size(),
                seal_ns, open_ns, static_cast<double>(size) / seal_ns, static_cast<double>(size) / open_ns);
}

void single_rows(const KeyRing& ring, HmacSha256& hmac)
{
    HelloAuth auth(ring, CipherOffer::prefers_aes);
    std::vector<std::byte> hello(104 + HelloAuth::trailer_size);
    const std::span all(hello);
    const double append_ns = median_ns(
        [] {},
        [&](std::size_t) {
            auth.append(all.first(104), all.last<HelloAuth::trailer_size>(), {ring.sending().id, 0});
        });
    const double verify_ns = median_ns(
        [] {},
        [&](std::size_t) { require(auth.verify(hello).result == HelloAuth::Result::authentic, "verify"); });
    std::printf("introduction (104 bytes): append %.0f ns, verify %.0f ns\n", append_ns, verify_ns);

    const std::array<std::byte, KeyExchange::size> secret{std::byte{1}};
    std::array<std::byte, KeyExchange::size> agreed{};
    std::unique_ptr<KeyExchange> exchange;
    const double make_ns = median_ns([] {},
                                     [&](std::size_t) {
                                         exchange = KeyExchange::make(secret);
                                         require(exchange != nullptr, "X25519");
                                     });
    const double agree_ns =
        median_ns([] {}, [&](std::size_t) { require(exchange->agree(exchange->share(), agreed), "agree"); });
    std::printf("exchange of keys: pair made in %.0f ns, agreed on in %.0f ns\n", make_ns, agree_ns);

    const SealedSide one{ring.sending(), 1, 2, {}};
    KeySchedule schedule(hmac, {1, Cipher::aes_128_gcm, {}}, one, one);
    PhaseKeys keys;
    const double phase_ns = median_ns([] {},
                                      [&](std::size_t) {
                                          schedule.advance();
                                          schedule.derive(keys);
                                      });
    std::printf("next key phase: %.0f ns\n", phase_ns);
}

void memory_rows(const KeyRing& ring, HmacSha256& hmac)
{
    constexpr std::size_t count = 1000;
    for (const Cipher cipher : {Cipher::aes_128_gcm, Cipher::chacha20_poly1305}) {
        std::vector<Ends> all;
        all.reserve(count);
        const std::size_t before = ::mallinfo2().uordblks;
        const double started = thread_ns();
        for (std::size_t i = 0; i < count; ++i) {
            all.emplace_back(ring, hmac, cipher);
        }
        const double made_ns = (thread_ns() - started) / (2 * count);
        const std::size_t bytes = (::mallinfo2().uordblks - before) / (2 * count);
        std::printf("session with %s: %zu bytes, of them %zu the object; made in %.0f ns\n",
                    cipher == Cipher::aes_128_gcm ? "AES-128-GCM" : "ChaCha20-Poly1305", bytes,
                    sizeof(SealedSession), made_ns);
    }
}

void run()
{
    std::string error;
    const CryptoLibrary* const library = load_crypto_library(error);
    require(library != nullptr, error.c_str());
    const KeyRing ring = make_ring();
    HmacSha256 hmac;
    std::printf("%-18s %7s %7s %9s %9s %9s %9s\n", "cipher", "bytes", "pieces", "seal ns", "open ns",
                "seal GB/s", "open GB/s");
    for (const Cipher cipher : {Cipher::aes_128_gcm, Cipher::chacha20_poly1305}) {
        if (cipher == Cipher::chacha20_poly1305 && !library->has_chacha()) {
            continue;
        }
        for (const std::size_t size : {64U, 256U, 1400U, 8192U, 65000U}) {
            packet_row(ring, hmac, cipher, size, 1);
            if (size > 64) {
                packet_row(ring, hmac, cipher, size, 2);
            }
        }
    }
    single_rows(ring, hmac);
    memory_rows(ring, hmac);
}

} // namespace
} // namespace srd::bench

int main(int argc, char** argv)
{
    if (argc > 1) {
        srd::bench::row_ns = std::atof(argv[1]) * 1e6;
    }
    srd::bench::run();
    return 0;
}
