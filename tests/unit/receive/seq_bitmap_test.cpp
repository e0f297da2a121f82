// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <array>
#include <random>
#include <set>

#include "receive/seq_bitmap.hpp"

#include "support/catch.hpp"

namespace {

using Bitmap = srd::SeqBitmap<1024>;

/// The naive window: a set of 64-bit numbers that do not wrap.
struct Model {
    explicit Model(std::uint64_t first) : base(first) {}
    std::uint64_t base;
    std::set<std::uint64_t> above;

    void set(std::uint64_t number)
    {
        above.insert(number);
        while (above.erase(base) == 1) {
            ++base;
        }
    }
    std::uint64_t highest() const { return above.empty() ? base : *above.rbegin() + 1; }
};

template <unsigned Bits>
void compare(const srd::SeqBitmap<Bits>& bitmap, const Model& model)
{
    REQUIRE(bitmap.cumulative() == static_cast<std::uint32_t>(model.base));
    REQUIRE(bitmap.highest() == static_cast<std::uint32_t>(model.highest()));
    std::array<std::uint64_t, Bits / 64> words;
    words.fill(~std::uint64_t{0});
    const unsigned count = bitmap.export_words(words);
    REQUIRE(count == (model.highest() - model.base + 63) / 64);
    for (unsigned i = 0; i < count * 64; ++i) {
        REQUIRE(((words[i / 64] >> (i % 64)) & 1) == model.above.count(model.base + i));
    }
}

template <unsigned Bits>
void run_model(std::uint64_t first, std::uint32_t seed, unsigned span)
{
    INFO("bits " << Bits << " first " << first << " seed " << seed << " span " << span);
    std::mt19937 random(seed);
    srd::SeqBitmap<Bits> bitmap(static_cast<std::uint32_t>(first));
    Model model(first);
    for (int step = 0; step < 4000; ++step) {
        // Mostly in the window, now and then behind and beyond it.
        const std::uint64_t number = model.base + random() % span - (random() % 8 == 0 ? span / 2 : 0);
        const auto mark = bitmap.check(static_cast<std::uint32_t>(number));
        if (number < model.base || model.above.count(number) == 1) {
            REQUIRE(mark == srd::SeqBitmap<Bits>::duplicate);
        } else if (number >= model.base + Bits) {
            REQUIRE(mark == srd::SeqBitmap<Bits>::beyond);
        } else {
            REQUIRE(mark == srd::SeqBitmap<Bits>::fresh);
            bitmap.set(static_cast<std::uint32_t>(number));
            model.set(number);
        }
        if (step % 16 == 0) {
            compare(bitmap, model);
        }
    }
    compare(bitmap, model);
}

} // namespace

TEST_CASE("SeqBitmap: a new window expects its first number and exports nothing")
{
    const Bitmap bitmap(17);
    std::array<std::uint64_t, Bitmap::words> words{};
    CHECK(bitmap.cumulative() == 17);
    CHECK(bitmap.highest() == 17);
    CHECK(bitmap.export_words(words) == 0);
    CHECK(bitmap.check(17) == Bitmap::fresh);
    CHECK(bitmap.check(16) == Bitmap::duplicate);
    CHECK(bitmap.check(17 + 1023) == Bitmap::fresh);
    CHECK(bitmap.check(17 + 1024) == Bitmap::beyond);
}

TEST_CASE("SeqBitmap: check at the limits of the signed distance")
{
    const Bitmap bitmap(0);
    CHECK(bitmap.check(0x7fffffffU) == Bitmap::beyond);
    CHECK(bitmap.check(0x80000000U) == Bitmap::duplicate);
    CHECK(bitmap.check(0xffffffffU) == Bitmap::duplicate);
}

TEST_CASE("SeqBitmap: in order, over the wrap of the sequence numbers")
{
    Bitmap bitmap(0xfffff000U);
    for (std::uint32_t i = 0; i < 0x2000; ++i) {
        const std::uint32_t psn = 0xfffff000U + i;
        REQUIRE(bitmap.check(psn) == Bitmap::fresh);
        bitmap.set(psn);
        REQUIRE(bitmap.check(psn) == Bitmap::duplicate);
        REQUIRE(bitmap.cumulative() == psn + 1);
        REQUIRE(bitmap.highest() == psn + 1);
    }
    CHECK(bitmap.cumulative() == 0x1000);
}

TEST_CASE("SeqBitmap: the whole window in reverse, then the gap closes at once")
{
    for (const std::uint32_t first : {0U, 1U, 63U, 64U, 1000U, 0xfffffe01U}) {
        Bitmap bitmap(first);
        std::array<std::uint64_t, Bitmap::words> words{};
        for (std::uint32_t i = 1023; i > 0; --i) {
            bitmap.set(first + i);
            REQUIRE(bitmap.cumulative() == first);
            REQUIRE(bitmap.highest() == first + 1024);
        }
        REQUIRE(bitmap.export_words(words) == 16);
        CHECK(words[0] == ~std::uint64_t{1});
        for (unsigned i = 1; i < words.size(); ++i) {
            CHECK(words[i] == ~std::uint64_t{0});
        }
        bitmap.set(first);
        CHECK(bitmap.cumulative() == first + 1024);
        CHECK(bitmap.highest() == first + 1024);
        CHECK(bitmap.export_words(words) == 0);
        CHECK(bitmap.check(first + 1024) == Bitmap::fresh);
        CHECK(bitmap.check(first + 2047) == Bitmap::fresh);
        CHECK(bitmap.check(first + 2048) == Bitmap::beyond);
    }
}

TEST_CASE("SeqBitmap: export_words writes no more than there is room for")
{
    Bitmap bitmap(5);
    bitmap.set(5 + 200);
    std::array<std::uint64_t, 4> words{9, 9, 9, 9};
    CHECK(bitmap.export_words(std::span(words).first(2)) == 2);
    CHECK(words[0] == 0);
    CHECK(words[1] == 0);
    CHECK(words[2] == 9);
    CHECK(bitmap.export_words(words) == 4);
    CHECK(words[3] == std::uint64_t{1} << (200 - 192));
    CHECK(bitmap.export_words({}) == 0);
}

TEST_CASE("SeqBitmap: agrees with a set of numbers")
{
    const auto seed = std::random_device{}();
    const std::uint64_t before_wrap = (std::uint64_t{1} << 32) - 500;
    for (const unsigned span : {4U, 64U, 300U, 1100U}) {
        run_model<1024>(std::uint64_t{1} << 33, seed, span);
        run_model<1024>(before_wrap, seed + 1, span);
        run_model<64>(before_wrap, seed + 2, span);
        run_model<128>((std::uint64_t{1} << 40) + 77, seed + 3, span);
    }
}
